//! Moves what is committed from the write-ahead log to the database file, beside the writer.
//!
//! In the writer thread it would take a fifth of the time, and every event of that time would
//! wait. Beside a writer that never pauses the log is never moved as a whole, so that it would
//! grow for ever: when it is long, and little is left, the writer moves that itself, and starts
//! the log anew (<https://sqlite.org/wal.html#avoiding_excessively_large_wal_files>).

use std::fs::File;
use std::io::{self, IoSliceMut};
use std::num::NonZeroU64;
use std::ops::RangeInclusive;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use rusqlite::{Connection, ffi};
use rustix::fs::{Advice, fadvise};
use rustix::io::{ReadWriteFlags, preadv2};

use super::{OpenError, schema};
use crate::threads;

#[cfg(test)]
mod tests;

/// Pages in the log that are not moved yet, before they are: 4 MiB. A flush of more would hold up those of
/// the log for longer.
const PAGES_MIN: i32 = 500;
/// Pages in the log before it is started anew: 64 MiB. Tests do not write that much.
const PAGES_MAX: i32 = if cfg!(test) { 800 } else { 8_000 };
/// Pages that the writer moves itself to start the log anew: one to four milliseconds.
const PAGES_LEFT_MAX: i32 = 250;
/// Pages in the log before the writer moves all that is left, however long it takes: 256 MiB.
const PAGES_TOO_MANY: i32 = 4 * PAGES_MAX;
/// The pause between two moves: each flushes the database file.
const PAUSE: Duration = Duration::from_millis(10);
/// The pause after one that failed.
const PAUSE_AFTER_ERROR: Duration = Duration::from_secs(1);
/// How far the thread steps back. Copying pages it would keep its processor for milliseconds, and
/// Linux lets a writer whose flush has ended wait for that.
const NICE: i32 = 10;
/// What stays in the system's cache of what was written last: what is read next.
///
/// Older contents leave it, so that what comes takes the memory that was just given back. Memory
/// that a virtual machine must get from its host first costs more than the write. What finds repeats
/// stays.
const CACHED_BYTES: u64 = 256 << 20;
/// A page with so many rows holds contents: the rows of other tables are shorter, but for blocks of keys, each of
/// which has a page of its own. Contents that are shorter or longer stay in the cache.
const CONTENT_ROWS: RangeInclusive<u16> = 2..=20;

/// Bytes of a page: see `schema`.
const PAGE_BYTES: u64 = 8_192;
/// The first byte of a leaf of a table.
const TABLE_LEAF: u8 = 13;

/// What a page begins with: its kind, and after two bytes the number of its rows.
type Head = [u8; 5];

const MOVE: &str = "PRAGMA wal_checkpoint(PASSIVE)";

/// The thread that moves. Dropping it ends it.
pub(super) struct Checkpointer {
    log: Arc<Log>,
    thread: Option<JoinHandle<()>>,
}

/// The log, as the writer and the thread tell each other.
#[derive(Default)]
struct Log {
    /// Pages that it has, after the last commit.
    pages: AtomicI32,
    /// How many of them are in the database file and flushed.
    moved: AtomicI32,
    closed: AtomicBool,
    /// Held by whoever moves: whether a flush of the database file has failed.
    ///
    /// Then nothing is moved any more. Linux forgets what it could not write: the next flush succeeds
    /// without it (<https://lwn.net/Articles/752063/>), and SQLite would start the log anew. The next
    /// process moves all of the log again.
    is_lost: Mutex<bool>,
    is_long: Mutex<bool>,
    changed: Condvar,
}

