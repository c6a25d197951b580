//! Guests that import `wasi:*`: what they find, and how they end.

use wit_component::{ComponentEncoder, StringEncoding};
use wit_parser::Resolve;

use super::*;

/// Writes `$count` bytes at `$from` as hexadecimal digits to `$to`.
const HEX: &str = r#"
    (func $digit (param $value i32) (result i32)
        (i32.add (local.get $value)
            (select (i32.const 48) (i32.const 87) (i32.lt_u (local.get $value) (i32.const 10)))))
    (func $hex (param $from i32) (param $count i32) (param $to i32)
        (loop
            (i32.store8 (local.get $to)
                (call $digit (i32.shr_u (i32.load8_u (local.get $from)) (i32.const 4))))
            (i32.store8 offset=1 (local.get $to)
                (call $digit (i32.and (i32.load8_u (local.get $from)) (i32.const 15))))
            (local.set $from (i32.add (local.get $from) (i32.const 1)))
            (local.set $to (i32.add (local.get $to) (i32.const 2)))
            (local.set $count (i32.sub (local.get $count) (i32.const 1)))
            (br_if 0 (local.get $count))))
    ;; Answers with these bytes as the category.
    (func $answer (param $from i32) (param $count i32)
        (call $hex (local.get $from) (local.get $count) (i32.const 4096))
        (i32.store (i32.const 1032) (i32.const 4096))
        (i32.store (i32.const 1036) (i32.mul (local.get $count) (i32.const 2))))"#;

/// A component whose classifier may import what `wasi.wit` names.
fn guest(imports: &str, body: &str) -> Vec<u8> {
    let memory = "(memory (export \"memory\") 2)";
    let wat = module(imports, &format!("{memory} {HEX}"), body);
    let mut module = wat::parse_str(wat).unwrap();
    let mut resolve = Resolve::default();
    resolve.push_dir("../wit").unwrap();
    let package = resolve
        .push_str("wasi.wit", include_str!("wasi.wit"))
        .unwrap();
    let world = resolve.select_world(&[package], Some("guest")).unwrap();
    let encoding = StringEncoding::UTF8;
    wit_component::embed_component_metadata(&mut module, &resolve, world, encoding, false).unwrap();
    let mut encoder = ComponentEncoder::default();
    encoder.validate(true);
    encoder.module(&module).unwrap();
    encoder.encode().unwrap()
}

async fn category(bytes: &[u8], run: &ClaimedRun, capabilities: Capabilities) -> String {
    let sandbox = sandbox();
    let plugin = sandbox.load(bytes, COMPILE_SECONDS).unwrap();
    let stage = sandbox.classify(&plugin, run, &LIMITS, capabilities).await;
    match stage.ended {
        Ended::Answer(answer) => answer.category,
        other => panic!("no answer: {other:?}"),
    }
}

const ALL_SOURCES: &str = r#"
    (import "wasi:random/random@0.2.0" "get-random-bytes" (func $bytes (param i64 i32)))
    (import "wasi:random/random@0.2.0" "get-random-u64" (func $number (result i64)))
    (import "wasi:random/insecure@0.2.0" "get-insecure-random-u64" (func $insecure (result i64)))
    (import "wasi:random/insecure-seed@0.2.0" "insecure-seed" (func $seed (param i32)))
    (import "wasi:clocks/monotonic-clock@0.2.0" "now" (func $monotonic (result i64)))
    (import "wasi:clocks/wall-clock@0.2.0" "now" (func $wall (param i32)))"#;

/// All that could differ between two attempts: 24 bytes of randomness, two numbers, the seed,
/// the monotonic clock, the wall clock.
const ASK_ALL_SOURCES: &str = r#"
    (call $bytes (i64.const 24) (i32.const 3000))
    (memory.copy (i32.const 3100) (i32.load (i32.const 3000)) (i32.const 24))
    (i64.store (i32.const 3124) (call $number))
    (i64.store (i32.const 3132) (call $insecure))
    (call $seed (i32.const 3144))
    (i64.store (i32.const 3160) (call $monotonic))
    (call $wall (i32.const 3168))
    (call $answer (i32.const 3100) (i32.const 80))"#;

