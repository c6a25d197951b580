//! Turns a plugin's source into a component file.
//!
//! Called by `triage plugin build` and by `cargo xtask`. It leaves the choice of
//! the compiler to `toolchain` and the component's form to `pack`.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, bail};
use serde::{Deserialize, Serialize};

use super::guest;
use super::inspect::{self, Export, Imports};
use super::pack;
use super::process::{self, Scratch};
use super::toolchain::{self, Search, TARGET, Toolchain};
use crate::sandbox;

/// The largest file that is read to make a component of it, in bytes: a core module may hold debug
/// information, which a component need not.
const INPUT_BYTES_MAX: u64 = 128 * 1024 * 1024;
const METADATA_LIMIT: Duration = Duration::from_secs(60);
/// Small and without unwinding, whatever the author's own profile says.
const PROFILE: [&str; 6] = [
    "profile.release.panic=\"abort\"",
    "profile.release.opt-level=\"s\"",
    "profile.release.lto=true",
    "profile.release.codegen-units=1",
    "profile.release.debug=false",
    "profile.release.strip=true",
];

/// How to build.
#[derive(Debug, Clone, Copy, Default)]
pub struct Options {
    /// Whether packages of the distribution may be installed for a compiler.
    pub install: bool,
    /// Whether cargo's output is kept back until something fails.
    pub quiet: bool,
}

/// What was built.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Built {
    /// The component's file.
    pub out: PathBuf,
    /// SHA-256 of the bytes, in hex: the name of this version.
    pub digest: String,
    /// Size.
    pub bytes: usize,
    /// What it offers of the contract.
    pub exports: Vec<Export>,
    /// What it asks for.
    pub imports: Imports,
    /// Which compiler was used; nothing where a file was only packed.
    pub toolchain: Option<String>,
}

/// Builds the crate or the plugin of another language in a directory, or packs a `.wasm` or `.wat` file, and
/// writes the component to `out` or to a place beside the other build results.
pub fn build(
    path: &Path,
    out: Option<&Path>,
    options: Options,
    progress: &mut dyn Write,
) -> anyhow::Result<Built> {
    let kind = fs::metadata(path).with_context(|| {
        format!(
            "{}: name a crate's directory, a .wasm or a .wat file",
            path.display()
        )
    })?;
    if !kind.is_dir() {
        let out = out.map_or_else(|| path.with_extension("component.wasm"), Path::to_owned);
        return pack_file(path, &out, None);
    }
    let dir = fs::canonicalize(path).with_context(|| path.display().to_string())?;
    if dir.join(guest::MANIFEST).is_file() {
        let made = guest::make(&dir, progress)?;
        let out = out.map_or_else(|| made.component.clone(), Path::to_owned);
        return pack_file(&made.file, &out, Some(made.how.clone()));
    }
    if !dir.join("Cargo.toml").is_file() {
        bail!(
            "{}: neither Cargo.toml nor {} here; name the plugin's directory",
            path.display(),
            guest::MANIFEST
        );
    }
    let plan = plan(&dir)?;
    let toolchain = toolchain::find(&Search::new(&dir, options.install), progress)?;
    compile(&dir, &plan, &toolchain, options.quiet)?;
    let out = out.map_or_else(|| plan.component(), Path::to_owned);
    pack_file(&plan.module(), &out, Some(toolchain.how))
}

fn pack_file(module: &Path, out: &Path, toolchain: Option<String>) -> anyhow::Result<Built> {
    let input = read(module)?;
    let component = pack::pack(&input).with_context(|| module.display().to_string())?;
    sandbox::check_size(component.len() as u64).with_context(|| {
        let module = module.display();
        format!("{module}: no host would load the component that was made of it")
    })?;
    let inspection = inspect::inspect(&component)?;
    write_atomically(out, &component)?;
    Ok(Built {
        out: out.to_owned(),
        digest: inspection.digest,
        bytes: inspection.bytes,
        exports: inspection.exports,
        imports: inspection.imports,
        toolchain,
    })
}

/// Reads a file, unless it is far too large to make a plugin of it.
fn read(path: &Path) -> anyhow::Result<Vec<u8>> {
    let file = File::open(path).with_context(|| path.display().to_string())?;
    let mut bytes = Vec::new();
    file.take(INPUT_BYTES_MAX + 1)
        .read_to_end(&mut bytes)
        .with_context(|| path.display().to_string())?;
    if u64::try_from(bytes.len()).is_ok_and(|it| it <= INPUT_BYTES_MAX) {
        return Ok(bytes);
    }
    bail!(
        "{}: larger than {INPUT_BYTES_MAX} bytes, so no plugin",
        path.display()
    )
}

