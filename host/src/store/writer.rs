//! The one thread that writes, committing many writes at once.
//!
//! A commit costs a flush of the disk. While one is under way, further writes
//! gather in the queue and share the next: under load many events cost one flush,
//! and an idle system answers at once.

use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use rusqlite::{Connection, ffi};
use tokio::sync::oneshot;

use super::StoreError;
use super::checkpoint::Checkpointer;
use super::dictionaries::Dictionaries;
use super::lengths::Lengths;
use super::ready::Proof;
use super::seen::{self, Seen};
use crate::fail_point::{self, Point};

/// Writes that may wait; one more is refused.
pub const WRITES_WAITING_MAX: usize = 4096;
/// Writes that share a commit at most, so that the first of them does not wait for ever.
const WRITES_PER_COMMIT_MAX: usize = 1024;

/// What is kept in memory of the database, and must follow each transaction.
#[derive(Clone)]
pub(super) struct InMemory {
    pub(super) seen: Arc<Mutex<Seen>>,
    pub(super) lengths: Arc<Lengths>,
    pub(super) dictionaries: Arc<Dictionaries>,
}

impl InMemory {
    fn committed(&self) {
        seen::lock(&self.seen).committed();
        self.lengths.committed();
        self.dictionaries.committed();
    }

    fn rolled_back(&self) {
        seen::lock(&self.seen).rolled_back();
        self.lengths.rolled_back();
        self.dictionaries.rolled_back();
    }
}

/// A write that is waiting, without its type.
trait Write: Send {
    /// Does the work inside the open transaction.
    fn apply(&mut self, tx: &Connection) -> Result<(), StoreError>;
    /// Tells the caller how it ended, after the commit.
    fn answer(self: Box<Self>, error: Option<StoreError>);
}

struct Pending<T, F> {
    work: F,
    result: Option<T>,
    // The work goes back to the caller: what it holds is freed there and not in this thread.
    reply: oneshot::Sender<(Result<T, StoreError>, F)>,
}

impl<T, F> Write for Pending<T, F>
where
    T: Send,
    F: FnMut(&Connection) -> Result<T, StoreError> + Send,
{
    fn apply(&mut self, tx: &Connection) -> Result<(), StoreError> {
        self.result = Some((self.work)(tx)?);
        Ok(())
    }

    fn answer(self: Box<Self>, error: Option<StoreError>) {
        let answer = match (error, self.result) {
            (Some(error), _) => Err(error),
            (None, Some(result)) => Ok(result),
            (None, None) => Err(StoreError::Closed),
        };
        // A caller that went away does not want the answer; the write stands all the same.
        let _ = self.reply.send((answer, self.work));
    }
}

/// The writer thread. Dropping it finishes what waits and closes the database.
pub(super) struct Writer {
    queue: Option<SyncSender<Box<dyn Write>>>,
    /// Whether the disk takes commits.
    pub(super) proof: Proof,
    thread: Option<JoinHandle<()>>,
}

impl Writer {
    pub(super) fn start(
        connection: Connection,
        memory: Option<InMemory>,
        checkpointer: Option<Checkpointer>,
    ) -> Self {
        let (queue, waiting) = sync_channel(WRITES_WAITING_MAX);
        let proof = Proof::default();
        let disk = Disk {
            connection,
            memory,
            proof: proof.clone(),
        };
        let thread = std::thread::Builder::new()
            .name("store-writer".to_owned())
            .spawn(move || {
                run(&disk, checkpointer.as_ref(), &waiting);
                if checkpointer
                    .as_ref()
                    .is_some_and(Checkpointer::must_keep_log)
                {
                    std::mem::forget(disk.connection);
                }
                // The last connection that closes moves the rest and removes the log.
                drop(checkpointer);
            })
            .ok();
        Self {
            queue: Some(queue),
            proof,
            thread,
        }
    }

