//! Opening the database file: pragmas, lock, migrations.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, ErrorCode, OpenFlags};

use super::{OpenError, keys};

/// Every migration, oldest first. One that was released is never changed.
const MIGRATIONS: [&str; 1] = [include_str!("../../migrations/0001_initial.sql")];

/// How long one process waits for another's write before it gives up.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);
/// Prepared statements kept by a connection; more than there are in this folder.
const STATEMENTS_CACHED: usize = 128;

// A page of 8 KiB holds an event with its compressed body; smaller pages cost more writes
// at every checkpoint. It takes effect only when the file is made. The log is moved by the process
// that serves (`checkpoint`), which knows whether it may be.
const PRAGMAS: &str = "
PRAGMA page_size = 8192;
PRAGMA journal_mode = WAL;
PRAGMA synchronous = FULL;
PRAGMA wal_autocheckpoint = 0;
PRAGMA foreign_keys = ON;
PRAGMA temp_store = MEMORY;
PRAGMA cache_size = -4096;
";

const READER_PRAGMAS: &str = "
PRAGMA query_only = ON;
PRAGMA temp_store = MEMORY;
PRAGMA cache_size = -16384;
";

/// Opens, or makes, the database and brings it to the newest schema.
pub(super) fn open_for_writing(path: &Path) -> Result<Connection, OpenError> {
    // Made by us and not by SQLite, so that nobody else can read it.
    OpenOptions::new()
        .create(true)
        .append(true)
        .mode(0o600)
        .open(path)
        .map_err(|source| OpenError::Io {
            path: path.to_owned(),
            source,
        })?;
    let sqlite = |source| OpenError::Sqlite {
        path: path.to_owned(),
        source,
    };
    let connection = Connection::open(path).map_err(sqlite)?;
    connection.busy_timeout(BUSY_TIMEOUT).map_err(sqlite)?;
    tune(&connection).map_err(sqlite)?;
    connection.execute_batch(PRAGMAS).map_err(sqlite)?;
    migrate(&connection, path)?;
    keys::make_secrets(&connection).map_err(sqlite)?;
    Ok(connection)
}

/// Opens a database whose schema is the newest, for reading.
pub(super) fn open_for_reading(path: &Path) -> Result<Connection, OpenError> {
    let sqlite = |source| OpenError::Sqlite {
        path: path.to_owned(),
        source,
    };
    let connection = reading_connection(path).map_err(sqlite)?;
    let found = version(&connection).map_err(sqlite)?;
    check_version(path, found)?;
    Ok(connection)
}

/// Makes sure that a database which another process serves needs no migration.
pub(super) fn check_newest(path: &Path) -> Result<(), OpenError> {
    let sqlite = |source| OpenError::Sqlite {
        path: path.to_owned(),
        source,
    };
    let found = version(&open_for_reading(path)?).map_err(sqlite)?;
    if (found as usize) < MIGRATIONS.len() {
        Err(OpenError::Older(path.to_owned()))
    } else {
        Ok(())
    }
}

/// A connection that only moves the log of writes.
pub(super) fn checkpointing_connection(path: &Path) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    // As strict as the writer: a page is flushed before the log that holds it is used again.
    connection.execute_batch("PRAGMA synchronous = FULL")?;
    Ok(connection)
}

/// The database file itself, beside the connections: to flush it and to tell the system's cache.
///
/// To be closed after every connection: see `Held`.
pub(super) fn open_file(path: &Path) -> Result<File, OpenError> {
    File::open(path).map_err(|source| OpenError::Io {
        path: path.to_owned(),
        source,
    })
}

pub(super) fn reading_connection(path: &Path) -> rusqlite::Result<Connection> {
    // Not read-only for SQLite: a reader of a WAL database must be able to make its index file.
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    connection.busy_timeout(BUSY_TIMEOUT)?;
    tune(&connection)?;
    connection.execute_batch(READER_PRAGMAS)?;
    Ok(connection)
}

fn tune(connection: &Connection) -> rusqlite::Result<()> {
    connection.set_prepared_statement_cache_capacity(STATEMENTS_CACHED);
    // Without the query planner's stability guarantee a statement is parsed again when another
    // value is bound to it: every statement, at every run.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
    Ok(())
}

/// What is wrong with the disk, where that is why SQLite could not open the database: SQLite says
/// "disk I/O error" for most of it.
pub(super) fn explained(error: OpenError) -> OpenError {
    let OpenError::Sqlite { path, source } = error else {
        return error;
    };
    let is_disk = matches!(
        source.sqlite_error_code(),
        Some(ErrorCode::SystemIoFailure | ErrorCode::DiskFull)
    );
    match is_disk.then(|| probe(&path)) {
        Some(Err(source)) => OpenError::Disk { path, source },
        Some(Ok(())) | None => OpenError::Sqlite { path, source },
    }
}

/// Writes a page beside the database, as SQLite would, and takes it away again.
fn probe(path: &Path) -> io::Result<()> {
    let mut probe_path = path.as_os_str().to_owned();
    probe_path.push(".probe");
    let mut file = OpenOptions::new()
        .create(true)
        .write(true)
        .truncate(true)
        .mode(0o600)
        .open(&probe_path)?;
    let written = file.write_all(&[0; 8192]).and_then(|()| file.sync_all());
    let removed = std::fs::remove_file(&probe_path);
    written.and(removed)
}

/// Makes sure that no other process serves this database, for as long as the file is held.
pub(super) fn lock(path: &Path) -> Result<File, OpenError> {
    let mut lock_path = path.as_os_str().to_owned();
    lock_path.push(".lock");
    let lock_path = PathBuf::from(lock_path);
    let io = |source| OpenError::Io {
        path: lock_path.clone(),
        source,
    };
    let file = OpenOptions::new()
        .create(true)
        .append(true)
        .mode(0o600)
        .open(&lock_path)
        .map_err(io)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(std::fs::TryLockError::WouldBlock) => Err(OpenError::Locked(path.to_owned())),
        Err(std::fs::TryLockError::Error(source)) => Err(io(source)),
    }
}

fn migrate(connection: &Connection, path: &Path) -> Result<(), OpenError> {
    let sqlite = |source| OpenError::Sqlite {
        path: path.to_owned(),
        source,
    };
    let found = version(connection).map_err(sqlite)?;
    check_version(path, found)?;
    for (number, migration) in (1u32..).zip(MIGRATIONS).skip(found as usize) {
        let step =
            format!("BEGIN IMMEDIATE;\n{migration}\nPRAGMA user_version = {number};\nCOMMIT;");
        connection.execute_batch(&step).map_err(sqlite)?;
    }
    Ok(())
}

fn version(connection: &Connection) -> rusqlite::Result<u32> {
    connection.query_row("PRAGMA user_version", [], |row| row.get(0))
}

fn check_version(path: &Path, found: u32) -> Result<(), OpenError> {
    let known = u32::try_from(MIGRATIONS.len()).unwrap_or(u32::MAX);
    if known < found {
        return Err(OpenError::Newer {
            path: path.to_owned(),
            found,
            known,
        });
    }
    Ok(())
}
