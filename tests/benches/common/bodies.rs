//! Signed requests, each with an id and a body of its own, made cheaply.
//!
//! A request is a template with three places to fill in: the sender's id, a number
//! near the end of the body, and the signature. Because the number stands at the end,
//! the hash of everything before it is computed once, so a new signed request costs
//! less than a microsecond and none is kept in memory. There are some templates, which
//! differ in what senders differ in: else a store could keep all bodies as one.

use anyhow::{Context, Result, ensure};
use hmac::{Hmac, KeyInit, Mac};
use serde_json::{Value, json};
use sha2::Sha256;
use triage_host::sources::samples;

use super::load::Sender;

/// The secret that all requests are signed with.
pub const SECRET: &str = "a-secret-of-the-benches-only";

/// Digits of the number that makes a body its own.
const DIGITS: usize = 16;
/// Characters of a UUID.
const ID_CHARS: usize = 36;
/// Characters of HMAC-SHA256 in hexadecimal.
const SIGNATURE_CHARS: usize = 64;
/// How many bodies there are, but for the number.
const TEMPLATES: u64 = 64;
/// A time that a sample's payload carries: 2026-01-01T00:00:00Z.
const SAMPLE_TIME_MS: i64 = 1_767_225_600_000;

/// GitHub `issues.opened` bodies of about `bytes` bytes, each with a text of its own.
pub fn github_issues(bytes: usize) -> Result<Vec<Value>> {
    let sample = sample("github", "issues.opened")?;
    let missing = bytes.saturating_sub(length(&sample));
    let body = |template| {
        let mut body = sample.clone();
        let text = body["issue"]["body"].as_str().unwrap_or_default();
        let text = format!("{text}{}", prose(missing, template));
        body["issue"]["body"] = Value::from(text);
        body
    };
    Ok((1..=TEMPLATES).map(body).collect())
}

/// Sentry `issue.created` bodies of about `bytes` bytes, each filled up with frames of a stack of its own.
pub fn sentry_issues(bytes: usize) -> Result<Vec<Value>> {
    let sample = sample("sentry", "issue.created")?;
    let body = |template| {
        let mut body = sample.clone();
        let mut frames = Vec::new();
        while length(&body) + length(&Value::from(frames.clone())) < bytes.saturating_sub(100) {
            let number = frames.len();
            let names = prose(20, TEMPLATES * frames.len() as u64 + template).replace(' ', "_");
            frames.push(json!({
                "filename": format!("checkout/{}.py", &names[..8]),
                "function": format!("run_{}", &names[8..]),
                "lineno": 17 + 31 * (number + template as usize),
                "in_app": number % 3 == 0,
                "context_line": format!("    result = self.{names}[{number}].run(basket, deadline)"),
            }));
        }
        body["data"]["issue"]["stacktrace"] = json!({ "frames": frames });
        body
    };
    Ok((1..=TEMPLATES).map(body).collect())
}

fn sample(source: &str, event: &str) -> Result<Value> {
    let sample = samples::find(source, event).with_context(|| format!("no sample {event}"))?;
    Ok(serde_json::from_str(&samples::fill(
        sample.template,
        "sample",
        SAMPLE_TIME_MS,
    ))?)
}

fn length(value: &Value) -> usize {
    value.to_string().len()
}

/// Words that compress about as well as what people write, others for each seed.
fn prose(bytes: usize, seed: u64) -> String {
    const WORDS: [&str; 16] = [
        "the", "checkout", "fails", "after", "a", "timeout", "while", "retrying", "payment",
        "seen", "since", "deploy", "four", "users", "report", "this",
    ];
    let mut text = String::new();
    let mut state = seed;
    while text.len() < bytes {
        state = mixed(state);
        text.push_str(WORDS[(state >> 60) as usize]);
        text.push_str(
            if state & 7 == 0 {
                format!(" {}. ", state >> 52)
            } else {
                " ".to_owned()
            }
            .as_str(),
        );
    }
    text.truncate(bytes);
    text
}

/// Makes signed requests without end.
#[derive(Clone)]
pub struct Requests {
    templates: Vec<Template>,
    body_at: usize,
    id_at: usize,
    signature_at: usize,
    next: u64,
}

#[derive(Clone)]
struct Template {
    text: Vec<u8>,
    number_at: usize,
    /// Of what stands before the number.
    body_hash: Hmac<Sha256>,
}

/// What stands behind the number.
const END: &str = "\"}";

impl Requests {
    /// Requests as GitHub sends them.
    pub fn github(path: &str, bodies: &[Value]) -> Result<Self> {
        let head = [
            ("accept", "*/*"),
            ("content-type", "application/json"),
            ("user-agent", "GitHub-Hookshot/b0a5c4e"),
            ("x-github-delivery", "{id}"),
            ("x-github-event", "issues"),
            ("x-github-hook-id", "512340987"),
            ("x-github-hook-installation-target-id", "581203344"),
            ("x-github-hook-installation-target-type", "repository"),
            ("x-hub-signature-256", "sha256={signature}"),
        ];
        Self::new(path, &head, bodies)
    }

