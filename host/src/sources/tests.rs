//! What is believed, what is refused, and what it is called.

mod custom;
mod forgery;
mod hostile;
mod identify;
mod samples;
mod shapes;
mod shipped;
mod vectors;

use std::borrow::Borrow;

use super::*;

/// A secret that every source accepts.
const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
const OTHER_SECRET: &str = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD";
const NOW: TimestampMs = 1_731_705_121_000;

type Pairs<'a> = &'a [(&'a str, &'a str)];

fn headers(pairs: Pairs<'_>) -> Headers {
    Headers(
        pairs
            .iter()
            .map(|(name, value)| (name.to_string(), value.to_string()))
            .collect(),
    )
}

fn secrets(texts: &[&str]) -> Vec<Secret> {
    texts.iter().map(|it| Secret::new(*it)).collect()
}

/// The index of the secret that matches, or why none does.
fn outcome(
    source: impl Borrow<Source>,
    secret_texts: &[&str],
    headers: &Headers,
    body: &[u8],
    received_at: TimestampMs,
) -> Result<usize, Rejection> {
    let delivery = Delivery {
        headers,
        body,
        received_at,
    };
    verify(source.borrow(), &secrets(secret_texts), delivery).map(|it| it.secret_index())
}

/// The headers of a delivery that [`SECRET`] signed at [`NOW`].
fn signed(source: impl Borrow<Source>, event: &str, id: &str, body: &[u8]) -> Headers {
    let outgoing = Outgoing {
        event,
        id,
        body,
        now: NOW,
    };
    Headers(sign(source.borrow(), &Secret::new(SECRET), outgoing).unwrap())
}

/// What a delivery with these headers is, the signature taken as checked.
fn identity(source: impl Borrow<Source>, pairs: Pairs<'_>, body: &[u8]) -> Identity {
    let headers = headers(pairs);
    let delivery = Delivery {
        headers: &headers,
        body,
        received_at: NOW,
    };
    let verified = Verified {
        source: source.borrow(),
        delivery,
        secret_index: 0,
    };
    identify(&verified, body).unwrap()
}

fn event(source: impl Borrow<Source>, pairs: Pairs<'_>, body: &[u8]) -> EventIdentity {
    match identity(source, pairs, body) {
        Identity::Event(event) => event,
        Identity::Challenge(_) => panic!("a challenge, not an event"),
    }
}

/// Checks that a delivery is kept, but not as what the provider documents.
#[track_caller]
fn check_unparsable(source: impl Borrow<Source>, pairs: Pairs<'_>, body: &[u8]) {
    let source = source.borrow();
    let event = event(source, pairs, body);
    assert_eq!(event.event_type, format!("{source}.unparsable"));
    assert_eq!(event.idempotency_key, mac::sha256_hex(&[body]));
    assert_eq!(event.occurred_at, None);
}
