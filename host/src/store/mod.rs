//! The only door to SQL: named, whole transactions on one SQLite database.
//!
//! Called by `http`, `worker`, `actions` and the command line. Writes go to one
//! writer thread that commits them in groups; reads go to a pool of connections
//! that cannot write. Nothing here decides what happens next: callers pass in the
//! next state that `lifecycle` chose.

pub mod access;
pub mod actions;
mod checkpoint;
mod content;
mod dictionaries;
pub mod events;
pub mod integrations;
mod keys;
mod lengths;
mod order;
pub mod plugins;
mod reader;
mod ready;
pub mod rejections;
pub mod retention;
mod row;
pub mod runs;
mod schema;
pub mod sealing;
pub mod secrets;
mod seen;
pub mod strikes;
pub mod tickets;
pub mod trace;
pub mod views;
mod writer;

#[cfg(test)]
mod tests;

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use rusqlite::Connection;

use checkpoint::Checkpointer;
use dictionaries::Dictionaries;
use keys::KeyHasher;
use lengths::Lengths;
use reader::Readers;
use seen::Seen;
use writer::{InMemory, Writer};

use crate::model::tenant::AtLimit;

/// Why the store did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Too many writes are waiting. Nothing was changed; try again.
    #[error("too many writes are waiting")]
    Busy,
    /// The database could not be read or written. Nothing was changed.
    #[error("the database does not answer")]
    Unavailable(#[source] rusqlite::Error),
    /// A row does not hold what it must.
    #[error("the database holds a malformed {0}")]
    Malformed(&'static str),
    /// The tenant has as many runs in the queue as it may. Nothing was changed.
    #[error(transparent)]
    QueueFull(AtLimit),
    /// The store is shutting down.
    #[error("the store is closed")]
    Closed,
}

impl StoreError {
    /// Says in the log that something was not done and is tried again: a store with much to do is
    /// no error.
    pub fn log(&self, what: &str) {
        match self {
            Self::Busy | Self::QueueFull(_) => tracing::debug!(error = %self, "{what}"),
            Self::Unavailable(_) | Self::Malformed(_) | Self::Closed => {
                tracing::error!(error = %self, "{what}");
            }
        }
    }
}

impl From<rusqlite::Error> for StoreError {
    fn from(error: rusqlite::Error) -> Self {
        Self::Unavailable(error)
    }
}

/// Why a database could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// There is none.
    #[error("there is no database at {}: run `triage init` first, or check `server.database`", .0.display())]
    Missing(PathBuf),
    /// Another process serves it.
    #[error("{} is served by another triage process: stop that one first", .0.display())]
    Locked(PathBuf),
    /// It is from a later version of the program.
    #[error("{} has schema version {found}, this program knows {known}: use the newer triage again", .path.display())]
    Newer {
        /// The database's file.
        path: PathBuf,
        /// Its schema version.
        found: u32,
        /// The newest that this program knows.
        known: u32,
    },
    /// Another process serves it with an older schema.
    #[error("{} is served by an older triage: stop that one first", .0.display())]
    Older(PathBuf),
    /// The file cannot be used.
    #[error("cannot use {} as a database", .path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// A row does not hold what it must.
    #[error("{} is damaged: it holds a malformed {what}", .path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What is malformed.
        what: &'static str,
    },
    /// The disk takes no writes.
    #[error(
        "cannot write beside {}: its disk takes no writes; free some of it, or move the database and \
         say where it is in `server.database`; nothing that was accepted is lost",
        .path.display()
    )]
    Disk {
        /// The database's file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// The file is not a database of ours, or is damaged.
    #[error("cannot open {} as a triage database", .path.display())]
    Sqlite {
        /// The file.
        path: PathBuf,
        /// What SQLite said.
        #[source]
        source: rusqlite::Error,
    },
}

/// Reads which keys were seen.
fn load_seen(connection: &Connection, path: &Path) -> Result<Arc<Mutex<Seen>>, OpenError> {
    let path = path.to_owned();
    match Seen::load(connection, seen::KEYS_IN_MEMORY_MAX) {
        Ok(seen) => Ok(Arc::new(Mutex::new(seen))),
        Err(StoreError::Malformed(what)) => Err(OpenError::Malformed { path, what }),
        Err(StoreError::Unavailable(source)) => Err(OpenError::Sqlite { path, source }),
        Err(StoreError::Busy | StoreError::QueueFull(_) | StoreError::Closed) => {
            Err(OpenError::Locked(path))
        }
    }
}

/// The open database. Cheap to clone.
#[derive(Clone)]
pub struct Store {
    writer: Option<Arc<Writer>>,
    // Only in the process that serves: another one's would not know what this one accepts.
    memory: Option<InMemory>,
    readers: Arc<Readers>,
    hasher: Arc<KeyHasher>,
    rejections: Arc<rejections::Pressure>,
    uses: Arc<secrets::Uses>,
    _held: Option<Arc<Held>>,
}

