//! `triage selftest`: every hostile plugin that it knows is contained, and nothing of it is left.

use std::fs;
use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};
use triage_tests::Folder;
use triage_tests::folder::Ended;
use triage_tests::process::Process;
use triage_tests::wait::wait_within;

/// Thirty cases, on a machine that does other things as well.
const PATIENCE: Duration = Duration::from_secs(550);

/// The command, with a folder of its own for temporary files.
fn start(folder: &Folder) -> Process {
    fs::create_dir(folder.path("tmp")).unwrap();
    let mut command = folder.command(&["--json", "selftest"]);
    command.env("TMPDIR", folder.path("tmp"));
    Process::start(command)
}

/// Files under a folder, and processes that work in one.
fn left_in(folder: &Path) -> Vec<String> {
    let files = fs::read_dir(folder).unwrap();
    let files = files.map(|it| it.unwrap().path().display().to_string());
    let processes = fs::read_dir("/proc").unwrap().filter_map(|process| {
        // Processes end, and others' do not say where they work.
        let place = fs::read_link(process.ok()?.path().join("cwd")).ok()?;
        let is_there = place.starts_with(folder);
        is_there.then(|| format!("a process in {}", place.display()))
    });
    files.chain(processes).collect()
}

#[test]
fn all_thirty_cases_are_contained_and_nothing_is_left() {
    let folder = Folder::bare();
    let ended = Ended::of(start(&folder), PATIENCE, "the end of the self-test");
    assert_eq!(left_in(&folder.path("tmp")), [""; 0]);
    let report = ended.json();
    let cases = report["cases"].as_array().unwrap();
    let numbers: Vec<&Value> = cases.iter().map(|it| &it["number"]).collect();
    assert_eq!(json!(numbers), json!((1..=30).collect::<Vec<_>>()));
    for case in cases {
        assert_eq!(case["contained"], true, "{case:#}");
        assert_eq!(case["alive"], true, "{case:#}");
        let probes = case["probes"].as_array().unwrap();
        assert!(!probes.is_empty(), "{case:#}");
        for probe in probes {
            assert_eq!(probe["seen"], probe["expected"], "{case:#}");
        }
    }
    assert_eq!(
        (&report["contained"], &report["of"]),
        (&json!(30), &json!(30))
    );
    assert_eq!(report["memory"]["kept"], true, "{}", report["memory"]);
    // How long the neighbour waits is this machine's affair, as other tests run on it.
    let is_held_up = report["neighbour"]["kept"] == false;
    assert_eq!(ended.code, Some(i32::from(is_held_up)), "{}", ended.stderr);
}

#[test]
fn a_self_test_that_is_stopped_leaves_nothing() {
    let folder = Folder::bare();
    let tmp = folder.path("tmp");
    let process = start(&folder);
    wait_within(PATIENCE, "the self-test's server", || {
        let of_it = fs::read_dir(&tmp).unwrap().next();
        let begun = of_it.map(|it| it.unwrap().path().join("serve.log"));
        match begun.is_some_and(|it| it.exists()) {
            true => Ok(()),
            false => Err("not started".to_owned()),
        }
    });
    process.terminate();
    Ended::of(process, PATIENCE, "the end of a self-test that is stopped")
        .expect(1)
        .complains(&["stopped before all cases were tried"]);
    assert_eq!(left_in(&tmp), [""; 0]);
}
