//! Which of Stripe's events matter, and how much. Disputes have a file of their own.

use serde::Deserialize;
use triage_plugin::{Event, Failure, Priority, TimestampMs};

use crate::case::{Case, Finding, Urgency};
use crate::dispute;
use crate::money::Money;
use crate::settings::{Settings, TestMode};

#[derive(Deserialize)]
struct Envelope {
    livemode: bool,
    /// The connected account that it happened in.
    account: Option<String>,
}

#[derive(Deserialize)]
struct Invoice {
    id: String,
    number: Option<String>,
    amount_due: i64,
    currency: String,
    attempt_count: u64,
    next_payment_attempt: Option<u64>,
    customer: Option<String>,
    customer_email: Option<String>,
}

#[derive(Deserialize)]
struct Charge {
    id: String,
    amount: i64,
    currency: String,
    customer: Option<String>,
    payment_intent: Option<String>,
    failure_code: Option<String>,
    failure_message: Option<String>,
    outcome: Option<ChargeOutcome>,
}

#[derive(Deserialize)]
struct ChargeOutcome {
    #[serde(rename = "type")]
    kind: String,
    seller_message: Option<String>,
}

#[derive(Deserialize)]
struct PaymentIntent {
    id: String,
    amount: i64,
    currency: String,
    customer: Option<String>,
    last_payment_error: Option<PaymentError>,
}

#[derive(Deserialize)]
struct PaymentError {
    code: Option<String>,
    decline_code: Option<String>,
    message: Option<String>,
}

#[derive(Deserialize)]
struct Payout {
    id: String,
    amount: i64,
    currency: String,
    failure_code: Option<String>,
    failure_message: Option<String>,
}

#[derive(Deserialize)]
struct FraudWarning {
    id: String,
    actionable: bool,
    charge: String,
    payment_intent: Option<String>,
    fraud_type: String,
}

#[derive(Deserialize)]
struct Subscription {
    id: String,
    customer: String,
    cancellation_details: Option<CancellationDetails>,
}

#[derive(Deserialize)]
struct CancellationDetails {
    reason: Option<String>,
    feedback: Option<String>,
    comment: Option<String>,
}

/// What a Stripe event means.
pub fn find(
    name: &str,
    event: &Event,
    settings: &Settings,
    now: TimestampMs,
) -> Result<Finding, Failure> {
    const OBJECT: &str = "/data/object";
    let finding = match name {
        "invoice.payment_failed" => invoice(event.json_at(OBJECT)?, settings),
        "charge.failed" => charge(event.json_at(OBJECT)?, settings),
        "payment_intent.payment_failed" => payment_intent(event.json_at(OBJECT)?, settings),
        "charge.dispute.created" => dispute::created(event.json_at(OBJECT)?, settings, now),
        "charge.dispute.closed" => dispute::closed(event.json_at(OBJECT)?, settings),
        "charge.dispute.funds_withdrawn" => {
            dispute::funds_withdrawn(event.json_at(OBJECT)?, settings)
        }
        "payout.failed" => payout(event.json_at(OBJECT)?, settings),
        "radar.early_fraud_warning.created" => fraud_warning(event.json_at(OBJECT)?),
        "customer.subscription.deleted" => subscription(event.json_at(OBJECT)?),
        _ => Finding::unhandled(&event.event_type),
    };
    Ok(match finding {
        Finding::Case(case) => with_envelope(case, event.json()?, settings),
        noise => noise,
    })
}

/// Adds what the envelope says to what was found in the object.
fn with_envelope(mut case: Case, envelope: Envelope, settings: &Settings) -> Finding {
    if !envelope.livemode {
        if settings.test_mode == TestMode::Ignore {
            return Finding::noise(case.category, "test mode");
        }
        case.labels.push("test-mode");
        case.urgency = Urgency::new(case.urgency.priority.min(Priority::Low), "test mode");
        case.place = format!("test/{}", case.place);
    }
    if let Some(account) = envelope.account {
        case.labels.push("connect");
        case.place = format!("{account}/{}", case.place);
        case.facts.push(("Connected account", account));
    }
    Finding::Case(case)
}

fn invoice(invoice: Invoice, settings: &Settings) -> Finding {
    let money = Money {
        amount: invoice.amount_due,
        currency: &invoice.currency,
    };
    let attempt = format!("attempt {} failed", invoice.attempt_count);
    let mut urgency = match (invoice.next_payment_attempt, invoice.attempt_count) {
        (None, _) => Urgency::new(Priority::High, &format!("{attempt}, no other will follow")),
        (_, count) if settings.attempts_high <= count => Urgency::new(Priority::High, &attempt),
        (_, 0 | 1) => Urgency::new(Priority::Low, &format!("{attempt}, Stripe tries again")),
        _ => Urgency::new(Priority::Normal, &attempt),
    };
    urgency.raise_by_size(&money, settings);
    Finding::Case(Case {
        category: "payment-failed",
        labels: vec!["stripe"],
        urgency,
        title: format!(
            "Invoice {} over {money} was not paid",
            invoice.number.as_ref().unwrap_or(&invoice.id)
        ),
        facts: vec![
            ("Customer", invoice.customer.unwrap_or_default()),
            ("Email", invoice.customer_email.unwrap_or_default()),
            ("Attempts", invoice.attempt_count.to_string()),
        ],
        place: format!("invoices/{}", invoice.id),
        group_key: invoice.id,
    })
}

