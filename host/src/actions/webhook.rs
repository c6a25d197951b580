//! The webhook that an action sends. Pure.
//!
//! Called by `actions` with a claimed action: [`body`] and [`headers`] make the request,
//! [`outcome`] says what its answer means. Sending is `egress`'s, when to try again is
//! `lifecycle`'s.

#[cfg(test)]
mod tests;

use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};
use serde::Serialize;
use serde_json::value::RawValue;
use sha2::{Digest, Sha256};

use crate::egress::{EgressError, Response};
use crate::model::action::{ClaimedAction, Delivered, Receipt};
use crate::model::decision::{ActionContent, Classification};
use crate::model::id::{EventId, RunId};
use crate::model::secret::Secret;
use crate::model::source::Source;
use crate::model::time::{TimestampMs, rfc3339};
use crate::sources::{self, BadSecret, Outgoing};

/// Length of an `Idempotency-Key`; the most that widely used APIs take.
const IDEMPOTENCY_KEY_BYTES_MAX: usize = 255;

/// How much of an answer's body a receipt keeps: enough for an id or a short message.
const RECEIPT_BODY_BYTES_MAX: usize = 1024;

/// How much of an answer's body an error quotes.
const ERROR_BODY_BYTES_MAX: usize = 256;

/// How much of the answer's own id a receipt keeps.
const REQUEST_ID_BYTES_MAX: usize = 255;

/// Headers in which servers name their answer, the most usual first.
const REQUEST_ID_HEADERS: [&str; 2] = ["x-request-id", "request-id"];

/// What a header value cannot hold as it is; `%` so that the text can be decoded.
const NOT_IN_HEADER: &AsciiSet = &CONTROLS.add(b' ').add(b'%');

#[derive(Serialize)]
struct Body<'a> {
    #[serde(rename = "type")]
    event_type: &'a str,
    timestamp: String,
    data: Data<'a>,
}

#[derive(Serialize)]
struct Data<'a> {
    event: Event<'a>,
    run_id: RunId,
    policy: &'a str,
    action: &'a str,
    classification: &'a Classification,
    payload: Box<RawValue>,
}

#[derive(Serialize)]
struct Event<'a> {
    id: EventId,
    #[serde(rename = "type")]
    event_type: &'a str,
    source: &'a str,
    integration_id: &'a str,
    idempotency_key: &'a str,
    occurred_at: Option<String>,
}

/// The body: made of what was decided only, so that it is the same at every attempt.
///
/// The form is that of Standard Webhooks 1.0.0: `type`, `timestamp`, `data`.
pub fn body(action: &ClaimedAction) -> Vec<u8> {
    let event = &action.event;
    let body = Body {
        event_type: &event.event_type,
        timestamp: rfc3339(action.decided_at),
        data: Data {
            event: Event {
                id: event.id,
                event_type: &event.event_type,
                source: &event.source,
                integration_id: &event.integration_id,
                idempotency_key: &event.idempotency_key,
                occurred_at: event.occurred_at.map(rfc3339),
            },
            run_id: action.run_id,
            policy: &action.policy,
            action: &action.name,
            classification: &action.classification,
            payload: payload(&action.content),
        },
    };
    to_json(&body)
}

/// The headers of one attempt. `body` is what [`body`] made.
///
/// Signed anew each time: receivers refuse a timestamp more than 5 minutes old.
pub fn headers(
    action: &ClaimedAction,
    secret: &Secret,
    body: &[u8],
    now: TimestampMs,
) -> Result<Vec<(String, String)>, BadSecret> {
    let id = webhook_id(action);
    let outgoing = Outgoing {
        event: &action.event.event_type,
        id: &id,
        body,
        now,
    };
    let mut headers = sources::sign(&Source::Standard, secret, outgoing)?;
    headers.push(("content-type".to_owned(), "application/json".to_owned()));
    headers.push(("idempotency-key".to_owned(), idempotency_key(action, id)));
    headers.push(("traceparent".to_owned(), traceparent(action)));
    Ok(headers)
}

