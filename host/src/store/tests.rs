//! Tests of the store as a whole, and ways to make it fail for the tests of others.

mod accept;
mod access;
mod dictionaries;
mod failures;
mod lanes;
mod limits;
mod opening;
mod order;
mod plans;
mod plugins;
mod queues;
mod rejections;
mod retention;
mod seen;

use std::future::Future;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::mpsc::{Sender, channel};
use std::task::{Context, Poll, Waker};

use tempfile::TempDir;

use super::{Store, StoreError};
use crate::model::action::ClaimedAction;
use crate::model::event::{ContentKey, Headers, NewEvent};
use crate::model::id::EventId;
use crate::model::queue::Share;
use crate::model::run::{ClaimedRun, NewRun};
use crate::model::time::TimestampMs;

pub const NOW: TimestampMs = 1_795_248_000_000;

pub type Waiting<T> = Pin<Box<dyn Future<Output = Result<T, StoreError>> + Send>>;

/// The writer does nothing until this is dropped.
pub struct Stall {
    _held: Sender<()>,
    _waiting: Waiting<()>,
}

impl Store {
    /// Makes the writer wait, with an empty queue behind it.
    pub fn stall_writer(&self) -> Stall {
        let (held, released) = channel::<()>();
        let (entered, is_in) = channel();
        let store = self.clone();
        let mut waiting: Waiting<()> = Box::pin(async move {
            let stall = move |_: &rusqlite::Connection| {
                let _ = entered.send(());
                let _ = released.recv();
                Ok(())
            };
            store.write(stall).await
        });
        assert!(matches!(poll(&mut waiting), Poll::Pending));
        is_in.recv().unwrap();
        Stall {
            _held: held,
            _waiting: waiting,
        }
    }

    /// Fills the queue of a writer that is stalled.
    pub fn fill_queue(&self) -> Vec<Waiting<()>> {
        let mut all = Vec::new();
        loop {
            let store = self.clone();
            let mut waiting: Waiting<()> = Box::pin(async move { store.write(|_| Ok(())).await });
            match poll(&mut waiting) {
                Poll::Pending => all.push(waiting),
                Poll::Ready(result) => {
                    assert!(matches!(result, Err(StoreError::Busy)));
                    return all;
                }
            }
        }
    }

    /// Makes every later write of events, rejections, links and sessions fail, or work again.
    pub async fn break_writes(&self, broken: bool) {
        for table in ["event", "rejection", "browser_grant"] {
            let sql = match broken {
                true => format!(
                    "CREATE TEMP TRIGGER broken_{table} BEFORE INSERT ON main.{table}
                     BEGIN SELECT raise(ABORT, 'broken by a test'); END"
                ),
                false => format!("DROP TRIGGER broken_{table}"),
            };
            self.write(move |tx| Ok(tx.execute_batch(&sql)?))
                .await
                .unwrap();
        }
    }

    /// Claims due runs of all lanes.
    pub async fn claim_due_runs(
        &self,
        now: TimestampMs,
        lease_until: TimestampMs,
        limit: usize,
    ) -> Result<Vec<ClaimedRun>, StoreError> {
        let mut claimed = Vec::new();
        for queued in self.queued_lanes(None, usize::MAX).await? {
            let share = Share {
                lane: queued.lane,
                count: limit - claimed.len(),
            };
            claimed.extend(self.claim_runs(now, lease_until, vec![share]).await?);
        }
        Ok(claimed)
    }

    /// When the next run becomes due, if any is queued.
    pub async fn next_run_due(&self) -> Result<Option<TimestampMs>, StoreError> {
        let lanes = self.queued_lanes(None, usize::MAX).await?;
        Ok(lanes.into_iter().map(|it| it.due_at).min())
    }

    /// Claims due actions of all tenants.
    pub async fn claim_due_actions(
        &self,
        now: TimestampMs,
        lease_until: TimestampMs,
        limit: usize,
    ) -> Result<Vec<ClaimedAction>, StoreError> {
        let mut claimed = Vec::new();
        for queued in self.queued_actions().await? {
            let share = Share {
                lane: queued.lane,
                count: limit - claimed.len(),
            };
            claimed.extend(self.claim_actions(now, lease_until, vec![share]).await?);
        }
        Ok(claimed)
    }

    /// When the next action becomes due, if any is pending.
    pub async fn next_action_due(&self) -> Result<Option<TimestampMs>, StoreError> {
        let lanes = self.queued_actions().await?;
        Ok(lanes.into_iter().map(|it| it.due_at).min())
    }

    pub(super) async fn count(&self, table: &'static str) -> i64 {
        let sql = format!("SELECT count(*) FROM {table}");
        self.read(move |db| Ok(db.query_row(&sql, [], |row| row.get(0))?))
            .await
            .unwrap()
    }

    pub(super) async fn execute(&self, sql: &'static str) -> Result<(), StoreError> {
        self.write(move |tx| Ok(tx.execute_batch(sql)?)).await
    }
}

fn poll<T>(waiting: &mut Waiting<T>) -> Poll<Result<T, StoreError>> {
    waiting
        .as_mut()
        .poll(&mut Context::from_waker(Waker::noop()))
}

/// A database in a folder of its own.
pub struct TestStore {
    pub store: Option<Store>,
    pub path: PathBuf,
    _folder: TempDir,
}

impl TestStore {
    pub fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("triage.db");
        Store::create(&path).unwrap();
        Self {
            store: Some(Store::open(&path).unwrap()),
            path,
            _folder: folder,
        }
    }

    fn reopen(&mut self) {
        self.store = None;
        self.store = Some(Store::open(&self.path).unwrap());
    }
}

impl std::ops::Deref for TestStore {
    type Target = Store;

    fn deref(&self) -> &Store {
        self.store.as_ref().unwrap()
    }
}

/// An event as `http` would make it from a delivery.
pub fn event(integration_id: &str, key: &str, now: TimestampMs) -> NewEvent {
    NewEvent {
        id: EventId::new(now),
        tenant: "acme".to_owned(),
        integration_id: integration_id.to_owned(),
        source: "github".to_owned(),
        event_type: "github.issues.opened".to_owned(),
        idempotency_key: key.to_owned(),
        content_key: None,
        received_at: now,
        occurred_at: None,
        headers: Headers::default(),
        body: bytes::Bytes::from(format!("{{\"key\":\"{key}\"}}")),
        runs: vec![NewRun {
            policy: "incidents".to_owned(),
            ..NewRun::default()
        }],
    }
}

fn with_content_key(event: NewEvent, key: &str, window_ms: Option<i64>) -> NewEvent {
    NewEvent {
        content_key: Some(ContentKey {
            key: key.to_owned(),
            window_ms,
        }),
        ..event
    }
}
