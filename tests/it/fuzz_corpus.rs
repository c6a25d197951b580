//! The checks of `fuzz/`, over its corpus and mutations of it: what `cargo fuzz` does for hours, for
//! seconds and on a stable compiler.

use std::collections::BTreeSet;
use std::fs;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use triage_host::config::{ConfigError, ready_sources};
use triage_host::model::custom_source::{CustomSource, Place, Scheme, SignedPart};
use triage_host::model::source::Source;
use triage_host::sources::Identity;
use triage_tests::binary;
use triage_tests::senders::number;

#[path = "../fuzz/checks.rs"]
mod checks;

/// Mutations of each file, if nobody says how many.
const MUTATIONS: u64 = 400;
/// Bytes that mean something to one of the parsers.
const TOKENS: [&str; 32] = [
    "\n",
    "\n\n",
    ":",
    ",",
    "=",
    ".",
    "\"",
    "{",
    "}",
    "[",
    "]",
    "\\u0000",
    "\\ud800",
    "null",
    "1e999",
    "-1",
    "99999999999999999999",
    "payload=",
    "%00",
    "env:A",
    "file:secret",
    "v1,",
    "\u{feff}",
    "\0",
    "\n---\n",
    "{body}",
    "{timestamp}",
    "{header:x-a}",
    "{signature:t}",
    "{body:/id}",
    "hmac-sha1",
    "rfc3339",
];

fn corpus(check: &str) -> Vec<(String, Vec<u8>)> {
    let folder = binary::root().join("tests/fuzz/corpus").join(check);
    let mut files: Vec<_> = fs::read_dir(&folder)
        .unwrap()
        .map(|it| it.unwrap())
        .map(|it| {
            (
                it.file_name().into_string().unwrap(),
                fs::read(it.path()).unwrap(),
            )
        })
        .collect();
    files.sort();
    assert!(10 < files.len(), "{}", folder.display());
    files
}

/// One change of a random kind at a random place.
fn mutate(input: &mut Vec<u8>, others: &[(String, Vec<u8>)], random: &mut StdRng) {
    let at = random.random_range(0..=input.len());
    let end = random.random_range(at..=input.len().min(at + 40));
    match random.random_range(0..6) {
        0 if at < input.len() => input[at] ^= 1 << random.random_range(0..8),
        1 => drop(input.drain(at..end)),
        2 => {
            let piece = input[at..end].repeat(random.random_range(1..4));
            input.splice(at..at, piece);
        }
        3 => {
            let (_, other) = &others[random.random_range(0..others.len())];
            let from = random.random_range(0..=other.len());
            input.splice(at.., other[from..].iter().copied());
        }
        4 => {
            let token = TOKENS[random.random_range(0..TOKENS.len())];
            input.splice(at..end, token.bytes());
        }
        _ => input.insert(at, random.random()),
    }
}

/// Runs a check over every file of its corpus, and over random mutations of each.
fn run(name: &str, check: fn(&[u8])) {
    let seed = number("TRIAGE_FUZZ_SEED").unwrap_or_else(rand::random);
    let mutations = number("TRIAGE_FUZZ_MUTATIONS").unwrap_or(MUTATIONS);
    eprintln!("{name}: TRIAGE_FUZZ_SEED={seed} TRIAGE_FUZZ_MUTATIONS={mutations}");
    let mut random = StdRng::seed_from_u64(seed);
    let files = corpus(name);
    for (file, original) in &files {
        let mut input = original.clone();
        for mutation in 0..=mutations {
            // Shown on a failure only.
            let shown = Shown(name, file, mutation, &input);
            check(&input);
            drop(shown);
            if mutation % 8 == 0 {
                input.clone_from(original);
            }
            mutate(&mut input, &files, &mut random);
        }
    }
}

/// Says on which input a check failed.
struct Shown<'a>(&'a str, &'a str, u64, &'a [u8]);

impl Drop for Shown<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let Self(check, file, mutation, input) = self;
            eprintln!(
                "{check} fails on mutation {mutation} of {file}: {}",
                input.escape_ascii()
            );
        }
    }
}

#[test]
fn no_headers_are_believed_without_the_secret() {
    run("signature_headers", checks::signature_headers);
}

#[test]
fn every_signed_payload_has_a_name_and_a_key() {
    run("payloads", checks::payloads);
}

#[test]
fn every_configuration_is_taken_or_told_what_is_wrong() {
    run("config", checks::config);
}

#[test]
fn every_declared_source_is_refused_or_proves_its_sender() {
    run("declared", checks::declared);
}

