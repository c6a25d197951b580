//! Whether what is written now would be kept.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::{Store, StoreError};

/// How long a commit proves that the disk takes writes. So a probe costs a flush of the disk at
/// most once in this time, and none beside deliveries.
const PROVEN_FOR: Duration = Duration::from_secs(1);

// Another value each time: SQLite does not write one that is there already.
const PROBE: &str = "
INSERT INTO meta (name, value) VALUES ('probe', randomblob(8))
    ON CONFLICT (name) DO UPDATE SET value = excluded.value";

/// When the disk last took a commit, as long as none failed since.
#[derive(Clone, Debug, Default)]
pub(super) struct Proof(Arc<Mutex<Option<Instant>>>);

impl Proof {
    /// A commit that wrote something is on the disk.
    pub(super) fn committed(&self) {
        self.set(Some(Instant::now()));
    }

    /// A transaction could not begin or did not get to its end.
    pub(super) fn failed(&self) {
        self.set(None);
    }

    fn holds(&self) -> bool {
        let at = *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        at.is_some_and(|it| it.elapsed() < PROVEN_FOR)
    }

    fn set(&self, at: Option<Instant>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = at;
    }
}

impl Store {
    /// Whether the database can be read and written now: the writer answers, and the disk took a
    /// commit within the last second or takes one now.
    ///
    /// # Errors
    /// What a delivery would be refused for.
    pub async fn ready(&self) -> Result<(), StoreError> {
        let writer = self.writer.as_ref().ok_or(StoreError::Closed)?;
        let is_proven = writer.proof.holds();
        self.write(move |tx| {
            if is_proven {
                return Ok(tx.query_row("SELECT 1", [], |_| Ok(()))?);
            }
            tx.prepare_cached(PROBE)?.execute([])?;
            Ok(())
        })
        .await
    }
}
