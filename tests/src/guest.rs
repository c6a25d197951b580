//! Small plugins in WebAssembly's text form, for what no compiler would write.

/// An answer `{ priority: normal, category: "test", labels: [], confidence: 80, reason: "ok" }` at 1024.
const ANSWER: &str = r#"
    (data (i32.const 1024) "\00\00\00\00\02\00\00\00\00\08\00\00\04\00\00\00\00\00\00\00\00\00\00\00\50\00\00\00\10\08\00\00\02\00\00\00")
    (data (i32.const 2048) "test")
    (data (i32.const 2064) "ok")"#;

/// A module whose classifier runs `body` and then answers. Its memory has two pages.
pub fn classifier(body: &str) -> String {
    classifier_importing("", body)
}

/// The same with imports.
pub fn classifier_importing(imports: &str, body: &str) -> String {
    format!(
        r#"(module
            {imports}
            (memory (export "memory") 2)
            (table 0 funcref)
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

/// Computes for ever.
pub const LOOP: &str = "(loop (br 0))";
/// Asks for more memory for ever, and fills all of it.
pub const EAT_MEMORY: &str = "(local $page i32)
    (loop
        (local.set $page (memory.grow (i32.const 1)))
        (memory.fill (i32.mul (local.get $page) (i32.const 65536)) (i32.const 1) (i32.const 65536))
        (br 0))";
/// Asks for more elements of its table for ever.
pub const EAT_TABLES: &str = "(loop (drop (table.grow (ref.null func) (i32.const 1000))) (br 0))";
/// Stops with a trap.
pub const TRAP: &str = "unreachable";
/// Calls itself for ever.
pub const RECURSE: &str = "(call $body)";
/// Answers with a priority that does not exist.
pub const BAD_DISCRIMINANT: &str = "(i32.store8 (i32.const 1028) (i32.const 9))";
/// Answers with a category that is not UTF-8.
pub const BAD_TEXT: &str = "(i32.store8 (i32.const 2048) (i32.const 0xff))";
/// Answers with a category that lies outside its memory.
pub const BAD_POINTER: &str = "(i32.store (i32.const 1032) (i32.const 0x7fffff00))";
/// Answers with a category of 32 KiB and more than a name may have.
pub const HUGE_ANSWER: &str = "(i32.store (i32.const 1036) (i32.const 100000))";
