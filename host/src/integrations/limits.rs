//! Limits of an integration of the store: what is asked for, checked as the file's settings are. Pure.

use serde::{Deserialize, Deserializer};

use super::Problem;
use crate::config;
use crate::model::rate::{Rate, RateLimit};
use crate::store::integrations::StoredLimits;

/// What is to become of one setting.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Change<T> {
    /// It stays as it is.
    #[default]
    Keep,
    /// It goes back to its default: `null` in JSON.
    Reset,
    /// It becomes this.
    Set(T),
}

impl<T> From<Option<T>> for Change<T> {
    fn from(given: Option<T>) -> Self {
        given.map_or(Self::Keep, Self::Set)
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Change<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let given = Option::deserialize(deserializer)?;
        Ok(given.map_or(Self::Reset, Self::Set))
    }
}

/// What is to become of the limits of an integration, written as in the configuration's file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LimitChanges {
    /// The largest body, as `25MiB`.
    pub body_limit: Change<String>,
    /// The most that a gzip body may inflate to, as `25MiB`.
    pub inflated_limit: Change<String>,
    /// How many deliveries are taken, as `100/s` or `600/m`.
    pub rate_limit: Change<String>,
    /// How many of them may come at once after a pause.
    pub burst: Change<i64>,
}

impl LimitChanges {
    /// Whether nothing is to change.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// The limits after these changes. A burst goes with the rate that it belongs to.
    ///
    /// # Errors
    /// The name of the setting that cannot be so, and why.
    pub(super) fn applied(&self, was: StoredLimits) -> Result<StoredLimits, Problem> {
        let wrong = |name: &str, it: String| Problem::Invalid(format!("{name}: {it}"));
        let body_bytes_max = match &self.body_limit {
            Change::Keep => was.body_bytes_max,
            Change::Reset => config::BODY_BYTES_MAX,
            Change::Set(text) => config::body_limit(text).map_err(|it| wrong("body_limit", it))?,
        };
        let inflated_bytes_max = match &self.inflated_limit {
            Change::Keep => was.inflated_bytes_max,
            Change::Reset => None,
            Change::Set(text) => {
                Some(config::inflated_size(text).map_err(|it| wrong("inflated_limit", it))?)
            }
        };
        let rate = match &self.rate_limit {
            Change::Keep => was.rate,
            Change::Reset => None,
            Change::Set(text) => Some(config::rate(text).map_err(|it| wrong("rate_limit", it))?),
        };
        let burst = match &self.burst {
            Change::Keep => was.burst.filter(|_| rate.is_some()),
            Change::Reset => None,
            Change::Set(number) => {
                Some(config::burst(*number, rate).map_err(|it| wrong("burst", it))?)
            }
        };
        Ok(StoredLimits {
            body_bytes_max,
            inflated_bytes_max,
            rate,
            burst,
        })
    }
}

/// Those of an integration for which nobody says any.
pub(super) const DEFAULTS: StoredLimits = StoredLimits {
    body_bytes_max: config::BODY_BYTES_MAX,
    inflated_bytes_max: None,
    rate: None,
    burst: None,
};

/// The most that a gzip body may inflate to, in bytes.
pub(super) fn inflated_bytes_max(limits: &StoredLimits) -> usize {
    let default = || config::inflated_limit(limits.body_bytes_max);
    limits.inflated_bytes_max.unwrap_or_else(default)
}

/// How many deliveries are taken; as many at once as the rate names, where no burst is given.
pub(super) fn rate_limit(limits: &StoredLimits) -> Option<RateLimit> {
    let Rate {
        deliveries,
        period_ms,
    } = limits.rate?;
    let burst = limits.burst.unwrap_or(deliveries);
    Some(RateLimit::new(deliveries, period_ms, burst))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limited() -> StoredLimits {
        let rate = Rate {
            deliveries: 600,
            period_ms: 60_000,
        };
        StoredLimits {
            body_bytes_max: 2 << 20,
            inflated_bytes_max: Some(3 << 20),
            rate: Some(rate),
            burst: Some(5),
        }
    }

    #[test]
    fn what_is_not_named_stays() {
        let nothing = LimitChanges::default();
        assert!(nothing.is_empty());
        assert_eq!(nothing.applied(limited()).unwrap(), limited());
    }

    #[test]
    fn what_is_reset_is_as_if_it_had_never_been_given() {
        let changes = LimitChanges {
            body_limit: Change::Reset,
            inflated_limit: Change::Reset,
            rate_limit: Change::Reset,
            burst: Change::Reset,
        };
        let limits = changes.applied(limited()).unwrap();
        assert_eq!(limits, DEFAULTS);
        assert_eq!(inflated_bytes_max(&limits), 8 << 20);
        assert_eq!(rate_limit(&limits), None);
    }

    #[test]
    fn a_burst_goes_with_its_rate_and_stays_under_another_one() {
        let changes = |rate_limit| LimitChanges {
            rate_limit,
            ..LimitChanges::default()
        };
        let gone = changes(Change::Reset).applied(limited()).unwrap();
        assert_eq!((gone.rate, gone.burst), (None, None));
        let other = changes(Change::Set("7/s".to_owned()));
        let other = other.applied(limited()).unwrap();
        assert_eq!(rate_limit(&other), Some(RateLimit::new(7, 1_000, 5)));
        let no_burst = LimitChanges {
            burst: Change::Reset,
            ..LimitChanges::default()
        };
        let no_burst = no_burst.applied(limited()).unwrap();
        assert_eq!(
            rate_limit(&no_burst),
            Some(RateLimit::new(600, 60_000, 600))
        );
    }

    #[test]
    fn json_tells_null_from_what_is_left_out() {
        #[derive(Deserialize)]
        struct Body {
            #[serde(default)]
            burst: Change<i64>,
        }
        let burst = |json| serde_json::from_str::<Body>(json).unwrap().burst;
        assert_eq!(burst("{}"), Change::Keep);
        assert_eq!(burst(r#"{"burst":null}"#), Change::Reset);
        assert_eq!(burst(r#"{"burst":3}"#), Change::Set(3));
    }
}
