//! Patterns on event types.

use std::fmt;
use std::str::FromStr;

/// A pattern by which a policy subscribes to event types.
///
/// Words between dots; `*` stands for exactly one word, and as the last word for one or
/// more: `github.issues.*` matches `github.issues.opened`, `stripe.*` matches
/// `stripe.charge.dispute.created`, and `*` matches everything.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trigger(String);

/// The text is not a pattern.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "trigger `{0}`: words of letters, digits, `_`, `-` and `:` with dots between them; a word may be `*`"
)]
pub struct BadTrigger(String);

impl Trigger {
    /// Whether an event of this type concerns the policy.
    pub fn matches(&self, event_type: &str) -> bool {
        let mut words = event_type.split('.');
        let mut pattern = self.0.split('.').peekable();
        while let Some(expected) = pattern.next() {
            let Some(word) = words.next() else {
                return false;
            };
            if expected == "*" && pattern.peek().is_none() {
                return true;
            }
            if expected != "*" && expected != word {
                return false;
            }
        }
        words.next().is_none()
    }
}

impl FromStr for Trigger {
    type Err = BadTrigger;

    fn from_str(text: &str) -> Result<Self, BadTrigger> {
        let is_word = |word: &str| {
            word == "*"
                || (!word.is_empty()
                    && word
                        .bytes()
                        .all(|it| it.is_ascii_alphanumeric() || matches!(it, b'_' | b'-' | b':')))
        };
        if text.split('.').all(is_word) {
            Ok(Self(text.to_owned()))
        } else {
            Err(BadTrigger(text.to_owned()))
        }
    }
}

impl fmt::Display for Trigger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(pattern: &str, event_type: &str, expected: bool) {
        assert_eq!(
            pattern.parse::<Trigger>().unwrap().matches(event_type),
            expected,
            "{pattern} on {event_type}"
        );
    }

    #[test]
    fn a_last_star_takes_the_rest() {
        check("github.issues.*", "github.issues.opened", true);
        check("stripe.*", "stripe.charge.dispute.created", true);
        check("*", "github.push", true);
    }

    #[test]
    fn a_star_needs_a_word() {
        check("github.push.*", "github.push", false);
    }

    #[test]
    fn a_star_inside_takes_one_word() {
        check("stripe.*.created", "stripe.charge.created", true);
        check("stripe.*.created", "stripe.charge.dispute.created", false);
    }

    #[test]
    fn without_a_star_the_whole_type_counts() {
        check("github.push", "github.push", true);
        check("github.push", "github.pushed", false);
        check("github.push", "github.push.x", false);
    }

    #[test]
    fn a_pattern_with_holes_is_refused() {
        for text in ["", "a..b", "a.b*", "a b", ".a"] {
            assert!(text.parse::<Trigger>().is_err(), "{text}");
        }
    }
}
