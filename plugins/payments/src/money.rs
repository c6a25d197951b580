//! Amounts as Stripe writes them: whole numbers of a currency's smallest unit.

use std::fmt;

use serde::Deserialize;

/// An amount in the smallest unit of its currency; some of Stripe's amounts can be negative.
pub struct Money<'a> {
    pub amount: i64,
    pub currency: &'a str,
}

/// How large amounts count, in whole units of a currency.
#[derive(Clone, Copy, Deserialize)]
#[cfg_attr(test, derive(serde::Serialize))]
#[serde(deny_unknown_fields)]
pub struct Thresholds {
    pub high: i64,
    pub critical: i64,
}

/// How much an amount is.
#[derive(Debug, PartialEq)]
pub enum Size {
    Usual,
    High,
    Critical,
}

impl Money<'_> {
    /// Compares in the smallest unit, so that nothing is rounded.
    pub fn size(&self, thresholds: &Thresholds) -> Size {
        let unit = 10_i64.pow(self.decimals());
        if thresholds.critical.saturating_mul(unit) <= self.amount {
            Size::Critical
        } else if thresholds.high.saturating_mul(unit) <= self.amount {
            Size::High
        } else {
            Size::Usual
        }
    }

    /// How many of the amount's digits stand behind the decimal point.
    ///
    /// ISK and UGX have no smaller unit either, but Stripe keeps writing them with two decimals.
    fn decimals(&self) -> u32 {
        match self.currency.to_ascii_lowercase().as_str() {
            "bif" | "clp" | "djf" | "gnf" | "jpy" | "kmf" | "krw" | "mga" | "pyg" | "rwf"
            | "vnd" | "vuv" | "xaf" | "xof" | "xpf" => 0,
            "bhd" | "jod" | "kwd" | "omr" | "tnd" => 3,
            _ => 2,
        }
    }
}

impl fmt::Display for Money<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let unit = 10_u64.pow(self.decimals());
        let (sign, amount) = (
            if self.amount < 0 { "-" } else { "" },
            self.amount.unsigned_abs(),
        );
        write!(f, "{sign}{}", amount / unit)?;
        match self.decimals() {
            0 => (),
            decimals => write!(f, ".{:0width$}", amount % unit, width = decimals as usize)?,
        }
        write!(f, " {}", self.currency.to_ascii_uppercase())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(amount: i64, currency: &str, text: &str, size: Size) {
        let money = Money { amount, currency };
        assert_eq!(money.to_string(), text);
        assert_eq!(
            money.size(&Thresholds {
                high: 500,
                critical: 5_000
            }),
            size
        );
    }

    #[test]
    fn most_currencies_have_two_decimals() {
        check(49_999, "usd", "499.99 USD", Size::Usual);
        check(50_000, "usd", "500.00 USD", Size::High);
        check(500_000, "EUR", "5000.00 EUR", Size::Critical);
    }

    #[test]
    fn some_have_none() {
        check(499, "jpy", "499 JPY", Size::Usual);
        check(5_000, "jpy", "5000 JPY", Size::Critical);
    }

    #[test]
    fn some_have_three() {
        check(499_990, "kwd", "499.990 KWD", Size::Usual);
        check(500_000, "kwd", "500.000 KWD", Size::High);
    }

    #[test]
    fn two_that_lost_their_decimals_keep_them_at_stripe() {
        check(49_900, "isk", "499.00 ISK", Size::Usual);
        check(50_000, "ugx", "500.00 UGX", Size::High);
    }

    #[test]
    fn extreme_amounts_do_not_overflow() {
        check(-5, "usd", "-0.05 USD", Size::Usual);
        check(i64::MIN, "usd", "-92233720368547758.08 USD", Size::Usual);
        let thresholds = Thresholds {
            high: i64::MAX,
            critical: i64::MAX,
        };
        assert_eq!(
            Money {
                amount: 1,
                currency: "kwd"
            }
            .size(&thresholds),
            Size::Usual
        );
    }
}
