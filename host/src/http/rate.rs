//! What each integration has used of its rate limit.
//!
//! Called by `ingest`; how a limit counts is `model::rate`'s. Kept by tenant and integration id and not
//! in the configuration, so that a new configuration gives nobody a new burst, nor what another tenant used.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use crate::model::rate::RateLimit;
use crate::model::time::TimestampMs;

/// When each integration, named by its tenant and id, may use all of its burst again.
#[derive(Debug, Default)]
pub struct Rates(Mutex<HashMap<(String, String), i64>>);

impl Rates {
    /// Takes one delivery, or says in how many milliseconds one can be taken.
    pub fn take(
        &self,
        tenant: &str,
        integration_id: &str,
        limit: RateLimit,
        now: TimestampMs,
    ) -> Result<(), i64> {
        let key = (tenant.to_owned(), integration_id.to_owned());
        // A number in a map is never half written.
        let mut rates = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(full_at) = rates.get_mut(&key) {
            return limit.take(full_at, now);
        }
        let mut full_at = 0;
        limit.take(&mut full_at, now)?;
        // Integrations come and go; those with nothing used need not be remembered.
        rates.retain(|_, full_at| !RateLimit::is_full(*full_at, now));
        rates.insert(key, full_at);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: TimestampMs = 1_795_248_000_000;

    #[test]
    fn each_integration_of_each_tenant_has_its_own() {
        let rates = Rates::default();
        let limit = RateLimit::new(1, 1_000, 1);
        assert_eq!(rates.take("one", "a", limit, NOW), Ok(()));
        assert_eq!(rates.take("one", "a", limit, NOW), Err(1_000));
        assert_eq!(rates.take("one", "b", limit, NOW), Ok(()));
        assert_eq!(rates.take("two", "a", limit, NOW), Ok(()));
        assert_eq!(rates.take("one", "a", limit, NOW + 1_000), Ok(()));
    }

    #[test]
    fn integrations_that_went_away_are_forgotten() {
        let rates = Rates::default();
        let limit = RateLimit::new(1, 1_000, 1);
        for number in 0..1_000 {
            let now = NOW + number * 1_000;
            rates.take("one", &number.to_string(), limit, now).unwrap();
        }
        assert_eq!(rates.0.lock().unwrap().len(), 1);
    }
}
