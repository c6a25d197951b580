//! What a guest does with what it may call.

use super::*;

/// Floods whose end is the log's limit and not that of computing.
const PATIENT: &str = "log_kb = 8";
const CLOCK: &str = r#"(import "triage:policy/clock@0.1.0" "now" (func $now (result i64)))"#;
const LOG: &str =
    r#"(import "triage:policy/log@0.1.0" "write" (func $log (param i32 i32 i32 i32 i32)))"#;
const SLEEP: &str = r#"
    (import "wasi:clocks/monotonic-clock@0.2.0" "subscribe-duration" (func $after (param i64) (result i32)))
    (import "wasi:io/poll@0.2.0" "[method]pollable.block" (func $block (param i32)))
    (import "wasi:io/poll@0.2.0" "[resource-drop]pollable" (func $drop (param i32)))"#;
const STDOUT: &str = r#"
    (import "wasi:cli/stdout@0.2.0" "get-stdout" (func $stdout (result i32)))
    (import "wasi:io/streams@0.2.0" "[method]output-stream.blocking-write-and-flush"
        (func $write (param i32 i32 i32 i32)))"#;
const STDOUT_AND_POLL: &str = r#"
    (import "wasi:cli/stdout@0.2.0" "get-stdout" (func $stdout (result i32)))
    (import "wasi:io/poll@0.2.0" "[method]pollable.block" (func $block (param i32)))"#;
const RANDOM: &str =
    r#"(import "wasi:random/random@0.2.0" "get-random-bytes" (func $random (param i64 i32)))"#;
const THING: &str = r#"
    (import "[export]triage:selftest/things" "[resource-new]thing" (func $new (param i32) (result i32)))
    (import "[export]triage:selftest/things" "[resource-drop]thing" (func $drop (param i32)))"#;
const LOOP: &str = "(loop (br 0))";
/// 1,500 writes of 4 KiB.
const WRITE_A_LOT: &str = "(call $flood)";
const FLOOD: &str = "(func $flood (local $i i32) (local $out i32)
    (memory.fill (i32.const 12288) (i32.const 120) (i32.const 4096))
    (local.set $out (call $stdout))
    (loop
        (call $write (local.get $out) (i32.const 12288) (i32.const 4096) (i32.const 3100))
        (local.set $i (i32.add (local.get $i) (i32.const 1)))
        (br_if 0 (i32.lt_u (local.get $i) (i32.const 1500)))))";
const FLOOD_CLOCK: &str = "(local $i i32) (loop
    (drop (call $now))
    (local.set $i (i32.add (local.get $i) (i32.const 1)))
    (br_if 0 (i32.lt_u (local.get $i) (i32.const 10000000))))";
const FLOOD_LOG: &str = "(local $i i32) (loop
    (call $log (i32.const 1) (i32.const 2048) (i32.const 4) (i32.const 0) (i32.const 0))
    (local.set $i (i32.add (local.get $i) (i32.const 1)))
    (br_if 0 (i32.lt_u (local.get $i) (i32.const 10000000))))";
const LOG_A_LOT: &str = "(local $i i32) (loop
    (call $log (i32.const 1) (i32.const 2048) (i32.const 4) (i32.const 0) (i32.const 0))
    (local.set $i (i32.add (local.get $i) (i32.const 1)))
    (br_if 0 (i32.lt_u (local.get $i) (i32.const 5000))))";
/// 6 MiB of output, and a trap, as a panic with a long message.
const PANIC: &str = "(call $flood) unreachable";

/// An endless loop in a version that has this in it.
const fn spinning(more: &'static str) -> Guest {
    beside(more, LOOP)
}