/// What an answer, or that there is none, means for the action.
pub fn outcome(result: Result<Response, EgressError>) -> Delivered {
    let response = match result {
        Ok(response) => response,
        Err(
            error @ (EgressError::Timeout | EgressError::Unreachable(_) | EgressError::Setup(_)),
        ) => {
            let error = error.to_string();
            return Delivered::Failed {
                error,
                status: None,
                retry_after_ms: None,
            };
        }
        Err(error @ (EgressError::RefusedAddress { .. } | EgressError::InvalidRequest(_))) => {
            return Delivered::Refused {
                error: error.to_string(),
                status: None,
            };
        }
    };
    let status = response.status;
    match status {
        200..=299 => Delivered::Done(receipt(&response)),
        408 | 425 | 429 | 500..=599 => Delivered::Failed {
            error: answered(&response),
            status: Some(status),
            retry_after_ms: response.retry_after_ms,
        },
        // 410 among them: Standard Webhooks asks senders to stop. Redirects are not followed.
        _ => Delivered::Refused {
            error: answered(&response),
            status: Some(status),
        },
    }
}

/// What the plugin asked to send, as JSON, byte for byte where it is JSON.
fn payload(content: &ActionContent) -> Box<RawValue> {
    let text = match content {
        ActionContent::Webhook { payload: json } | ActionContent::Other { content: json, .. } => {
            match serde_json::from_str::<&RawValue>(json) {
                Ok(json) => return json.to_owned(),
                Err(_) => to_json(json),
            }
        }
        ActionContent::Ticket(_) | ActionContent::Message { .. } => to_json(content),
    };
    RawValue::from_string(String::from_utf8_lossy(&text).into_owned())
        .unwrap_or_else(|_| RawValue::NULL.to_owned())
}

/// Strings, numbers and text as keys: serialising them cannot fail.
fn to_json(value: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(value).unwrap_or_default()
}

/// The message's id for its receiver: stable, without dots, and of one length.
///
/// The NUL keeps apart what would read the same when put together; ids hold none.
fn webhook_id(action: &ClaimedAction) -> String {
    let digest = Sha256::new()
        .chain_update(&action.event.integration_id)
        .chain_update([0])
        .chain_update(&action.idempotency_key)
        .finalize();
    let mut id = format!("msg_{}", hex::encode(digest));
    id.truncate("msg_".len() + 32);
    id
}

/// The action's key where a header can hold it, else percent-encoded, else the webhook's id.
fn idempotency_key(action: &ClaimedAction, webhook_id: String) -> String {
    let key = &action.idempotency_key;
    let encoded = if key.bytes().all(|it| it.is_ascii_graphic()) {
        key.clone()
    } else {
        utf8_percent_encode(key, NOT_IN_HEADER).to_string()
    };
    if encoded.len() <= IDEMPOTENCY_KEY_BYTES_MAX {
        encoded
    } else {
        webhook_id
    }
}

/// W3C Trace Context, level 1, 3.2: version, trace, span, sampled.
///
/// The event is the trace, each attempt of an action a span of its own.
fn traceparent(action: &ClaimedAction) -> String {
    let trace_id = hex::encode(action.event.id.to_bytes());
    let digest = Sha256::new()
        .chain_update(action.id.to_bytes())
        .chain_update(action.attempt.to_be_bytes())
        .finalize();
    let mut span_id = hex::encode(digest);
    span_id.truncate(16);
    format!("00-{trace_id}-{span_id}-01")
}

fn receipt(response: &Response) -> Receipt {
    let request_id = REQUEST_ID_HEADERS
        .iter()
        .find_map(|it| response.headers.get(it));
    Receipt::Http {
        status: response.status,
        body: text(&response.body, RECEIPT_BODY_BYTES_MAX),
        request_id: request_id.map(|it| text(it.as_bytes(), REQUEST_ID_BYTES_MAX)),
    }
}

fn answered(response: &Response) -> String {
    let quote = text(&response.body, ERROR_BODY_BYTES_MAX);
    let redirect = if (300..=399).contains(&response.status) {
        ", which is not followed"
    } else {
        ""
    };
    let colon = if quote.is_empty() { "" } else { ": " };
    format!(
        "the destination answered {}{redirect}{colon}{quote}",
        response.status
    )
}

/// The beginning of what the other side sent, as one line for people.
fn text(bytes: &[u8], bytes_max: usize) -> String {
    let beginning = bytes.get(..bytes_max).unwrap_or(bytes);
    let mut text = String::new();
    for char in String::from_utf8_lossy(beginning).chars() {
        let char = if char.is_whitespace() { ' ' } else { char };
        // A replacement character is longer than the byte that it stands for.
        if bytes_max < text.len() + char.len_utf8() {
            break;
        }
        if !char.is_control() {
            text.push(char);
        }
    }
    let is_cut = beginning.len() < bytes.len();
    let end = if is_cut {
        text.trim_end_matches(char::REPLACEMENT_CHARACTER)
    } else {
        &text
    };
    end.trim().to_owned()
}
