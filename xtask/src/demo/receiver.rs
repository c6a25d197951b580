//! A destination for outgoing webhooks: proves the sender as any receiver would.

use std::sync::{Arc, Mutex, PoisonError};

use anyhow::anyhow;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use serde_json::Value;
use sha2::Sha256;
use tiny_http::{Request, Response, Server};

/// A receiver on a free port of this machine.
pub struct Receiver {
    /// Where the host should send to.
    pub url: String,
    /// What the host should sign with.
    pub secret: String,
    accepted: Arc<Mutex<Vec<String>>>,
}

impl Receiver {
    pub fn start() -> anyhow::Result<Self> {
        let server = Server::http("127.0.0.1:0")
            .map_err(|error| anyhow!("cannot start the receiver: {error}"))?;
        let key: [u8; 24] = rand::random();
        let accepted = Arc::new(Mutex::new(Vec::new()));
        let receiver = Self {
            url: format!("http://{}/hook", server.server_addr()),
            secret: format!("whsec_{}", STANDARD.encode(key)),
            accepted: accepted.clone(),
        };
        // Ends with the process: it has nothing to lose.
        std::thread::spawn(move || {
            for request in server.incoming_requests() {
                take(request, &key, &accepted);
            }
        });
        Ok(receiver)
    }

    /// The webhooks that were believed so far.
    pub fn accepted(&self) -> Vec<String> {
        self.accepted
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

fn take(mut request: Request, key: &[u8], accepted: &Mutex<Vec<String>>) {
    let mut body = Vec::new();
    let read = request.as_reader().read_to_end(&mut body);
    let status = match read {
        Ok(_) if is_signed(&request, key, &body) => {
            let line = describe(&request, &body);
            accepted
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .push(line);
            200
        }
        _ => 401,
    };
    // The host notices by itself when its answer is lost.
    let _ = request.respond(Response::from_string("thank you").with_status_code(status));
}

/// Standard Webhooks 1.0.0: HMAC-SHA256 over `{id}.{timestamp}.{body}`.
fn is_signed(request: &Request, key: &[u8], body: &[u8]) -> bool {
    let (Some(id), Some(timestamp), Some(signature)) = (
        header(request, "webhook-id"),
        header(request, "webhook-timestamp"),
        header(request, "webhook-signature"),
    ) else {
        return false;
    };
    let Some(Ok(signature)) = signature.strip_prefix("v1,").map(|it| STANDARD.decode(it)) else {
        return false;
    };
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(key) else {
        return false;
    };
    mac.update(format!("{id}.{timestamp}.").as_bytes());
    mac.update(body);
    mac.verify_slice(&signature).is_ok()
}

fn describe(request: &Request, body: &[u8]) -> String {
    let body: Value = serde_json::from_slice(body).unwrap_or_default();
    let kind = body.get("type").and_then(Value::as_str).unwrap_or("?");
    format!(
        "{kind:<32} {}",
        header(request, "idempotency-key").unwrap_or("?")
    )
}

fn header<'a>(request: &'a Request, name: &'static str) -> Option<&'a str> {
    request
        .headers()
        .iter()
        .find(|it| it.field.equiv(name))
        .map(|it| it.value.as_str())
}
