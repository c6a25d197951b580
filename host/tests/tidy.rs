//! Checks the shape of the source tree: who may name whom, and how long files and functions are.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "helpers of a test"
)]

use std::path::{Path, PathBuf};

const FILE_LINES_MAX: usize = 500;
const FUNCTION_LINES_MAX: usize = 70;

/// Crate → the only places of `host/src` that may name it.
const DOORS: [(&str, &[&str]); 9] = [
    ("rusqlite", &["store"]),
    ("wasmtime", &["sandbox"]),
    ("wasmtime_wasi", &["sandbox"]),
    ("axum", &["http", "app"]),
    ("reqwest", &["egress"]),
    ("arc_swap", &["live"]),
    ("chacha20poly1305", &["store"]),
    ("flate2", &["content"]),
    ("close_fds", &["sandbox"]),
];

/// Module → modules that it must not name: an arrow that may not be drawn.
const NEVER: [(&str, &[&str]); 18] = [
    ("deployments", &["http", "worker", "actions"]),
    (
        "integrations",
        &["http", "sandbox", "worker", "actions", "egress"],
    ),
    (
        "model",
        &[
            "http",
            "sources",
            "store",
            "registry",
            "sandbox",
            "worker",
            "actions",
            "egress",
            "config",
            "lifecycle",
        ],
    ),
    (
        "sources",
        &[
            "http", "store", "registry", "sandbox", "worker", "actions", "egress", "config",
        ],
    ),
    (
        "store",
        &[
            "http", "sources", "registry", "sandbox", "worker", "actions", "egress", "config",
        ],
    ),
    (
        "sandbox",
        &[
            "http", "sources", "store", "registry", "worker", "actions", "egress", "config",
        ],
    ),
    (
        "content",
        &[
            "http", "sources", "store", "registry", "sandbox", "worker", "actions", "egress",
            "config", "clock",
        ],
    ),
    ("capabilities", &["http", "worker", "actions", "sandbox"]),
    (
        "lifecycle",
        &[
            "http", "sources", "store", "registry", "sandbox", "worker", "actions", "egress",
            "config", "clock",
        ],
    ),
    (
        "fairness",
        &[
            "http", "sources", "store", "registry", "sandbox", "worker", "actions", "egress",
            "config", "clock", "live",
        ],
    ),
    ("http", &["worker", "actions", "sandbox", "egress"]),
    ("registry", &["http", "live", "worker", "actions", "egress"]),
    ("live", &["http", "sources", "store", "worker", "actions"]),
    ("reload", &["http", "worker", "actions"]),
    ("worker", &["http", "actions", "egress", "sources"]),
    ("actions", &["http", "worker", "sandbox", "registry"]),
    (
        "egress",
        &[
            "http", "store", "registry", "sandbox", "worker", "actions", "config",
        ],
    ),
    (
        "config",
        &["http", "store", "registry", "sandbox", "worker", "actions"],
    ),
];

/// Words of wasmtime → the only file that may say them: where something is compiled, and where machine code
/// is taken from bytes.
const ONLY_IN: [(&str, &str); 6] = [
    ("precompile_component", "sandbox/compile/child.rs"),
    ("engine::compiling()", "sandbox/compile/child.rs"),
    ("Component::new", ""),
    ("Component::from_binary", ""),
    ("Component::deserialize", "sandbox/artefacts/trusted.rs"),
    ("unsafe_code", "sandbox/artefacts/trusted.rs"),
];

fn top_module(file: &str) -> &str {
    file.split(['/', '.']).next().unwrap()
}