#[test]
fn the_corpus_reaches_every_cause_of_a_rejection() {
    let seen: BTreeSet<(String, &str)> = corpus("signature_headers")
        .iter()
        .map(|(_, input)| checks::rejection(input))
        .map(|(source, cause)| (source.to_string(), cause))
        .collect();
    let causes = ["missing_header", "malformed_header", "signature_mismatch"];
    let mut all: BTreeSet<_> = ready_sources()
        .into_keys()
        .flat_map(|source| causes.map(|cause| (source.clone(), cause)))
        .collect();
    // Whatever stands in the header of a token without a prefix is one.
    assert!(all.remove(&("gitlab".to_owned(), "malformed_header")));
    assert_eq!(seen, all);
}

#[test]
fn the_corpus_holds_events_of_every_source_and_what_is_none() {
    let (mut named, mut unparsable) = (BTreeSet::new(), BTreeSet::new());
    let (mut challenges, mut far) = (BTreeSet::new(), BTreeSet::new());
    for (_, input) in corpus("payloads") {
        let (source, identity) = checks::identity(&input);
        let name = source.to_string();
        match identity {
            Ok(Identity::Event(event)) if event.event_type.ends_with(".unparsable") => {
                unparsable.insert(name);
            }
            Ok(Identity::Event(_)) => drop(named.insert(name)),
            Ok(Identity::Challenge(_)) => drop(challenges.insert(name)),
            Err(rejection) => drop(far.insert((name, rejection.cause()))),
        }
    }
    let all: BTreeSet<String> = ready_sources().into_keys().collect();
    assert_eq!((&named, &unparsable), (&all, &all));
    assert_eq!(challenges, BTreeSet::from(["slack".to_owned()]));
    let causes = ["timestamp_in_future", "timestamp_too_old"];
    assert_eq!(far, causes.map(|it| ("linear".to_owned(), it)).into());
}

/// What is special about a declaration, in words.
fn kinds(source: &CustomSource) -> Vec<String> {
    let mut kinds = vec![format!("secret {:?}", source.secret_encoding)];
    match &source.signature.scheme {
        Scheme::Token => kinds.push("token".to_owned()),
        Scheme::Hmac(rule) => {
            kinds.push(format!("{:?} {:?}", rule.algorithm, rule.encoding));
            let parts = rule.signed.parts().iter();
            kinds.extend(parts.filter_map(|it| match it {
                SignedPart::Header(_) => Some("signed header".to_owned()),
                SignedPart::Timestamp => Some("signed time".to_owned()),
                SignedPart::Text(_) | SignedPart::Body => None,
            }));
        }
    }
    if let Some(rule) = &source.timestamp {
        let place = match rule.time.place {
            Place::Header(_) => "header",
            Place::Body(_) => "body",
            Place::Pair(_) => "pair",
        };
        kinds.push(format!("time {:?} in {place}", rule.time.unit));
    }
    let has_form = source.form_field.as_ref().map(|_| "form".to_owned());
    kinds.into_iter().chain(has_form).collect()
}

#[test]
fn the_corpus_declares_sources_of_every_kind_and_what_is_none() {
    let (mut kinds_seen, mut problems, mut syntax) = (BTreeSet::new(), BTreeSet::new(), 0);
    for (_, input) in corpus("declared") {
        match checks::declaration_of(&input) {
            Ok(Source::Custom(custom)) => kinds_seen.extend(kinds(&custom)),
            Ok(other) => panic!("{other}"),
            Err(ConfigError::Invalid { problems: some, .. }) => {
                problems.extend(some.into_iter().map(|it| it.setting));
            }
            Err(ConfigError::Syntax { .. }) => syntax += 1,
            Err(other) => panic!("{other}"),
        }
    }
    assert_eq!(
        Vec::from_iter(kinds_seen),
        [
            "Sha1 Hex",
            "Sha256 Base64",
            "Sha256 Hex",
            "Sha512 Base64",
            "form",
            "secret Base64",
            "secret Hex",
            "secret Text",
            "signed header",
            "signed time",
            "time Milliseconds in header",
            "time Rfc3339 in header",
            "time Seconds in body",
            "time Seconds in header",
            "time Seconds in pair",
            "token",
        ]
    );
    assert!(10 < problems.len(), "{problems:?}");
    assert_eq!(syntax, 1);
}

#[test]
fn the_corpus_holds_configurations_that_are_good_and_bad() {
    let loaded: Vec<_> = corpus("config")
        .iter()
        .map(|(_, it)| checks::load(it))
        .collect();
    assert!(
        loaded
            .iter()
            .any(|it| matches!(it, Ok(config) if !config.policies.is_empty()))
    );
    assert!(
        loaded
            .iter()
            .any(|it| matches!(it, Err(ConfigError::Syntax { .. })))
    );
    assert!(
        loaded.iter().any(
            |it| matches!(it, Err(ConfigError::Invalid { problems, .. }) if 2 < problems.len())
        )
    );
}