#[tokio::test]
async fn the_same_run_sees_the_same_clocks_and_randomness_again() {
    let bytes = guest(ALL_SOURCES, ASK_ALL_SOURCES);
    let asked = async |run: &ClaimedRun, stage, now| {
        let random = Random::of(run.id, stage);
        let capabilities = Capabilities::new(Arc::from("{}"), now, 0, random);
        category(&bytes, run, capabilities).await
    };
    let (one, other) = (run(), run());
    let first = asked(&one, "classify", 1_700_000_000_123).await;
    assert_eq!(asked(&one, "classify", 1_700_000_000_123).await, first);

    // A later attempt: another time of day, the same randomness.
    let later = asked(&one, "classify", 1_700_000_060_000).await;
    let (randomness, clocks) = first.split_at(2 * 60);
    assert_eq!(&later[..2 * 60], randomness);
    assert_ne!(&later[2 * 60..], clocks);
    // 1,700,000,000 s and 123,000,000 ns, the least significant byte first.
    assert_eq!(&clocks[16..], "00f1536500000000c0d45407");

    let others = [
        asked(&other, "classify", 1_700_000_000_123).await,
        asked(&one, "triage", 1_700_000_000_123).await,
    ];
    for differs in others {
        for part in [0..24, 24..32, 32..40, 44..60] {
            let digits = 2 * part.start..2 * part.end;
            assert_ne!(differs[digits.clone()], first[digits], "{part:?}");
        }
    }
}

#[tokio::test]
async fn too_much_randomness_at_once_ends_at_its_limit() {
    for count in ["65537", "1073741824", "-1"] {
        let ask = format!("(call $bytes (i64.const {count}) (i32.const 3000))");
        assert_eq!(
            breach(&guest(ALL_SOURCES, &ask)).await,
            Breach::RandomLimit {
                limit_bytes: 65_536
            }
        );
    }
}

#[tokio::test]
async fn nothing_is_granted() {
    let imports = r#"
        (import "wasi:cli/environment@0.2.0" "get-environment" (func $environment (param i32)))
        (import "wasi:cli/environment@0.2.0" "get-arguments" (func $arguments (param i32)))
        (import "wasi:filesystem/preopens@0.2.0" "get-directories" (func $directories (param i32)))
        (import "wasi:cli/stdin@0.2.0" "get-stdin" (func $stdin (result i32)))
        (import "wasi:io/streams@0.2.0" "[method]input-stream.blocking-read"
            (func $read (param i32 i64 i32)))
        (import "wasi:sockets/tcp-create-socket@0.2.0" "create-tcp-socket"
            (func $tcp (param i32 i32)))
        (import "wasi:sockets/udp-create-socket@0.2.0" "create-udp-socket"
            (func $udp (param i32 i32)))"#;
    // Lengths of the lists; then for each result whether it is an error, and which.
    let ask = r#"
        (call $environment (i32.const 3000))
        (i32.store8 (i32.const 3100) (i32.load (i32.const 3004)))
        (call $arguments (i32.const 3000))
        (i32.store8 (i32.const 3101) (i32.load (i32.const 3004)))
        (call $directories (i32.const 3000))
        (i32.store8 (i32.const 3102) (i32.load (i32.const 3004)))
        (call $read (call $stdin) (i64.const 1) (i32.const 3000))
        (i32.store8 (i32.const 3103) (i32.load8_u (i32.const 3000)))
        (i32.store8 (i32.const 3104) (i32.load8_u (i32.const 3004)))
        (call $tcp (i32.const 0) (i32.const 3000))
        (i32.store8 (i32.const 3105) (i32.load8_u (i32.const 3000)))
        (i32.store8 (i32.const 3106) (i32.load8_u (i32.const 3004)))
        (call $udp (i32.const 1) (i32.const 3000))
        (i32.store8 (i32.const 3107) (i32.load8_u (i32.const 3000)))
        (i32.store8 (i32.const 3108) (i32.load8_u (i32.const 3004)))
        (call $answer (i32.const 3100) (i32.const 9))"#;
    // Error 1 of a stream is `closed`, error 1 of a socket is `access-denied`.
    assert_eq!(
        category(&guest(imports, ask), &run(), capabilities("{}")).await,
        "000000 0101 0101 0101".replace(' ', "")
    );
}

