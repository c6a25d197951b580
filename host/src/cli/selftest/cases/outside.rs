//! What is refused when it is loaded, and what a decision may lead to.

use super::*;

const SOCKET: &str = r#"(import "wasi:sockets/tcp-create-socket@0.2.0" "create-tcp-socket" (func $tcp (param i32 i32)))"#;
const FILES: &str = r#"(import "wasi:filesystem/preopens@0.2.0" "get-directories" (func $directories (param i32)))"#;
/// One ticket `test` for destination `ok`, which the policy was not granted.
const NOT_GRANTED: &str = "
    (i32.store (i32.const 1548) (i32.const 4096)) (i32.store (i32.const 1552) (i32.const 1))
    (i32.store (i32.const 4096) (i32.const 2048)) (i32.store (i32.const 4100) (i32.const 4))
    (i32.store (i32.const 4104) (i32.const 2064)) (i32.store (i32.const 4108) (i32.const 2))";

/// The same, with a name that would begin another header.
const SMUGGLED: &str = "
    (i32.store (i32.const 1548) (i32.const 4096)) (i32.store (i32.const 1552) (i32.const 1))
    (i32.store (i32.const 4096) (i32.const 2100)) (i32.store (i32.const 4100) (i32.const 15))
    (i32.store (i32.const 4104) (i32.const 2064)) (i32.store (i32.const 4108) (i32.const 2))";

pub(super) const CASES_OF_LOADING: [Case; 6] = [
    Case {
        number: 23,
        name: "imports that nobody granted",
        held_by: "what is imported is checked by name; `wasi:*` is linked with nothing in it",
        probes: &[
            refused(
                "import-stranger",
                Made::Importing("acme:internal/secrets@1.0.0"),
                "acme:internal/secrets@1.0.0",
            ),
            refused(
                "import-later",
                Made::Importing("triage:policy/log@0.9.0"),
                "triage:policy/log@0.9.0",
            ),
            refused(
                "import-later-wasi",
                Made::Importing("wasi:sockets/tcp@0.3.0"),
                "wasi:sockets/tcp@0.3.0",
            ),
            run(
                "socket",
                Guest::wasi(
                    SOCKET,
                    "(call $tcp (i32.const 0) (i32.const 3000)) (if (i32.eqz (i32.load8_u (i32.const 3000))) (then unreachable))",
                ),
                "decided",
            ),
            run(
                "files",
                Guest::wasi(
                    FILES,
                    "(call $directories (i32.const 3000)) (if (i32.load (i32.const 3004)) (then unreachable))",
                ),
                "decided",
            ),
        ],
    },
    Case {
        number: 24,
        name: "exports that do not fit",
        held_by: "what is exported is checked before it is compiled, its type when it is linked",
        probes: &[
            refused("no-export", Made::Text(""), "exports neither"),
            refused("core-module", Made::Module, "component"),
            refused(
                "export-later",
                Made::Offering("triage:policy/classifier@0.2.0"),
                "exports neither",
            ),
            refused(
                "export-of-another-type",
                Made::Offering("triage:policy/classifier@0.1.0"),
                "classifier.classify",
            ),
        ],
    },
    Case {
        number: 25,
        name: "compile bombs",
        held_by: "counts and sizes before it is compiled; a process of its own with limits for that",
        probes: &[
            refused("bomb-loads", Made::Loads(3, 35_000), "compile_seconds"),
            refused(
                "bomb-function",
                Made::BodyTimes(
                    "(if (i32.load (i32.const 0)) (then (i32.store (i32.const 4) (i32.const 1))))",
                    60_000,
                ),
                "one function",
            ),
            refused(
                "bomb-functions",
                Made::BesideTimes("(func (i32.store (i32.const 0) (i32.const 1)))", 100_001),
                "functions",
            ),
            refused(
                "bomb-blocks",
                Made::BodyTimes("block end ", 200_000),
                "one function",
            ),
            refused("bomb-nesting", Made::Blocks(120_000), "one function"),
            refused("bomb-jumps", Made::Jumps(300_000), "one function"),
            refused(
                "bomb-locals",
                Made::BodyTimes("(local i64) ", 20_000),
                "local variables",
            ),
            refused(
                "bomb-segments",
                Made::BesideTimes(r#"(data (i32.const 0) "x")"#, 60_000),
                "data segments",
            ),
        ],
    },
    Case {
        number: 26,
        name: "damaged, lying and deeply nested files",
        held_by: "a file is read once, without recursion, and counted part by part",
        probes: &[
            refused("nested-types", Made::Lists(5_000), "nesting is too deep"),
            refused(
                "nested-components",
                Made::Nested("(component ", "", ")", 40),
                "nested",
            ),
            refused("types", Made::Times("(type (func))", 30_000), "types"),
            refused("custom-section", Made::Custom(9 << 20), "custom sections"),
            refused("file-of-1-gib", Made::Hole(1 << 30), "bytes"),
            refused("lying-length", Made::Lying, "unexpected end"),
            refused("truncated", Made::Truncated, "unexpected end"),
        ],
    },
    Case {
        number: 27,
        name: "changed and mixed up artefacts in the cache",
        held_by: "a seal (HMAC) over name and bytes; the version's digest is in the name",
        probes: &[special("tampered", Special::Tampered)],
    },
    Case {
        number: 28,
        name: "state, which this version does not offer",
        held_by: "not offered: `triage:policy/state` is refused by name",
        probes: &[refused(
            "import-state",
            Made::Importing("triage:policy/state@0.1.0"),
            "triage:policy/state@0.1.0",
        )],
    },
];

pub(super) const CASES_OF_EFFECTS: [Case; 2] = [
    Case {
        number: 29,
        name: "requests to places that were not opened",
        held_by: "the resolved address is judged and connected to; redirects are not followed; names hold no white space",
        probes: &[
            url(
                "egress-metadata",
                "http://169.254.169.254/latest/meta-data/",
            ),
            url("egress-number", "http://2852039166/latest/meta-data/"),
            url("egress-mapped", "http://[::ffff:169.254.169.254]/"),
            url("egress-private", "http://10.0.0.1/"),
            url("egress-loopback", "http://127.0.0.1:PORT/"),
            webhook("egress-name", "http://localhost:PORT/"),
            run(
                "egress-header",
                triager(r#"(data (i32.const 2100) "a\0d\0ax-smuggled:1")"#, SMUGGLED),
                "answer_refused",
            ),
            special("egress-redirect", Special::Redirected),
            refused(
                "import-http",
                Made::Importing("triage:policy/http@0.1.0"),
                "triage:policy/http@0.1.0",
            ),
            refused(
                "import-wasi-http",
                Made::Importing("wasi:http/outgoing-handler@0.2.0"),
                "wasi:http/outgoing-handler@0.2.0",
            ),
        ],
    },
    Case {
        number: 30,
        name: "plans over the grants, answers by lot, swap, crash",
        held_by: "grants and limits of a plan; a run's own randomness; decision and attempt in one transaction",
        probes: &[
            run(
                "plan-10000-actions",
                triager(
                    "",
                    "(i32.store (i32.const 1548) (i32.const 65536)) (i32.store (i32.const 1552) (i32.const 10000))",
                ),
                "answer_limit",
            ),
            run(
                "plan-not-granted",
                triager("", NOT_GRANTED),
                "answer_refused",
            ),
            special("differing", Special::Differing),
            special("swapped", Special::Swapped),
            special("killed", Special::Killed),
        ],
    },
];
