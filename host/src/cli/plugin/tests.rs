use std::path::Path;
use std::time::Duration;

use super::inspect::{self, Imports, InspectError};
use super::pack::{self, PackError};
use super::process::{self, Scratch};
use super::{PluginCommand, core_module, run, toolchain};
use crate::sandbox::PLUGIN_BYTES_MAX;

/// A module with the memory and the allocator that every plugin needs, and what
/// `rest` adds.
fn module(rest: &str) -> String {
    format!(
        r#"(module
            {rest}
            (memory (export "memory") 1)
            (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32) (i32.const 1024)))"#
    )
}

/// Takes an event, answers where the result lies; the host never runs it here.
const CLASSIFY: &str = r#"(func (export "triage:policy/classifier@0.1.0#classify") (param i32) (result i32) (i32.const 0))"#;

/// The event and, beside it, a classification do not fit into arguments either.
const TRIAGE: &str = r#"(func (export "triage:policy/triager@0.1.0#triage") (param i32) (result i32) (i32.const 0))"#;

const DESCRIBE: &str =
    r#"(func (export "triage:policy/plugin@0.1.0#describe") (result i32) (i32.const 0))"#;

/// Packs and inspects, and says what came of it in one line per fact.
#[track_caller]
fn check(input: &str, expected: &str) {
    let text = match pack::pack(input.as_bytes()) {
        Ok(component) => summary(&component),
        Err(error) => format!("{:#}", anyhow::Error::from(error)),
    };
    assert_eq!(text, expected);
}

fn summary(component: &[u8]) -> String {
    let it = inspect::inspect(component).unwrap();
    let exports: Vec<String> = it
        .exports
        .iter()
        .map(|it| format!("{} {}", it.interface, it.version))
        .collect();
    let Imports {
        always_granted,
        needs_grant,
        wasi,
        unknown,
    } = it.imports;
    format!(
        "offers {exports:?}, uses {always_granted:?}, needs {needs_grant:?}, \
         wasi {wasi:?}, unknown {unknown:?}"
    )
}

#[test]
fn a_module_without_a_description_becomes_a_classifier() {
    check(
        &module(CLASSIFY),
        r#"offers ["classifier 0.1.0"], uses ["types"], needs [], wasi [], unknown []"#,
    );
}

#[test]
fn the_world_follows_what_the_module_exports() {
    check(
        &module(&format!("{DESCRIBE}{CLASSIFY}{TRIAGE}")),
        r#"offers ["plugin 0.1.0", "classifier 0.1.0", "triager 0.1.0"], uses ["types"], needs [], wasi [], unknown []"#,
    );
}

#[test]
fn only_what_is_called_is_imported() {
    let state = r#"(import "triage:policy/state@0.1.0" "delete" (func (param i32 i32 i32)))
        (import "triage:policy/log@0.1.0" "write" (func (param i32 i32 i32 i32 i32)))"#;
    check(
        &module(&format!("{state}{TRIAGE}")),
        r#"offers ["triager 0.1.0"], uses ["log", "types"], needs ["state"], wasi [], unknown []"#,
    );
}

#[test]
fn wasi_preview_1_is_answered_inside_the_component() {
    let wasi = r#"(import "wasi_snapshot_preview1" "fd_write" (func (param i32 i32 i32 i32) (result i32)))
        (import "wasi_snapshot_preview1" "path_open"
            (func (param i32 i32 i32 i32 i32 i64 i64 i32 i32) (result i32)))"#;
    check(
        &module(&format!("{wasi}{CLASSIFY}")),
        r#"offers ["classifier 0.1.0"], uses ["types"], needs [], wasi [], unknown []"#,
    );
}

#[test]
fn a_description_wider_than_the_code_is_narrowed() {
    let described = wat::parse_str(module(&format!("{DESCRIBE}{CLASSIFY}{TRIAGE}"))).unwrap();
    let described = pack::with_contract(&described).unwrap();
    let mut module = wat::parse_str(module(CLASSIFY)).unwrap();
    module.extend(component_type_section(&described));
    assert_eq!(
        summary(&pack::pack(&module).unwrap()),
        r#"offers ["classifier 0.1.0"], uses ["types"], needs [], wasi [], unknown []"#
    );
}

/// The custom section at the end, which `with_contract` wrote.
fn component_type_section(module: &[u8]) -> &[u8] {
    let name = b"component-type";
    let at = module
        .windows(name.len())
        .rposition(|it| it == name)
        .unwrap();
    // Before the name: its length, and before that the section's, in LEB128.
    let start = (1..at)
        .rev()
        .find(|&start| module[start] == 0 && ends_here(&module[start + 1..]))
        .unwrap();
    &module[start..]
}

