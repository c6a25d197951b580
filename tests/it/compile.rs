//! Plugins are compiled by another process, once; nobody waits for one that is hard to compile, and nothing
//! that the host did not compile itself is ever run.

use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use rustix::process::Pid;
use serde_json::Value;
use triage_tests::guest::{self, classifier};
use triage_tests::wait::wait_within;
use triage_tests::{Delivery, Folder, Host, bombs, config, wait_until};

/// How long a bomb may occupy the host, by PERFORMANCE: the wall time of `compile_seconds`, and a start.
const REFUSED_WITHIN: Duration = Duration::from_secs(10);
/// For hosts that must not refuse it while a test looks at how it is compiled.
const PATIENT: &str = "compile_seconds = 120\n";

/// Takes 20 s of computing to compile in less than 1 MiB, and no part of it is too large to try.
fn bomb() -> String {
    bombs::loads(3, 35_000)
}

fn policy(plugin: &str) -> String {
    format!(
        "[[policy]]\nname = \"{plugin}\"\ntriggers = [\"standard.{plugin}.*\"]\nclassifier = \"{plugin}\"\n"
    )
}

/// A plugin from text with its policy, for `standard.{name}.*`.
fn plugin(folder: &Folder, name: &str, text: &str) -> String {
    config::plugin(name, &folder.guest(name, text)) + &policy(name)
}

/// A host with a good plugin `good`, and the sections of its file.
fn host() -> (Host, String) {
    let folder = Folder::new("");
    let sections = config::integrations() + &plugin(&folder, "good", &classifier(""));
    folder.configure(&sections);
    (Host::start_in(folder), sections)
}

fn event(plugin: &str, id: &str) -> Delivery {
    Delivery::standard(&format!("{plugin}.x"), id, id)
}

/// The run of a delivery, decided.
fn completed(host: &Host, delivery: &Delivery) -> Value {
    let run = host.finished(&host.accept(delivery));
    assert_eq!(run["state"], "completed", "{run}");
    run
}

fn artefacts(folder: &Folder) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder.path("triage.db.artefacts")).unwrap();
    let mut paths: Vec<_> = entries.map(|it| it.unwrap().path()).collect();
    paths.sort();
    paths
}

fn times(host: &Host, what: &str) -> usize {
    host.log().matches(what).count()
}

const COMPILED: &str = "plugin compiled";
const DISTRUSTED: &str = "in the cache is not loaded";

#[test]
fn a_bomb_is_refused_while_deliveries_are_taken_and_decided() {
    let (mut host, sections) = host();
    host.allow_errors();
    let before = host.json("/v1/config");
    let bomb = plugin(&host.folder, "bomb", &bomb());
    host.folder
        .reconfigure(&("compile_seconds = 3\n".to_owned() + &sections + &bomb));
    compiling(host.pid());
    let mut decided = 0;
    let began = Instant::now();
    let after = loop {
        let run = completed(&host, &event("good", &format!("meanwhile-{decided}")));
        let category = &run["decision"]["classification"]["category"];
        assert_eq!(category, "test", "{run}");
        decided += 1;
        let config = host.json("/v1/config");
        if config["last_reload"]["outcome"] == "refused" {
            break config;
        }
        assert_eq!(config["revision"], before["revision"]);
        assert!(began.elapsed() < REFUSED_WITHIN, "{config}");
    };
    assert!(10 < decided, "{decided} runs were decided meanwhile");
    let problems = after["last_reload"]["problems"].to_string();
    for part in ["plugins.bomb", "bomb.wasm", "3 s", "server.compile_seconds"] {
        assert!(problems.contains(part), "{problems}");
    }
    assert_eq!(after["revision"], before["revision"]);
    assert!(children(host.pid()).is_empty());
    assert_eq!(artefacts(&host.folder).len(), 1);
}

#[test]
fn bombs_of_every_kind_are_refused_with_their_limit_in_time() {
    let folder = Folder::new("");
    for (name, text, limit) in [
        ("loads", bomb(), "server.compile_seconds"),
        (
            "sum",
            bombs::sum(40_000),
            "bytes in the body of one function",
        ),
        (
            "questions",
            bombs::questions(60_000),
            "bytes in the body of one function",
        ),
        (
            "blocks",
            bombs::blocks(100_000),
            "bytes in the body of one function",
        ),
        (
            "jumps",
            bombs::jumps(300_000),
            "bytes in the body of one function",
        ),
        ("functions", bombs::functions(100_000), "functions"),
        (
            "variables",
            bombs::variables(20_000),
            "local variables in one function",
        ),
        ("segments", bombs::segments(60_000), "data segments"),
    ] {
        folder.configure(&(config::integrations() + &plugin(&folder, name, &text)));
        let began = Instant::now();
        folder
            .triage(&["check"])
            .expect(1)
            .complains(&[&format!("plugins.{name}"), limit]);
        let took = began.elapsed();
        assert!(took < REFUSED_WITHIN, "{name}: {took:?}");
    }
}

