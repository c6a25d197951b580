//! What plugins cost by the language they are written in, how soon a version answers that is only in
//! the cache of compiled plugins, and what a thousand loaded versions take.
//!
//! The policy is the same in every language. Languages whose plugin was not built are named and
//! left out: `cargo xtask guests` builds them.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a bench")]

mod common;

use std::fs;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Result;
use triage_host::model::policy::Limits;
use triage_host::sandbox::{ArtefactKey, Artefacts, Plugin, Sandbox};
use triage_tests::binary;

use common::arguments::Arguments;
use common::host::folder;
use common::judge::{self, COMPILE_SECONDS, Judge};
use common::process::{cpu_time, resident_mib};
use common::report::{Bound, Report};
use common::statistics::median;

const LANGUAGES: [&str; 5] = ["rust-wasip2", "c", "go", "javascript", "python"];
const BODY_BYTES: usize = 2_048;
/// Versions that are loaded at once, and in a quick run.
const VERSIONS: u32 = 1_000;
const VERSIONS_QUICK: u32 = 100;
/// Turns of every language; each takes this long.
const TURNS: usize = 20;
const TURN: Duration = Duration::from_millis(40);

fn main() -> Result<()> {
    let Some(arguments) = Arguments::read()? else {
        return Ok(());
    };
    let mut report = Report::new("guests");
    let own = folder()?;
    // Any key serves: the cache is this bench's own.
    let artefacts = Artefacts::new(own.path().join("artefacts"), ArtefactKey::new(&[7; 32]));
    let sandbox = judge::sandbox(Some(artefacts))?;
    let judge = Judge::new(sandbox.clone(), BODY_BYTES, roomy())?;

    // Before anything else takes memory, and gives it back meanwhile.
    let count = if arguments.quick {
        VERSIONS_QUICK
    } else {
        VERSIONS
    };
    versions(&sandbox, &judge, count, &mut report)?;
    let plugins = load(&sandbox, &judge, &mut report)?;
    languages(&judge, &plugins, &mut report)?;
    for (name, plugin) in &plugins {
        cold(&sandbox, &judge, name, plugin, &mut report)?;
    }
    report.print();
    Ok(())
}

/// Limits with room for every language.
fn roomy() -> Limits {
    Limits {
        cpu_ms: 5_000,
        memory_bytes: 256 << 20,
        ..Limits::default()
    }
}

/// The policy in every language there is.
fn load(
    sandbox: &Sandbox,
    judge: &Judge,
    report: &mut Report,
) -> Result<Vec<(String, Arc<Plugin>)>> {
    let mut paths = vec![("rust".to_owned(), binary::component("incident-desk"))];
    for language in LANGUAGES {
        match binary::guest(language) {
            Some(path) => paths.push((language.to_owned(), path)),
            None => report.limit(language, "not built; `cargo xtask guests` builds it"),
        }
    }
    let mut plugins = Vec::new();
    for (name, path) in paths {
        let (bytes, began) = (fs::read(path)?, Instant::now());
        let plugin = sandbox.load(&bytes, COMPILE_SECONDS)?;
        let seconds = began.elapsed().as_secs_f64();
        report.add(format!("{name}, size"), bytes.len() as f64 / 1e6, "MB");
        report.add(format!("{name}, compiled in"), seconds, "s");
        println!("{name}: {}", judge.judge(&plugin)?);
        plugins.push((name, plugin));
    }
    Ok(plugins)
}

/// The median computing time of an event in each language; they take turns.
fn languages(judge: &Judge, plugins: &[(String, Arc<Plugin>)], report: &mut Report) -> Result<()> {
    let mut turns = vec![Vec::new(); plugins.len()];
    for _ in 0..TURNS {
        for ((_, plugin), turns) in plugins.iter().zip(&mut turns) {
            let (began, mut events) = (cpu_time(), 0);
            while cpu_time() - began < TURN {
                judge.judge(plugin)?;
                events += 1;
            }
            turns.push((cpu_time() - began).as_secs_f64() * 1e6 / f64::from(events));
        }
    }
    for ((name, _), turns) in plugins.iter().zip(turns) {
        let micros = median(turns);
        report.add(
            format!("{name}, {BODY_BYTES} B, two fresh instances"),
            micros,
            "µs/event",
        );
    }
    Ok(())
}

/// The time from a digest to the first plan, where only the file of compiled code is there.
fn cold(
    sandbox: &Sandbox,
    judge: &Judge,
    name: &str,
    plugin: &Plugin,
    report: &mut Report,
) -> Result<()> {
    let mut millis = Vec::new();
    for _ in 0..TURNS {
        let began = Instant::now();
        let cold = sandbox.load_cached(&plugin.digest).unwrap();
        judge.judge(&cold)?;
        millis.push(began.elapsed().as_secs_f64() * 1e3);
    }
    let (what, millis) = (format!("{name}, cold to the first plan"), median(millis));
    match name {
        "rust" => report.judge(what, millis, "ms", Bound::AtMost(2.0), Bound::AtMost(0.5)),
        _ => report.add(what, millis, "ms"),
    }
    Ok(())
}

/// What versions of a plugin take that are all loaded and were all used.
fn versions(sandbox: &Sandbox, judge: &Judge, count: u32, report: &mut Report) -> Result<()> {
    let component = fs::read(binary::component("incident-desk"))?;
    let first = sandbox.load(&component, COMPILE_SECONDS)?;
    judge.judge(&first)?;
    let before = resident_mib(std::process::id())?;
    let mut loaded = Vec::new();
    for number in 0..count {
        let plugin = sandbox.load(&version(&component, number), COMPILE_SECONDS)?;
        judge.judge(&plugin)?;
        loaded.push(plugin);
        if (number + 1) % 100 == 0 {
            println!("{} of {count} versions are compiled and loaded", number + 1);
        }
    }
    let grown = resident_mib(std::process::id())? - before;
    let each = grown / f64::from(count);
    report.add("memory of a loaded version", each * 1_024.0, "KiB");
    report.judge(
        format!("{VERSIONS} versions, resident, by {count} of them"),
        each * f64::from(VERSIONS),
        "MiB",
        Bound::AtMost(1_024.0),
        Bound::AtMost(400.0),
    );
    Ok(())
}

/// The component with a custom section of its own, so that its digest differs.
fn version(component: &[u8], number: u32) -> Vec<u8> {
    let content = format!("\u{7}version{number:08}");
    let mut bytes = component.to_vec();
    bytes.push(0);
    bytes.push(u8::try_from(content.len()).unwrap());
    bytes.extend(content.bytes());
    bytes
}