fn ends_here(rest: &[u8]) -> bool {
    let mut length = 0_usize;
    for (index, byte) in rest.iter().take(5).enumerate() {
        length |= usize::from(byte & 0x7f) << (7 * index);
        if byte & 0x80 == 0 {
            return length == rest.len() - index - 1;
        }
    }
    false
}

#[test]
fn a_component_comes_back_as_it_is() {
    let component = pack::pack(module(CLASSIFY).as_bytes()).unwrap();
    assert_eq!(pack::pack(&component).unwrap(), component);
}

#[test]
fn garbage_is_refused() {
    check(
        "hello",
        "this is neither WebAssembly nor its text form (.wat): expected `(`\n     \
         --> <anon>:1:1\n      |\n    1 | hello\n      | ^",
    );
    let error = pack::pack(b"\0asm\x01\0\0\0\x07\xff\xff\xff\xff\x0f").unwrap_err();
    assert!(matches!(error, PackError::Malformed(_)), "{error:?}");
}

#[test]
fn a_module_without_a_policy_is_refused() {
    check(
        &module(""),
        "the module offers no policy: it exports memory, cabi_realloc; \
         export classifier or triager of triage:policy@0.1.0",
    );
}

#[test]
fn a_description_alone_is_no_policy() {
    check(
        &module(DESCRIBE),
        "the module offers no policy: it exports plugin; \
         export classifier or triager of triage:policy@0.1.0",
    );
}

#[test]
fn another_version_of_the_contract_is_named() {
    check(
        &module(r#"(func (export "triage:policy/classifier@0.2.0#classify"))"#),
        "the module was built for triage:policy/classifier@0.2.0#classify, \
         this program knows triage:policy@0.1.0; \
         build it with the SDK of this version, or take a newer triage",
    );
}

#[test]
fn a_wrong_signature_is_named() {
    let wrong = r#"(func (export "triage:policy/classifier@0.1.0#classify") (param i64))"#;
    let error = pack::pack(module(wrong).as_bytes()).unwrap_err();
    assert!(matches!(error, PackError::Contract(_)), "{error:?}");
    let chain = format!("{:#}", anyhow::Error::from(error));
    assert!(chain.contains("classifier@0.1.0#classify"), "{chain}");
}

#[test]
fn imports_that_no_host_has_are_refused() {
    let strange = r#"(component (import "evil:corp/door@1.0.0" (instance)))"#;
    check(
        strange,
        "the component imports evil:corp/door@1.0.0, which the host does not have; \
         a plugin may import triage:policy@0.1.0 only",
    );
}

#[test]
fn the_contract_version_is_that_of_the_wit() {
    for (name, text) in pack::WIT {
        let package = format!("package triage:policy@{};", inspect::CONTRACT_VERSION);
        assert!(text.starts_with(&package), "{name}");
    }
}

#[test]
fn inspecting_a_core_module_says_what_to_do() {
    let module = wat::parse_str(module(CLASSIFY)).unwrap();
    let error = inspect::inspect(&module).unwrap_err();
    assert!(matches!(error, InspectError::CoreModule));
    assert!(matches!(
        inspect::inspect(b"\x7fELF"),
        Err(InspectError::NotWasm(_))
    ));
}

#[test]
fn a_cut_off_component_is_refused() {
    let component = pack::pack(module(CLASSIFY).as_bytes()).unwrap();
    for length in 0..component.len() {
        // Between two sections it may be valid, but it must never panic.
        let _ = inspect::inspect(&component[..length]);
    }
    let error = inspect::inspect(&component[..component.len() - 1]).unwrap_err();
    assert_eq!(
        error.to_string(),
        "this is no WebAssembly component: it ends in the middle of a section"
    );
}

#[test]
fn a_section_that_claims_too_much_is_not_believed() {
    let huge = b"\0asm\x0d\0\x01\0\x01\xff\xff\xff\xff\x0f";
    assert_eq!(
        core_module::layer(huge),
        Err(core_module::Malformed::Truncated)
    );
}

#[test]
fn a_file_is_packed_and_shown_from_the_command_line() {
    let dir = tempfile::tempdir().unwrap();
    let source = dir.path().join("small.wat");
    std::fs::write(&source, module(CLASSIFY)).unwrap();
    let build = PluginCommand::Build {
        path: source,
        out: None,
        install_toolchain: false,
    };
    let mut json = Vec::new();
    run(build, true, &mut json).unwrap();
    let built: serde_json::Value = serde_json::from_slice(&json).unwrap();
    assert_eq!(built["exports"][0]["interface"], "classifier");
    assert_eq!(built["toolchain"], serde_json::Value::Null);
    let file = dir.path().join("small.component.wasm");
    let names: Vec<_> = std::fs::read_dir(&dir)
        .unwrap()
        .map(|it| it.unwrap().path())
        .collect();
    assert_eq!(names.len(), 2, "only source and component: {names:?}");

    let mut text = Vec::new();
    run(PluginCommand::Inspect { file }, false, &mut text).unwrap();
    let text = String::from_utf8(text).unwrap();
    let rest: Vec<&str> = text.lines().skip(2).collect();
    assert_eq!(
        rest,
        [
            "offers         classifier 0.1.0",
            "uses           types",
            "needs a grant  nothing",
        ]
    );
    assert!(text.contains(built["digest"].as_str().unwrap()));
}

/// A component of this size that offers a classifier: padded as debug information would.
fn padded(file_bytes: u64) -> Vec<u8> {
    let mut component = pack::pack(module(CLASSIFY).as_bytes()).unwrap();
    // A custom section: its id, how long it is in LEB128 of five bytes, the length of its name (0).
    let rest = usize::try_from(file_bytes).unwrap() - component.len() - 6;
    component.push(0);
    for shift in [0, 7, 14, 21, 28] {
        let more = if shift == 28 { 0 } else { 0x80 };
        component.push(u8::try_from((rest >> shift) & 0x7f).unwrap() | more);
    }
    component.resize(component.len() + rest, 0);
    component
}

#[test]
fn what_no_host_would_load_is_neither_built_nor_inspected() {
    let dir = tempfile::tempdir().unwrap();
    let (path, out) = (dir.path().join("large.wasm"), dir.path().join("out.wasm"));
    let attempt = |file_bytes: u64| {
        std::fs::write(&path, padded(file_bytes)).unwrap();
        let inspect = PluginCommand::Inspect { file: path.clone() };
        let build = PluginCommand::Build {
            path: path.clone(),
            out: Some(out.clone()),
            install_toolchain: false,
        };
        [inspect, build].map(|command| match run(command, true, &mut Vec::new()) {
            Ok(()) => String::new(),
            Err(error) => format!("{error:#}"),
        })
    };
    for said in attempt(PLUGIN_BYTES_MAX + 1) {
        assert!(said.starts_with(path.to_str().unwrap()), "{said}");
        let cause = "it has 33554433 bytes, and a plugin may have 33554432";
        assert!(said.contains(cause), "{said}");
    }
    assert!(!out.exists());
    assert_eq!(attempt(PLUGIN_BYTES_MAX), ["", ""]);
    assert_eq!(std::fs::metadata(out).unwrap().len(), PLUGIN_BYTES_MAX);
}

#[test]
fn a_directory_without_a_crate_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let build = PluginCommand::Build {
        path: dir.path().to_owned(),
        out: None,
        install_toolchain: false,
    };
    let error = run(build, false, &mut Vec::new()).unwrap_err();
    let expected = format!(
        "{}: neither Cargo.toml nor triage-plugin.toml here; name the plugin's directory",
        dir.path().display()
    );
    assert_eq!(error.to_string(), expected);
}