#[test]
fn a_start_with_a_bomb_is_refused_and_names_it() {
    let folder = Folder::new("");
    let bomb = plugin(&folder, "bomb", &bomb());
    folder.configure(&("compile_seconds = 1\n".to_owned() + &bomb));
    folder.triage(&["serve"]).expect(1).complains(&[
        "plugins.bomb",
        "1 s",
        "server.compile_seconds",
    ]);
}

#[test]
fn the_compiling_process_has_nothing_but_its_three_pipes() {
    let (host, sections) = host();
    let bomb = plugin(&host.folder, "bomb", &bomb());
    host.folder
        .reconfigure(&(PATIENT.to_owned() + &sections + &bomb));
    let child = compiling(host.pid());
    let about = |file: &str| fs::read(format!("/proc/{child}/{file}")).unwrap();
    assert!(!fs::read(proc(host.pid(), "environ")).unwrap().is_empty());
    assert_eq!(about("environ"), b"");
    assert_eq!(
        fs::read_link(format!("/proc/{child}/cwd")).unwrap(),
        PathBuf::from("/")
    );
    let arguments = String::from_utf8(about("cmdline")).unwrap();
    assert!(
        arguments.starts_with("triage\0compile-component\0"),
        "{arguments}"
    );
    let mut open: Vec<_> = fs::read_dir(format!("/proc/{child}/fd"))
        .unwrap()
        .map(|it| it.unwrap().file_name().into_string().unwrap())
        .collect();
    open.sort();
    assert_eq!(open, ["0", "1", "2"]);
    for name in &open {
        let what = fs::read_link(format!("/proc/{child}/fd/{name}")).unwrap();
        let what = what.display().to_string();
        assert!(
            what.starts_with("pipe:") || what.starts_with("socket:"),
            "{name} is {what}"
        );
    }
    wait_until("limits", || {
        let limits = String::from_utf8(about("limits")).unwrap();
        let limited = [
            ("Max cpu time", "120"),
            ("Max address space", "1342177280"),
            ("Max core file size", "0"),
            ("Max file size", "0"),
            ("Max open files", "3"),
        ]
        .iter()
        .all(|(name, most)| {
            let line = limits.lines().find(|it| it.starts_with(name)).unwrap();
            line[name.len()..].split_whitespace().next() == Some(*most)
        });
        let status = String::from_utf8(about("status")).unwrap();
        match limited && status.contains("NoNewPrivs:\t1") && niceness(child) == 10 {
            true => Ok(()),
            false => Err(limits + &status),
        }
    });
}

#[test]
fn the_compiling_process_dies_with_the_host() {
    let (mut host, sections) = host();
    let bomb = plugin(&host.folder, "bomb", &bomb());
    host.folder
        .reconfigure(&(PATIENT.to_owned() + &sections + &bomb));
    let child = compiling(host.pid());
    host.kill();
    wait_until("the end of the compiling process", || {
        // One that is dead and not buried is a zombie of whoever buries the dead here.
        match state(child) {
            None | Some('Z' | 'X') => Ok(()),
            Some(other) => Err(other.to_string()),
        }
    });
    // What is in force at the next start is what the file says: the bomb has to go.
    host.folder.configure(&sections);
    host.restart();
}

#[test]
fn a_second_start_compiles_nothing() {
    let (mut host, _) = host();
    assert_eq!(times(&host, COMPILED), 1);
    let kept = artefacts(&host.folder);
    assert_eq!(kept.len(), 1);
    let bytes = fs::read(&kept[0]).unwrap();
    host.stop();
    host.restart();
    assert_eq!(times(&host, COMPILED), 1, "{}", host.log());
    assert_eq!(times(&host, DISTRUSTED), 0, "{}", host.log());
    assert_eq!(artefacts(&host.folder), kept);
    assert_eq!(fs::read(&kept[0]).unwrap(), bytes);
    completed(&host, &event("good", "warm"));
}

