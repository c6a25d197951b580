//! Finds a Rust compiler that can build for `wasm32-unknown-unknown`.
//!
//! Called by `build` and by `cargo xtask`. It tries what costs least first; how
//! a distribution's compiler gets a standard library is up to `sysroot`.

use std::env;
use std::fmt::Write as _;
use std::fs;
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use super::process::{self, Finished, Scratch};
use super::sysroot::{self, Distribution};

/// What plugins are built for. It knows no system calls at all.
pub const TARGET: &str = "wasm32-unknown-unknown";
/// Debian's names for a compiler, its standard library's source, and a linker.
pub const DEBIAN_PACKAGES: [&str; 3] = ["rustc-web", "rust-web-src", "lld-19"];

/// For programs that only say something about themselves.
pub(super) const QUESTION_LIMIT: Duration = Duration::from_secs(30);
const RUSTUP_LIMIT: Duration = Duration::from_secs(60);
const APT_LIMIT: Duration = Duration::from_secs(300);

/// A compiler to build plugins with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Toolchain {
    /// What to set `RUSTC` to; nothing where cargo finds the right one itself.
    pub rustc: Option<PathBuf>,
    /// Which of the ways was taken, for people.
    pub how: String,
}

/// Where to look and what is allowed.
#[derive(Debug)]
pub struct Search {
    /// The crate's directory: rustup may use another toolchain there.
    pub dir: PathBuf,
    /// Whether missing packages of the distribution may be installed.
    pub install: bool,
    /// Where prepared standard libraries are kept.
    pub cache: Option<PathBuf>,
}

impl Search {
    /// A search from `dir` with the user's own cache.
    pub fn new(dir: &Path, install: bool) -> Search {
        Search {
            dir: dir.to_owned(),
            install,
            cache: cache_dir(),
        }
    }
}

/// Why there is no compiler.
#[derive(Debug, thiserror::Error)]
pub enum ToolchainError {
    /// None of the ways led anywhere.
    #[error("{}", explain(.0))]
    NotFound(Vec<String>),
    /// No place for temporary files.
    #[error("the search for a compiler needs a temporary directory; set TMPDIR to one")]
    Scratch(#[source] io::Error),
}

/// Runs programs on behalf of one search.
pub(super) struct Tools {
    pub(super) dir: PathBuf,
    pub(super) scratch: Scratch,
}

impl Tools {
    pub(super) fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        process::command(program, &self.dir)
    }

    /// What a program answers, or why it does not, in one line.
    pub(super) fn ask(&self, command: &mut Command, limit: Duration) -> Result<Finished, String> {
        let name = command.get_program().to_string_lossy().into_owned();
        match process::run(command, limit, &self.scratch) {
            Ok(finished) if finished.success => Ok(finished),
            Ok(finished) => Err(format!("{name} failed: {}", finished.complaint())),
            Err(error) if error.kind() == ErrorKind::NotFound => Err(format!("no {name} here")),
            Err(error) => Err(format!("{name}: {error}")),
        }
    }
}

/// Finds a compiler, cheapest way first: the one in use, a prepared standard
/// library, rustup, the distribution's own. Long steps say so in `progress`.
pub fn find(search: &Search, progress: &mut dyn Write) -> Result<Toolchain, ToolchainError> {
    let scratch = Scratch::new(&env::temp_dir()).map_err(ToolchainError::Scratch)?;
    let tools = Tools {
        dir: search.dir.clone(),
        scratch,
    };
    let mut tried = Vec::new();
    match in_use(&tools) {
        Ok(found) => return Ok(found),
        Err(reason) => tried.push(reason),
    }
    let distribution = Distribution::find(&tools);
    if let (Ok(distribution), Some(cache)) = (&distribution, &search.cache)
        && let Some(found) = sysroot::prepared(distribution, cache)
    {
        return Ok(found);
    }
    match add_with_rustup(&tools, progress) {
        Ok(found) => return Ok(found),
        Err(reason) => tried.push(reason),
    }
    match from_distribution(&tools, search, distribution, progress) {
        Ok(found) => return Ok(found),
        Err(reason) => tried.push(reason),
    }
    Err(ToolchainError::NotFound(tried))
}

/// `$RUSTC` where it is set, else the `rustc` that cargo would take.
fn in_use(tools: &Tools) -> Result<Toolchain, String> {
    if let Some(rustc) = env::var_os("RUSTC").map(PathBuf::from)
        && has_target(tools, &rustc).is_ok()
    {
        let how = format!("the compiler in RUSTC, {}", rustc.display());
        return Ok(Toolchain {
            rustc: Some(rustc),
            how,
        });
    }
    has_target(tools, Path::new("rustc"))?;
    Ok(Toolchain {
        rustc: None,
        how: format!("the Rust in use, which has {TARGET}"),
    })
}

/// Whether a compiler comes with the target's standard library.
pub(super) fn has_target(tools: &Tools, rustc: &Path) -> Result<(), String> {
    let mut question = tools.command(rustc);
    question.args(["--print", "target-libdir", "--target", TARGET]);
    let answer = tools.ask(&mut question, QUESTION_LIMIT)?;
    match holds_std(Path::new(answer.stdout.trim())) {
        true => Ok(()),
        false => Err(format!("{} has no {TARGET}", rustc.display())),
    }
}

