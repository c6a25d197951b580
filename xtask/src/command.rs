//! Running other programs.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, bail};

/// The top of the workspace.
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .unwrap_or_else(|| Path::new("."))
}

/// Where cargo puts what it builds.
pub fn target_dir() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), |it| root().join(it))
}

/// Says what is done, so that nobody wonders about a long silence.
#[expect(clippy::print_stderr, reason = "the chores talk to a person")]
pub fn step(text: &str) {
    eprintln!("== {text}");
}

/// The cargo that started us.
pub fn cargo(arguments: &[&str]) -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.args(arguments);
    command
}

/// Runs a program to its end; its output goes to the terminal.
pub fn run(command: &mut Command) -> anyhow::Result<()> {
    let status = command
        .status()
        .with_context(|| format!("cannot start {command:?}"))?;
    if !status.success() {
        bail!("{command:?} ended with {status}");
    }
    Ok(())
}

/// Builds the host for development and gives its binary.
pub fn build_host() -> anyhow::Result<PathBuf> {
    step("building the host (the first time, its dependencies take some minutes)");
    run(&mut cargo(&["build", "--package", "triage-host"]))?;
    Ok(target_dir().join("debug").join("triage"))
}