#[test]
fn an_outer_cargo_leaves_nothing_behind() {
    let leftovers = [
        "CARGO",
        "CARGO_MANIFEST_DIR",
        "CARGO_PKG_NAME",
        "CARGO_TARGET_TMPDIR",
        "CARGO_ENCODED_RUSTFLAGS",
        "RUSTC",
        "RUSTFLAGS",
        "RUSTC_WRAPPER",
        "RUST_RECURSION_COUNT",
    ];
    for name in leftovers {
        assert!(process::is_leftover(name), "{name}");
    }
    let kept = [
        "CARGO_HOME",
        "RUSTUP_HOME",
        "CARGO_HTTP_PROXY",
        "CARGO_REGISTRIES_CRATES_IO_PROTOCOL",
        "CARGO_NET_OFFLINE",
        "CARGO_SOURCE_CRATES_IO_REPLACE_WITH",
        "PATH",
        "https_proxy",
    ];
    for name in kept {
        assert!(!process::is_leftover(name), "{name}");
    }
}

#[test]
fn a_program_without_an_end_is_stopped() {
    let scratch = Scratch::new(&std::env::temp_dir()).unwrap();
    let mut sleep = process::command("sleep", Path::new("/"));
    let error = process::run(sleep.arg("600"), Duration::from_millis(50), &scratch).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::TimedOut);
}

#[test]
fn the_message_without_a_compiler_says_what_to_install() {
    let tried = vec![
        "rustc has no target".to_owned(),
        "no rustup here".to_owned(),
    ];
    assert_eq!(
        toolchain::ToolchainError::NotFound(tried).to_string(),
        "no Rust compiler that can build for wasm32-unknown-unknown\n  \
         tried: rustc has no target\n  \
         tried: no rustup here\n\
         install one of these, then try again:\n  \
         rustup target add wasm32-unknown-unknown   (with rustup and a network)\n  \
         apt-get install rustc-web rust-web-src lld-19   (Debian, as root)"
    );
}
