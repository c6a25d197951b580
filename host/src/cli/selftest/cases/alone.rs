//! What a guest does by itself: time, space, answers.

use super::*;

const CLOCK: &str = r#"(import "triage:policy/clock@0.1.0" "now" (func $now (result i64)))"#;
const LOOP: &str = "(loop (br 0))";
const EAT: &str = "(local $page i32) (loop
    (local.set $page (memory.grow (i32.const 1)))
    (memory.fill (i32.mul (local.get $page) (i32.const 65536)) (i32.const 1) (i32.const 65536))
    (br 0))";

pub(super) const CASES_OF_TIME: [Case; 4] = [
    Case {
        number: 1,
        name: "endless loop in triage",
        held_by: "CPU time, looked at every millisecond",
        probes: &[
            run("loop-classify", Guest::that(LOOP), "cpu_limit"),
            run("loop-triage", triager("", LOOP), "cpu_limit"),
        ],
    },
    Case {
        number: 2,
        name: "endless loop before the call",
        held_by: "the same: making an instance counts",
        probes: &[
            run(
                "loop-start",
                beside("(func $spin (loop (br 0))) (start $spin)", ""),
                "cpu_limit",
            ),
            run(
                "loop-initialize",
                beside(r#"(func (export "_initialize") (loop (br 0)))"#, ""),
                "cpu_limit",
            ),
        ],
    },
    Case {
        number: 3,
        name: "endless loop in post-return and realloc",
        held_by: "the same: until the instance is gone all counts",
        probes: &[
            run(
                "loop-post-return",
                beside(
                    r#"(func (export "cabi_post_triage:policy/classifier@0.1.0#classify") (param i32) (loop (br 0)))"#,
                    "",
                ),
                "cpu_limit",
            ),
            run(
                "loop-realloc",
                allocating("", "(loop (br 0)) (i32.const 0)"),
                "cpu_limit",
            ),
        ],
    },
    Case {
        number: 4,
        name: "endless loop in describe, which is not called",
        held_by: "this version does not call `describe`",
        probes: &[run(
            "loop-describe",
            beside(
                r#"(func (export "triage:policy/plugin@0.1.0#describe") (result i32) (loop (br 0)) (i32.const 0))"#,
                "",
            ),
            "decided",
        )],
    },
];

pub(super) const CASES_OF_SPACE: [Case; 5] = [
    Case {
        number: 5,
        name: "memory bomb",
        held_by: "`memory_mb`, at the request",
        probes: &[limited("eat-memory", Guest::that(EAT), "", "memory_limit")],
    },
    Case {
        number: 6,
        name: "huge first memory, 64-bit memory",
        held_by: "64-bit memory, and a first one that no slot has room for, are refused at loading; the others meet `memory_mb`",
        probes: &[
            run("memory-100-mib", with_pages("1600", "", ""), "memory_limit"),
            refused("memory-2-gib", Made::Pages("32768"), "memory"),
            refused("memory-4-gib", Made::Pages("65536"), "memory"),
            refused("memory64", Made::Beside("(memory i64 1)"), "memory"),
        ],
    },
    Case {
        number: 7,
        name: "growing and huge tables",
        held_by: "`table_elements`",
        probes: &[
            run(
                "eat-tables",
                beside(
                    "(table 0 funcref)",
                    "(loop (drop (table.grow (ref.null func) (i32.const 1000))) (br 0))",
                ),
                "table_limit",
            ),
            refused(
                "table-1-m",
                Made::Beside("(table 1000000 funcref)"),
                "table",
            ),
        ],
    },
    Case {
        number: 8,
        name: "many memories, tables, instances",
        held_by: "parts are counted before anything is compiled; the engine's pool has so many of each",
        probes: &[
            refused("memories", Made::BesideTimes("(memory 1)", 40), "memories"),
            refused(
                "tables",
                Made::BesideTimes("(table 1 funcref)", 40),
                "tables count",
            ),
            refused(
                "instances",
                Made::Times("(core module) (core instance (instantiate 0))", 1_100),
                "core modules",
            ),
        ],
    },
    Case {
        number: 9,
        name: "recursion",
        held_by: "a stack of its own, of bounded size",
        probes: &[
            run(
                "recursion",
                Guest::that("(call $body (local.get 0))"),
                "trap",
            ),
            run(
                "recursion-into-host",
                Guest::importing(
                    CLOCK,
                    "(drop (call $now)) (call $body (local.get 0)) (drop (call $now))",
                ),
                "trap",
            ),
        ],
    },
];

pub(super) const CASES_OF_ANSWERS: [Case; 4] = [
    Case {
        number: 10,
        name: "huge or impossible texts in the answer",
        held_by: "`host_call_kb`, and each pointer is checked",
        probes: &[
            run(
                "text-60-mib",
                with_pages(
                    "961",
                    "",
                    "(i32.store (i32.const 1032) (i32.const 0)) (i32.store (i32.const 1036) (i32.const 62914560))",
                ),
                "host_call_limit",
            ),
            run(
                "text-4-gib",
                Guest::that("(i32.store (i32.const 1036) (i32.const -1))"),
                "contract_violation",
            ),
            run(
                "text-outside",
                Guest::that("(i32.store (i32.const 1032) (i32.const 0x7fffff00))"),
                "contract_violation",
            ),
        ],
    },
    Case {
        number: 11,
        name: "400,000 labels that are one text",
        held_by: "`host_call_kb`: what is copied counts, not what the guest has",
        probes: &[limited(
            "amplified",
            with_pages(
                "100",
                "",
                "(local $at i32)
                (local.set $at (i32.const 131072))
                (loop
                    (i32.store (local.get $at) (i32.const 131072))
                    (i32.store offset=4 (local.get $at) (i32.const 100))
                    (local.set $at (i32.add (local.get $at) (i32.const 8)))
                    (br_if 0 (i32.lt_u (local.get $at) (i32.const 3331072))))
                (i32.store (i32.const 1040) (i32.const 131072))
                (i32.store (i32.const 1044) (i32.const 400000))",
            ),
            "",
            "host_call_limit",
        )],
    },
    Case {
        number: 12,
        name: "answers that are no answers",
        held_by: "the contract's types; what they allow and makes no sense, `worker::check`",
        probes: &[
            run(
                "bad-utf8",
                Guest::that("(i32.store8 (i32.const 2048) (i32.const 0xff))"),
                "contract_violation",
            ),
            run(
                "bad-priority",
                Guest::that("(i32.store8 (i32.const 1028) (i32.const 9))"),
                "contract_violation",
            ),
            run(
                "bad-result",
                Guest::that("(i32.store8 (i32.const 1024) (i32.const 7))"),
                "contract_violation",
            ),
            run(
                "bad-confidence",
                Guest::that("(i32.store8 (i32.const 1048) (i32.const 200))"),
                "answer_refused",
            ),
        ],
    },
    Case {
        number: 13,
        name: "an allocator that lies",
        held_by: "each pointer is checked; memory and calls count there as anywhere",
        probes: &[
            run(
                "realloc-unaligned",
                allocating("", "(i32.const 8193)"),
                "contract_violation",
            ),
            run(
                "realloc-outside",
                allocating("", "(i32.const -16)"),
                "contract_violation",
            ),
            run(
                "realloc-overlapping",
                allocating("", "(i32.const 8192)"),
                "decided",
            ),
            limited(
                "realloc-eats",
                allocating(
                    "",
                    "(loop (drop (memory.grow (i32.const 1))) (br 0)) (i32.const 0)",
                ),
                "",
                "memory_limit",
            ),
            run(
                "realloc-calls-host",
                allocating(CLOCK, "(drop (call $now)) (i32.const 8192)"),
                "trap",
            ),
        ],
    },
];