fn charge(charge: Charge, settings: &Settings) -> Finding {
    let money = Money {
        amount: charge.amount,
        currency: &charge.currency,
    };
    let mut labels = vec!["stripe"];
    let outcome = charge.outcome.as_ref();
    let mut urgency = if outcome.is_some_and(|it| it.kind == "blocked") {
        labels.push("fraud");
        Urgency::new(Priority::Low, "Stripe blocked it as risky")
    } else {
        let mut urgency = Urgency::new(Priority::Low, "customers often try again by themselves");
        urgency.raise_by_size(&money, settings);
        urgency
    };
    if let Some(code) = &charge.failure_code {
        urgency.reasons.push(format!("failed with `{code}`"));
    }
    Finding::Case(Case {
        category: "payment-failed",
        labels,
        urgency,
        title: format!("A charge of {money} failed"),
        facts: vec![
            ("Customer", charge.customer.unwrap_or_default()),
            ("Failure", charge.failure_message.unwrap_or_default()),
            (
                "Outcome",
                charge
                    .outcome
                    .and_then(|it| it.seller_message)
                    .unwrap_or_default(),
            ),
        ],
        place: format!("payments/{}", charge.id),
        // A failed charge and its failed payment intent are told of by two events.
        group_key: charge.payment_intent.unwrap_or(charge.id),
    })
}

fn payment_intent(intent: PaymentIntent, settings: &Settings) -> Finding {
    let money = Money {
        amount: intent.amount,
        currency: &intent.currency,
    };
    let mut urgency = Urgency::new(Priority::Low, "customers often try again by themselves");
    urgency.raise_by_size(&money, settings);
    let (code, message) = match intent.last_payment_error {
        Some(error) => (error.decline_code.or(error.code), error.message),
        None => (None, None),
    };
    if let Some(code) = &code {
        urgency.reasons.push(format!("failed with `{code}`"));
    }
    Finding::Case(Case {
        category: "payment-failed",
        labels: vec!["stripe"],
        urgency,
        title: format!("A payment of {money} failed"),
        facts: vec![
            ("Customer", intent.customer.unwrap_or_default()),
            ("Failure", message.unwrap_or_default()),
        ],
        place: format!("payments/{}", intent.id),
        group_key: intent.id,
    })
}

fn payout(payout: Payout, settings: &Settings) -> Finding {
    let money = Money {
        amount: payout.amount,
        currency: &payout.currency,
    };
    let mut urgency = Urgency::new(Priority::High, "the bank did not take our money");
    urgency.raise_by_size(&money, settings);
    Finding::Case(Case {
        category: "payout-failed",
        labels: vec!["stripe"],
        urgency,
        title: format!("A payout of {money} failed"),
        facts: vec![
            ("Code", payout.failure_code.unwrap_or_default()),
            ("Failure", payout.failure_message.unwrap_or_default()),
        ],
        place: format!("payouts/{}", payout.id),
        group_key: payout.id,
    })
}

fn fraud_warning(warning: FraudWarning) -> Finding {
    if !warning.actionable {
        return Finding::noise("fraud-warning", "already refunded or disputed");
    }
    let payment = warning.payment_intent.unwrap_or(warning.charge);
    Finding::Case(Case {
        category: "fraud-warning",
        labels: vec!["stripe", "fraud"],
        urgency: Urgency::new(Priority::High, "a refund now avoids a dispute"),
        title: format!("The card's bank warns of fraud in {payment}"),
        facts: vec![("Warning", warning.id), ("Kind", warning.fraud_type)],
        place: format!("payments/{payment}"),
        group_key: payment,
    })
}

fn subscription(subscription: Subscription) -> Finding {
    let (reason, feedback, comment) = match subscription.cancellation_details {
        Some(it) => (it.reason, it.feedback, it.comment),
        None => (None, None, None),
    };
    let urgency = match reason.as_deref() {
        Some("payment_disputed") => Urgency::new(Priority::High, "ended by a dispute"),
        Some("payment_failed") => Urgency::new(Priority::Normal, "ended because nothing was paid"),
        Some("cancellation_requested") => Urgency::new(Priority::Low, "the customer asked for it"),
        _ => Urgency::new(Priority::Low, "no reason is given"),
    };
    Finding::Case(Case {
        category: "subscription-ended",
        labels: vec!["stripe"],
        urgency,
        title: format!("The subscription of {} ended", subscription.customer),
        facts: vec![
            ("Customer", subscription.customer),
            ("Feedback", feedback.unwrap_or_default()),
            ("Comment", comment.unwrap_or_default()),
        ],
        place: format!("subscriptions/{}", subscription.id),
        group_key: subscription.id,
    })
}
