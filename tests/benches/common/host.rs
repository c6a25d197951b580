//! The real `triage serve`, with a database of its own.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use rusqlite::{Connection, OpenFlags};
use tempfile::TempDir;
use triage_host::model::id::EventId;
use triage_host::model::source::Source;
use triage_host::store::Store;
use triage_tests::binary;

use super::bodies::SECRET;
use super::server::Server;

/// The integration's id in the URL.
pub const INTEGRATION: &str = "bench";

/// The database's name in its folder.
pub const DATABASE: &str = "triage.db";
/// How the answer to a delivery begins that is new and on disk.
const NEW: &[u8] = br#"{"accepted":true,"duplicate":false,"#;

/// A folder on the disk that the target folder is on; `/tmp` may be memory.
pub fn folder() -> Result<TempDir> {
    Ok(tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR"))?)
}

/// A serving host.
pub struct Host {
    pub server: Server,
    folder: PathBuf,
    _own: Option<TempDir>,
}

impl Host {
    /// Starts with one integration, and where `triggers` are given a policy that opens a ticket for each event.
    pub fn start(source: &Source, triggers: Option<&str>) -> Result<Self> {
        let mut lines = String::new();
        if let Some(triggers) = triggers {
            let component = binary::component("incident-desk");
            lines.push_str(&format!(
                "[plugins.incidents]\npath = {component:?}\n[destinations.desk]\nkind = \"ticket\"\n\
                 [[policy]]\nname = \"incidents\"\ntriggers = [\"{triggers}\"]\nclassifier = \"incidents\"\n\
                 triager = \"incidents\"\n[policy.grants]\ndestinations = [\"desk\"]\n"
            ));
        }
        let own = folder()?;
        let host = Self::start_in(own.path(), source, &lines)?;
        Ok(Self {
            _own: Some(own),
            ..host
        })
    }

    /// Starts with the database in a folder, which is made where there is none, with one
    /// integration and further lines of configuration.
    pub fn start_in(folder: &Path, source: &Source, lines: &str) -> Result<Self> {
        let config = format!(
            "[server]\nlisten = \"127.0.0.1:0\"\ndatabase = {DATABASE:?}\n{}{lines}",
            Self::integration(INTEGRATION, source),
        );
        let path = folder.join("triage.toml");
        fs::write(&path, config)?;
        fs::write(folder.join("secret"), SECRET)?;
        if !folder.join(DATABASE).exists() {
            Store::create(&folder.join(DATABASE))?;
        }
        let mut command = Command::new(binary::triage());
        command.arg("serve").arg("--config").arg(&path);
        Ok(Self {
            server: Server::start(command, folder)?,
            folder: folder.to_owned(),
            _own: None,
        })
    }

    /// Lines of configuration for one integration.
    pub fn integration(id: &str, source: &Source) -> String {
        format!(
            "[[integration]]\nid = \"{id}\"\nsource = \"{source}\"\nsecrets = [\"file:secret\"]\n"
        )
    }

    /// Where a source's deliveries go.
    pub fn path(source: &Source) -> String {
        format!("/v1/webhooks/{source}/{INTEGRATION}")
    }

    /// The answer to a delivery that is new and on disk.
    pub fn is_new(answer: &[u8]) -> bool {
        answer.starts_with(NEW)
    }

    /// The answer to a repeat; of a certain event, where its id is known.
    pub fn is_repeat(answer: &[u8], event_id: Option<EventId>) -> bool {
        let id = event_id.map_or(String::new(), |it| format!("\"{it}\""));
        let start = format!(r#"{{"accepted":true,"duplicate":true,"event_id":{id}"#);
        answer.starts_with(start.as_bytes())
    }

    /// Opens the database for reading, also after the server stopped.
    pub fn database(&self) -> Result<Connection> {
        let path = self.folder.join(DATABASE);
        let connection = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
        connection.busy_timeout(Duration::from_secs(10))?;
        connection.pragma_update(None, "query_only", true)?;
        Ok(connection)
    }

    /// Waits until no run is left to do and no action is pending.
    pub fn wait_until_idle(&self, patience: Duration) -> Result<()> {
        const LEFT: &str = "
            SELECT (SELECT count(*) FROM run WHERE state = 'queued') + (SELECT count(*) FROM run WHERE state = 'running')
                 + (SELECT count(*) FROM action WHERE state = 'pending')";
        let database = self.database()?;
        let start = Instant::now();
        loop {
            let left = count(&database, LEFT)?;
            if left == 0 {
                return Ok(());
            }
            ensure!(
                start.elapsed() < patience,
                "{left} runs and actions are left after {patience:?}"
            );
            std::thread::sleep(Duration::from_millis(250));
        }
    }
}

/// The number that a query gives.
pub fn count(database: &Connection, query: &str) -> Result<u64> {
    let number: i64 = database
        .query_row(query, [], |row| row.get(0))
        .with_context(|| query.to_owned())?;
    Ok(u64::try_from(number)?)
}
