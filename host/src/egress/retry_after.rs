//! Reads the `Retry-After` header (RFC 9110, 10.2.3). Pure.

use jiff::fmt::strtime;
use jiff::tz::TimeZone;

use crate::model::time::TimestampMs;

/// The longest wait that a destination can ask for, in milliseconds: a day.
///
/// Beyond it an action would be given up anyway; it keeps sums of times far from overflow.
const RETRY_AFTER_MS_MAX: i64 = 24 * 60 * 60 * 1000;

/// The three forms of an HTTP date (RFC 9110, 5.6.7): current, RFC 850, `asctime`.
const DATE_FORMATS: [&str; 3] = [
    "%a, %d %b %Y %H:%M:%S GMT",
    "%A, %d-%b-%y %H:%M:%S GMT",
    "%a %b %e %H:%M:%S %Y",
];

/// How long to wait, in milliseconds from `now`; `None` for what is neither seconds nor a date.
pub fn retry_after_ms(value: &str, now: TimestampMs) -> Option<i64> {
    let value = value.trim();
    let wait_ms = if !value.is_empty() && value.bytes().all(|it| it.is_ascii_digit()) {
        // More digits than fit are still a number, and over the limit.
        value.parse().unwrap_or(i64::MAX).saturating_mul(1000)
    } else {
        http_date(value)?.saturating_sub(now)
    };
    Some(wait_ms.clamp(0, RETRY_AFTER_MS_MAX))
}

fn http_date(value: &str) -> Option<TimestampMs> {
    let time = DATE_FORMATS
        .iter()
        .find_map(|it| strtime::parse(it, value).ok())?;
    let zoned = time.to_datetime().ok()?.to_zoned(TimeZone::UTC).ok()?;
    Some(zoned.timestamp().as_millisecond())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Sun, 06 Nov 1994 08:49:00 GMT.
    const NOW: TimestampMs = 784_111_740_000;

    #[track_caller]
    fn check(value: &str, expected: Option<i64>) {
        assert_eq!(retry_after_ms(value, NOW), expected, "{value}");
    }

    #[test]
    fn seconds_are_read() {
        check("120", Some(120_000));
        check(" 0 ", Some(0));
    }

    #[test]
    fn dates_of_all_three_forms_are_read() {
        check("Sun, 06 Nov 1994 08:49:37 GMT", Some(37_000));
        check("Sunday, 06-Nov-94 08:49:37 GMT", Some(37_000));
        check("Sun Nov  6 08:49:37 1994", Some(37_000));
    }

    #[test]
    fn a_date_in_the_past_means_now() {
        check("Sun, 06 Nov 1994 08:48:00 GMT", Some(0));
    }

    #[test]
    fn a_wait_is_bounded() {
        check("99999999999999999999999", Some(RETRY_AFTER_MS_MAX));
        check("Fri, 01 Jan 2100 00:00:00 GMT", Some(RETRY_AFTER_MS_MAX));
    }

    #[test]
    fn anything_else_is_ignored() {
        for value in ["", "-5", "1.5", "soon", "Sun, 31 Feb 1994 08:49:37 GMT"] {
            check(value, None);
        }
    }
}
