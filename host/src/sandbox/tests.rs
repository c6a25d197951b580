mod resident;
mod shape;
mod wasi;

use std::sync::Arc;

use super::*;
use crate::capabilities::Capabilities;
use crate::capabilities::random::Random;
use crate::cli::plugin::pack;
use crate::model::decision::{Classification, Priority};
use crate::model::event::Headers;
use crate::model::id::{EventId, RunId};
use crate::model::outcome::Breach;
use crate::model::policy::Limits;
use crate::model::run::{ClaimedEvent, ClaimedRun};

const COMPILE_SECONDS: u64 = 60;

const LIMITS: Limits = Limits {
    cpu_ms: 20,
    wall_ms: 5_000,
    memory_bytes: 1 << 20,
    table_elements: 1_000,
    handles: 64,
    host_call_bytes: 64 << 10,
    log_bytes: 200,
    actions: 4,
    labels: 32,
    text_bytes: 256 << 10,
    concurrency: 1,
};

/// An answer `{ priority: high, category: "test", labels: [], confidence: 80, reason: "ok" }` at 1024.
const ANSWER: &str = r#"
    (data (i32.const 1024) "\00\00\00\00\03\00\00\00\00\08\00\00\04\00\00\00\00\00\00\00\00\00\00\00\50\00\00\00\10\08\00\00\02\00\00\00")
    (data (i32.const 2048) "test")
    (data (i32.const 2064) "ok")"#;

fn sandbox() -> Sandbox {
    Sandbox::new(Compiler::here(), None).unwrap()
}

/// A component whose classifier runs `body` and then gives `ANSWER`.
fn component(body: &str) -> Vec<u8> {
    component_with("", "(memory (export \"memory\") 2)", body)
}

fn component_with(imports: &str, memory: &str, body: &str) -> Vec<u8> {
    pack::pack(module(imports, memory, body).as_bytes()).unwrap()
}

/// The text of a module with these imports, and this memory and whatever else stands beside it.
fn module(imports: &str, memory: &str, body: &str) -> String {
    format!(
        r#"(module
            {imports}
            {memory}
            (global $free (mut i32) (i32.const 8192))
            (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32)
                (local $at i32)
                (local.set $at (i32.and (i32.add (global.get $free) (i32.const 7)) (i32.const -8)))
                (global.set $free (i32.add (local.get $at) (local.get 3)))
                (local.get $at))
            {ANSWER}
            (func $body {body})
            (func (export "triage:policy/classifier@0.1.0#classify") (param i32) (result i32)
                (call $body)
                (i32.const 1024)))"#
    )
}

fn run() -> ClaimedRun {
    ClaimedRun {
        id: RunId::new(0),
        seq: 1,
        policy: "p".to_owned(),
        ordering_key: Some("42".to_owned()),
        late: true,
        attempt: 1,
        host_errors: 0,
        breaches: 0,
        first_attempt_at: 0,
        event: ClaimedEvent {
            id: EventId::new(0),
            seq: 1,
            tenant: "acme".to_owned(),
            integration_id: "i".to_owned(),
            source: "github".to_owned(),
            event_type: "github.push".to_owned(),
            idempotency_key: "k".to_owned(),
            received_at: 1_000,
            occurred_at: None,
            headers: Headers(vec![(
                "content-type".to_owned(),
                "application/json".to_owned(),
            )]),
            body: bytes::Bytes::from_static(b"{}"),
        },
    }
}

fn capabilities(settings: &str) -> Capabilities {
    let random = Random::of(run().id, "classify");
    Capabilities::new(Arc::from(settings), 1_000, LIMITS.log_bytes, random)
}