const STREAMS: &str = r#"
    (import "wasi:cli/stdout@0.2.0" "get-stdout" (func $stdout (result i32)))
    (import "wasi:cli/stderr@0.2.0" "get-stderr" (func $stderr (result i32)))
    (import "wasi:io/streams@0.2.0" "[method]output-stream.blocking-write-and-flush"
        (func $write (param i32 i32 i32 i32)))
    (import "triage:policy/log@0.1.0" "write" (func $log (param i32 i32 i32 i32 i32)))
    (data (i32.const 3000) "one\ntwo\1b[31m\nthree")"#;

#[tokio::test]
async fn output_becomes_lines_of_the_log_in_its_order() {
    let body = r#"
        (call $write (call $stdout) (i32.const 3000) (i32.const 6) (i32.const 3100))
        (call $write (call $stderr) (i32.const 3000) (i32.const 4) (i32.const 3100))
        (call $log (i32.const 1) (i32.const 2048) (i32.const 4) (i32.const 0) (i32.const 0))
        (call $write (call $stdout) (i32.const 3006) (i32.const 12) (i32.const 3100))"#;
    let stage = classify(&guest(STREAMS, body)).await;
    assert!(matches!(stage.ended, Ended::Answer(_)), "{stage:?}");
    let told: Vec<(&str, &str)> = stage
        .log
        .iter()
        .map(|it| (it.level.as_str(), it.message.as_str()))
        .collect();
    assert_eq!(
        told,
        [
            ("info", "one"),
            ("warn", "one"),
            ("info", "test"),
            ("info", "two\u{fffd}[31m"),
            ("info", "three"),
        ]
    );
    assert_eq!(
        stage.log[4].fields,
        [("stream".to_owned(), "stdout".to_owned())]
    );
}

#[tokio::test]
async fn a_flood_of_output_is_kept_up_to_the_limit_of_the_log() {
    let body = r#"(local $stream i32) (local $i i32)
        (local.set $stream (call $stdout))
        (loop
            (call $write (local.get $stream) (i32.const 3000) (i32.const 4) (i32.const 3100))
            (local.set $i (i32.add (local.get $i) (i32.const 1)))
            (br_if 0 (i32.lt_u (local.get $i) (i32.const 1000))))"#;
    let stage = classify(&guest(STREAMS, body)).await;
    assert!(matches!(stage.ended, Ended::Answer(_)), "{stage:?}");
    // 3 bytes of text, 12 of the field, 16 for the line: six of them fit into 200.
    assert_eq!(stage.log.len(), 7);
    assert_eq!(
        stage.log[6].message,
        "994 further lines dropped: over the policy's log_bytes"
    );
}

const CLOCK: &str = r#"
    (import "wasi:clocks/monotonic-clock@0.2.0" "now" (func $now (result i64)))
    (import "wasi:clocks/monotonic-clock@0.2.0" "subscribe-duration"
        (func $after (param i64) (result i32)))
    (import "wasi:io/poll@0.2.0" "[method]pollable.block" (func $block (param i32)))"#;

