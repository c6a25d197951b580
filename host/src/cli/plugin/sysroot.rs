//! Gives a distribution's compiler a standard library for WebAssembly.
//!
//! Called by `toolchain` when no other way is left. It builds from sources that
//! the distribution ships, once per compiler, without a network; it installs
//! nothing outside the user's cache.

use std::env;
use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, UNIX_EPOCH};

use sha2::{Digest, Sha256};

use super::process::Scratch;
use super::toolchain::{QUESTION_LIMIT, TARGET, Toolchain, Tools, has_target, holds_std, say};

/// Where a distribution puts its compiler; not what `PATH` names first, which
/// may be rustup's.
const RUSTC: &str = "/usr/bin/rustc";
/// Older compilers do not know the edition that plugins are written in.
const RUSTC_MINOR_MIN: u32 = 85;
const LINKERS: [&str; 8] = [
    "rust-lld", "lld-22", "lld-21", "lld-20", "lld-19", "lld-18", "lld-17", "lld",
];
const BUILD_LIMIT: Duration = Duration::from_secs(900);

const SEED_MANIFEST: &str = r#"[package]
name = "seed"
version = "0.0.0"
edition = "2021"

[profile.release]
panic = "abort"

[workspace]
"#;

/// The compiler that came with the system.
#[derive(Debug)]
pub(super) struct Distribution {
    pub(super) rustc: PathBuf,
    /// Its own files, the sources of std among them.
    sysroot: PathBuf,
    /// The machine it runs on, as `x86_64-unknown-linux-gnu`.
    host: String,
    release: String,
    /// Tells this build of the compiler from every other one.
    slug: String,
}

/// What is needed to give the compiler a standard library.
#[derive(Debug)]
pub(super) struct Parts {
    /// Crates that std depends on.
    vendor: PathBuf,
    linker: PathBuf,
}

impl Distribution {
    /// Looks at the system's compiler, or says why it is of no use.
    pub(super) fn find(tools: &Tools) -> Result<Distribution, String> {
        let rustc = PathBuf::from(RUSTC);
        let real = fs::canonicalize(&rustc).map_err(|_| format!("no compiler at {RUSTC}"))?;
        if real
            .file_name()
            .is_some_and(|it| it == "rustup" || it == "rustup-init")
        {
            return Err(format!("{RUSTC} is rustup's"));
        }
        let version = tools
            .ask(tools.command(&rustc).arg("-vV"), QUESTION_LIMIT)?
            .stdout;
        let field = |name: &str| {
            let value = version.lines().find_map(|it| it.strip_prefix(name));
            value
                .map(|it| it.trim().to_owned())
                .ok_or_else(|| format!("{RUSTC} -vV names no {name}"))
        };
        let (release, host) = (field("release:")?, field("host:")?);
        if minor(&release).is_none_or(|it| it < RUSTC_MINOR_MIN) {
            return Err(format!(
                "{RUSTC} is {release}, older than 1.{RUSTC_MINOR_MIN}"
            ));
        }
        let mut question = tools.command(&rustc);
        question.args(["--print", "sysroot"]);
        let sysroot = tools.ask(&mut question, QUESTION_LIMIT)?.stdout;
        let slug = slug(&release, &version, &real);
        let sysroot = PathBuf::from(sysroot.trim());
        Ok(Distribution {
            rustc,
            sysroot,
            host,
            release,
            slug,
        })
    }

    /// In words, for people.
    pub(super) fn describe(&self) -> String {
        format!("Rust {} ({})", self.release, self.rustc.display())
    }

    fn place(&self, cache: &Path) -> PathBuf {
        cache.join(format!("wasm-sysroot-{}", self.slug))
    }
}

fn minor(release: &str) -> Option<u32> {
    release.split('.').nth(1)?.parse().ok()
}