fn problems(file: &str, text: &str) -> Vec<String> {
    let mut problems = Vec::new();
    let module = top_module(file);
    if FILE_LINES_MAX < text.lines().count() {
        problems.push(format!("{file}: longer than {FILE_LINES_MAX} lines"));
    }
    for (krate, places) in DOORS {
        let named = text.lines().any(|line| {
            !line.trim_start().starts_with("//") && line.contains(&format!("{krate}::"))
        });
        if named && !places.contains(&module) {
            problems.push(format!("{file}: only {places:?} may use `{krate}`"));
        }
    }
    for (_, forbidden) in NEVER
        .iter()
        .filter(|(from, _)| *from == module && !file.contains("tests"))
    {
        for target in forbidden
            .iter()
            .filter(|it| text.contains(&format!("crate::{it}")))
        {
            problems.push(format!("{file}: `{module}` must not know `{target}`"));
        }
    }
    for (word, place) in ONLY_IN {
        let is_said = text
            .lines()
            .any(|line| !line.trim_start().starts_with("//") && line.contains(word));
        if is_said && file != place && !file.contains("tests") {
            problems.push(format!("{file}: only `{place}` may say `{word}`"));
        }
    }
    problems.extend(long_functions(file, text));
    problems
}

/// Functions over the limit. Formatted code closes a function at the indentation at which it began.
fn long_functions(file: &str, text: &str) -> Vec<String> {
    let lines: Vec<&str> = text.lines().collect();
    let mut problems = Vec::new();
    for (start, line) in lines.iter().enumerate() {
        let code = line.trim_start();
        let indent = &line[..line.len() - code.len()];
        let is_function = [
            "fn ",
            "pub fn ",
            "async fn ",
            "pub async fn ",
            "pub(super) fn ",
            "pub(super) async fn ",
            "pub(crate) fn ",
        ]
        .iter()
        .any(|it| code.starts_with(it));
        if !is_function {
            continue;
        }
        let closing = format!("{indent}}}");
        let length = lines[start..]
            .iter()
            .position(|it| **it == closing)
            .map_or(0, |it| it + 1);
        if FUNCTION_LINES_MAX < length {
            problems.push(format!(
                "{file}:{}: a function of {length} lines, the most is {FUNCTION_LINES_MAX}",
                start + 1
            ));
        }
    }
    problems
}

fn source_files(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            source_files(&path, found);
        } else if path.extension().is_some_and(|it| it == "rs") {
            found.push(path);
        }
    }
}

#[test]
fn the_source_tree_is_tidy() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    source_files(&root, &mut files);
    assert!(50 < files.len(), "the source tree was not found");
    let mut found = Vec::new();
    for path in files {
        let file = path
            .strip_prefix(&root)
            .unwrap()
            .to_str()
            .unwrap()
            .to_owned();
        found.extend(problems(&file, &std::fs::read_to_string(&path).unwrap()));
    }
    assert!(found.is_empty(), "{}", found.join("\n"));
}

#[test]
fn every_other_crate_keeps_its_files_short() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let mut files = Vec::new();
    for folder in ["plugin-sdk/src", "plugins", "tests", "xtask/src"] {
        source_files(&root.join(folder), &mut files);
    }
    let long: Vec<_> = files
        .iter()
        .filter(|it| {
            !it.components()
                .any(|part| part.as_os_str() == "bindings" || part.as_os_str() == "bindings.rs")
        })
        .filter(|it| FILE_LINES_MAX < std::fs::read_to_string(it).unwrap().lines().count())
        .collect();
    assert!(
        long.is_empty(),
        "longer than {FILE_LINES_MAX} lines: {long:?}"
    );
}

#[test]
fn a_stray_import_is_found() {
    assert_eq!(
        problems("http/runs.rs", "use rusqlite::Connection;\n"),
        ["http/runs.rs: only [\"store\"] may use `rusqlite`"]
    );
    assert_eq!(
        problems("store/runs.rs", "use crate::sandbox::Plugin;\n"),
        ["store/runs.rs: `store` must not know `sandbox`"]
    );
}

#[test]
fn a_compiler_in_the_server_is_found() {
    assert_eq!(
        problems(
            "sandbox/load.rs",
            "    engine.precompile_component(bytes)\n"
        ),
        ["sandbox/load.rs: only `sandbox/compile/child.rs` may say `precompile_component`"]
    );
}

#[test]
fn a_long_file_and_a_long_function_are_found() {
    let body = "    let x = 1;\n".repeat(80);
    let text = format!("fn long() {{\n{body}}}\n{}", "\n".repeat(500));
    assert_eq!(
        problems("http/long.rs", &text),
        [
            "http/long.rs: longer than 500 lines",
            "http/long.rs:1: a function of 82 lines, the most is 70"
        ]
    );
}
