//! Places at which a test can end the process, as `kill -9` does, at one exact step.
//!
//! Armed by the command line with [`VARIABLE`] as `point:nth`, such as `group-applied:7`: the
//! seventh time that [`reach`] comes to that point, the process sends itself SIGKILL. Only a
//! build with debug assertions has them: in a release build [`reach`] is empty, and nothing
//! reads the variable. `tests/it/kill_matrix.rs` ends a host at each of them.

/// The environment variable that names the point and how often it is passed before.
pub const VARIABLE: &str = "TRIAGE_KILL_AT";

macro_rules! points {
    ($($(#[$doc:meta])* $point:ident = $name:literal,)*) => {
        /// The steps between which a process can end, in the order in which an event takes them.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Point {
            $($(#[$doc])* $point,)*
        }

        impl Point {
            /// Every point.
            pub const ALL: &[Self] = &[$(Self::$point),*];

            /// As in [`VARIABLE`].
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$point => $name,)*
                }
            }
        }
    };
}

points! {
    /// The head of a delivery for a known integration is there.
    HeadRead = "head-read",
    /// Its body is there.
    BodyRead = "body-read",
    /// Its signature was checked.
    Verified = "verified",
    /// A write waits for the writer thread.
    WriteQueued = "write-queued",
    /// The writer thread has opened a transaction for a group of writes.
    GroupBegun = "group-begun",
    /// All writes of the group are done, and not committed.
    GroupApplied = "group-applied",
    /// They are committed, and nobody knows.
    GroupCommitted = "group-committed",
    /// Whoever waited for them was told.
    GroupTold = "group-told",
    /// The event is kept, and its sender does not know.
    AnswerReady = "answer-ready",
    /// Keys left memory for the index of old keys, in a transaction that is not committed.
    KeysWritten = "keys-written",
    /// That transaction is committed, and memory still holds them.
    KeysCommitted = "keys-committed",
    /// Runs are claimed.
    RunsClaimed = "runs-claimed",
    /// A run was evaluated, and its result is not written.
    RunEvaluated = "run-evaluated",
    /// The result of a run is committed.
    RunFinished = "run-finished",
    /// Actions are claimed.
    ActionsClaimed = "actions-claimed",
    /// Actions were carried out, and their results are not written.
    ActionsPerformed = "actions-performed",
    /// The results of actions are committed.
    ActionsFinished = "actions-finished",
    /// Events that are older than they have to be kept are deleted, in a transaction that is not committed.
    OldEventsDeleted = "old-events-deleted",
    /// A batch of such deletions is committed.
    BatchDeleted = "batch-deleted",
}

#[cfg(debug_assertions)]
mod armed {
    use std::sync::OnceLock;
    use std::sync::atomic::{AtomicU64, Ordering};

    use rustix::process::{Signal, getpid, kill_process};

    use super::{Point, VARIABLE};

    static ARMED: OnceLock<(Point, AtomicU64)> = OnceLock::new();

    /// Reads which point ends the process.
    ///
    /// # Errors
    /// When the variable does not name a point and a number from 1, or was read before.
    pub fn arm(env: &dyn Fn(&str) -> Option<String>) -> Result<(), String> {
        let Some(text) = env(VARIABLE) else {
            return Ok(());
        };
        let (point, nth) = parse(&text).ok_or_else(|| {
            let names: Vec<&str> = Point::ALL.iter().map(|it| it.name()).collect();
            format!(
                "{VARIABLE}: `{text}` is not `point:nth`, with nth from 1 and one of {}",
                names.join(", ")
            )
        })?;
        ARMED
            .set((point, AtomicU64::new(nth)))
            .map_err(|_| format!("{VARIABLE}: is read once"))
    }

    pub(super) fn parse(text: &str) -> Option<(Point, u64)> {
        let (name, nth) = text.split_once(':')?;
        let point = Point::ALL.iter().find(|it| it.name() == name)?;
        let nth = nth.parse().ok().filter(|it| 0 < *it)?;
        Some((*point, nth))
    }

    /// Ends the process where this point is armed, for the nth time.
    pub fn reach(point: Point) {
        if let Some((armed, left)) = ARMED.get()
            && *armed == point
            && left.fetch_sub(1, Ordering::SeqCst) == 1
        {
            // It cannot fail for the process itself, and does not return before the end.
            let _ = kill_process(getpid(), Signal::KILL);
        }
    }
}

#[cfg(debug_assertions)]
pub use armed::{arm, reach};

/// Does nothing: only builds with debug assertions have points.
///
/// # Errors
/// Never.
#[cfg(not(debug_assertions))]
pub fn arm(_env: &dyn Fn(&str) -> Option<String>) -> Result<(), String> {
    Ok(())
}

/// Does nothing: only builds with debug assertions have points.
#[cfg(not(debug_assertions))]
#[inline(always)]
pub fn reach(_point: Point) {}

#[cfg(all(test, debug_assertions))]
mod tests {
    use super::*;

    #[test]
    fn every_point_is_found_by_its_own_name() {
        for point in Point::ALL {
            let text = format!("{}:3", point.name());
            assert_eq!(armed::parse(&text), Some((*point, 3)));
        }
    }

    #[test]
    fn what_names_no_point_is_refused_with_the_names_that_there_are() {
        for text in ["", "group-applied", "group-applied:0", "nowhere:1", "x:-1"] {
            let error = arm(&|_| Some(text.to_owned())).unwrap_err();
            assert!(
                error.contains("head-read") && error.contains(VARIABLE),
                "{error}"
            );
        }
        assert_eq!(arm(&|_| None), Ok(()));
    }
}
