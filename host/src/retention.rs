//! Lets go of events that are older than the operator wants them kept.
//!
//! Started by `app`. It works in small batches with pauses between them, so that ingest does
//! not notice; which rows go is `store::retention`'s.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, sleep};

use crate::clock::Clock;
use crate::fail_point::{self, Point};
use crate::live::Live;
use crate::store::{Store, StoreError};

/// How often it is looked whether an event is old enough.
const LOOK_EVERY: Duration = Duration::from_secs(60);
/// Events looked at in one write. Each takes the writer some ten microseconds, for which every
/// delivery waits that comes meanwhile.
const EVENTS_PER_BATCH: usize = 16;
/// The shortest pause between two batches.
const PAUSE_MIN: Duration = Duration::from_millis(1);

/// Deletes old events until `shutdown` becomes true.
pub async fn run(store: Store, live: Arc<Live>, clock: Clock, mut shutdown: watch::Receiver<bool>) {
    while !*shutdown.borrow() {
        let before = clock.now() - live.current().config.keep_events_ms;
        tokio::select! {
            swept = sweep(&store, before) => match swept {
                Ok(0) => (),
                Ok(count) => tracing::info!(count, "events that were old enough are deleted"),
                Err(error) => tracing::error!(error = %error, "cannot delete old events; trying again in a minute"),
            },
            _ = shutdown.changed() => return,
        }
        tokio::select! {
            () = sleep(LOOK_EVERY) => (),
            _ = shutdown.changed() => (),
        }
    }
}

/// Deletes every event received before a time that has no work to do; says how many.
pub async fn sweep(store: &Store, before: i64) -> Result<usize, StoreError> {
    let mut deleted = 0;
    let mut after = 0;
    loop {
        let began = Instant::now();
        let batch = match store.delete_expired(before, after, EVENTS_PER_BATCH).await {
            Ok(batch) => batch,
            // Deliveries are worth more than room: wait for a quieter moment.
            Err(StoreError::Busy) => {
                sleep(LOOK_EVERY / 60).await;
                continue;
            }
            Err(error) => return Err(error),
        };
        deleted += batch.deleted;
        fail_point::reach(Point::BatchDeleted);
        match batch.next {
            Some(next) => after = next,
            None => return Ok(deleted),
        }
        // Twice as long as the batch took: the more others write, the less is deleted.
        sleep((2 * began.elapsed()).max(PAUSE_MIN)).await;
    }
}
