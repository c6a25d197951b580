//! Starts other programs: with a clean environment and a time limit.
//!
//! Called by `toolchain`, `sysroot` and `build`. It knows nothing of compilers;
//! what to run and what to make of the answer is theirs.

use std::env;
use std::ffi::OsStr;
use std::fs::{self, DirBuilder, File};
use std::io::{self, ErrorKind, Read, Seek, SeekFrom};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// How much of the end of a program's output is read. A large workspace's
/// `cargo metadata` takes a few hundred KiB.
const OUTPUT_BYTES_MAX: u64 = 16 * 1024 * 1024;
const COMPLAINT_CHARS_MAX: usize = 400;
const SCRATCH_TRIES_MAX: u32 = 1_000;
const POLL: Duration = Duration::from_millis(20);

/// Variables of cargo and rustup that a user sets on purpose.
const KEPT: [&str; 5] = [
    "CARGO_HOME",
    "CARGO_TARGET_DIR",
    "CARGO_BUILD_TARGET_DIR",
    "CARGO_BUILD_JOBS",
    "RUST_BACKTRACE",
];
/// The same, by how they begin: where crates come from, how cargo talks, how
/// the plugin is linked.
const KEPT_PREFIXES: [&str; 8] = [
    "CARGO_HTTP_",
    "CARGO_NET_",
    "CARGO_REGISTRIES_",
    "CARGO_REGISTRY_",
    "CARGO_SOURCE_",
    "CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_",
    "CARGO_TERM_",
    "RUSTUP_",
];

/// A program to be run in `dir`, without what an outer `cargo run` left in the
/// environment: its compiler, flags and library paths are for the host.
pub fn command(program: impl AsRef<OsStr>, dir: &Path) -> Command {
    let mut command = Command::new(program);
    command.current_dir(dir).stdin(Stdio::null());
    for (name, _) in env::vars_os() {
        if is_leftover(&name.to_string_lossy()) {
            command.env_remove(name);
        }
    }
    if env::var_os("CARGO").is_none() {
        return command; // What follows is the user's own choice then.
    }
    // rustup's choice for the outer cargo must not overrule what the crate pins.
    if pins_toolchain(dir) {
        command.env_remove("RUSTUP_TOOLCHAIN");
    }
    if let Some(paths) = env::var_os("LD_LIBRARY_PATH") {
        let kept = env::split_paths(&paths).filter(|it| !is_compiler_library(it));
        match env::join_paths(kept) {
            Ok(kept) if !kept.is_empty() => command.env("LD_LIBRARY_PATH", kept),
            Ok(_) | Err(_) => command.env_remove("LD_LIBRARY_PATH"),
        };
    }
    command
}

/// Whether a variable speaks of another build than the one to be started.
pub(super) fn is_leftover(name: &str) -> bool {
    (name.starts_with("CARGO") || name.starts_with("RUST"))
        && !KEPT.contains(&name)
        && !KEPT_PREFIXES.iter().any(|it| name.starts_with(it))
}

fn pins_toolchain(dir: &Path) -> bool {
    dir.ancestors()
        .any(|it| it.join("rust-toolchain.toml").is_file() || it.join("rust-toolchain").is_file())
}

fn is_compiler_library(path: &Path) -> bool {
    let own = env::current_exe().ok();
    let own = own.as_deref().and_then(Path::parent);
    own.is_some_and(|it| path.starts_with(it) || it.parent() == Some(path))
        || path
            .components()
            .any(|it| matches!(it.as_os_str().to_str(), Some("rustlib" | "toolchains")))
}

/// What a program left behind.
#[derive(Debug)]
pub struct Finished {
    /// Whether it said that all went well.
    pub success: bool,
    /// The end of what it wrote to stdout.
    pub stdout: String,
    /// The end of what it wrote to stderr.
    pub stderr: String,
}

impl Finished {
    /// The last lines of stderr in one, for an error message.
    pub fn complaint(&self) -> String {
        let lines: Vec<&str> = self
            .stderr
            .lines()
            .map(str::trim)
            .filter(|it| !it.is_empty())
            .collect();
        let from = lines.len().saturating_sub(3);
        match lines.get(from..) {
            Some([]) | None => "it said nothing".to_owned(),
            Some(last) => last.join("; ").chars().take(COMPLAINT_CHARS_MAX).collect(),
        }
    }
}

/// Runs a program to its end, or kills it when `limit` is over.
pub fn run(command: &mut Command, limit: Duration, scratch: &Scratch) -> io::Result<Finished> {
    // Files, not pipes: a grandchild that outlives the kill cannot hold us up.
    let mut stdout = scratch.file("stdout")?;
    let mut stderr = scratch.file("stderr")?;
    let mut child = command
        .stdout(stdout.try_clone()?)
        .stderr(stderr.try_clone()?)
        .spawn()?;
    let status = wait(&mut child, limit)?;
    Ok(Finished {
        success: status.success(),
        stdout: tail(&mut stdout)?,
        stderr: tail(&mut stderr)?,
    })
}

fn wait(child: &mut Child, limit: Duration) -> io::Result<ExitStatus> {
    let started = Instant::now();
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(status);
        }
        if limit < started.elapsed() {
            child.kill()?;
            child.wait()?;
            let message = format!("stopped after {} s without an end", limit.as_secs());
            return Err(io::Error::new(ErrorKind::TimedOut, message));
        }
        std::thread::sleep(POLL);
    }
}

fn tail(file: &mut File) -> io::Result<String> {
    let length = file.metadata()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(OUTPUT_BYTES_MAX)))?;
    let mut bytes = Vec::new();
    file.take(OUTPUT_BYTES_MAX).read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// A directory that goes away with this value.
#[derive(Debug)]
pub struct Scratch {
    path: PathBuf,
}

impl Scratch {
    /// Makes a new directory in `parent` that only this user can read.
    pub fn new(parent: &Path) -> io::Result<Scratch> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        for _ in 0..SCRATCH_TRIES_MAX {
            let number = NEXT.fetch_add(1, Ordering::Relaxed);
            let path = parent.join(format!(".triage-{}-{number}", std::process::id()));
            match DirBuilder::new().mode(0o700).create(&path) {
                Ok(()) => return Ok(Scratch { path }),
                // Left by a process of the same number that was killed.
                Err(error) if error.kind() == ErrorKind::AlreadyExists => (),
                Err(error) => return Err(error),
            }
        }
        let message = format!("{} is full of old .triage-* directories", parent.display());
        Err(io::Error::new(ErrorKind::AlreadyExists, message))
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    fn file(&self, name: &str) -> io::Result<File> {
        File::options()
            .read(true)
            .write(true)
            .create(true)
            .truncate(true)
            .open(self.path.join(name))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // It may have been renamed to its final place; then there is nothing left to do.
        if let Err(error) = fs::remove_dir_all(&self.path)
            && error.kind() != ErrorKind::NotFound
        {
            let path = self.path.display();
            tracing::debug!(%path, %error, "a temporary directory could not be removed");
        }
    }
}
