use std::fmt::Write as _;

use proptest::prelude::*;

use super::limits::*;
use super::*;

const CLASSIFIER: &str = "triage:policy/classifier@0.1.0";

fn component(text: &str) -> Vec<u8> {
    wat::parse_str(format!("(component {text})")).unwrap()
}

/// A component that can be a stage, with something more in it.
fn stage(more: &str) -> Vec<u8> {
    component(&format!(
        "{more} (component $c) (instance $i (instantiate $c)) (export \"{CLASSIFIER}\" (instance $i))"
    ))
}

/// The same with something more in a module.
fn module(more: &str) -> Vec<u8> {
    stage(&format!("(core module {more})"))
}

fn repeated(count: u64, one: &str) -> String {
    let mut text = String::new();
    (0..count).for_each(|_| text.push_str(one));
    text
}

fn problem(bytes: &[u8]) -> String {
    check(bytes).unwrap_err().to_string()
}

/// A number as the format writes it (LEB128).
fn number(mut value: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    loop {
        let low = (value & 0x7f) as u8;
        value >>= 7;
        if value == 0 {
            bytes.push(low);
            return bytes;
        }
        bytes.push(low | 0x80);
    }
}

/// A section of a kind, with this content.
fn section(kind: u8, content: &[u8]) -> Vec<u8> {
    [vec![kind], number(content.len()), content.to_vec()].concat()
}

#[test]
fn a_component_that_offers_a_stage_passes() {
    check(&stage("")).unwrap();
}

#[test]
fn what_is_no_component_is_named() {
    let module = wat::parse_str("(module)").unwrap();
    assert!(
        problem(&module).contains("core module"),
        "{}",
        problem(&module)
    );
    for bytes in [&b""[..], b"\0asm", b"PK\x03\x04", b"(component)"] {
        assert!(
            problem(bytes).contains("do not begin like"),
            "{}",
            problem(bytes)
        );
    }
}

#[test]
fn a_component_without_a_stage_is_refused() {
    assert!(matches!(check(&component("")), Err(LoadError::NoPolicy)));
    let other = format!(
        "(component $c) (instance $i (instantiate $c)) (export \"{CLASSIFIER}0\" (instance $i))"
    );
    let other = other.replace("0.1.00", "0.2.0");
    assert!(matches!(
        check(&component(&other)),
        Err(LoadError::NoPolicy)
    ));
}

#[test]
fn an_import_that_is_not_offered_is_named() {
    let importing = |name: &str| stage(&format!("(import \"{name}\" (instance))"));
    for name in ["triage:policy/log@0.1.0", "wasi:io/poll@0.2.0"] {
        check(&importing(name)).unwrap();
    }
    assert!(matches!(
        check(&importing("triage:policy/model@0.1.0")),
        Err(LoadError::NotOffered(name)) if name == "triage:policy/model@0.1.0"
    ));
    for unknown in ["triage:policy/log@0.2.0", "acme:files/root", "file"] {
        assert!(
            matches!(check(&importing(unknown)), Err(LoadError::UnknownImport(name)) if name == unknown),
        );
    }
}

/// A limit, and a component with one more than that.
fn one_more() -> Vec<(Limit, Vec<u8>)> {
    let many = |limit: Limit, one: &str| repeated(limit.most + 1, one);
    let long = "n".repeat(NAME_BYTES.most as usize + 1);
    let nested = repeated(NESTING.most, "(component ") + &repeated(NESTING.most, ")");
    let mut exports = "(func $f) ".to_owned();
    for number in 0..=EXPORTS.most {
        write!(exports, "(export \"{number}\" (func $f))").unwrap();
    }
    let aliases = "(core module $m (func (export \"f\"))) (core instance $i (instantiate $m))"
        .to_owned()
        + &many(ALIASES, "(alias core export $i \"f\" (core func))");
    let instances =
        "(core module $m)".to_owned() + &many(CORE_INSTANCES, "(core instance (instantiate $m))");
    let components = many(COMPONENT_INSTANCES, "(instance (instantiate $c))");
    let body = "nop ".repeat(FUNCTION_BYTES.most as usize);
    let customs = many(CUSTOM_SECTIONS, "(@custom \"c\" \"\")");
    let custom = format!(
        "(@custom \"c\" \"{}\")",
        "x".repeat(CUSTOM_BYTES.most as usize + 1)
    );
    vec![
        (NESTING, stage(&nested)),
        (MODULES, stage(&many(MODULES, "(core module)"))),
        (COMPONENTS, stage(&many(COMPONENTS, "(component)"))),
        (CORE_INSTANCES, stage(&instances)),
        (
            COMPONENT_INSTANCES,
            stage(&format!("(component $c){components}").replace("$c", "$d")),
        ),
        (FUNCTIONS, module(&many(FUNCTIONS, "(func)"))),
        (FUNCTION_BYTES, module(&format!("(func {body})"))),
        (
            LOCALS,
            module(&format!("(func (local {}))", many(LOCALS, "i32 "))),
        ),
        (TYPES, module(&many(TYPES, "(type (func))"))),
        (TYPES, stage(&many(TYPES, "(type u8)"))),
        (
            IMPORTS,
            module(&many(IMPORTS, "(import \"a\" \"b\" (func))")),
        ),
        (EXPORTS, module(&exports)),
        (ALIASES, stage(&aliases)),
        (MEMORIES, module(&many(MEMORIES, "(memory 0)"))),
        (TABLES, module(&many(TABLES, "(table 0 funcref)"))),
        (
            GLOBALS,
            module(&many(GLOBALS, "(global i32 (i32.const 0))")),
        ),
        (DATA_SEGMENTS, module(&many(DATA_SEGMENTS, "(data \"\")"))),
        (
            ELEMENT_SEGMENTS,
            module(&many(ELEMENT_SEGMENTS, "(elem func)")),
        ),
        (CUSTOM_SECTIONS, stage(&customs)),
        (CUSTOM_BYTES, stage(&custom)),
        (
            NAME_BYTES,
            stage(&format!("(import \"{long}\" (instance))")),
        ),
        (NAME_BYTES, stage(&format!("(@custom \"{long}\" \"\")"))),
    ]
}

