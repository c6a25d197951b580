//! `cargo xtask bench`: what the host does, as ratios to what it could cost at least.
//!
//! Builds the release binary and the bundled plugins, runs the benches of `tests/benches`
//! and repeats their targets at the end. It measures nothing itself.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context, bail};
use serde_json::Value;

use crate::{command, plugins};

/// Every bench, the quickest first.
const BENCHES: [&str; 9] = [
    "evaluate",
    "guests",
    "bomb",
    "pipeline",
    "swap",
    "neighbour",
    "attack",
    "ingest",
    "kept",
];

/// Runs one bench, or all of them. `events` is how many the store of `kept` holds.
pub fn run(which: Option<String>, quick: bool, events: Option<u64>) -> anyhow::Result<()> {
    let benches = match which {
        None => BENCHES.to_vec(),
        Some(which) => match BENCHES.into_iter().find(|it| *it == which) {
            Some(bench) => vec![bench],
            None => bail!("there is no bench `{which}`, only {}", BENCHES.join(", ")),
        },
    };
    command::step("building the host for release (the first time, some minutes)");
    command::run(&mut command::cargo(&[
        "build",
        "--release",
        "--package",
        "triage-host",
    ]))?;
    let triage = command::target_dir().join("release").join("triage");
    let components = plugins::build(&triage)?;
    let mut lines = Vec::new();
    for bench in benches {
        let mut words = Vec::new();
        if quick {
            words.push("--quick".to_owned());
        }
        if let Some(events) = events.filter(|_| bench == "kept") {
            words.extend(["--events".to_owned(), events.to_string()]);
        }
        lines.extend(measure(bench, &words, &triage, &components)?);
    }
    summarise(&lines);
    Ok(())
}

/// Runs a bench, shows what it says to people and gives what it says to tools.
fn measure(
    bench: &str,
    words: &[String],
    triage: &Path,
    components: &Path,
) -> anyhow::Result<Vec<Value>> {
    command::step(&format!("bench {bench}"));
    let mut cargo = command::cargo(&["bench", "--package", "triage-tests", "--bench", bench]);
    cargo
        .arg("--")
        .args(words)
        .env("TRIAGE_BIN", triage)
        .env("TRIAGE_PLUGINS", components);
    let mut child = cargo
        .stdout(Stdio::piped())
        .spawn()
        .context("cannot start cargo")?;
    let stdout = child.stdout.take().context("no output")?;
    let (path, mut file) = file(bench)?;
    let mut values = Vec::new();
    for line in BufReader::new(stdout).lines() {
        let line = line?;
        match serde_json::from_str(&line) {
            Ok(Value::Object(value)) => {
                writeln!(file, "{line}")?;
                values.push(Value::Object(value));
            }
            _ => say(&line),
        }
    }
    if !child.wait()?.success() {
        bail!("bench {bench} failed");
    }
    command::step(&format!("every figure is in {}", path.display()));
    Ok(values)
}

fn file(bench: &str) -> anyhow::Result<(PathBuf, File)> {
    let folder = command::target_dir().join("triage-bench");
    fs::create_dir_all(&folder)?;
    let path = folder.join(format!("{bench}.jsonl"));
    let file = File::create(&path).with_context(|| format!("cannot write {}", path.display()))?;
    Ok((path, file))
}

/// The figures that have a target, and what holds them back.
fn summarise(lines: &[Value]) {
    let text = |line: &Value, name: &str| line[name].as_str().unwrap_or_default().to_owned();
    command::step("targets: must, aim and what was measured");
    for line in lines {
        if let (Some(must), Some(aim)) = (line["must"].as_str(), line["aim"].as_str()) {
            say(&format!(
                "{:<9} {:<62} {:>7.2} {:<8} must {must}, aim {aim}: {}",
                text(line, "bench"),
                text(line, "figure"),
                line["value"].as_f64().unwrap_or(f64::NAN),
                text(line, "unit"),
                text(line, "verdict"),
            ));
        }
    }
    command::step("limits");
    for line in lines.iter().filter(|it| it["by"].is_string()) {
        let (bench, what) = (text(line, "bench"), text(line, "limit"));
        say(&format!("{bench:<9} {what}: {}", text(line, "by")));
    }
}

#[expect(clippy::print_stdout, reason = "the chores talk to a person")]
fn say(text: &str) {
    println!("{text}");
}
