//! So much each minute, of something that is counted when it is over.

/// Microseconds in a minute.
const MINUTE_US: u64 = 60_000_000;

/// So many units in each minute: all of them at once after a pause, then as they grow back.
///
/// What it costs is known only afterwards, so more can be spent than is left; what was spent too
/// much must grow back before there is anything left again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Budget {
    per_minute: u64,
}

/// What was spent of a budget: when all of it is there again, in microseconds of a clock that only
/// goes forward. The generic cell rate algorithm, as in `model::rate`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Spent {
    full_at_us: u64,
}

impl Budget {
    /// So many units in each minute, at least one.
    pub fn new(per_minute: u64) -> Self {
        Self {
            per_minute: per_minute.max(1),
        }
    }

    /// Units that are left.
    pub fn left(self, spent: Spent, now_us: u64) -> u64 {
        let empty_at_us = now_us.saturating_add(MINUTE_US);
        let left_us = empty_at_us.saturating_sub(spent.full_at_us.max(now_us));
        scaled(left_us, self.per_minute, MINUTE_US)
    }

    /// Takes note of units that were spent.
    pub fn spend(self, spent: &mut Spent, units: u64, now_us: u64) {
        let cost_us = scaled(units, MINUTE_US, self.per_minute);
        spent.full_at_us = spent.full_at_us.max(now_us).saturating_add(cost_us);
    }

    /// Microseconds until a unit is left; 0 where one is.
    pub fn wait_us(self, spent: Spent, now_us: u64) -> u64 {
        let unit_us = MINUTE_US.div_ceil(self.per_minute);
        let until_us = spent.full_at_us.saturating_add(unit_us);
        until_us.saturating_sub(now_us.saturating_add(MINUTE_US))
    }
}

/// A product divided, rounded down, and the largest number where it is larger.
fn scaled(value: u64, factor: u64, divisor: u64) -> u64 {
    let product = u128::from(value) * u128::from(factor) / u128::from(divisor.max(1));
    u64::try_from(product).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_minutes_worth_can_be_spent_at_once_and_grows_back() {
        let (budget, mut spent) = (Budget::new(600), Spent::default());
        assert_eq!(budget.left(spent, 5), 600);
        budget.spend(&mut spent, 600, 5);
        assert_eq!(
            (budget.left(spent, 5), budget.wait_us(spent, 5)),
            (0, 100_000)
        );
        assert_eq!(budget.left(spent, 5 + 30_000_000), 300);
        assert_eq!(budget.left(spent, 5 + MINUTE_US), 600);
        assert_eq!(
            budget.left(spent, 5 + 10 * MINUTE_US),
            600,
            "no more than that"
        );
    }

    #[test]
    fn what_was_spent_too_much_grows_back_first() {
        let (budget, mut spent) = (Budget::new(60), Spent::default());
        budget.spend(&mut spent, 180, 0);
        assert_eq!(budget.wait_us(spent, 0), 121_000_000);
        assert_eq!(budget.left(spent, 120_000_000), 0);
        assert_eq!(budget.left(spent, 121_000_000), 1);
    }

    proptest! {
        #[test]
        fn whoever_waits_as_told_has_something_left(
            per_minute in 1u64..10_000_000,
            costs in prop::collection::vec((0u64..1_000_000, 0u64..100_000_000), 1..20),
        ) {
            let (budget, mut spent, mut now) = (Budget::new(per_minute), Spent::default(), 0);
            for (units, pause) in costs {
                now += pause;
                budget.spend(&mut spent, units, now);
            }
            let wait = budget.wait_us(spent, now);
            prop_assert!(1 <= budget.left(spent, now + wait));
            prop_assert!(wait == 0 || budget.left(spent, now) <= 1);
        }

        #[test]
        fn no_number_overflows(per_minute in any::<u64>(), units in any::<u64>(), now in any::<u64>()) {
            let (budget, mut spent) = (Budget::new(per_minute), Spent::default());
            budget.spend(&mut spent, units, now);
            budget.spend(&mut spent, units, now);
            let _ = (budget.left(spent, now), budget.wait_us(spent, now));
        }
    }
}