    /// Requests as Sentry sends them.
    pub fn sentry(path: &str, bodies: &[Value]) -> Result<Self> {
        let head = [
            ("accept", "*/*"),
            ("content-type", "application/json"),
            ("request-id", "{id}"),
            ("sentry-hook-resource", "issue"),
            ("sentry-hook-signature", "{signature}"),
            ("sentry-hook-timestamp", "1767225600"),
            ("user-agent", "sentry-apps/1.0"),
        ];
        Self::new(path, &head, bodies)
    }

    fn new(path: &str, headers: &[(&str, &str)], bodies: &[Value]) -> Result<Self> {
        let mut templates = Vec::new();
        let mut heads = Vec::new();
        for body in bodies {
            let body = body.to_string();
            let members = body.strip_suffix('}').context("the body is no object")?;
            let start = format!("{members},\"number\":\"");
            let length = start.len() + DIGITS + END.len();
            let head = head(path, length, headers);
            let mut body_hash = Hmac::<Sha256>::new_from_slice(SECRET.as_bytes())?;
            body_hash.update(start.as_bytes());
            templates.push(Template {
                number_at: head.len() + start.len(),
                text: format!("{head}{start}{}{END}", "0".repeat(DIGITS)).into_bytes(),
                body_hash,
            });
            heads.push(head);
        }
        let head = heads.first().context("no body")?;
        ensure!(
            heads.iter().all(|it| it.len() == head.len()),
            "heads of several lengths"
        );
        let place = |filler: &str| head.find(filler).context("a header is missing");
        Ok(Self {
            body_at: head.len(),
            id_at: place(&"i".repeat(ID_CHARS))?,
            signature_at: place(&"s".repeat(SIGNATURE_CHARS))?,
            templates,
            next: 0,
        })
    }

    /// Goes on with the request of this number.
    pub fn seek(&mut self, number: u64) {
        self.next = number;
    }

    /// Where the body begins in each request.
    pub fn body_at(&self) -> usize {
        self.body_at
    }
}

impl Sender for Requests {
    fn next(&mut self, out: &mut Vec<u8>) -> u64 {
        let number = self.next;
        self.next += 1;
        let template = &self.templates[(mixed(number) % self.templates.len() as u64) as usize];
        out.clear();
        out.extend_from_slice(&template.text);
        let digits = digits(number);
        let mut hash = template.body_hash.clone();
        hash.update(&digits);
        hash.update(END.as_bytes());
        let mut signature = [0; SIGNATURE_CHARS];
        // Only fails where the lengths do not match.
        let _ = hex::encode_to_slice(hash.finalize().into_bytes(), &mut signature);
        for (at, text) in [
            (self.id_at, id(number).as_slice()),
            (self.signature_at, &signature),
            (template.number_at, &digits),
        ] {
            out[at..at + text.len()].copy_from_slice(text);
        }
        number
    }
}

/// A request's head, with fillers for the id and the signature.
fn head(path: &str, body_bytes: usize, headers: &[(&str, &str)]) -> String {
    let mut head =
        format!("POST {path} HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-length: {body_bytes}\r\n");
    for (name, value) in headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    head.push_str("\r\n");
    head.replace("{id}", &"i".repeat(ID_CHARS))
        .replace("{signature}", &"s".repeat(SIGNATURE_CHARS))
}

/// The id that the request of this number carries, as text.
pub fn id_text(number: u64) -> String {
    String::from_utf8_lossy(&id(number)).into_owned()
}

fn digits(mut number: u64) -> [u8; DIGITS] {
    let mut digits = [b'0'; DIGITS];
    for digit in digits.iter_mut().rev() {
        *digit = b'0' + (number % 10) as u8;
        number /= 10;
    }
    digits
}

/// A UUID's text in no order, as senders' ids are.
fn id(number: u64) -> [u8; ID_CHARS] {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    // Mixing loses nothing, so no two numbers have the same first half.
    let halves = [mixed(number), mixed(!number)];
    let mut id = [b'-'; ID_CHARS];
    let places = (0..ID_CHARS).filter(|it| !matches!(it, 8 | 13 | 18 | 23));
    for (nibble, place) in places.enumerate() {
        let half = halves[nibble / 16];
        id[place] = HEX[(half >> (60 - 4 * (nibble % 16)) & 15) as usize];
    }
    id
}

/// One step of SplitMix64: a permutation of the numbers.
pub fn mixed(number: u64) -> u64 {
    let mut mixed = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}
