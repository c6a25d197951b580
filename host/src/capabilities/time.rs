//! Time of a run: the wall clock stands still, the other one counts.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Where the monotonic clock begins, in nanoseconds. Not at 0, which some runtimes take for
/// a clock that does not work.
const BEGIN_NS: u64 = 1_000_000_000_000;
/// How far the monotonic clock goes on each time it is asked, in nanoseconds, so that a guest
/// that waits on it comes to an end.
const STEP_NS: u64 = 1_000;

/// A clock that only goes on, by what the guest does: with each question, and with each sleep.
/// Clones are the same clock.
#[derive(Clone, Debug)]
pub struct Monotonic(Arc<AtomicU64>);

impl Default for Monotonic {
    fn default() -> Self {
        Self(Arc::new(AtomicU64::new(BEGIN_NS)))
    }
}

impl Monotonic {
    /// The time in nanoseconds since some moment. Later than at any question before.
    pub fn ask_ns(&self) -> u64 {
        // A guest would have to ask for half a million years to come around.
        self.0
            .fetch_add(STEP_NS, Ordering::Relaxed)
            .saturating_add(STEP_NS)
    }

    /// How long it is until then, in nanoseconds; 0 where it is over.
    pub fn until_ns(&self, then_ns: u64) -> u64 {
        then_ns.saturating_sub(self.0.load(Ordering::Relaxed))
    }

    /// The moment that lies this many nanoseconds ahead.
    pub fn after_ns(&self, duration_ns: u64) -> u64 {
        self.0.load(Ordering::Relaxed).saturating_add(duration_ns)
    }

    /// The guest has slept until then.
    pub fn slept_until_ns(&self, then_ns: u64) {
        self.0.fetch_max(then_ns, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_goes_on_with_each_question_and_each_sleep() {
        let clock = Monotonic::default();
        let begin = clock.ask_ns();
        assert_eq!(clock.ask_ns(), begin + STEP_NS);
        let then = clock.after_ns(5_000_000);
        clock.slept_until_ns(then);
        assert_eq!(clock.until_ns(then), 0);
        assert_eq!(clock.ask_ns(), then + STEP_NS);
        clock.slept_until_ns(begin);
        assert_eq!(clock.ask_ns(), then + 2 * STEP_NS, "it never goes back");
    }

    #[test]
    fn the_end_of_time_is_no_overflow() {
        let clock = Monotonic::default();
        assert_eq!(clock.after_ns(u64::MAX), u64::MAX);
    }
}