/// Whether a directory holds a compiled standard library.
pub(super) fn holds_std(dir: &Path) -> bool {
    let Ok(entries) = fs::read_dir(dir) else {
        return false;
    };
    entries.filter_map(Result::ok).any(|it| {
        let name = it.file_name();
        let name = name.to_string_lossy();
        name.starts_with("libstd-") && name.ends_with(".rlib")
    })
}

fn add_with_rustup(tools: &Tools, progress: &mut dyn Write) -> Result<Toolchain, String> {
    tools.ask(tools.command("rustup").arg("--version"), QUESTION_LIMIT)?;
    let seconds = RUSTUP_LIMIT.as_secs();
    say(
        progress,
        &format!("adding {TARGET} with rustup (at most {seconds} s)"),
    );
    let mut add = tools.command("rustup");
    add.args(["target", "add", TARGET]);
    tools
        .ask(&mut add, RUSTUP_LIMIT)
        .map_err(|reason| format!("`rustup target add {TARGET}`: {reason}"))?;
    // The `rustc` that cargo takes may be another one than rustup's.
    has_target(tools, Path::new("rustc"))
        .map_err(|reason| format!("rustup added {TARGET}, but {reason}"))?;
    Ok(Toolchain {
        rustc: None,
        how: format!("the Rust in use; rustup added {TARGET}"),
    })
}

fn from_distribution(
    tools: &Tools,
    search: &Search,
    found: Result<Distribution, String>,
    progress: &mut dyn Write,
) -> Result<Toolchain, String> {
    let ready = found.and_then(|it| sysroot::check_parts(tools, &it).map(|parts| (it, parts)));
    let (distribution, parts) = match ready {
        Ok(ready) => ready,
        Err(reason) if search.install => {
            install(tools, progress).map_err(|problem| format!("{reason}; {problem}"))?;
            let distribution = Distribution::find(tools)?;
            let parts = sysroot::check_parts(tools, &distribution)?;
            (distribution, parts)
        }
        Err(reason) => return Err(reason),
    };
    if has_target(tools, &distribution.rustc).is_ok() {
        let how = format!("the distribution's {}", distribution.describe());
        return Ok(Toolchain {
            rustc: Some(distribution.rustc),
            how,
        });
    }
    let cache = search.cache.as_deref();
    let cache = cache.ok_or("no cache directory: set XDG_CACHE_HOME or HOME")?;
    sysroot::prepare(tools, &distribution, &parts, cache, progress)
}

/// Installs Debian's packages, where we are root on such a system.
fn install(tools: &Tools, progress: &mut dyn Write) -> Result<(), String> {
    let user = tools.ask(tools.command("id").arg("-u"), QUESTION_LIMIT)?;
    if user.stdout.trim() != "0" {
        return Err("not installed, since this is not root".to_owned());
    }
    let packages = DEBIAN_PACKAGES.join(" ");
    say(progress, &format!("installing {packages} with apt-get"));
    let mut update = tools.command("apt-get");
    update
        .env("DEBIAN_FRONTEND", "noninteractive")
        .arg("update");
    // An outdated list of packages may still do.
    let update = tools.ask(&mut update, APT_LIMIT);
    let mut install = tools.command("apt-get");
    install
        .env("DEBIAN_FRONTEND", "noninteractive")
        .args(["install", "-y", "--no-install-recommends"])
        .args(DEBIAN_PACKAGES);
    match (tools.ask(&mut install, APT_LIMIT), update) {
        (Ok(_), _) => Ok(()),
        (Err(problem), Ok(_)) => Err(problem),
        (Err(problem), Err(before)) => Err(format!("{before}; {problem}")),
    }
}

/// `triage` in the user's cache.
fn cache_dir() -> Option<PathBuf> {
    let absolute = |name: &str| {
        let path = env::var_os(name).map(PathBuf::from);
        path.filter(|it| it.is_absolute())
    };
    absolute("XDG_CACHE_HOME")
        .or_else(|| absolute("HOME").map(|it| it.join(".cache")))
        .map(|it| it.join("triage"))
}

/// Tells a person what takes so long. Nobody may be there to read it.
pub(super) fn say(progress: &mut dyn Write, line: &str) {
    let written = writeln!(progress, "{line}").and_then(|()| progress.flush());
    if let Err(error) = written {
        tracing::debug!(%error, "progress could not be written");
    }
}

fn explain(tried: &[String]) -> String {
    let mut text = format!("no Rust compiler that can build for {TARGET}");
    for reason in tried {
        // Writing to a string cannot fail.
        let _ = write!(text, "\n  tried: {reason}");
    }
    let packages = DEBIAN_PACKAGES.join(" ");
    let _ = write!(
        text,
        "\ninstall one of these, then try again:\n  \
         rustup target add {TARGET}   (with rustup and a network)\n  \
         apt-get install {packages}   (Debian, as root)"
    );
    text
}
