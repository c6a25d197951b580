//! What must hold for every input. Run over the corpus and mutations of it by `tests/it/fuzz_corpus.rs`
//! on a stable compiler, and by `cargo fuzz` with all that it finds.

use std::collections::BTreeMap;
use std::fs;
use std::sync::LazyLock;

use tempfile::TempDir;
use triage_host::config::{Config, ConfigError, ready_sources};
use triage_host::model::custom_source::{CustomSource, Place};
use triage_host::model::event::Headers;
use triage_host::model::secret::Secret;
use triage_host::model::source::Source;
use triage_host::model::time::rfc3339;
use triage_host::sources::{self, Delivery, EventIdentity, Identity, Outgoing, Rejection};

/// Secrets that no input was signed with: every source takes one of them, whose bytes are written as
/// text, in base64 or in hexadecimal.
const SECRETS: [&str; 3] = [
    "whsec_bm9ib2R5IHNpZ25lZCBhbnl0aGluZyB3aXRoIHRoaXM=",
    "bm9ib2R5IHNpZ25lZCBhbnl0aGluZyB3aXRoIHRoaXM=",
    "6e6f626f6479207369676e656420616e797468696e6720776974682074686973",
];
/// What environment and files hold where a configuration names a secret: long enough for no
/// mutation to make it.
const HIDDEN: &str = "whsec_dGhpcyBtdXN0IG5ldmVyIGJlIHNob3duIHRvIGFueWJvZHk=";
/// The time at which everything is received, in milliseconds.
const NOW: i64 = 1_731_705_121_000;
/// The longest event name that may be kept, without its source, in bytes.
const NAME_BYTES_MAX: usize = 128;
/// The longest idempotency key or ordering key that may be kept, in bytes.
const KEY_BYTES_MAX: usize = 256;
/// Headers that a built-in source's signature is made of; a mutation of them is the matter of
/// [`signature_headers`].
const PROOFS: [&str; 11] = [
    "webhook-id",
    "webhook-timestamp",
    "webhook-signature",
    "svix-id",
    "svix-timestamp",
    "svix-signature",
    "sentry-hook-signature",
    "stripe-signature",
    "x-hub-signature-256",
    "x-slack-signature",
    "x-slack-request-timestamp",
];
/// What stands between the declaration of a source and a delivery.
const DECLARED: &[u8] = b"\n---\n";

/// Every source that is usable without a declaration, by name.
static READY: LazyLock<BTreeMap<String, Source>> = LazyLock::new(ready_sources);

/// One delivery as text: the source, a line for each header, an empty line, the body.
struct Input<'a> {
    source: Source,
    headers: Headers,
    body: &'a [u8],
}

fn read(input: &[u8]) -> Input<'_> {
    let (head, body) = cut(input, b"\n\n");
    let head = String::from_utf8_lossy(head);
    let mut lines = head.lines();
    let name = lines.next().unwrap_or_default();
    // Any other first line names one as well, so that no input is lost.
    let other = || READY.values().nth(name.len() % READY.len());
    let source = READY.get(name).or_else(other).expect("there are sources");
    let headers = lines.filter_map(|line| {
        let (name, value) = line.split_once(':')?;
        Some((name.trim().to_ascii_lowercase(), value.trim().to_owned()))
    });
    Input {
        source: source.clone(),
        headers: Headers(headers.collect()),
        body,
    }
}

/// What stands before and behind the first of these borders.
fn cut<'a>(input: &'a [u8], border: &[u8]) -> (&'a [u8], &'a [u8]) {
    match input.windows(border.len()).position(|it| it == border) {
        Some(end) => (&input[..end], &input[end + border.len()..]),
        None => (input, &[]),
    }
}

/// The declaration of a source, where it is a declared one.
fn declaration(source: &Source) -> Option<&CustomSource> {
    match source {
        Source::Custom(custom) => Some(custom),
        _ => None,
    }
}

fn secret(source: &Source) -> Secret {
    let mut secrets = SECRETS.into_iter().map(Secret::new);
    secrets
        .find(|it| sources::check_secret(source, it).is_ok())
        .unwrap_or_else(|| panic!("no secret fits {source:?}"))
}

/// Signs a body, with an id where the source has one outside of the body; `None` where a
/// declared source has no signed text for this body that can be read in one way only.
fn sign(source: &Source, id: &str, body: &[u8]) -> Option<Headers> {
    let outgoing = Outgoing {
        event: "fuzz.event",
        id,
        body,
        now: NOW,
    };
    match sources::sign(source, &secret(source), outgoing) {
        Ok(headers) => Some(Headers(headers)),
        Err(error) => {
            assert!(declaration(source).is_some(), "{error}");
            None
        }
    }
}