pub(super) const CASES_OF_CALLS: [Case; 9] = [
    Case {
        number: 14,
        name: "10 million calls of the host",
        held_by: "CPU time: calls of the host count",
        probes: &[
            run(
                "flood-clock",
                Guest::importing(CLOCK, FLOOD_CLOCK),
                "cpu_limit",
            ),
            limited(
                "flood-log",
                Guest::importing(LOG, FLOOD_LOG),
                "cpu_ms = 100\nlog_kb = 8",
                "cpu_limit",
            ),
        ],
    },
    Case {
        number: 15,
        name: "floods and tricks in the log",
        held_by: "`log_kb` and `host_call_kb`; control characters are replaced",
        probes: &[
            limited(
                "log-lines",
                Guest::importing(LOG, LOG_A_LOT),
                PATIENT,
                "decided",
            ),
            limited(
                "log-line-5-mib",
                with_pages(
                    "90",
                    LOG,
                    "(call $log (i32.const 1) (i32.const 0) (i32.const 5242880) (i32.const 0) (i32.const 0))",
                ),
                PATIENT,
                "host_call_limit",
            ),
            limited(
                "log-escapes",
                Guest {
                    more: r#"(data (i32.const 3000) "\1b[2J\0d\n{\"level\":\"error\"}")"#,
                    ..Guest::importing(
                        LOG,
                        "(call $log (i32.const 1) (i32.const 3000) (i32.const 23) (i32.const 0) (i32.const 0))",
                    )
                },
                PATIENT,
                "decided",
            ),
        ],
    },
    Case {
        number: 16,
        name: "floods of standard output",
        held_by: "`log_kb`",
        probes: &[
            limited(
                "stdout",
                Guest {
                    more: FLOOD,
                    ..Guest::wasi(STDOUT, WRITE_A_LOT)
                },
                PATIENT,
                "decided",
            ),
            limited(
                "stdout-and-trap",
                Guest {
                    more: FLOOD,
                    ..Guest::wasi(STDOUT, PANIC)
                },
                PATIENT,
                "trap",
            ),
        ],
    },
    Case {
        number: 17,
        name: "1 GiB of randomness at once",
        held_by: "at most 64 KiB in one request",
        probes: &[run(
            "random",
            Guest::wasi(
                RANDOM,
                "(call $random (i64.const 1073741824) (i32.const 3000))",
            ),
            "random_limit",
        )],
    },
    Case {
        number: 18,
        name: "a call of the host that takes an hour",
        held_by: "`wall_ms`, which ends waiting too",
        probes: &[limited(
            "sleep",
            Guest::wasi(
                SLEEP,
                "(call $block (call $after (i64.const 3600000000000)))",
            ),
            "cpu_ms = 300\nwall_ms = 300",
            "wall_limit",
        )],
    },
    Case {
        number: 19,
        name: "many spinning guests at once",
        held_by: "guests yield every millisecond; deliveries have threads of their own",
        // Several versions, as one that spins on many events is quarantined.
        probes: &[
            often(
                "spin-1",
                spinning("(global i32 (i32.const 1))"),
                4,
                "cpu_limit",
            ),
            often(
                "spin-2",
                spinning("(global i32 (i32.const 2))"),
                4,
                "cpu_limit",
            ),
            often(
                "spin-3",
                spinning("(global i32 (i32.const 3))"),
                4,
                "cpu_limit",
            ),
            often(
                "spin-4",
                spinning("(global i32 (i32.const 4))"),
                4,
                "cpu_limit",
            ),
            often(
                "spin-5",
                spinning("(global i32 (i32.const 5))"),
                4,
                "cpu_limit",
            ),
            often(
                "spin-6",
                spinning("(global i32 (i32.const 6))"),
                4,
                "cpu_limit",
            ),
        ],
    },
    Case {
        number: 20,
        name: "forged, stale and foreign handles",
        held_by: "handles are looked up in the guest's own table",
        probes: &[
            run(
                "handle-forged",
                Guest::wasi(SLEEP, "(call $block (i32.const 12345))"),
                "contract_violation",
            ),
            run(
                "handle-dropped-twice",
                Guest::wasi(
                    SLEEP,
                    "(local $one i32) (local.set $one (call $after (i64.const 1))) (call $drop (local.get $one)) (call $drop (local.get $one))",
                ),
                "contract_violation",
            ),
            run(
                "handle-of-another-type",
                Guest::wasi(STDOUT_AND_POLL, "(call $block (call $stdout))"),
                "contract_violation",
            ),
        ],
    },
    Case {
        number: 21,
        name: "handles that are never given back",
        held_by: "`handles`",
        probes: &[limited(
            "handles",
            Guest::wasi(STDOUT, "(loop (drop (call $stdout)) (br 0))"),
            "",
            "handle_limit",
        )],
    },
    Case {
        number: 22,
        name: "traps in post-return and destructors, second lives",
        held_by: "an instance for one stage of one attempt, and never again",
        probes: &[
            run(
                "trap-post-return",
                beside(
                    r#"(func (export "cabi_post_triage:policy/classifier@0.1.0#classify") (param i32) unreachable)"#,
                    "",
                ),
                "trap",
            ),
            run(
                "trap-destructor",
                Guest {
                    world: Some("owner"),
                    more: r#"(func (export "triage:selftest/things#[dtor]thing") (param i32) unreachable)"#,
                    ..Guest::importing(THING, "(call $drop (call $new (i32.const 7)))")
                },
                "trap",
            ),
            often(
                "second-life",
                beside(
                    "(global $lives (mut i32) (i32.const 0))",
                    "(global.set $lives (i32.add (global.get $lives) (i32.const 1))) (if (i32.ne (global.get $lives) (i32.const 1)) (then unreachable))",
                ),
                3,
                "decided",
            ),
        ],
    },
];
