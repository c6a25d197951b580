//! How new the thing is that an event tells of, as the payload says.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::time::{TimestampMs, parse_rfc3339};

/// A version that can be compared with others of its kind.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Version {
    /// A whole number: a counter, or a time in some unit.
    Integer(i64),
    /// Another number.
    Decimal(f64),
    /// An RFC 3339 time.
    Time(TimestampMs),
    /// Any other text; the order is that of its bytes.
    Text(String),
}

impl Version {
    /// The version that a payload's value names, if it is one.
    pub fn of(value: &Value) -> Option<Self> {
        match value {
            Value::Number(number) => number
                .as_i64()
                .map(Self::Integer)
                .or_else(|| number.as_f64().map(Self::Decimal)),
            Value::String(text) => {
                Some(parse_rfc3339(text).map_or_else(|| Self::Text(text.clone()), Self::Time))
            }
            Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => None,
        }
    }

    /// Whether this is certainly older. Versions of different kinds cannot be compared.
    #[expect(
        clippy::cast_precision_loss,
        reason = "only where one of the two is a fraction"
    )]
    pub fn is_older_than(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Integer(this), Self::Integer(other)) | (Self::Time(this), Self::Time(other)) => {
                this < other
            }
            (Self::Decimal(this), Self::Decimal(other)) => this < other,
            (Self::Integer(this), Self::Decimal(other)) => (*this as f64) < *other,
            (Self::Decimal(this), Self::Integer(other)) => *this < *other as f64,
            (Self::Text(this), Self::Text(other)) => this < other,
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn versions_of_one_kind_are_ordered_and_others_are_not() {
        let older = |this: Value, other: Value| {
            Version::of(&this)
                .unwrap()
                .is_older_than(&Version::of(&other).unwrap())
        };
        assert!(older(json!(2), json!(10)));
        assert!(older(json!(1.5), json!(2)));
        assert!(older(
            json!(9_007_199_254_740_992_i64),
            json!(9_007_199_254_740_993_i64)
        ));
        // The same moment in two zones, and a later one that would sort before it as text.
        assert!(!older(
            json!("2026-01-01T12:00:00Z"),
            json!("2026-01-01T13:00:00+01:00")
        ));
        assert!(older(
            json!("2026-01-01T12:00:00+02:00"),
            json!("2026-01-01T11:00:00Z")
        ));
        assert!(older(json!("v1"), json!("v2")));
        assert!(!older(json!("2"), json!(10)));
        assert!(!older(json!(1), json!(1)));
        assert!(Version::of(&json!(null)).is_none());
    }
}