/// What the process that serves holds open until all connections are closed.
struct Held {
    _lock: File,
    /// Closing a file ends every lock that the process has on it, SQLite's as well
    /// (<https://www.sqlite.org/howtocorrupt.html>, 2.2): so it is the last that is closed.
    _database: Arc<File>,
}

impl Store {
    /// Creates the database, or brings an existing one to the present schema.
    pub fn create(path: &Path) -> Result<(), OpenError> {
        schema::open_for_writing(path)
            .map(drop)
            .map_err(schema::explained)
    }

    /// Opens the database to serve it. Only one process can at a time.
    pub fn open(path: &Path) -> Result<Self, OpenError> {
        if !path.exists() {
            return Err(OpenError::Missing(path.to_owned()));
        }
        let lock = schema::lock(path)?;
        Self::writing(path, Some(lock))
    }

    /// Opens the database beside a process that may be serving it, for small writes such as a new token.
    pub fn open_beside(path: &Path) -> Result<Self, OpenError> {
        if !path.exists() {
            return Err(OpenError::Missing(path.to_owned()));
        }
        match schema::lock(path) {
            Ok(lock) => Self::writing(path, Some(lock)),
            // Whoever serves it may not know a newer schema, so it stays as it is.
            Err(OpenError::Locked(_)) => {
                schema::check_newest(path).and_then(|()| Self::writing(path, None))
            }
            Err(error) => Err(error),
        }
    }

    fn writing(path: &Path, lock: Option<File>) -> Result<Self, OpenError> {
        Self::writing_there(path, lock).map_err(schema::explained)
    }

    fn writing_there(path: &Path, lock: Option<File>) -> Result<Self, OpenError> {
        let mut connection = schema::open_for_writing(path)?;
        let sqlite = |source| OpenError::Sqlite {
            path: path.to_owned(),
            source,
        };
        let hasher = KeyHasher::load(&connection).map_err(sqlite)?;
        let memory = match &lock {
            Some(_) => {
                let seen = load_seen(&connection, path)?;
                let next_event = seen::lock(&seen).peek_event();
                let dictionaries = Dictionaries::load(&connection, next_event).map_err(sqlite)?;
                Some(InMemory {
                    seen,
                    lengths: Arc::new(Lengths::load(&connection).map_err(sqlite)?),
                    dictionaries: Arc::new(dictionaries),
                })
            }
            None => None,
        };
        let rejections = match &lock {
            Some(_) => rejections::Pressure::load(&connection).map_err(sqlite)?,
            None => rejections::Pressure::default(),
        };
        // Beside a process that serves, that one's thread moves what this one writes.
        let (checkpointer, held) = match lock {
            Some(lock) => {
                let database = Arc::new(schema::open_file(path)?);
                let held = Held {
                    _lock: lock,
                    _database: database.clone(),
                };
                let checkpointer = Checkpointer::start(path, database, &mut connection)?;
                (Some(checkpointer), Some(Arc::new(held)))
            }
            None => (None, None),
        };
        let writer = Writer::start(connection, memory.clone(), checkpointer);
        Ok(Self {
            writer: Some(Arc::new(writer)),
            memory,
            readers: Arc::new(Readers::new(path)),
            hasher: Arc::new(hasher),
            rejections: Arc::new(rejections),
            uses: Arc::default(),
            _held: held,
        })
    }

    /// Opens the database beside a process that may be serving it; only for reading.
    pub fn open_to_read(path: &Path) -> Result<Self, OpenError> {
        if !path.exists() {
            return Err(OpenError::Missing(path.to_owned()));
        }
        let connection = schema::open_for_reading(path)?;
        let sqlite = |source| OpenError::Sqlite {
            path: path.to_owned(),
            source,
        };
        let hasher = KeyHasher::load(&connection).map_err(sqlite)?;
        Ok(Self {
            writer: None,
            memory: None,
            readers: Arc::new(Readers::new(path)),
            hasher: Arc::new(hasher),
            rejections: Arc::default(),
            uses: Arc::default(),
            _held: None,
        })
    }

    /// Runs a write in a transaction that it may share with others. It may be run again from
    /// the start when another write of the group fails, so it must not keep state of its own.
    async fn write<T, F>(&self, work: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnMut(&Connection) -> Result<T, StoreError> + Send + 'static,
    {
        self.writer
            .as_ref()
            .ok_or(StoreError::Closed)?
            .run(work)
            .await
    }

    /// Runs a read on a connection that cannot write, on a thread that may block.
    async fn read<T, F>(&self, work: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> Result<T, StoreError> + Send + 'static,
    {
        let readers = self.readers.clone();
        tokio::task::spawn_blocking(move || readers.run(work))
            .await
            .map_err(|_| StoreError::Closed)?
    }

    /// What follows each transaction in memory.
    fn memory(&self) -> Result<InMemory, StoreError> {
        self.memory.clone().ok_or(StoreError::Closed)
    }
}
