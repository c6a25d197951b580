//! Disputes: a customer asks their bank to take the money back, and evidence is due by a date.

use serde::Deserialize;
use triage_plugin::{Priority, TimestampMs};

use crate::case::{Case, Finding, Urgency};
use crate::money::Money;
use crate::settings::Settings;

const HOUR_MS: u64 = 3_600_000;

#[derive(Deserialize)]
pub struct Dispute {
    id: String,
    amount: i64,
    currency: String,
    charge: String,
    payment_intent: Option<String>,
    reason: String,
    status: String,
    evidence_details: EvidenceDetails,
}

#[derive(Deserialize)]
struct EvidenceDetails {
    /// In seconds; `None` where no evidence can be given any more.
    due_by: Option<u64>,
    has_evidence: bool,
}

/// The customer's bank asks a question, or takes the money back.
pub fn created(dispute: Dispute, settings: &Settings, now: TimestampMs) -> Finding {
    let mut urgency = if dispute.status.starts_with("warning") {
        Urgency::new(Priority::Normal, "the bank asks, and has taken nothing yet")
    } else {
        Urgency::new(Priority::High, "evidence is needed")
    };
    urgency.raise_by_size(&dispute.money(), settings);
    let soon = now.saturating_add(settings.dispute_due_hours.saturating_mul(HOUR_MS));
    if let Some(due_by) = dispute.evidence_details.due_by
        && due_by.saturating_mul(1_000) <= soon
        && !dispute.evidence_details.has_evidence
    {
        urgency.priority = Priority::Critical;
        urgency.reasons.push(format!("due by {}", date(due_by)));
    }
    let title = format!(
        "A payment of {} is disputed as `{}`",
        dispute.money(),
        dispute.reason
    );
    dispute.case(urgency, title)
}

/// The bank has decided.
pub fn closed(dispute: Dispute, settings: &Settings) -> Finding {
    if dispute.status != "lost" {
        return Finding::noise("dispute", format!("closed as `{}`", dispute.status));
    }
    let mut urgency = Urgency::new(Priority::Normal, "the dispute is lost");
    urgency.raise_by_size(&dispute.money(), settings);
    let title = format!("The dispute over {} is lost", dispute.money());
    dispute.case(urgency, title)
}

/// The money is gone for now.
pub fn funds_withdrawn(dispute: Dispute, settings: &Settings) -> Finding {
    let mut urgency = Urgency::new(Priority::Low, "the dispute itself is told of separately");
    urgency.raise_by_size(&dispute.money(), settings);
    let title = format!("The bank took {} back", dispute.money());
    dispute.case(urgency, title)
}

impl Dispute {
    fn money(&self) -> Money<'_> {
        Money {
            amount: self.amount,
            currency: &self.currency,
        }
    }

    fn case(self, urgency: Urgency, title: String) -> Finding {
        let due_by = self.evidence_details.due_by;
        Finding::Case(Case {
            category: "dispute",
            labels: match self.reason.as_str() {
                "fraudulent" => vec!["stripe", "fraud"],
                _ => vec!["stripe"],
            },
            urgency,
            title,
            facts: vec![
                ("Reason", self.reason),
                ("Status", self.status),
                ("Evidence due by", due_by.map(date).unwrap_or_default()),
                ("Payment", self.payment_intent.unwrap_or(self.charge)),
            ],
            place: format!("disputes/{}", self.id),
            group_key: self.id,
        })
    }
}

/// A time in seconds as `2026-01-31 23:59 UTC`.
///
/// Counts in the calendar of the year 0 that starts in March, so that the leap day is a year's last.
fn date(seconds: u64) -> String {
    let days = seconds / 86_400 + 719_468;
    let day_of_era = days % 146_097;
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = (month_from_march + 2) % 12 + 1;
    let year = days / 146_097 * 400 + year_of_era + u64::from(month <= 2);
    let (hour, minute) = (seconds / 3_600 % 24, seconds / 60 % 60);
    format!("{year}-{month:02}-{day:02} {hour:02}:{minute:02} UTC")
}

#[cfg(test)]
mod tests {
    use super::date;

    #[test]
    fn dates_are_right_around_leap_days_and_years() {
        assert_eq!(date(0), "1970-01-01 00:00 UTC");
        assert_eq!(date(951_782_340), "2000-02-28 23:59 UTC");
        assert_eq!(date(951_782_400), "2000-02-29 00:00 UTC");
        assert_eq!(date(1_709_164_800), "2024-02-29 00:00 UTC");
        assert_eq!(date(1_767_225_599), "2025-12-31 23:59 UTC");
        assert_eq!(date(4_107_542_400), "2100-03-01 00:00 UTC");
    }
}
