//! How many deliveries a sender may make.

use std::fmt;

use super::time::TimestampMs;

/// Nanoseconds in a millisecond.
const NS_PER_MS: i64 = 1_000_000;

/// So many deliveries in each period.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// How many.
    pub deliveries: u32,
    /// In how many milliseconds.
    pub period_ms: u32,
}

impl fmt::Display for Rate {
    /// As the configuration writes it: `100/s`, `600/m`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.period_ms {
            1_000 => write!(f, "{}/s", self.deliveries),
            60_000 => write!(f, "{}/m", self.deliveries),
            period_ms => write!(f, "{}/{period_ms}ms", self.deliveries),
        }
    }
}

/// The most deliveries of one integration: so many at once, then one each interval.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RateLimit {
    rate: Rate,
    /// The time in nanoseconds in which the right to one more delivery grows.
    interval_ns: i64,
    /// Deliveries that may come at once after a pause.
    burst: u32,
}

impl RateLimit {
    /// So many deliveries in each period. The interval is rounded up: never more than that.
    pub fn new(deliveries: u32, period_ms: u32, burst: u32) -> Self {
        let rate = Rate {
            deliveries: deliveries.max(1),
            period_ms,
        };
        let deliveries = i64::from(rate.deliveries);
        Self {
            rate,
            interval_ns: (i64::from(period_ms) * NS_PER_MS + deliveries - 1) / deliveries,
            burst: burst.max(1),
        }
    }

    /// The deliveries that are taken in the long run.
    pub fn rate(self) -> Rate {
        self.rate
    }

    /// The deliveries that may come at once after a pause.
    pub fn burst(self) -> u32 {
        self.burst
    }

    /// Takes one delivery, or says in how many milliseconds one can be taken.
    ///
    /// `full_at_ns` is when all of the burst may be used again, in nanoseconds since the Unix epoch;
    /// 0 for a sender that was not seen before. Pure: the generic cell rate algorithm of ITU-T I.371,
    /// in which a whole bucket of tokens is this one number.
    pub fn take(self, full_at_ns: &mut i64, now: TimestampMs) -> Result<(), i64> {
        let now_ns = now.saturating_mul(NS_PER_MS);
        let depth_ns = self.interval_ns.saturating_mul(i64::from(self.burst));
        let emptied_ns = now_ns.saturating_add(depth_ns);
        // Within these bounds whatever was kept under another limit, or before the clock was set back.
        *full_at_ns = (*full_at_ns).clamp(now_ns, emptied_ns);
        let taken_ns = full_at_ns.saturating_add(self.interval_ns);
        if taken_ns <= emptied_ns {
            *full_at_ns = taken_ns;
            return Ok(());
        }
        Err((taken_ns - emptied_ns + NS_PER_MS - 1) / NS_PER_MS)
    }

    /// Whether all of the burst may be used, so that nothing need be remembered.
    pub fn is_full(full_at_ns: i64, now: TimestampMs) -> bool {
        full_at_ns <= now.saturating_mul(NS_PER_MS)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NOW: TimestampMs = 1_795_248_000_000;

    /// How many of these deliveries, each some milliseconds after the one before, are taken.
    fn taken(limit: RateLimit, pauses_ms: &[i64]) -> usize {
        let (mut full_at, mut now, mut taken) = (0, NOW, 0);
        for pause in pauses_ms {
            now += pause;
            taken += usize::from(limit.take(&mut full_at, now).is_ok());
        }
        taken
    }

    #[test]
    fn a_burst_is_taken_and_then_one_each_interval() {
        let limit = RateLimit::new(10, 1_000, 3);
        assert_eq!(taken(limit, &[0; 20]), 3);
        assert_eq!(taken(limit, &[100; 20]), 20);
        assert_eq!(taken(limit, &[50; 21]), 13, "the burst, then every other");
        let mut full_at = 0;
        for _ in 0..3 {
            limit.take(&mut full_at, NOW).unwrap();
        }
        assert_eq!(limit.take(&mut full_at, NOW), Err(100));
        assert_eq!(limit.take(&mut full_at, NOW + 99), Err(1));
        assert!(limit.take(&mut full_at, NOW + 100).is_ok());
    }

    #[test]
    fn a_clock_that_is_set_back_shuts_nobody_out() {
        let limit = RateLimit::new(1, 60_000, 2);
        let mut full_at = 0;
        limit.take(&mut full_at, NOW).unwrap();
        let earlier = NOW - 86_400_000;
        assert_eq!(limit.take(&mut full_at, earlier), Err(60_000));
        assert!(limit.take(&mut full_at, earlier + 60_000).is_ok());
    }

    proptest! {
        #[test]
        fn never_more_than_the_limit_says(
            deliveries in 1u32..2_000,
            period_ms in prop::sample::select(vec![1_000u32, 60_000]),
            burst in 1u32..100,
            pauses in prop::collection::vec(0i64..200, 1..300),
        ) {
            let limit = RateLimit::new(deliveries, period_ms, burst);
            let passed_ms: i64 = pauses.iter().skip(1).sum();
            let most = i64::from(burst) + passed_ms * i64::from(deliveries) / i64::from(period_ms);
            prop_assert!(taken(limit, &pauses) as i64 <= most);
        }

        #[test]
        fn whoever_waits_as_told_is_taken(mut full_at in any::<i64>(), deliveries in 1u32..2_000, burst in 1u32..100) {
            let limit = RateLimit::new(deliveries, 1_000, burst);
            if let Err(wait_ms) = limit.take(&mut full_at, NOW) {
                prop_assert!((1..=1_000).contains(&wait_ms));
                prop_assert!(limit.take(&mut full_at, NOW + wait_ms).is_ok());
            }
        }

        #[test]
        fn no_number_overflows(mut full_at in any::<i64>(), now in any::<i64>(), deliveries in any::<u32>(), period_ms in any::<u32>(), burst in any::<u32>()) {
            let _ = RateLimit::new(deliveries, period_ms, burst).take(&mut full_at, now);
        }
    }
}