/// Version and a digest of the compiler's identity: cargo does not notice when a
/// library under the same path is replaced, so each build of the compiler needs
/// a path of its own.
fn slug(release: &str, version: &str, rustc: &Path) -> String {
    let mut digest = Sha256::new();
    digest.update(version);
    if let Ok(metadata) = fs::metadata(rustc) {
        let modified = metadata.modified().ok();
        let modified = modified.and_then(|it| it.duration_since(UNIX_EPOCH).ok());
        digest.update(metadata.len().to_le_bytes());
        digest.update(modified.unwrap_or_default().as_secs().to_le_bytes());
    }
    let digest = hex::encode(digest.finalize());
    let plain = |it: char| if it.is_ascii_alphanumeric() { it } else { '-' };
    let release: String = release
        .chars()
        .map(|it| if it == '.' { it } else { plain(it) })
        .collect();
    format!("{release}-{}", digest.get(..8).unwrap_or_default())
}

/// A standard library that an earlier run prepared for this compiler.
pub(super) fn prepared(distribution: &Distribution, cache: &Path) -> Option<Toolchain> {
    let place = distribution.place(cache);
    usable(distribution, &place).then(|| {
        let compiler = distribution.describe();
        let how = format!("{compiler} with the std prepared in {}", place.display());
        Toolchain {
            rustc: Some(place.join("bin/rustc")),
            how,
        }
    })
}

fn usable(distribution: &Distribution, place: &Path) -> bool {
    let rustlib = place.join("lib/rustlib");
    let host = rustlib.join(&distribution.host);
    place.join("bin/rustc").is_file()
        && holds_std(&rustlib.join(TARGET).join("lib"))
        && host.join("lib").is_dir()
        && host.join("bin/rust-lld").is_file()
}

/// Finds what the distribution must bring besides the compiler.
pub(super) fn check_parts(tools: &Tools, distribution: &Distribution) -> Result<Parts, String> {
    let library = distribution.sysroot.join("lib/rustlib/src/rust/library");
    let vendor = library.join("vendor");
    if has_target(tools, &distribution.rustc).is_err()
        && !(library.join("Cargo.lock").is_file() && vendor.is_dir())
    {
        let compiler = distribution.describe();
        return Err(format!(
            "{compiler} has no sources of std in {}",
            library.display()
        ));
    }
    let linker = linker(tools, &distribution.host)
        .ok_or_else(|| format!("no WebAssembly linker (looked for {})", LINKERS.join(", ")))?;
    Ok(Parts { vendor, linker })
}

/// The first linker in `PATH`, else the one that rustup's Rust has for itself.
fn linker(tools: &Tools, host: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH")?;
    let dirs: Vec<PathBuf> = env::split_paths(&path)
        .filter(|it| it.is_absolute())
        .collect();
    let candidates = LINKERS
        .iter()
        .flat_map(|name| dirs.iter().map(move |it| it.join(name)));
    let found = candidates.into_iter().find(|it| it.is_file());
    found.or_else(|| {
        let mut question = tools.command("rustc");
        question.args(["--print", "sysroot"]);
        let sysroot = tools.ask(&mut question, QUESTION_LIMIT).ok()?.stdout;
        let own = Path::new(sysroot.trim())
            .join("lib/rustlib")
            .join(host)
            .join("bin/rust-lld");
        own.is_file().then_some(own)
    })
}

/// Builds the standard library and keeps it in `cache`, unless another process
/// has done so in the meantime.
pub(super) fn prepare(
    tools: &Tools,
    distribution: &Distribution,
    parts: &Parts,
    cache: &Path,
    progress: &mut dyn Write,
) -> Result<Toolchain, String> {
    let place = distribution.place(cache);
    let in_cache = |error: io::Error| format!("{}: {error}", cache.display());
    fs::create_dir_all(cache).map_err(in_cache)?;
    let lock = File::create(place.with_added_extension("lock")).map_err(in_cache)?;
    if lock.try_lock().is_err() {
        say(
            progress,
            "waiting for another process that prepares WebAssembly's std",
        );
        // Bounded: the other process stops its build after BUILD_LIMIT.
        lock.lock().map_err(in_cache)?;
    }
    if let Some(found) = prepared(distribution, cache) {
        return Ok(found);
    }
    let compiler = distribution.describe();
    say(
        progress,
        &format!("building WebAssembly's std for {compiler}, once, about a minute"),
    );
    let started = Instant::now();
    let work =
        Scratch::new(&env::temp_dir()).map_err(|error| format!("temporary files: {error}"))?;
    compile(tools, distribution, parts, work.path())?;
    let staged = Scratch::new(cache).map_err(in_cache)?;
    let built = work.path().join("target").join(TARGET).join("release/deps");
    assemble(distribution, parts, &built, staged.path(), &place).map_err(in_cache)?;
    publish(distribution, staged.path(), &place).map_err(in_cache)?;
    let seconds = started.elapsed().as_secs();
    say(
        progress,
        &format!("built in {seconds} s, kept in {}", place.display()),
    );
    prepared(distribution, cache)
        .ok_or_else(|| format!("the std in {} is not complete", place.display()))
}

