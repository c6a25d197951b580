//! The host's database file, read from outside: what must hold in it, whatever happened before.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use rusqlite::{Connection, OpenFlags};

/// How long another process's commit may hold us up.
const BUSY: Duration = Duration::from_secs(10);

/// Rows that must not be there; each query counts some.
const BROKEN: [(&str, &str); 9] = [
    (
        "events of the same key",
        "SELECT count(*) - count(DISTINCT integration_id || ' ' || idempotency_key) FROM event",
    ),
    (
        "events without content",
        "SELECT count(*) FROM event WHERE seq NOT IN (SELECT event_seq FROM event_content)",
    ),
    (
        "contents without their dictionary",
        "SELECT count(*) FROM event_content WHERE dictionary NOT IN (SELECT event_seq FROM content_dictionary)",
    ),
    (
        "several runs of one policy for an event",
        "SELECT count(*) - count(DISTINCT event_seq || ' ' || policy) FROM run",
    ),
    (
        "actions without a decision",
        "SELECT count(*) FROM action JOIN run ON run.seq = action.run_seq WHERE run.decision IS NULL",
    ),
    (
        "delivered actions without a receipt",
        "SELECT count(*) FROM action WHERE (state = 'delivered') <> (seq IN (SELECT action_seq FROM receipt))",
    ),
    (
        "tickets that are not the receipt of an action",
        "SELECT count(*) FROM ticket WHERE id NOT IN (SELECT ticket_id FROM receipt WHERE ticket_id IS NOT NULL)",
    ),
    (
        "completed runs without their attempt",
        "SELECT count(*) FROM run WHERE state = 'completed'
            AND NOT EXISTS (SELECT 1 FROM attempt WHERE run_seq = run.seq AND class = 'decided')",
    ),
    (
        "runs decided twice",
        "SELECT count(*) FROM (SELECT 1 FROM attempt WHERE class = 'decided' GROUP BY run_seq HAVING 1 < count(*))",
    ),
];

// Like the oldest event, but for what must differ.
const FILL_EVENTS: &str = "
WITH RECURSIVE number (it) AS (SELECT 1 UNION ALL SELECT it + 1 FROM number WHERE it < :count)
INSERT INTO event (id, id_hash, idempotency_key, COLUMNS)
SELECT randomblob(16), randomblob(16), 'filled-' || hex(randomblob(16)), COLUMNS FROM number, (SELECT * FROM event ORDER BY seq LIMIT 1)";

// Without headers, and with the body `{}`.
const FILL_CONTENT: &str = "
INSERT INTO event_content (event_seq, encoding, content)
SELECT seq, 'raw', x'000000007b7d'
  FROM event
 WHERE seq NOT IN (SELECT event_seq FROM event_content)";

const AGE: &str = "UPDATE event SET received_at = received_at - :age_ms";

/// Fills the database of a host that is not running with so many events more, without runs, and
/// makes all that is in it older. There must be an event already, which the others are like.
pub fn fill(path: &Path, count: u64, age_ms: i64) {
    let connection = Connection::open(path).unwrap();
    connection.execute(AGE, [age_ms]).unwrap();
    let columns: String = connection
        .query_row(
            "SELECT group_concat(name) FROM pragma_table_info('event')
              WHERE name NOT IN ('seq', 'id', 'id_hash', 'idempotency_key', 'content_hash', 'content_until')",
            [],
            |row| row.get(0),
        )
        .unwrap();
    let filled = connection.execute(&FILL_EVENTS.replace("COLUMNS", &columns), [count]);
    assert_eq!(filled.unwrap(), count as usize);
    connection.execute(FILL_CONTENT, []).unwrap();
}

/// A connection that only reads.
pub struct Database(Connection);

/// An event as the database holds it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kept {
    /// The event's id without its prefix.
    pub event_id: String,
    /// The ids of its runs without their prefix, in order.
    pub run_ids: Vec<String>,
    /// How many tickets came of it.
    pub tickets: u64,
}

impl Database {
    /// Opens the file beside a process that may be serving it.
    pub fn open(path: &Path) -> Self {
        // A reader of a WAL database must be able to make its index file.
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(path, flags).unwrap();
        connection.busy_timeout(BUSY).unwrap();
        connection.execute_batch("PRAGMA query_only = ON").unwrap();
        Self(connection)
    }

    /// A number that a query gives.
    pub fn count(&self, sql: &str) -> u64 {
        self.0
            .query_row(sql, [], |row| row.get(0))
            .unwrap_or_else(|error| panic!("{sql}: {error}"))
    }

    /// Runs and actions that are not over.
    pub fn unfinished(&self) -> u64 {
        self.count(
            "SELECT (SELECT count(*) FROM run WHERE state IN ('queued', 'running'))
                  + (SELECT count(*) FROM action WHERE state = 'pending')",
        )
    }

    /// Every event by integration and idempotency key.
    pub fn events(&self) -> BTreeMap<(String, String), Kept> {
        let sql = "
            SELECT integration_id, idempotency_key, lower(hex(id)),
                   (SELECT group_concat(lower(hex(id)), ' ' ORDER BY seq) FROM run WHERE event_seq = event.seq),
                   (SELECT count(*) FROM ticket
                      JOIN action ON action.seq = ticket.action_seq
                      JOIN run    ON run.seq = action.run_seq
                     WHERE run.event_seq = event.seq)
              FROM event";
        let mut statement = self.0.prepare(sql).unwrap();
        let rows = statement.query_map([], |row| {
            let run_ids: Option<String> = row.get(3)?;
            let run_ids = run_ids
                .unwrap_or_default()
                .split_whitespace()
                .map(str::to_owned)
                .collect();
            Ok((
                (row.get(0)?, row.get(1)?),
                Kept {
                    event_id: row.get(2)?,
                    run_ids,
                    tickets: row.get(4)?,
                },
            ))
        });
        rows.unwrap().map(Result::unwrap).collect()
    }

    /// Panics unless the file is sound and everything in it agrees.
    #[track_caller]
    pub fn check(&self) {
        let integrity: String = self
            .0
            .query_row("PRAGMA integrity_check", [], |row| row.get(0))
            .unwrap();
        assert_eq!(integrity, "ok");
        assert_eq!(
            self.count("SELECT count(*) FROM pragma_foreign_key_check"),
            0,
            "rows that lead nowhere"
        );
        for (what, sql) in BROKEN {
            assert_eq!(self.count(sql), 0, "{what}");
        }
    }
}