async fn classify(bytes: &[u8]) -> Stage<Classification> {
    let sandbox = sandbox();
    let plugin = sandbox.load(bytes, COMPILE_SECONDS).unwrap();
    sandbox
        .classify(&plugin, &run(), &LIMITS, capabilities(r#"{"a":1}"#))
        .await
}

async fn breach(bytes: &[u8]) -> Breach {
    match classify(bytes).await.ended {
        Ended::Broken(breach) => breach,
        other => panic!("not a breach: {other:?}"),
    }
}

fn refused(bytes: &[u8]) -> String {
    sandbox()
        .load(bytes, COMPILE_SECONDS)
        .err()
        .unwrap()
        .to_string()
}

#[tokio::test]
async fn an_answer_comes_back_as_it_was_given() {
    let stage = classify(&component("")).await;
    let Ended::Answer(answer) = stage.ended else {
        panic!("{stage:?}")
    };
    assert_eq!(answer.priority, Priority::High);
    assert_eq!(
        (
            answer.category.as_str(),
            answer.confidence_percent,
            answer.reason.as_str()
        ),
        ("test", 80, "ok")
    );
    assert_eq!(stage.memory_bytes, 2 * 65_536);
}

#[tokio::test]
async fn an_endless_loop_ends_at_the_cpu_limit() {
    assert_eq!(
        breach(&component("(loop (br 0))")).await,
        Breach::CpuLimit { limit_ms: 20 }
    );
}

#[tokio::test]
async fn a_loop_before_the_call_ends_at_the_cpu_limit() {
    let bytes = component_with(
        "",
        "(memory (export \"memory\") 2) (start $body)",
        "(loop (br 0))",
    );
    assert_eq!(breach(&bytes).await, Breach::CpuLimit { limit_ms: 20 });
}

#[tokio::test]
async fn spinning_guests_do_not_stop_each_other_or_a_good_one() {
    let sandbox = sandbox();
    let (spinner, good) = (component("(loop (br 0))"), component(""));
    let (spinner, good) = (
        sandbox.load(&spinner, COMPILE_SECONDS).unwrap(),
        sandbox.load(&good, COMPILE_SECONDS).unwrap(),
    );
    let run = run();
    // One thread for all three: they only get on because a spinning guest yields.
    let (first, second, third) = tokio::join!(
        sandbox.classify(&spinner, &run, &LIMITS, capabilities("{}")),
        sandbox.classify(&spinner, &run, &LIMITS, capabilities("{}")),
        sandbox.classify(&good, &run, &LIMITS, capabilities("{}")),
    );
    assert!(matches!(
        first.ended,
        Ended::Broken(Breach::CpuLimit { .. })
    ));
    assert!(matches!(
        second.ended,
        Ended::Broken(Breach::CpuLimit { .. })
    ));
    assert!(matches!(third.ended, Ended::Answer(_)));
}

#[tokio::test]
async fn the_wall_limit_ends_a_guest_whatever_its_cpu_limit_is() {
    let sandbox = sandbox();
    let plugin = sandbox
        .load(&component("(loop (br 0))"), COMPILE_SECONDS)
        .unwrap();
    let limits = Limits {
        cpu_ms: 60_000,
        wall_ms: 30,
        ..LIMITS
    };
    let stage = sandbox
        .classify(&plugin, &run(), &limits, capabilities("{}"))
        .await;
    assert!(
        matches!(
            stage.ended,
            Ended::Broken(Breach::WallLimit { limit_ms: 30 })
        ),
        "{stage:?}"
    );
}

#[tokio::test]
async fn growing_memory_ends_at_the_memory_limit() {
    let bytes = component("(loop (drop (memory.grow (i32.const 1))) (br 0))");
    assert_eq!(
        breach(&bytes).await,
        Breach::MemoryLimit {
            limit_bytes: 1 << 20
        }
    );
}

#[tokio::test]
async fn growing_tables_end_at_the_table_limit() {
    let grow = "(loop (drop (table.grow (ref.null func) (i32.const 100))) (br 0))";
    let memory_and_table = "(memory (export \"memory\") 2) (table 0 funcref)";
    assert_eq!(
        breach(&component_with("", memory_and_table, grow)).await,
        Breach::TableLimit { limit: 1_000 }
    );
}

#[tokio::test]
async fn a_large_first_memory_ends_at_the_memory_limit() {
    let bytes = component_with("", "(memory (export \"memory\") 100)", "");
    assert_eq!(
        breach(&bytes).await,
        Breach::MemoryLimit {
            limit_bytes: 1 << 20
        }
    );
}

#[tokio::test]
async fn deep_recursion_is_a_trap() {
    let Breach::Trap(text) = breach(&component("(call $body)")).await else {
        panic!("not a trap")
    };
    assert!(text.contains("call stack exhausted"), "{text}");
}

#[tokio::test]
async fn an_unreachable_is_a_trap() {
    let Breach::Trap(text) = breach(&component("unreachable")).await else {
        panic!("not a trap")
    };
    assert!(text.contains("unreachable"), "{text}");
}

#[tokio::test]
async fn a_discriminant_out_of_range_violates_the_contract() {
    let bytes = component("(i32.store8 (i32.const 1028) (i32.const 9))");
    assert!(matches!(breach(&bytes).await, Breach::Contract(_)));
}

#[tokio::test]
async fn text_that_is_not_utf8_violates_the_contract() {
    let bytes = component("(i32.store8 (i32.const 2048) (i32.const 0xff))");
    assert!(matches!(breach(&bytes).await, Breach::Contract(_)));
}

#[tokio::test]
async fn a_pointer_out_of_bounds_violates_the_contract() {
    let bytes = component("(i32.store (i32.const 1032) (i32.const 0x7fffff00))");
    assert!(matches!(breach(&bytes).await, Breach::Contract(_)));
}

#[tokio::test]
async fn an_answer_over_the_limit_is_refused_before_it_is_copied() {
    let bytes = component("(i32.store (i32.const 1036) (i32.const 100000))");
    assert_eq!(
        breach(&bytes).await,
        Breach::HostCallLimit {
            limit_bytes: 64 << 10
        }
    );
}

const LOG: &str =
    r#"(import "triage:policy/log@0.1.0" "write" (func $log (param i32 i32 i32 i32 i32)))"#;

#[tokio::test]
async fn log_lines_are_kept_up_to_their_limit() {
    let line = "(local $i i32) (loop
        (call $log (i32.const 2) (i32.const 2048) (i32.const 4) (i32.const 0) (i32.const 0))
        (local.set $i (i32.add (local.get $i) (i32.const 1)))
        (br_if 0 (i32.lt_u (local.get $i) (i32.const 1000))))";
    let stage = classify(&component_with(LOG, "(memory (export \"memory\") 2)", line)).await;
    assert!(matches!(stage.ended, Ended::Answer(_)));
    assert_eq!(stage.log.len(), 11);
    assert_eq!(
        (stage.log[0].level.as_str(), stage.log[0].message.as_str()),
        ("warn", "test")
    );
    assert_eq!(
        stage.log[10].message,
        "990 further lines dropped: over the policy's log_bytes"
    );
}

#[test]
fn an_import_whose_host_side_does_not_exist_is_refused_by_name() {
    let state = r#"(import "triage:policy/state@0.1.0" "delete" (func (param i32 i32 i32)))"#;
    let bytes = component_with(state, "(memory (export \"memory\") 2)", "");
    assert_eq!(
        refused(&bytes),
        "it imports `triage:policy/state@0.1.0`, which this version of triage does not offer"
    );
}

#[test]
fn an_import_outside_the_contract_is_refused_by_name() {
    let bytes = wat::parse_str(
        r#"(component (import "acme:internal/secrets@1.0.0" (instance (export "read" (func)))))"#,
    )
    .unwrap();
    assert_eq!(
        refused(&bytes),
        "it imports `acme:internal/secrets@1.0.0`, which is not part of triage:policy@0.1.0 and is never granted"
    );
}

#[test]
fn an_export_of_another_type_is_refused_by_name() {
    for (interface, function) in [("classifier", "classify"), ("triager", "triage")] {
        let bytes = wat::parse_str(format!(
            r#"(component
                (core module $m (func (export "f")))
                (core instance $i (instantiate $m))
                (func $f (canon lift (core func $i "f")))
                (instance $x (export "{function}" (func $f)))
                (export "triage:policy/{interface}@0.1.0" (instance $x)))"#
        ))
        .unwrap();
        let said = refused(&bytes);
        let start =
            format!("it does not fit the contract: the export `{interface}.{function}`: expected");
        assert!(said.starts_with(&start), "{said}");
    }
}

#[test]
fn what_is_no_component_is_refused() {
    for bytes in [&b""[..], b"\0asm", b"\0asm\x01\0\0\0", b"hello"] {
        assert!(refused(bytes).contains("not a component"), "{bytes:?}");
    }
    let mut truncated = component("");
    truncated.truncate(truncated.len() / 2);
    assert!(refused(&truncated).contains("not a component"));
}

#[test]
fn a_component_without_policy_exports_is_refused() {
    let bytes = wat::parse_str("(component)").unwrap();
    assert!(refused(&bytes).contains("exports neither"));
}