/// Lets cargo build std as a dependency of an empty crate.
fn compile(
    tools: &Tools,
    distribution: &Distribution,
    parts: &Parts,
    work: &Path,
) -> Result<(), String> {
    let seed = || {
        fs::create_dir_all(work.join("src"))?;
        fs::write(work.join("Cargo.toml"), SEED_MANIFEST)?;
        fs::write(work.join("src/lib.rs"), "#![no_std]\n")
    };
    seed().map_err(|error| format!("{}: {error}", work.display()))?;
    // A Rust string literal is a valid TOML string for any path without control characters.
    let vendor = format!(
        "source.v.directory={:?}",
        parts.vendor.display().to_string()
    );
    let mut cargo = tools.command("cargo");
    cargo
        .current_dir(work)
        // A stable compiler takes `-Z` for this one build only.
        .env("RUSTC_BOOTSTRAP", "1")
        .env("RUSTC", &distribution.rustc)
        .env("CARGO_HOME", work.join("home"))
        .env("CARGO_TARGET_DIR", work.join("target"))
        // Without bitcode in std, a plugin with `lto = true` does not link.
        .env(
            "CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_RUSTFLAGS",
            "-Cembed-bitcode=yes",
        )
        // Std's own dependencies come from the distribution too.
        .args([
            "--config",
            "source.crates-io.replace-with=\"v\"",
            "--config",
            &vendor,
        ])
        .args(["build", "--quiet", "--offline", "--release"])
        .args(["-Zbuild-std=std,panic_abort", "--target", TARGET]);
    let built = tools.ask(&mut cargo, BUILD_LIMIT);
    built
        .map(drop)
        .map_err(|reason| format!("std could not be built: {reason}"))
}

/// Lays the compiled libraries out as a compiler expects them. `place` is where
/// the directory will be in the end; the wrapper names it.
fn assemble(
    distribution: &Distribution,
    parts: &Parts,
    built: &Path,
    staged: &Path,
    place: &Path,
) -> io::Result<()> {
    let rustlib = staged.join("lib/rustlib");
    let (libraries, host) = (
        rustlib.join(TARGET).join("lib"),
        rustlib.join(&distribution.host),
    );
    for dir in [&libraries, &host.join("bin"), &staged.join("bin")] {
        fs::create_dir_all(dir)?;
    }
    for entry in fs::read_dir(built)? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if name.ends_with(".rlib") && !name.starts_with("libseed-") {
            fs::copy(&path, libraries.join(name.as_ref()))?;
        }
    }
    // Build scripts and procedural macros run on the host and need its std.
    let host_std = distribution
        .sysroot
        .join("lib/rustlib")
        .join(&distribution.host)
        .join("lib");
    symlink(host_std, host.join("lib"))?;
    symlink(&parts.linker, host.join("bin/rust-lld"))?;
    let wrapper = staged.join("bin/rustc");
    let (rustc, sysroot) = (quote(&distribution.rustc), quote(place));
    let script = format!("#!/bin/sh\nexec {rustc} --sysroot={sysroot} \"$@\"\n");
    fs::write(&wrapper, script)?;
    fs::set_permissions(&wrapper, fs::Permissions::from_mode(0o755))
}

/// Moves the finished directory into place in one step.
fn publish(distribution: &Distribution, staged: &Path, place: &Path) -> io::Result<()> {
    if place.exists() && !usable(distribution, place) {
        // Half deleted, or its linker has gone: no build can be using it.
        fs::remove_dir_all(place)?;
    }
    match fs::rename(staged, place) {
        // Another process was first, on a file system without locks.
        Err(_) if usable(distribution, place) => Ok(()),
        done => done,
    }
}

/// A path as one word of a shell command.
fn quote(path: &Path) -> String {
    format!("'{}'", path.display().to_string().replace('\'', r"'\''"))
}
