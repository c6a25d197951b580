//! What must hold for every input. Run over the corpus and mutations of it by `tests/it/fuzz_corpus.rs`
//! on a stable compiler, and by `cargo fuzz` with all that it finds.

use std::fs;

use tempfile::TempDir;
use triage_host::config::{Config, ConfigError};
use triage_host::model::event::Headers;
use triage_host::model::secret::Secret;
use triage_host::model::source::Source;
use triage_host::sources::{self, Delivery, Identity, Outgoing};

/// A secret that every source takes, and that no input was signed with.
const SECRET: &str = "whsec_bm9ib2R5IHNpZ25lZCBhbnl0aGluZyB3aXRoIHRoaXM=";
/// What environment and files hold where a configuration names a secret: long enough for no
/// mutation to make it.
const HIDDEN: &str = "whsec_dGhpcyBtdXN0IG5ldmVyIGJlIHNob3duIHRvIGFueWJvZHk=";
/// The time at which everything is received, in milliseconds.
const NOW: i64 = 1_731_705_121_000;
/// The longest event name that may be kept, without its source, in bytes.
const NAME_BYTES_MAX: usize = 128;
/// The longest idempotency key that may be kept, in bytes.
const KEY_BYTES_MAX: usize = 256;
/// Headers that a signature is made of; a mutation of them is the matter of [`signature_headers`].
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

/// One delivery as text: the source, a line for each header, an empty line, the body.
struct Input<'a> {
    source: Source,
    headers: Headers,
    body: &'a [u8],
}

fn read(input: &[u8]) -> Input<'_> {
    let (head, body) = match input.windows(2).position(|it| it == b"\n\n") {
        Some(end) => (&input[..end], &input[end + 2..]),
        None => (input, &[][..]),
    };
    let head = String::from_utf8_lossy(head);
    let mut lines = head.lines();
    let name = lines.next().unwrap_or_default();
    // Any other first line names one as well, so that no input is lost.
    let number = name.len() % Source::BUILT_IN.len();
    let source = name
        .parse()
        .unwrap_or_else(|_| Source::BUILT_IN[number].clone());
    let headers = lines.filter_map(|line| {
        let (name, value) = line.split_once(':')?;
        Some((name.trim().to_ascii_lowercase(), value.trim().to_owned()))
    });
    Input {
        source,
        headers: Headers(headers.collect()),
        body,
    }
}

/// Signs a body with [`SECRET`], with an id where the source has one outside of the body.
fn sign(source: &Source, id: &str, body: &[u8]) -> Headers {
    let outgoing = Outgoing {
        event: "fuzz.event",
        id,
        body,
        now: NOW,
    };
    Headers(sources::sign(source, &Secret::new(SECRET), outgoing).expect("the secret fits"))
}

/// Whatever stands in the headers: nobody is believed who does not know the secret, and whoever
/// does is believed for these bytes only.
pub fn signature_headers(input: &[u8]) {
    rejection(input);
    let Input { source, body, .. } = read(input);
    let secrets = [Secret::new(SECRET)];
    let headers = sign(&source, "id-1", body);
    let mut delivery = Delivery {
        headers: &headers,
        body,
        received_at: NOW,
    };
    assert!(sources::verify(&source, &secrets, delivery).is_ok());
    let tampered = [body, b" "].concat();
    delivery.body = &tampered;
    assert!(sources::verify(&source, &secrets, delivery).is_err());
}

/// The cause for which an input is not believed.
pub fn rejection(input: &[u8]) -> (Source, &'static str) {
    let Input {
        source,
        headers,
        body,
    } = read(input);
    let delivery = Delivery {
        headers: &headers,
        body,
        received_at: NOW,
    };
    let rejection = sources::verify(&source, &[Secret::new(SECRET)], delivery)
        .expect_err("nobody can sign without the secret");
    let said = rejection.to_string();
    assert!(!said.is_empty() && !said.contains(SECRET), "{said}");
    let cause = rejection.cause();
    (source, cause)
}

/// Whatever was signed: it has a name and a key that are fit to keep.
pub fn payloads(input: &[u8]) {
    let identity = identity(input);
    assert_eq!(
        identity,
        self::identity(input),
        "the same bytes, another event"
    );
    match identity {
        (source, Identity::Challenge(_)) => assert_eq!(source, Source::Slack),
        (source, Identity::Event(event)) => {
            let name = event.event_type.strip_prefix(&format!("{source}."));
            let name = name.unwrap_or_else(|| panic!("{} of {source}", event.event_type));
            assert!((1..=NAME_BYTES_MAX).contains(&name.len()), "{name}");
            let fit = |it: u8| it.is_ascii_alphanumeric() || b"_.:-".contains(&it);
            assert!(name.bytes().all(fit), "{name}");
            let key = &event.idempotency_key;
            assert!((1..=KEY_BYTES_MAX).contains(&key.len()), "{key}");
            assert!(!key.chars().any(char::is_control), "{key:?}");
            if let Some(content) = event.content_key {
                assert!(!content.key.is_empty());
                assert!(content.window_ms.is_none_or(|it| 0 < it));
            }
        }
    }
}

/// What an input is once it is signed.
pub fn identity(input: &[u8]) -> (Source, Identity) {
    let Input {
        source,
        headers,
        body,
    } = read(input);
    let id = headers
        .get("webhook-id")
        .filter(|it| !it.is_empty() && !it.contains('.'))
        .unwrap_or("id-1");
    let signed = sign(&source, id, body);
    // The input's own come first, and the first of a name counts.
    let named = headers
        .0
        .iter()
        .filter(|(name, _)| !PROOFS.contains(&&**name));
    let headers = Headers(named.chain(&signed.0).cloned().collect());
    let delivery = Delivery {
        headers: &headers,
        body,
        received_at: NOW,
    };
    let secrets = [Secret::new(SECRET)];
    let verified = sources::verify(&source, &secrets, delivery).expect("it is signed");
    let identity = sources::identify(&verified, body).expect("a built-in source names anything");
    (source, identity)
}

/// Whatever stands in a configuration file: it is taken, or every problem names its setting in one
/// line, and none shows a secret.
pub fn config(input: &[u8]) {
    let Err(error) = load(input) else { return };
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
        ConfigError::Syntax { line, column, .. } => assert!(0 < line && 0 < column),
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
