//! The checks of `fuzz/`, over its corpus and mutations of it: what `cargo fuzz` does for hours, for
//! seconds and on a stable compiler.

use std::collections::BTreeSet;
use std::fs;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use triage_host::config::ConfigError;
use triage_host::model::source::Source;
use triage_host::sources::Identity;
use triage_tests::binary;
use triage_tests::senders::number;

#[path = "../fuzz/checks.rs"]
mod checks;

/// Mutations of each file, if nobody says how many.
const MUTATIONS: u64 = 400;
/// Bytes that mean something to one of the parsers.
const TOKENS: [&str; 24] = [
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
fn the_corpus_reaches_every_cause_of_a_rejection() {
    let seen: BTreeSet<(String, &str)> = corpus("signature_headers")
        .iter()
        .map(|(_, input)| checks::rejection(input))
        .map(|(source, cause)| (source.to_string(), cause))
        .collect();
    let causes = ["missing_header", "malformed_header", "signature_mismatch"];
    let all = Source::BUILT_IN
        .iter()
        .flat_map(|source| causes.map(|cause| (source.to_string(), cause)));
    assert_eq!(seen, all.collect());
}

#[test]
fn the_corpus_holds_events_of_every_source_and_what_is_none() {
    let (mut named, mut unparsable, mut challenges) = (BTreeSet::new(), BTreeSet::new(), 0);
    for (_, input) in corpus("payloads") {
        match checks::identity(&input) {
            (source, Identity::Event(event)) if event.event_type.ends_with(".unparsable") => {
                unparsable.insert(source.to_string());
            }
            (source, Identity::Event(_)) => drop(named.insert(source.to_string())),
            (_, Identity::Challenge(_)) => challenges += 1,
        }
    }
    assert_eq!((named.len(), unparsable.len(), challenges), (5, 5, 1));
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