fn verify(source: &Source, headers: &Headers, body: &[u8]) -> Result<(), Rejection> {
    let delivery = Delivery {
        headers,
        body,
        received_at: NOW,
    };
    sources::verify(source, &[secret(source)], delivery).map(drop)
}

/// Whatever stands in the headers: nobody is believed who does not know the secret, and whoever
/// does is believed for these bytes only.
pub fn signature_headers(input: &[u8]) {
    proof(&read(input));
}

fn proof(input: &Input<'_>) {
    refused(input);
    let Input { source, body, .. } = input;
    let Some(mut headers) = sign(source, "id-1", body) else {
        return;
    };
    let verified = verify(source, &headers, body);
    assert!(verified.is_ok(), "{verified:?} of {headers:?}");
    let custom = declaration(source);
    if custom.is_none_or(|it| it.hmac().is_some()) {
        let tampered = [body, &b" "[..]].concat();
        assert!(verify(source, &headers, &tampered).is_err());
    }
    if let Some(custom) = custom {
        signed_headers(source, custom, &headers, body);
    }
    sources::redact(source, &mut headers);
    let secret = secret(source);
    let shows = |it: &str| it.contains(secret.expose());
    assert!(!headers.0.iter().any(|(_, it)| shows(it)), "{headers:?}");
}

/// No header that a declaration says is signed can be exchanged, nor its border with the body be moved.
fn signed_headers(source: &Source, custom: &CustomSource, headers: &Headers, body: &[u8]) {
    for (index, (name, value)) in headers.0.iter().enumerate() {
        if !custom.signs(&Place::Header(name.clone())) {
            continue;
        }
        for (value, body) in moved(value, body) {
            let mut forged = headers.clone();
            forged.0[index].1 = value;
            assert!(verify(source, &forged, &body).is_err(), "{forged:?}");
        }
    }
}

/// A longer value; and value and body with one character moved from the one to the other, whichever
/// comes first.
fn moved(value: &str, body: &[u8]) -> Vec<(String, Vec<u8>)> {
    let mut all = vec![(format!("{value}1"), body.to_vec())];
    if let (Some(first), Some(last)) = (value.get(..1), value.get(value.len().max(1) - 1..)) {
        let (behind_first, before_last) = (&value[1..], &value[..value.len() - 1]);
        all.push((before_last.to_owned(), [last.as_bytes(), body].concat()));
        all.push((behind_first.to_owned(), [body, first.as_bytes()].concat()));
    }
    if let [first, rest @ ..] = body
        && first.is_ascii()
    {
        all.push((format!("{value}{}", char::from(*first)), rest.to_vec()));
    }
    if let [rest @ .., last] = body
        && last.is_ascii()
    {
        all.push((format!("{}{value}", char::from(*last)), rest.to_vec()));
    }
    all
}

/// The cause for which an input is not believed.
pub fn rejection(input: &[u8]) -> (Source, &'static str) {
    let input = read(input);
    let cause = refused(&input);
    (input.source, cause)
}

