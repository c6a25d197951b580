//! Stores that already hold many events, made through the library.
//!
//! They hold what the host would have written, had it received the requests of
//! [`bodies`](super::bodies) one after another: the event of number `n` is that of request `n`.

use std::fs;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use bytes::Bytes;
use rusqlite::Connection;
use sha2::{Digest, Sha256};
use tokio::runtime::Builder;
use tokio::task::JoinSet;
use triage_host::clock::Clock;
use triage_host::model::event::{Headers, NewEvent};
use triage_host::model::id::EventId;
use triage_host::model::secret::Secret;
use triage_host::model::source::Source;
use triage_host::model::time::TimestampMs;
use triage_host::sources::{self, Delivery, Identity};
use triage_host::store::Store;

use super::bodies::{Requests, SECRET, github_issues};
use super::host::{DATABASE, Host, INTEGRATION, count};
use super::load::Sender;

/// Bytes of a body.
pub const BODY_BYTES: usize = 2_048;
/// Over how long the events of a kept store came in.
const AGE_MS: i64 = 29 * 24 * 3_600_000;
/// Events on their way into the store at the same time; fewer than it lets wait.
const UNDER_WAY: usize = 1_024;
/// How often is said how far it is.
const SAY_EVERY: Duration = Duration::from_secs(10);
/// Holds when the youngest event of a kept store came in.
const BUILT_AT: &str = "built-at";
/// A store that grew by more than this share is made anew. One full run adds about two fifths.
const GROWTH_MAX: f64 = 0.5;

/// All that says what stands in a kept store.
const MADE_BY: [&str; 11] = [
    include_str!("kept.rs"),
    include_str!("bodies.rs"),
    include_str!("../../../host/migrations/0001_initial.sql"),
    include_str!("../../../host/src/sources/github.rs"),
    include_str!("../../../host/src/store/content.rs"),
    include_str!("../../../host/src/store/dictionaries.rs"),
    include_str!("../../../host/src/store/events.rs"),
    include_str!("../../../host/src/store/keys.rs"),
    include_str!("../../../host/src/store/seen.rs"),
    include_str!("../../../host/src/store/seen/block.rs"),
    include_str!("../../../host/src/store/seen/filter.rs"),
];

/// A folder with a store that holds `count` events, or a few more.
pub struct Kept {
    pub folder: PathBuf,
    pub count: u64,
    times: Times,
}

impl Kept {
    /// The one that an earlier run left, or a new one.
    pub fn find_or_build(count: u64) -> Result<Self> {
        let tmp = Path::new(env!("CARGO_TARGET_TMPDIR"));
        let made_by = MADE_BY
            .iter()
            .fold(Sha256::new(), |all, it| all.chain_update(it));
        let prefix = format!("kept-{}-", &hex::encode(made_by.finalize())[..16]);
        remove_others(tmp, &prefix)?;
        let folder = tmp.join(format!("{prefix}{count}"));
        if let Some(kept) = Self::find(&folder, count)? {
            return Ok(kept);
        }
        if folder.exists() {
            fs::remove_dir_all(&folder)?;
        }
        let times = Times {
            until: Clock::System.now(),
            over_ms: AGE_MS,
            count,
        };
        let building = tmp.join(format!("{prefix}{count}-building"));
        if building.exists() {
            fs::remove_dir_all(&building)?;
        }
        fs::create_dir(&building)?;
        println!("making a store of {count} events in {}", folder.display());
        fill(&building.join(DATABASE), times)?;
        fs::write(building.join(BUILT_AT), times.until.to_string())?;
        fs::rename(&building, &folder)?;
        Ok(Self {
            folder,
            count,
            times,
        })
    }

    fn find(folder: &Path, count: u64) -> Result<Option<Self>> {
        let Ok(built_at) = fs::read_to_string(folder.join(BUILT_AT)) else {
            return Ok(None);
        };
        let times = Times {
            until: built_at.parse().context("a malformed time")?,
            over_ms: AGE_MS,
            count,
        };
        let grown = newest(&folder.join(DATABASE))?.saturating_sub(count);
        if count as f64 * GROWTH_MAX < grown as f64 {
            println!("{} grew by {grown} events: away with it", folder.display());
            return Ok(None);
        }
        println!("{} holds {count} events and {grown} more", folder.display());
        Ok(Some(Self {
            folder: folder.to_owned(),
            count,
            times,
        }))
    }

    /// The numbers of the requests whose events it holds.
    pub fn numbers(&self) -> Range<u64> {
        0..self.count
    }

    /// The id of the event of this number.
    pub fn event_id(&self, number: u64) -> EventId {
        self.times.event_id(number)
    }
}