#[test]
fn each_limit_is_named_where_it_is_passed() {
    for (limit, bytes) in one_more() {
        match check(&bytes) {
            Err(LoadError::TooLarge {
                limit: named,
                found,
            }) => {
                assert_eq!(named, limit);
                assert!(limit.most < found, "{limit}: {found}");
            }
            other => panic!("{limit}: {other:?}"),
        }
    }
    let large = vec![0; COMPONENT_BYTES.most as usize + 1];
    assert_eq!(
        problem(&large),
        "it has 33554433 bytes, the most is 33554432"
    );
}

#[test]
fn a_large_component_may_have_a_large_function() {
    let body = "nop ".repeat(2 * FUNCTION_BYTES.most as usize);
    let padding = "x".repeat((2 * FUNCTION_BYTES.most * FUNCTION_SHARE) as usize);
    check(&module(&format!(
        "(func {body}) (memory 1) (data \"{padding}\")"
    )))
    .unwrap();
}

#[test]
fn lengths_and_counts_that_lie_are_refused() {
    let inside = |sections: &[Vec<u8>]| section(1, &[MODULE, &sections.concat()].concat());
    let of = |module: Vec<u8>| [COMPONENT, &module].concat();
    let billion = number(1 << 30);
    for (what, bytes) in [
        (
            "a section longer than the file",
            of([vec![1], billion.clone()].concat()),
        ),
        (
            "a length of too many bytes",
            of(vec![1, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]),
        ),
        ("a billion types", of(inside(&[section(1, &billion)]))),
        ("a billion functions", of(inside(&[section(3, &billion)]))),
        ("a billion bodies", of(inside(&[section(10, &billion)]))),
        (
            "a billion locals",
            of(inside(&[section(
                10,
                &[vec![1, 6, 1], billion.clone()].concat(),
            )])),
        ),
        ("a billion imports", of(section(10, &billion))),
        ("a module in a module", of(inside(&[MODULE.to_vec()]))),
        ("a section of no kind", of(section(77, b"x"))),
    ] {
        assert!(
            matches!(
                check(&bytes),
                Err(LoadError::Invalid(_) | LoadError::TooLarge { .. })
            ),
            "{what}: {:?}",
            check(&bytes)
        );
    }
}

#[test]
fn a_component_that_was_cut_off_is_refused_wherever() {
    let whole = module("(func (export \"f\") (param i32) (local i64) nop)");
    // What comes after the stage's export are names for tools.
    let mut windows = whole.windows(CLASSIFIER.len());
    let export = windows.rposition(|it| it == CLASSIFIER.as_bytes()).unwrap();
    for length in 0..export + CLASSIFIER.len() {
        assert!(check(&whole[..length]).is_err(), "{length}");
    }
}

proptest! {
    #[test]
    fn any_bytes_are_judged(bytes in proptest::collection::vec(any::<u8>(), 0..512), nested: bool) {
        let _ = check(&bytes);
        let mut inner = [if nested { MODULE } else { COMPONENT }, &bytes].concat();
        let _ = check(&inner);
        inner = section(if nested { 1 } else { 4 }, &inner);
        let _ = check(&[COMPONENT, &inner].concat());
    }

    #[test]
    fn a_changed_component_is_judged(
        changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
    ) {
        let mut bytes = module("(func (export \"f\") (local i64) nop) (memory 1) (data \"x\") (table 1 funcref)");
        for (place, byte) in changes {
            *place.get_mut(&mut bytes) = byte;
        }
        let _ = check(&bytes);
    }
}