fn refused(input: &Input<'_>) -> &'static str {
    let rejection = verify(&input.source, &input.headers, input.body)
        .expect_err("nobody can sign without the secret");
    let said = rejection.to_string();
    assert!(!said.is_empty(), "{rejection:?}");
    assert!(!SECRETS.iter().any(|it| said.contains(it)), "{said}");
    rejection.cause()
}

/// Whatever was signed: it has a name and a key that are fit to keep.
pub fn payloads(input: &[u8]) {
    kept(&read(input));
}

fn kept(input: &Input<'_>) {
    let (source, identity) = (&input.source, identified(input));
    assert_eq!(identity, identified(input), "the same bytes, another event");
    match identity {
        None => (),
        Some(Err(rejection)) => {
            let is_time = ["timestamp_too_old", "timestamp_in_future"].contains(&rejection.cause());
            assert!(is_time && in_body(source), "{rejection:?} of {source:?}");
        }
        Some(Ok(Identity::Challenge(_))) => assert_eq!(*source, Source::Slack),
        Some(Ok(Identity::Event(event))) => fit_to_keep(source, &event),
    }
}

fn fit_to_keep(source: &Source, event: &EventIdentity) {
    let name = event.event_type.strip_prefix(&format!("{source}."));
    let name = name.unwrap_or_else(|| panic!("{} of {source}", event.event_type));
    assert!((1..=NAME_BYTES_MAX).contains(&name.len()), "{name}");
    let fit = |it: u8| it.is_ascii_alphanumeric() || b"_.:-".contains(&it);
    assert!(name.bytes().all(fit), "{name}");
    for key in [Some(&event.idempotency_key), event.ordering_key.as_ref()] {
        let Some(key) = key else { continue };
        assert!((1..=KEY_BYTES_MAX).contains(&key.len()), "{key}");
        assert!(!key.chars().any(char::is_control), "{key:?}");
    }
    if let Some(content) = &event.content_key {
        assert!(!content.key.is_empty());
        assert!(content.window_ms.is_none_or(|it| 0 < it));
    }
    let shown = event.occurred_at.map(rfc3339);
    assert!(shown.is_none_or(|it| !it.is_empty()));
}

/// Whether the time of sending stands in the body, where it is read after the signature.
fn in_body(source: &Source) -> bool {
    let timestamp = declaration(source).and_then(|it| it.timestamp.as_ref());
    timestamp.is_some_and(|it| matches!(it.time.place, Place::Body(_)))
}

/// What an input is once it is signed; or that its time of sending, which stands in the body, is
/// too far from now.
pub fn identity(input: &[u8]) -> (Source, Result<Identity, Rejection>) {
    let input = read(input);
    let identity = identified(&input).expect("a source that is ready signs anything");
    (input.source, identity)
}

fn identified(input: &Input<'_>) -> Option<Result<Identity, Rejection>> {
    let Input {
        source,
        headers,
        body,
    } = input;
    let id = headers
        .get("webhook-id")
        .filter(|it| !it.is_empty() && !it.contains('.'))
        .unwrap_or("id-1");
    let signed = sign(source, id, body)?;
    // The input's own come first, and the first of a name counts.
    let named = headers.0.iter().filter(|(name, _)| !is_proof(source, name));
    let headers = Headers(named.chain(&signed.0).cloned().collect());
    let delivery = Delivery {
        headers: &headers,
        body,
        received_at: NOW,
    };
    let secrets = [secret(source)];
    let verified = sources::verify(source, &secrets, delivery).expect("it is signed");
    if let Ok(Identity::Event(event)) = sources::identify_unreadable(&verified) {
        assert!(event.event_type.ends_with(".unparsable"));
        fit_to_keep(source, &event);
    }
    Some(sources::identify(&verified, body))
}

/// Whether a header is a part of what proves the sender.
fn is_proof(source: &Source, name: &str) -> bool {
    let Some(custom) = declaration(source) else {
        return PROOFS.contains(&name);
    };
    let place = Place::Header(name.to_owned());
    let is_time = custom
        .timestamp
        .as_ref()
        .is_some_and(|it| it.time.place == place);
    custom.signature.header == name || custom.signs(&place) || is_time
}

/// Whatever a source is declared as, and whatever comes from it: what holds for a configuration,
/// for headers and for payloads.
pub fn declared(input: &[u8]) {
    let (text, delivery) = cut(input, DECLARED);
    match declare(text) {
        Err(error) => complaint(text, &error),
        Ok(source) => {
            let input = Input {
                source,
                ..read(delivery)
            };
            proof(&input);
            kept(&input);
        }
    }
}

/// What an input declares.
pub fn declaration_of(input: &[u8]) -> Result<Source, ConfigError> {
    declare(cut(input, DECLARED).0)
}

/// What a declaration without its heading stands for.
fn declare(text: &[u8]) -> Result<Source, ConfigError> {
    let text = [&b"[sources.declared]\n"[..], text].concat();
    let mut config = load(&text)?;
    Ok(config.sources.remove("declared").expect("it is declared"))
}

/// Whatever stands in a configuration file: it is taken, or every problem names its setting in one
/// line, and none shows a secret.
pub fn config(input: &[u8]) {
    if let Err(error) = load(input) {
        complaint(input, &error);
    }
}

fn complaint(input: &[u8], error: &ConfigError) {
    let said = error.to_string();
    assert!(!said.contains(HIDDEN), "{said}");
    match error {
        ConfigError::Invalid { problems, .. } => {
            assert!(!problems.is_empty());
            for problem in problems {
                for text in [&problem.setting, &problem.message] {
                    assert!(!text.is_empty(), "{problem}");
                    assert!(!text.chars().any(char::is_control), "{problem:?}");
                }
            }
        }
        ConfigError::Syntax { line, column, .. } => assert!(0 < *line && 0 < *column),
        ConfigError::Unreadable { .. } => assert!(1 << 20 < input.len(), "{said}"),
        ConfigError::Missing(_) => panic!("{said}"),
    }
}

thread_local! {
    /// A folder where what a configuration can name exists; one each, for tests that run side by side.
    static FOLDER: TempDir = {
        let folder = TempDir::with_prefix("triage-fuzz-").expect("a folder");
        fs::write(folder.path().join("plugin.wasm"), b"\0asm").expect("a plugin");
        fs::write(folder.path().join("secret"), HIDDEN).expect("a secret");
        folder
    };
}

/// Loads a configuration from a file.
pub fn load(input: &[u8]) -> Result<Config, ConfigError> {
    let path = FOLDER.with(|it| it.path().join("triage.toml"));
    fs::write(&path, input).expect("a file");
    Config::load(&path, &|_| Some(HIDDEN.to_owned()))
}