#[test]
fn what_was_not_written_by_this_host_is_compiled_again() {
    let (other, _) = host();
    let foreign = fs::read(&artefacts(&other.folder)[0]).unwrap();
    let (mut host, _) = host();
    let path = artefacts(&host.folder).remove(0);
    let own = fs::read(&path).unwrap();
    let mut changed = own.clone();
    let last = changed.len() - 1;
    changed[last] ^= 1;
    for (number, (what, bytes)) in [
        ("changed", changed),
        ("cut off", own[..own.len() / 2].to_vec()),
        ("empty", Vec::new()),
        ("of another host", foreign),
    ]
    .into_iter()
    .enumerate()
    {
        host.stop();
        fs::write(&path, bytes).unwrap();
        host.restart();
        assert_eq!(times(&host, DISTRUSTED), number + 1, "{what}");
        assert_eq!(times(&host, COMPILED), number + 2, "{what}");
        assert!(
            host.log()
                .contains(path.file_name().unwrap().to_str().unwrap())
        );
        assert_eq!(fs::read(&path).unwrap(), own, "{what}");
        completed(&host, &event("good", what));
    }
}

#[test]
fn a_valid_artefact_of_another_plugin_is_not_taken_for_this_one() {
    let folder = Folder::new("");
    let bad = plugin(&folder, "bad", &classifier(guest::TRAP));
    folder.configure(&(config::integrations() + &bad));
    let mut host = Host::start_in(folder);
    let of_bad = artefacts(&host.folder).remove(0);
    host.stop();
    let good = plugin(&host.folder, "good", &classifier(""));
    host.folder
        .configure(&(config::integrations() + &bad + &good));
    host.restart();
    let both = artefacts(&host.folder);
    let of_good = both.into_iter().find(|it| *it != of_bad).unwrap();
    host.stop();
    fs::copy(&of_bad, &of_good).unwrap();
    host.restart();
    assert_eq!(times(&host, DISTRUSTED), 1);
    assert_eq!(times(&host, COMPILED), 3);
    completed(&host, &event("good", "still-good"));
}

#[test]
fn a_cache_that_cannot_be_written_costs_a_warning_only() {
    let folder = Folder::new("");
    let sections = config::integrations() + &plugin(&folder, "good", &classifier(""));
    folder.configure(&sections);
    folder.write("triage.db.artefacts", "a file");
    let host = Host::start_in(folder);
    completed(&host, &event("good", "uncached"));
    assert!(host.log().contains("is not cached"), "{}", host.log());
}

#[test]
fn the_hidden_command_is_in_no_help_and_answers_nobody_but_its_parent() {
    let folder = Folder::bare();
    let help = folder.triage(&["--help"]).expect(0).text();
    assert!(
        help.contains("serve") && !help.contains("compile-component"),
        "{help}"
    );
    let answer = folder
        .triage(&["compile-component", "--parent", "1", "--seconds", "5"])
        .expect(0);
    assert_eq!(answer.stdout[0], 1);
    assert!(answer.text().contains("is gone"), "{}", answer.text());
}

/// The one process that the host started, once it compiles.
fn compiling(host: Pid) -> i32 {
    wait_within(Duration::from_secs(10), "a compiling process", || {
        match children(host)[..] {
            // Before it is the program that it is going to be, its arguments are the host's.
            [child] if arguments(child).contains("compile-component") => Ok(child),
            _ => Err(String::new()),
        }
    })
}

fn arguments(process: i32) -> String {
    fs::read_to_string(format!("/proc/{process}/cmdline")).unwrap_or_default()
}

fn children(parent: Pid) -> Vec<i32> {
    let processes = fs::read_dir("/proc").unwrap();
    processes
        .filter_map(|it| it.unwrap().file_name().to_str()?.parse().ok())
        .filter(|it| stat(*it, 1).as_deref() == Some(&parent.as_raw_nonzero().to_string()))
        .collect()
}

/// A field of `/proc/PID/stat` behind the program's name, which may hold blanks: `proc(5)`.
fn stat(process: i32, field: usize) -> Option<String> {
    let text = fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    let (_, fields) = text.rsplit_once(") ")?;
    fields.split(' ').nth(field).map(str::to_owned)
}

fn state(process: i32) -> Option<char> {
    stat(process, 0)?.chars().next()
}

fn niceness(process: i32) -> i32 {
    stat(process, 16).unwrap().parse().unwrap()
}

fn proc(process: Pid, file: &str) -> PathBuf {
    PathBuf::from(format!("/proc/{}/{file}", process.as_raw_nonzero()))
}
