//! Moves what is committed from the write-ahead log to the database file, beside the writer.
//!
//! In the writer thread it would take a fifth of the time, and every event of that time would
//! wait. Beside a writer that never pauses the log is never moved as a whole, so that it would
//! grow for ever: when it is long, the writer moves the little that is left itself, and starts
//! the log anew (<https://sqlite.org/wal.html#avoiding_excessively_large_wal_files>).

use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use rusqlite::Connection;

use super::{OpenError, schema};

/// Pages in the log before it is moved: 8 MiB.
const PAGES_MIN: i32 = 1_000;
/// Pages in the log before the writer moves the rest itself: 64 MiB.
const PAGES_MAX: i32 = 8_000;
/// The pause between two moves: each flushes the database file.
const PAUSE: Duration = Duration::from_millis(25);
/// The pause after one that failed.
const PAUSE_AFTER_ERROR: Duration = Duration::from_secs(1);

const MOVE: &str = "PRAGMA wal_checkpoint(PASSIVE)";

/// The thread that moves. Dropping it ends it.
pub(super) struct Checkpointer {
    log: Arc<Log>,
    thread: Option<JoinHandle<()>>,
}

/// How long the log is, told by the writer after each commit.
#[derive(Default)]
struct Log {
    pages: AtomicI32,
    closed: AtomicBool,
    is_long: Mutex<bool>,
    changed: Condvar,
}

impl Checkpointer {
    /// Starts moving what `writer` commits.
    pub(super) fn start(path: &Path, writer: &mut Connection) -> Result<Self, OpenError> {
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
            .spawn(move || moved.follow(&connection))
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
        if PAGES_MAX <= self.log.pages.load(Ordering::Relaxed) {
            // Nothing happens while the thread is at it; then the next commit tries again.
            if let Err(error) = move_log(writer) {
                tracing::debug!(error = %error, "the log of writes cannot be moved now");
            }
        }
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
        if PAGES_MIN <= pages {
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

    fn follow(&self, connection: &Connection) {
        loop {
            self.wait();
            if self.closed.load(Ordering::Relaxed) {
                return;
            }
            let pause = match move_log(connection) {
                Ok(()) => PAUSE,
                Err(error) => {
                    tracing::warn!(error = %error, "cannot move the log of writes to the database; it grows meanwhile");
                    PAUSE_AFTER_ERROR
                }
            };
            std::thread::sleep(pause);
        }
    }
}

fn move_log(connection: &Connection) -> rusqlite::Result<()> {
    connection.prepare_cached(MOVE)?.query_row([], |_| Ok(()))
}
