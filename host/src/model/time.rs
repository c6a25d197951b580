//! Points in time, as the database and plugins see them.

use jiff::Timestamp;

/// Milliseconds since 1970-01-01T00:00:00Z.
pub type TimestampMs = i64;

/// The time as RFC 3339 text in UTC with milliseconds, as JSON answers and pages show it.
pub fn rfc3339(at: TimestampMs) -> String {
    Timestamp::from_millisecond(at).map_or_else(|_| at.to_string(), |at| format!("{at:.3}"))
}

/// The time that an RFC 3339 text names, if it is one.
pub fn parse_rfc3339(text: &str) -> Option<TimestampMs> {
    text.parse::<Timestamp>()
        .ok()
        .map(Timestamp::as_millisecond)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_survives_its_text() {
        let text = rfc3339(1_731_705_121_042);
        assert_eq!(text, "2024-11-15T21:12:01.042Z");
        assert_eq!(parse_rfc3339(&text), Some(1_731_705_121_042));
    }

    #[test]
    fn a_time_out_of_range_is_still_shown() {
        assert_eq!(rfc3339(i64::MAX), i64::MAX.to_string());
    }
}