    pub(super) async fn run<T, F>(&self, work: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnMut(&Connection) -> Result<T, StoreError> + Send + 'static,
    {
        let (reply, answer) = oneshot::channel();
        let pending = Box::new(Pending {
            work,
            result: None,
            reply,
        });
        let queue = self.queue.as_ref().ok_or(StoreError::Closed)?;
        queue.try_send(pending).map_err(|error| match error {
            TrySendError::Full(_) => StoreError::Busy,
            TrySendError::Disconnected(_) => StoreError::Closed,
        })?;
        fail_point::reach(Point::WriteQueued);
        let (answer, _work) = answer.await.map_err(|_| StoreError::Closed)?;
        answer
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.queue = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// What commits go to.
struct Disk {
    connection: Connection,
    memory: Option<InMemory>,
    proof: Proof,
}

fn run(disk: &Disk, checkpointer: Option<&Checkpointer>, waiting: &Receiver<Box<dyn Write>>) {
    let mut group: Vec<Box<dyn Write>> = Vec::new();
    while let Ok(first) = waiting.recv() {
        group.push(first);
        while group.len() < WRITES_PER_COMMIT_MAX {
            let Ok(next) = waiting.try_recv() else { break };
            group.push(next);
        }
        if let Err(error) = begin(disk) {
            // Another process holds the lock, or the disk fails. Nothing of any write was tried,
            // and each alone would wait as long again.
            for write in group.drain(..) {
                write.answer(Some(same(&error)));
            }
        } else if commit(disk, &mut group).is_ok() {
            group.drain(..).for_each(|write| write.answer(None));
            fail_point::reach(Point::GroupTold);
        } else {
            // One write of the group failed, or the disk did. Each gets a transaction of
            // its own, so that only those that fail by themselves are refused.
            for write in group.drain(..) {
                commit_alone(disk, write);
            }
        }
        if let Some(checkpointer) = checkpointer {
            checkpointer.after_commit(&disk.connection);
        }
    }
}

fn commit_alone(disk: &Disk, write: Box<dyn Write>) {
    let mut alone = vec![write];
    let error = begin(disk)
        .map_err(StoreError::from)
        .and_then(|()| commit(disk, &mut alone))
        .err();
    alone
        .into_iter()
        .next()
        .into_iter()
        .zip([error])
        .for_each(|(write, error)| write.answer(error));
}

fn begin(disk: &Disk) -> rusqlite::Result<()> {
    let mut begin = disk.connection.prepare_cached("BEGIN IMMEDIATE")?;
    begin.execute([]).inspect_err(|_| disk.proof.failed())?;
    fail_point::reach(Point::GroupBegun);
    Ok(())
}

/// The same error for one more caller.
fn same(error: &rusqlite::Error) -> StoreError {
    let code = error.sqlite_error().copied();
    let code = code.unwrap_or_else(|| ffi::Error::new(ffi::SQLITE_ERROR));
    StoreError::Unavailable(rusqlite::Error::SqliteFailure(code, None))
}

/// Applies every write in the transaction that is open, and commits it. On an error nothing of it stays, on disk or in memory.
fn commit(disk: &Disk, group: &mut [Box<dyn Write>]) -> Result<(), StoreError> {
    let (connection, memory) = (&disk.connection, disk.memory.as_ref());
    let changes = connection.total_changes();
    let outcome = apply(connection, memory, group);
    match &outcome {
        Ok(()) if changes < connection.total_changes() => disk.proof.committed(),
        Ok(()) => (),
        Err(_) => disk.proof.failed(),
    }
    if outcome.is_err() && !connection.is_autocommit() {
        // SQLite rolls back by itself on some errors; on the others we do. There is nothing
        // to do when that fails too: the next BEGIN fails and says so.
        let _ = connection.execute_batch("ROLLBACK");
    }
    if let Some(memory) = memory {
        match &outcome {
            Ok(()) => memory.committed(),
            Err(_) => memory.rolled_back(),
        }
    }
    outcome
}

fn apply(
    connection: &Connection,
    memory: Option<&InMemory>,
    group: &mut [Box<dyn Write>],
) -> Result<(), StoreError> {
    group
        .iter_mut()
        .try_for_each(|write| write.apply(connection))?;
    if let Some(InMemory { seen, .. }) = memory {
        seen::lock(seen).before_commit(connection)?;
    }
    fail_point::reach(Point::GroupApplied);
    connection.prepare_cached("COMMIT")?.execute([])?;
    fail_point::reach(Point::GroupCommitted);
    Ok(())
}
