//! Waiting for what the host does in its own time.

use std::time::{Duration, Instant};

/// How long anything that a test waits for may take.
pub const PATIENCE: Duration = Duration::from_secs(20);
/// The longest pause between two looks.
const PAUSE_MAX: Duration = Duration::from_millis(100);

/// Looks until it sees `Ok`, in short steps; panics with the last `Err` after [`PATIENCE`].
#[track_caller]
pub fn wait_until<T>(what: &str, look: impl FnMut() -> Result<T, String>) -> T {
    wait_within(PATIENCE, what, look)
}

/// Like [`wait_until`], with another deadline.
#[track_caller]
pub fn wait_within<T>(
    patience: Duration,
    what: &str,
    mut look: impl FnMut() -> Result<T, String>,
) -> T {
    let deadline = Instant::now() + patience;
    let mut pause = Duration::from_millis(2);
    loop {
        match look() {
            Ok(seen) => return seen,
            Err(state) if deadline < Instant::now() => {
                panic!("{what}: not within {patience:?}; last seen: {state}")
            }
            Err(_) => std::thread::sleep(pause),
        }
        pause = (pause * 2).min(PAUSE_MAX);
    }
}