fn write_atomically(out: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    if out.is_dir() {
        bail!("{}: is a directory; name the file to write", out.display());
    }
    let parent = out.parent().filter(|it| !it.as_os_str().is_empty());
    let parent = parent.unwrap_or_else(|| Path::new("."));
    let write = || {
        fs::create_dir_all(parent)?;
        let scratch = Scratch::new(parent)?;
        let staged = scratch.path().join("component.wasm");
        let mut file = File::create(&staged)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&staged, out)
    };
    write().with_context(|| format!("{} could not be written", out.display()))
}

/// What cargo will build, and where it will be.
#[derive(Debug)]
struct Plan {
    package: String,
    /// The library's name as a file name has it.
    library: String,
    /// A directory of its own, so that a build of the host is not held up.
    target_dir: PathBuf,
}

impl Plan {
    fn module(&self) -> PathBuf {
        let file = format!("{}.wasm", self.library);
        self.target_dir.join(TARGET).join("release").join(file)
    }

    fn component(&self) -> PathBuf {
        self.target_dir.join(format!("{}.wasm", self.library))
    }
}

/// The parts of `cargo metadata` that matter here.
#[derive(Debug, Deserialize)]
struct Metadata {
    packages: Vec<Package>,
    target_directory: PathBuf,
}

#[derive(Debug, Deserialize)]
struct Package {
    name: String,
    manifest_path: PathBuf,
    targets: Vec<Target>,
}

#[derive(Debug, Deserialize)]
struct Target {
    name: String,
    crate_types: Vec<String>,
}

fn plan(dir: &Path) -> anyhow::Result<Plan> {
    let scratch = Scratch::new(&std::env::temp_dir())
        .context("cargo needs a temporary directory; set TMPDIR to one")?;
    let mut question = cargo(dir);
    question.args(["metadata", "--no-deps", "--format-version", "1"]);
    let answer = process::run(&mut question, METADATA_LIMIT, &scratch)
        .context("cargo could not be run; install Rust, so that `cargo` is in PATH")?;
    if !answer.success {
        let complaint = answer.complaint();
        bail!(
            "{}: cargo cannot read the crate: {complaint}",
            dir.display()
        );
    }
    let metadata: Metadata = serde_json::from_str(&answer.stdout)
        .context("`cargo metadata` answered in a form that this program does not know")?;
    let manifest = dir.join("Cargo.toml");
    let package = metadata
        .packages
        .into_iter()
        .find(|it| fs::canonicalize(&it.manifest_path).is_ok_and(|it| it == manifest))
        .with_context(|| {
            let dir = dir.display();
            format!("{dir}: a workspace without a package; name the plugin crate's directory")
        })?;
    let library = package
        .targets
        .iter()
        .find(|it| it.crate_types.iter().any(|it| it == "cdylib"))
        .with_context(|| {
            let name = &package.name;
            format!("crate {name} builds no cdylib; add to its Cargo.toml:\n[lib]\ncrate-type = [\"cdylib\"]")
        })?;
    Ok(Plan {
        library: library.name.replace('-', "_"),
        target_dir: metadata.target_directory.join("triage-plugins"),
        package: package.name,
    })
}

fn compile(dir: &Path, plan: &Plan, toolchain: &Toolchain, quiet: bool) -> anyhow::Result<()> {
    let mut build = cargo(dir);
    build
        .args([
            "build",
            "--lib",
            "--release",
            "--target",
            TARGET,
            "--package",
            &plan.package,
        ])
        .arg("--target-dir")
        .arg(&plan.target_dir);
    for setting in PROFILE {
        build.args(["--config", setting]);
    }
    if let Some(rustc) = &toolchain.rustc {
        build.env("RUSTC", rustc);
    }
    build.stdout(Stdio::null());
    let failed = || {
        format!(
            "crate {} could not be built with {}",
            plan.package, toolchain.how
        )
    };
    if quiet {
        let output = build
            .arg("--quiet")
            .stderr(Stdio::piped())
            .output()
            .with_context(failed)?;
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr);
            bail!("{}:\n{}", failed(), said.trim_end());
        }
        return Ok(());
    }
    let status = build.status().with_context(failed)?;
    if !status.success() {
        bail!("{}; cargo says above why", failed());
    }
    Ok(())
}

fn cargo(dir: &Path) -> Command {
    process::command("cargo", dir)
}
