//! Everything that must hold before a change lands; CI runs exactly this.

use std::process::{Command, Stdio};
use std::time::Instant;

use crate::{bindings, command, guests, plugins};

/// Runs every check, the quick ones first.
pub fn run() -> anyhow::Result<()> {
    let began = Instant::now();
    if installed("fmt") {
        command::step("format");
        command::run(&mut command::cargo(&["fmt", "--all", "--check"]))?;
    }
    command::step("bindings");
    bindings::run(true)?;
    let triage = command::build_host()?;
    let components = plugins::build(&triage)?;
    guests::build(&triage, &components)?;
    command::step("tests");
    command::run(
        command::cargo(&["test", "--workspace"])
            .env("TRIAGE_BIN", &triage)
            .env("TRIAGE_PLUGINS", &components),
    )?;
    if installed("clippy") {
        command::step("lints");
        command::run(&mut command::cargo(&[
            "clippy",
            "--workspace",
            "--all-targets",
            "--",
            "--deny",
            "warnings",
        ]))?;
    }
    command::step("documentation");
    command::run(
        command::cargo(&["doc", "--workspace", "--no-deps", "--quiet"])
            .env("RUSTDOCFLAGS", "--deny warnings"),
    )?;
    command::step(&format!(
        "everything holds, after {} s",
        began.elapsed().as_secs()
    ));
    Ok(())
}

/// Whether a part of the toolchain is there; a minimal one lacks `fmt` and `clippy`.
fn installed(part: &str) -> bool {
    let mut command = Command::new("cargo");
    command
        .args([part, "--version"])
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    let found = command.status().is_ok_and(|it| it.success());
    if !found {
        command::step(&format!("`cargo {part}` is not installed: skipped"));
    }
    found
}