impl Checkpointer {
    /// Starts moving what `writer` commits to `file`, the database.
    pub(super) fn start(
        path: &Path,
        file: Arc<File>,
        writer: &mut Connection,
    ) -> Result<Self, OpenError> {
        let sqlite = |source| OpenError::Sqlite {
            path: path.to_owned(),
            source,
        };
        let connection = schema::checkpointing_connection(path).map_err(sqlite)?;
        let log = Arc::new(Log::default());
        let told = log.clone();
        // In place of SQLite's own hook, which moves in the writer thread.
        writer
            .wal_hook(Some(move |_: &mut rusqlite::hooks::Wal, pages: i32| {
                told.tell(pages);
                Ok(())
            }))
            .map_err(sqlite)?;
        let moved = log.clone();
        let thread = std::thread::Builder::new()
            .name("store-checkpoint".to_owned())
            .spawn(move || {
                threads::step_back(NICE);
                moved.follow(&connection, &file);
            })
            .map_err(|source| OpenError::Io {
                path: path.to_owned(),
                source,
            })?;
        Ok(Self {
            log,
            thread: Some(thread),
        })
    }

    /// Called by the writer between two transactions.
    pub(super) fn after_commit(&self, writer: &Connection) {
        if !self.log.is_ripe() {
            return;
        }
        // On a busy machine the thread may take long: with too long a log, whoever writes waits for it.
        let Some(mut is_lost) = self.log.turn(self.log.is_too_long()) else {
            return;
        };
        // Where somebody still reads what is to be written over, the log goes on. The thread says when
        // it is worth the next try.
        self.log.moved.store(0, Ordering::Relaxed);
        // The thread meets every other error as well, and says so less often.
        if let Err(error) = move_log(writer).map_err(MoveError::from)
            && error.is_flush()
        {
            error.log();
            *is_lost = true;
        }
    }

    /// Whether only the log is known to hold what was moved: then it must outlive this process.
    pub(super) fn must_keep_log(&self) -> bool {
        *self.log.is_lost()
    }
}

