//! The real `triage serve`, with a database of its own.

use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use rusqlite::{Connection, OpenFlags};
use tempfile::TempDir;
use triage_host::model::source::Source;
use triage_host::store::Store;
use triage_tests::binary;

use super::bodies::SECRET;
use super::server::Server;

/// The integration's id in the URL.
const INTEGRATION: &str = "bench";

/// A folder on the disk that the target folder is on; `/tmp` may be memory.
pub fn folder() -> Result<TempDir> {
    Ok(tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR"))?)
}

/// A serving host.
pub struct Host {
    pub server: Server,
    folder: TempDir,
}

impl Host {
    /// Starts with one integration, and where `triggers` are given a policy that opens a ticket for each event.
    pub fn start(source: &Source, triggers: Option<&str>) -> Result<Self> {
        let folder = folder()?;
        let mut config = format!(
            "[server]\nlisten = \"127.0.0.1:0\"\ndatabase = \"triage.db\"\n\
             [[integration]]\nid = \"{INTEGRATION}\"\nsource = \"{source}\"\nsecrets = [\"file:secret\"]\n"
        );
        if let Some(triggers) = triggers {
            let component = binary::component("incident-desk");
            config.push_str(&format!(
                "[plugins.incidents]\npath = {component:?}\n[destinations.desk]\nkind = \"ticket\"\n\
                 [[policy]]\nname = \"incidents\"\ntriggers = [\"{triggers}\"]\nclassifier = \"incidents\"\n\
                 triager = \"incidents\"\n[policy.grants]\ndestinations = [\"desk\"]\n"
            ));
        }
        let path = folder.path().join("triage.toml");
        fs::write(&path, config)?;
        fs::write(folder.path().join("secret"), SECRET)?;
        Store::create(&folder.path().join("triage.db"))?;
        let mut command = Command::new(binary::triage());
        command.arg("serve").arg("--config").arg(&path);
        Ok(Self {
            server: Server::start(command, folder.path())?,
            folder,
        })
    }

    /// Where a source's deliveries go.
    pub fn path(source: &Source) -> String {
        format!("/v1/webhooks/{source}/{INTEGRATION}")
    }

    /// The answer to a delivery that is new and on disk.
    pub fn is_new(answer: &[u8]) -> bool {
        answer.starts_with(br#"{"accepted":true,"duplicate":false,"#)
    }

    /// Opens the database for reading, also after the server stopped.
    pub fn database(&self) -> Result<Connection> {
        let path: PathBuf = self.folder.path().join("triage.db");
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
