//! When a version of a plugin is quarantined. Pure.
//!
//! A strike is one event on which a version broke a rule, however often it was tried. An event that broke
//! several versions of a plugin counts against none of them: the store leaves it out.

use crate::model::strike::{StrikeLimits, StrikeRecord};

/// Why the version is not run any more for this tenant, for a person; `None` where it goes on.
pub fn quarantine(limits: &StrikeLimits, record: StrikeRecord) -> Option<String> {
    let broken = u64::from(record.broken.min(record.runs));
    let runs = u64::from(record.runs);
    let is_often = u64::from(limits.share_percent) * runs <= 100 * broken;
    (limits.events <= record.events && is_often).then(|| {
        format!(
            "it broke rules on {} events, in {broken} of {runs} runs",
            record.events
        )
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const LIMITS: StrikeLimits = StrikeLimits {
        events: 5,
        window_ms: 600_000,
        share_percent: 50,
    };

    fn record(events: u32, runs: u32, broken: u32) -> StrikeRecord {
        StrikeRecord {
            events,
            runs,
            broken,
        }
    }

    #[test]
    fn many_events_and_a_large_share_are_both_needed() {
        let reason = "it broke rules on 5 events, in 5 of 10 runs";
        assert_eq!(
            quarantine(&LIMITS, record(5, 10, 5)).as_deref(),
            Some(reason)
        );
        assert_eq!(quarantine(&LIMITS, record(4, 4, 4)), None);
        assert_eq!(quarantine(&LIMITS, record(5, 11, 5)), None);
    }

    proptest! {
        #[test]
        fn more_strikes_never_lift_and_more_good_runs_never_bring_a_quarantine(
            events in 0_u32..50,
            good in 0_u32..100,
            broken in 0_u32..100,
            share_percent in 1_u32..=100,
        ) {
            let limits = StrikeLimits { share_percent, ..LIMITS };
            let is_out = |events, good, broken| {
                quarantine(&limits, record(events, good + broken, broken)).is_some()
            };
            if is_out(events, good, broken) {
                prop_assert!(LIMITS.events <= events);
                prop_assert!(is_out(events + 1, good, broken + 1));
            } else {
                prop_assert!(!is_out(events, good + 1, broken));
            }
        }

        #[test]
        fn one_event_alone_is_never_enough(runs in 1_u32..1_000) {
            prop_assert_eq!(quarantine(&LIMITS, record(1, runs, runs)), None);
        }
    }
}