impl Drop for Checkpointer {
    fn drop(&mut self) {
        self.log.closed.store(true, Ordering::Relaxed);
        self.log.wake();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Log {
    fn tell(&self, pages: i32) {
        self.pages.store(pages, Ordering::Relaxed);
        if pages < self.moved.load(Ordering::Relaxed) {
            // It was begun anew.
            self.moved.store(0, Ordering::Relaxed);
        }
        if PAGES_MIN <= self.left() {
            self.wake();
        }
    }

    fn wake(&self) {
        let mut is_long = self.is_long.lock().unwrap_or_else(PoisonError::into_inner);
        if !*is_long {
            *is_long = true;
            self.changed.notify_one();
        }
    }

    fn wait(&self) {
        let mut is_long = self.is_long.lock().unwrap_or_else(PoisonError::into_inner);
        while !*is_long {
            is_long = self
                .changed
                .wait(is_long)
                .unwrap_or_else(PoisonError::into_inner);
        }
        *is_long = false;
    }

    /// Whether the writer should start it anew.
    fn is_ripe(&self) -> bool {
        self.is_too_long() || self.is_long() && self.left() <= PAGES_LEFT_MAX
    }

    /// To be held while moving; `None` when nothing is to be moved any more, or somebody else is at it
    /// and this one does not wait.
    fn turn(&self, waits: bool) -> Option<MutexGuard<'_, bool>> {
        let is_lost = match waits {
            true => self.is_lost(),
            false => self.is_lost.try_lock().ok()?,
        };
        (!*is_lost).then_some(is_lost)
    }

    fn is_lost(&self) -> MutexGuard<'_, bool> {
        self.is_lost.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_too_long(&self) -> bool {
        PAGES_TOO_MANY <= self.pages.load(Ordering::Relaxed)
    }

    fn is_long(&self) -> bool {
        PAGES_MAX <= self.pages.load(Ordering::Relaxed)
    }

    /// Pages that are not moved yet.
    fn left(&self) -> i32 {
        self.pages.load(Ordering::Relaxed) - self.moved.load(Ordering::Relaxed)
    }

    fn follow(&self, connection: &Connection, file: &File) {
        let mut cache = Cache { from: length(file) };
        loop {
            self.wait();
            if self.closed.load(Ordering::Relaxed) {
                return;
            }
            let Some(mut is_lost) = self.turn(true) else {
                return;
            };
            let pause = match self.move_and_flush(connection, file) {
                // The writer never pauses: what came meanwhile is moved at once, so that little is left.
                Ok(moved) if PAGES_LEFT_MAX < moved && self.is_long() => Duration::ZERO,
                Ok(_) => PAUSE,
                Err(error) => {
                    error.log();
                    *is_lost = error.is_flush();
                    PAUSE_AFTER_ERROR
                }
            };
            drop(is_lost);
            cache.let_go(file);
            std::thread::sleep(pause);
        }
    }

    /// How many more pages are in the database file then. SQLite flushes it only when all of the log is
    /// moved, and the writer would wait for that: so it is flushed here.
    fn move_and_flush(&self, connection: &Connection, file: &File) -> Result<i32, MoveError> {
        let moved = move_log(connection)?;
        file.sync_data()?;
        Ok(moved - self.moved.swap(moved, Ordering::Relaxed))
    }
}

#[derive(Debug, thiserror::Error)]
enum MoveError {
    #[error(transparent)]
    Sqlite(#[from] rusqlite::Error),
    #[error(transparent)]
    Flush(#[from] io::Error),
}

impl MoveError {
    fn is_flush(&self) -> bool {
        match self {
            Self::Sqlite(error) => error
                .sqlite_error()
                .is_some_and(|it| it.extended_code == ffi::SQLITE_IOERR_FSYNC),
            Self::Flush(_) => true,
        }
    }

    fn log(&self) {
        if self.is_flush() {
            tracing::error!(
                error = %self,
                "the database file cannot be flushed: its log holds everything, and grows until triage is started again; do so when the disk is well"
            );
        } else {
            tracing::warn!(error = %self, "cannot move the log of writes to the database; it grows meanwhile");
        }
    }
}

/// How many pages of the log are in the database file then.
fn move_log(connection: &Connection) -> rusqlite::Result<i32> {
    connection
        .prepare_cached(MOVE)?
        .query_row([], |row| row.get("checkpointed"))
}

/// What the system's cache holds of the database file.
struct Cache {
    /// Where that begins, in bytes. What was there at the start stays: it may be what is read most.
    from: u64,
}

impl Cache {
    fn let_go(&mut self, file: &File) {
        let Some((from, until)) = self.old(length(file)) else {
            return;
        };
        let pages = from / PAGE_BYTES..until / PAGE_BYTES;
        let is_content = |page: &u64| cached_head(file, *page).is_some_and(is_content);
        let mut contents = pages.filter(is_content).peekable();
        while let Some(first) = contents.next() {
            let mut end = first + 1;
            while contents.next_if_eq(&end).is_some() {
                end += 1;
            }
            let bytes = NonZeroU64::new((end - first) * PAGE_BYTES);
            // Never needed to work, only to work well.
            if let Err(error) = fadvise(file, first * PAGE_BYTES, bytes, Advice::DontNeed) {
                tracing::debug!(error = %error, "the system's cache cannot be told");
            }
        }
    }

    /// What is older than the last [`CACHED_BYTES`] of a file of this length: where it begins and ends.
    /// Each part once.
    fn old(&mut self, length: u64) -> Option<(u64, u64)> {
        let until = length.saturating_sub(CACHED_BYTES);
        (self.from < until).then(|| (std::mem::replace(&mut self.from, until), until))
    }
}

/// The first bytes of a page that is in the system's cache: none is read for this.
fn cached_head(file: &File, page: u64) -> Option<Head> {
    let mut head = Head::default();
    let into = &mut [IoSliceMut::new(&mut head)];
    let read = preadv2(file, into, page * PAGE_BYTES, ReadWriteFlags::NOWAIT);
    (read.ok()? == head.len()).then_some(head)
}

/// Whether a page is a leaf of a table with few, long rows (<https://sqlite.org/fileformat2.html>, 1.6).
fn is_content([kind, _, _, rows @ ..]: Head) -> bool {
    kind == TABLE_LEAF && CONTENT_ROWS.contains(&u16::from_be_bytes(rows))
}

fn length(file: &File) -> u64 {
    file.metadata().map_or(0, |it| it.len())
}