/// The row of the newest event, in a store that deleted none: how many there are.
fn newest(database: &Path) -> Result<u64> {
    count(
        &Connection::open(database)?,
        "SELECT coalesce(max(seq), 0) FROM event",
    )
}

/// Stores of another making are of no use to anybody.
fn remove_others(tmp: &Path, prefix: &str) -> Result<()> {
    for entry in fs::read_dir(tmp)? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if name.starts_with("kept-") && !name.starts_with(prefix) {
            println!("{name} was made by another version: away with it");
            fs::remove_dir_all(entry.path())?;
        }
    }
    Ok(())
}

/// When the events of a store came in.
#[derive(Clone, Copy)]
pub struct Times {
    /// The time of the youngest.
    pub until: TimestampMs,
    /// How long before that the oldest came.
    pub over_ms: i64,
    /// How many there are.
    pub count: u64,
}

impl Times {
    fn received_at(self, number: u64) -> TimestampMs {
        let share = (number + 1) as f64 / self.count as f64;
        self.until - self.over_ms + (self.over_ms as f64 * share) as i64
    }

    /// A UUID version 7 whose random bits are the number.
    fn event_id(self, number: u64) -> EventId {
        let time = u128::from(self.received_at(number).unsigned_abs());
        let id = time << 80 | 0x7 << 76 | 0b10 << 62 | u128::from(number);
        EventId::from_bytes(id.to_be_bytes())
    }
}

/// Makes a database with these events.
pub fn fill(database: &Path, times: Times) -> Result<()> {
    Store::create(database)?;
    let runtime = Builder::new_multi_thread().enable_all().build()?;
    let store = Store::open(database)?;
    let filled = runtime.block_on(accept_all(&store, times));
    // The last one to drop the store waits until it is closed.
    drop(runtime);
    drop(store);
    filled
}

async fn accept_all(store: &Store, times: Times) -> Result<()> {
    let began = Instant::now();
    let requests = Requests::github(&Host::path(&Source::Github), &github_issues(BODY_BYTES)?)?;
    let next = Arc::new(AtomicU64::new(0));
    let mut tasks = JoinSet::new();
    for _ in 0..UNDER_WAY {
        let (store, requests, next) = (store.clone(), requests.clone(), next.clone());
        tasks.spawn(accept_some(store, requests, next, times));
    }
    let mut said = Instant::now();
    loop {
        let done = next.load(Ordering::Relaxed).min(times.count);
        if SAY_EVERY <= said.elapsed() || tasks.is_empty() {
            said = Instant::now();
            let rate = done as f64 / began.elapsed().as_secs_f64();
            println!("  {done} of {} events, {rate:.0}/s", times.count);
        }
        match tokio::time::timeout(SAY_EVERY, tasks.join_next()).await {
            Ok(None) => return Ok(()),
            Ok(Some(ended)) => ended??,
            Err(_) => (),
        }
    }
}

async fn accept_some(
    store: Store,
    mut requests: Requests,
    next: Arc<AtomicU64>,
    times: Times,
) -> Result<()> {
    let secrets = [Secret::new(SECRET)];
    loop {
        let number = next.fetch_add(1, Ordering::Relaxed);
        if times.count <= number {
            return Ok(());
        }
        let event = event(&mut requests, &secrets, number, times)?;
        let accepted = store.accept(event).await?;
        ensure!(!accepted.duplicate, "event {number} was there already");
    }
}

/// What `http::ingest` makes of a request that no policy wants.
fn event(
    requests: &mut Requests,
    secrets: &[Secret],
    number: u64,
    times: Times,
) -> Result<NewEvent> {
    let mut request = Vec::new();
    requests.seek(number);
    requests.next(&mut request);
    let (head, body) = request.split_at(requests.body_at());
    let lines = std::str::from_utf8(head)?.lines().skip(1);
    let headers = lines.filter_map(|it| it.split_once(": "));
    let headers = Headers(
        headers
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect(),
    );
    let received_at = times.received_at(number);
    let delivery = Delivery {
        headers: &headers,
        body,
        received_at,
    };
    let verified = sources::verify(&Source::Github, secrets, delivery)?;
    let Identity::Event(identity) = sources::identify(&verified, body)? else {
        bail!("request {number} is no event");
    };
    Ok(NewEvent {
        id: times.event_id(number),
        tenant: "default".to_owned(),
        integration_id: INTEGRATION.to_owned(),
        source: Source::Github.as_str().to_owned(),
        event_type: identity.event_type,
        idempotency_key: identity.idempotency_key,
        content_key: identity.content_key,
        received_at,
        occurred_at: identity.occurred_at,
        headers: headers.clone(),
        body: Bytes::copy_from_slice(body),
        runs: Vec::new(),
    })
}
