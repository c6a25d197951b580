//! How large a guest may be: the parts that guests of other languages bring along.

use wasmtime::ResourceLimiter;

use super::*;
use crate::model::policy::TABLE_ELEMENTS_MAX;
use crate::sandbox::engine::{CORE_INSTANCES_MAX, MEMORIES_MAX, TABLES_MAX};
use crate::sandbox::meter::{LimitPassed, MemoryMeter};

/// Loads a component of these parts, with a classifier that offers nothing. One that fits is refused only for that.
#[track_caller]
fn check_fits(parts: &str, fits: bool, complaint: &str) {
    let classifier = r#"(component $c) (instance $i (instantiate $c))
        (export "triage:policy/classifier@0.1.0" (instance $i))"#;
    let bytes = wat::parse_str(format!("(component {parts} {classifier})")).unwrap();
    let refused = refused(&bytes);
    assert_eq!(
        refused.contains("does not fit the contract"),
        fits,
        "{refused}"
    );
    assert!(refused.contains(complaint), "{refused}");
}

fn instances(module: &str, count: u32) -> String {
    let instance = "(core instance (instantiate $part))";
    format!(
        "(core module $part {module}) {}",
        instance.repeat(count as usize)
    )
}

#[test]
fn a_component_has_as_many_instances_memories_and_tables_as_large_guests_need() {
    for (module, most, complaint) in [
        ("(func)", CORE_INSTANCES_MAX, "contains 129 core"),
        (
            "(memory 1)",
            MEMORIES_MAX,
            "contains 5 Wasm linear memories",
        ),
        ("(table 1 funcref)", TABLES_MAX, "contains 25 tables"),
    ] {
        check_fits(&instances(module, most), true, "");
        check_fits(&instances(module, most + 1), false, complaint);
    }
}

#[test]
fn a_table_has_as_many_elements_as_large_guests_need() {
    let table = |elements| format!("(core module (table {elements} funcref))");
    let one = |elements| instances(&format!("(table {elements} funcref)"), 1);
    check_fits(&one(TABLE_ELEMENTS_MAX), true, "");
    check_fits(
        &one(TABLE_ELEMENTS_MAX + 1),
        false,
        "exceeds the limit of 60000",
    );
    // One that is never used counts as well.
    check_fits(
        &table(TABLE_ELEMENTS_MAX + 1),
        false,
        "exceeds the limit of 60000",
    );
}

#[test]
fn a_module_has_one_memory() {
    let two = "(core module (memory 1) (memory 1))";
    check_fits(two, false, "exceeds the per-instance limit of 1");
}

/// The glue between two parts copies from one memory to the other.
#[test]
fn parts_that_pass_text_to_each_other_are_compiled() {
    let part = r#"
        (core module $m
            (memory (export "memory") 1)
            (func (export "realloc") (param i32 i32 i32 i32) (result i32) (i32.const 8))
            (func (export "take") (param i32 i32)))
        (core instance $i (instantiate $m))"#;
    let parts = format!(
        r#"(component $taker {part}
            (func (export "take") (param "text" string)
                (canon lift (core func $i "take") (memory (core memory $i "memory")) (realloc (core func $i "realloc")))))
        (component $giver (import "take" (func $take (param "text" string))) {part}
            (core func $lowered (canon lower (func $take)
                (memory (core memory $i "memory")) (realloc (core func $i "realloc"))))
            (core module $n (import "" "take" (func (param i32 i32))))
            (core instance (instantiate $n
                (with "" (instance (export "take" (func $lowered)))))))
        (instance $t (instantiate $taker))
        (instance (instantiate $giver (with "take" (func $t "take"))))"#
    );
    check_fits(&parts, true, "");
}

fn meter() -> MemoryMeter {
    MemoryMeter::new(&Limits {
        memory_bytes: 1_000,
        table_elements: 60_000,
        ..LIMITS
    })
}

fn passed(error: wasmtime::Error) -> Breach {
    let LimitPassed(breach) = error.downcast().unwrap();
    breach
}

#[test]
fn all_memories_of_a_guest_count_together() {
    let mut meter = meter();
    assert!(meter.memory_growing(0, 600, None).unwrap());
    assert!(meter.memory_growing(0, 300, None).unwrap());
    assert!(meter.memory_growing(300, 400, None).unwrap());
    assert_eq!(
        passed(meter.memory_growing(600, 601, None).unwrap_err()),
        Breach::MemoryLimit { limit_bytes: 1_000 }
    );
    assert_eq!(meter.peak_bytes(), 1_000);
}

#[test]
fn all_tables_of_a_guest_count_together() {
    let mut meter = meter();
    assert!(meter.table_growing(0, 40_000, None).unwrap());
    assert!(meter.table_growing(0, 20_000, None).unwrap());
    assert_eq!(
        passed(meter.table_growing(20_000, 20_001, None).unwrap_err()),
        Breach::TableLimit { limit: 60_000 }
    );
}