#[tokio::test]
async fn a_guest_that_waits_on_the_clock_comes_to_an_end() {
    let ten_ms = "(local $end i64)
        (local.set $end (i64.add (call $now) (i64.const 1000000)))
        (loop (br_if 0 (i64.lt_u (call $now) (local.get $end))))";
    let stage = classify(&guest(CLOCK, ten_ms)).await;
    assert!(matches!(stage.ended, Ended::Answer(_)), "{stage:?}");
}

#[tokio::test]
async fn a_sleep_moves_the_clock_and_no_computing_time() {
    let sleep = "(local $begin i64)
        (local.set $begin (call $now))
        (call $block (call $after (i64.const 30000000)))
        (i64.store (i32.const 3000) (i64.sub (call $now) (local.get $begin)))
        (call $answer (i32.const 3000) (i32.const 8))";
    let stage = classify(&guest(CLOCK, sleep)).await;
    let Ended::Answer(answer) = stage.ended else {
        panic!("{stage:?}")
    };
    // 30,001,000 ns, the least significant byte first.
    assert_eq!(answer.category, "68c7c90100000000");
    assert!(stage.cpu_us < 20_000, "{}", stage.cpu_us);
}

#[tokio::test]
async fn no_sleep_outlasts_the_wall_limit() {
    let sandbox = sandbox();
    let limits = Limits {
        wall_ms: 40,
        ..LIMITS
    };
    // A minute, and longer than any clock can tell.
    for duration in ["60000000000", "-1"] {
        let sleep = format!("(call $block (call $after (i64.const {duration})))");
        let plugin = sandbox
            .load(&guest(CLOCK, &sleep), COMPILE_SECONDS)
            .unwrap();
        let stage = sandbox
            .classify(&plugin, &run(), &limits, capabilities("{}"))
            .await;
        assert!(
            matches!(
                stage.ended,
                Ended::Broken(Breach::WallLimit { limit_ms: 40 })
            ),
            "{stage:?}"
        );
    }
}

#[tokio::test]
async fn handles_that_are_kept_end_at_their_limit() {
    // A handle of the guest's own table each, and two entries of the host's table each.
    for (imports, take) in [
        (STREAMS, "(drop (call $stdout))"),
        (CLOCK, "(drop (call $after (i64.const 1)))"),
    ] {
        let bytes = guest(imports, &format!("(loop {take} (br 0))"));
        assert_eq!(
            breach(&bytes).await,
            Breach::HandleLimit { limit: 64 },
            "{take}"
        );
    }
}

#[tokio::test]
async fn a_guest_that_ends_itself_says_with_which_status() {
    let exit = r#"(import "wasi:cli/exit@0.2.0" "exit" (func $exit (param i32)))"#;
    for (argument, status) in [("0", 0), ("1", 1)] {
        let bytes = guest(exit, &format!("(call $exit (i32.const {argument}))"));
        assert_eq!(breach(&bytes).await, Breach::Exited { status });
    }
}

#[test]
fn wasi_http_is_refused_with_the_way_out() {
    let http = r#"(import "wasi:http/types@0.2.0" "method-error" (func $http (result i32)))"#;
    assert_eq!(
        refused(&guest(http, "(drop (call $http))")),
        "it imports `wasi:http/types@0.2.0`, which is never granted; import triage:policy/http@0.1.0, \
         or build it without its language's HTTP client"
    );
}

#[test]
fn other_interfaces_of_wasi_are_refused_by_name() {
    let store = r#"(import "wasi:keyvalue/store@0.2.0" "open" (func $open (result i32)))"#;
    assert!(refused(&guest(store, "(drop (call $open))")).starts_with(
        "it imports `wasi:keyvalue/store@0.2.0`, which is not part of triage:policy@0.1.0"
    ));
    let later = r#"(component (import "wasi:cli/stdin@0.3.0" (instance (export "read" (func)))))"#;
    let later = wat::parse_str(later).unwrap();
    assert!(refused(&later).starts_with("it imports `wasi:cli/stdin@0.3.0`, which is not part of"));
}
