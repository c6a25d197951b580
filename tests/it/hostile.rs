//! Plugins that nobody should trust: each run ends as what it is, and nobody else notices.

use std::collections::BTreeMap;
use std::time::Duration;

use rustix::process::Pid;
use serde_json::json;
use triage_tests::guest::{self, classifier};
use triage_tests::receiver::{Receiver, Reply};
use triage_tests::wait::wait_within;
use triage_tests::{Delivery, Folder, Host, config, wait_until};

/// Given up at the second breach; with little of everything.
const STRICT: &str =
    "on_failure = \"dead-letter\"\n[policy.limits]\ncpu_ms = 200\nmemory_mb = 8\nhost_call_kb = 64";

/// Name of the plugin and of its policy, what it does, and what that is called.
const HOSTILE: [(&str, &str, &str); 9] = [
    ("loop", guest::LOOP, "cpu_limit"),
    ("eater", guest::EAT_MEMORY, "memory_limit"),
    ("tables", guest::EAT_TABLES, "table_limit"),
    ("trap", guest::TRAP, "trap"),
    ("recursion", guest::RECURSE, "trap"),
    (
        "discriminant",
        guest::BAD_DISCRIMINANT,
        "contract_violation",
    ),
    ("text", guest::BAD_TEXT, "contract_violation"),
    ("pointer", guest::BAD_POINTER, "contract_violation"),
    ("huge", guest::HUGE_ANSWER, "host_call_limit"),
];

/// A policy for `standard.{name}.*` whose classifier is the plugin of the same name.
fn policy(name: &str, lines: &str) -> String {
    format!(
        "[[policy]]\nname = \"{name}\"\ntriggers = [\"standard.{name}.*\"]\nclassifier = \"{name}\"\n{lines}\n"
    )
}

/// A configuration with these plugins from text beside the bundled desk.
fn folder(plugins: &[(&str, String)], lines: &str) -> Folder {
    let folder = Folder::new("");
    // Each is asked again and again here, whatever it does.
    let mut sections = "[quarantine]\nstrikes = 1000000\n".to_owned();
    sections += &(config::integrations() + &config::desk());
    for (name, wat) in plugins {
        sections += &config::plugin(name, &folder.guest(name, wat));
        sections += &policy(name, lines);
    }
    folder.configure(&sections);
    folder
}

/// Memory of a process that is in use, in bytes.
fn resident_bytes(pid: Pid) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", pid.as_raw_nonzero())).unwrap();
    let line = status
        .lines()
        .find_map(|it| it.strip_prefix("VmRSS:"))
        .unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() << 10
}

#[test]
fn a_plugin_that_breaks_a_rule_is_stopped_named_and_given_up() {
    let plugins: Vec<_> = HOSTILE
        .iter()
        .map(|(name, body, _)| (*name, classifier(body)))
        .collect();
    let host = Host::start_in(folder(&plugins, STRICT));
    let answers: BTreeMap<&str, _> = HOSTILE
        .iter()
        .map(|(name, _, _)| {
            (
                *name,
                host.accept(&Delivery::standard(
                    &format!("{name}.x"),
                    &format!("bad-{name}"),
                    "x",
                )),
            )
        })
        .collect();
    // While they spin, others are served.
    let good = host.finished(&host.accept(&Delivery::incident("good-1")));
    assert_eq!(
        (&good["state"], &good["outcome"]),
        (&json!("completed"), &json!("acted"))
    );

    for (name, _, class) in HOSTILE {
        let run = host.finished(&answers[name]);
        assert_eq!(run["state"], "dead", "{name}: {run}");
        let classes: Vec<_> = run["attempts"]
            .as_array()
            .unwrap()
            .iter()
            .map(|it| it["class"].clone())
            .collect();
        assert_eq!(classes, [class, class], "{name}: {run}");
        for attempt in run["attempts"].as_array().unwrap() {
            let digest = &attempt["classifier_digest"].as_str().unwrap()[..12];
            let error = attempt["error"].as_str().unwrap();
            let named = format!("plugin `{name}` (version {digest}): ");
            assert!(error.starts_with(&named), "{error}");
        }
        assert!(
            run["dead_reason"]
                .as_str()
                .unwrap()
                .ends_with("; on_failure is dead-letter"),
            "{name}: {run}"
        );
        assert_eq!(
            (&run["decision"], &run["actions"]),
            (&json!(null), &json!([])),
            "{name}"
        );
    }
    assert_eq!(host.list("/v1/runs?state=dead").len(), HOSTILE.len());
    host.accept(&Delivery::incident("good-2"));
    host.wait_until_idle();
    assert_eq!(host.list("/v1/tickets").len(), 2);
}

#[test]
fn what_a_plugin_cannot_decide_takes_the_policys_default_route() {
    let receiver = Receiver::start(&[Reply::status(500), Reply::status(200)]);
    let lines = |destination: &str| {
        format!(
            "on_failure = \"default-route\"\n[policy.default_route]\ndestination = \"{destination}\"\n\
             title = \"Nobody looked at this\"\npriority = \"high\"\n\
             [policy.grants]\ndestinations = [\"{destination}\"]\n[policy.limits]\ncpu_ms = 20"
        )
    };
    let folder = Folder::new("");
    let spinner = folder.guest("loop", &classifier(guest::LOOP));
    let policy = |name: &str, to: &str| {
        format!(
            "[[policy]]\nname = \"{name}\"\ntriggers = [\"standard.loop.*\"]\nclassifier = \"loop\"\n{}\n",
            lines(to)
        )
    };
    folder.configure(
        &[
            "[egress]\nallow = [\"127.0.0.1\"]\n".to_owned(),
            config::integrations(),
            config::plugin("loop", &spinner),
            "[destinations.desk]\nkind = \"ticket\"\n".to_owned(),
            config::webhook("oncall", &receiver.url(), ""),
            policy("to-desk", "desk"),
            policy("to-oncall", "oncall"),
        ]
        .concat(),
    );
    let host = Host::start_in(folder);
    let answer = host.accept(&Delivery::standard("loop.x", "routed-1", "x"));
    for run_id in answer["run_ids"].as_array().unwrap() {
        let run = host.finished_run(run_id.as_str().unwrap());
        let digest = run["attempts"][0]["classifier_digest"].as_str().unwrap();
        let cause = format!(
            "plugin `loop` (version {}): cpu limit: computed for more than 20 ms; \
             the policy's limits.cpu_ms can allow more; on_failure is default-route",
            &digest[..12]
        );
        assert_eq!(
            run["decision"]["classification"],
            json!({
                "priority": "high",
                "category": "untriaged",
                "labels": ["default-route"],
                "confidence_percent": 0,
                "reason": format!("decided by the host: the policy's plugins did not decide ({cause})"),
            }),
            "{run}"
        );
        assert_eq!(
            (
                &run["state"],
                &run["outcome"],
                run["attempts"].as_array().unwrap().len()
            ),
            (&json!("completed"), &json!("routed"), 2),
        );
        let policy = run["policy"].as_str().unwrap();
        assert_eq!(
            run["actions"][0]["idempotency_key"],
            format!("routed-1:{policy}:default-route")
        );
    }
    host.wait_until_idle();
    let ticket = &host.list("/v1/tickets")[0];
    assert_eq!(
        (&ticket["title"], &ticket["priority"]),
        (&json!("Nobody looked at this"), &json!("high"))
    );
    // Refused once, so it was sent again under the same key.
    let keys: Vec<String> = receiver
        .wait_for(2)
        .iter()
        .map(|it| it.header("idempotency-key").to_owned())
        .collect();
    assert_eq!(keys, ["routed-1:to-oncall:default-route"; 2]);
    for run in host.list("/v1/runs") {
        let path = format!("/v1/runs/{}", run["run_id"].as_str().unwrap());
        let receipt = &host.json(&path)["actions"][0]["receipt"];
        assert!(receipt.is_object(), "{path}: {receipt}");
    }
}

#[test]
fn spinning_plugins_hold_up_neither_deliveries_nor_other_policies() {
    let lines = "[policy.limits]\ncpu_ms = 300\nconcurrency = 2";
    let host = Host::start_in(folder(
        &[("loop", classifier(guest::LOOP))],
        &format!("attempts_max = 1\n{lines}"),
    ));
    for number in 0..20 {
        host.accept(&Delivery::standard(
            "loop.x",
            &format!("spin-{number}"),
            "x",
        ));
    }
    let run = host.finished(&host.accept(&Delivery::incident("beside-1")));
    assert_eq!(run["outcome"], "acted");
    let spinning = host
        .database()
        .count("SELECT count(*) FROM run WHERE policy = 'loop' AND state <> 'dead'");
    assert!(0 < spinning, "the other policy had to wait for all of them");
    host.wait_until_idle();
}

/// So many guests' memory is given back together (`DECOMMITTED_TOGETHER`).
const GUESTS_PENDING: u64 = 16;

#[test]
fn memory_that_plugins_ate_is_given_back() {
    let lines = "attempts_max = 1\n[policy.limits]\ncpu_ms = 5000\nmemory_mb = 16\nconcurrency = 8";
    let host = Host::start_in(folder(&[("eater", classifier(guest::EAT_MEMORY))], lines));
    let feed = |from: usize, to: usize| {
        for number in from..to {
            host.accept(&Delivery::standard(
                "eater.x",
                &format!("eat-{number}"),
                "x",
            ));
        }
        host.wait_until_idle();
    };
    // The first ones make the caches and threads that a host keeps.
    feed(0, 20);
    let before = resident_bytes(host.pid());
    feed(20, 220);
    assert_eq!(host.list("/v1/runs?state=dead").len(), 220);
    let class =
        "SELECT count(*) FROM attempt WHERE class = 'memory_limit' AND 16000000 < memory_bytes";
    assert_eq!(host.database().count(class), 220);
    wait_until("the memory to be given back", || {
        let now = resident_bytes(host.pid());
        let grown = now.saturating_sub(before) >> 20;
        if grown < GUESTS_PENDING * 16 {
            Ok(())
        } else {
            Err(format!("{grown} MiB more than before"))
        }
    });
}

#[test]
fn a_plugin_that_floods_its_log_is_cut_short_and_decided() {
    let import =
        r#"(import "triage:policy/log@0.1.0" "write" (func $log (param i32 i32 i32 i32 i32)))"#;
    let flood = "(local $i i32) (loop
        (call $log (i32.const 2) (i32.const 2048) (i32.const 4) (i32.const 0) (i32.const 0))
        (local.set $i (i32.add (local.get $i) (i32.const 1)))
        (br_if 0 (i32.lt_u (local.get $i) (i32.const 5000))))";
    let lines = "[policy.limits]\ncpu_ms = 5000\nlog_kb = 1";
    let host = Host::start_in(folder(
        &[("flood", guest::classifier_importing(import, flood))],
        lines,
    ));
    let run = host.finished(&host.accept(&Delivery::standard("flood.x", "flood-1", "x")));
    assert_eq!(
        (&run["state"], &run["outcome"]),
        (&json!("completed"), &json!("noted")),
        "{run}"
    );
    let log = run["attempts"][0]["log"].as_array().unwrap();
    assert!(log.len() < 200, "{} lines", log.len());
    assert!(
        log.last().unwrap()["message"]
            .as_str()
            .unwrap()
            .contains("dropped"),
        "{log:?}"
    );
}

#[test]
fn an_endless_wait_for_the_cpu_ends_at_the_wall_limit() {
    let lines = "attempts_max = 1\n[policy.limits]\ncpu_ms = 500\nwall_ms = 500";
    let host = Host::start_in(folder(&[("loop", classifier(guest::LOOP))], lines));
    let run = host.finished(&host.accept(&Delivery::standard("loop.x", "wall-1", "x")));
    let class = run["attempts"][0]["class"].as_str().unwrap();
    assert!(["cpu_limit", "wall_limit"].contains(&class), "{run}");
}

#[test]
fn a_plugin_that_imports_what_is_not_granted_stops_the_start_by_name() {
    let unknown = wat::parse_str(
        r#"(component (import "acme:internal/secrets@1.0.0" (instance (export "read" (func)))))"#,
    );
    let state = r#"(import "triage:policy/state@0.1.0" "delete" (func (param i32 i32 i32)))"#;
    let folder = Folder::new("");
    let spy = folder.write("spy.wasm", unknown.unwrap());
    let keeper = folder.guest("keeper", &guest::classifier_importing(state, ""));
    for (name, component, import) in [
        ("spy", spy, "acme:internal/secrets@1.0.0"),
        ("keeper", keeper, "triage:policy/state@0.1.0"),
    ] {
        folder.configure(&(config::plugin(name, &component) + &policy(name, "")));
        for command in ["serve", "check"] {
            folder
                .triage(&[command])
                .expect(1)
                .complains(&[&format!("plugins.{name}"), import]);
        }
    }
}

#[test]
fn a_broken_policy_does_not_keep_the_host_from_stopping() {
    let lines = "[policy.limits]\ncpu_ms = 2000\nwall_ms = 4000\nconcurrency = 16";
    let mut host = Host::start_in(folder(&[("loop", classifier(guest::LOOP))], lines));
    for number in 0..16 {
        host.accept(&Delivery::standard(
            "loop.x",
            &format!("stuck-{number}"),
            "x",
        ));
    }
    let database = host.database();
    wait_within(Duration::from_secs(10), "a run to begin", || match database
        .count("SELECT count(*) FROM run WHERE state = 'running'")
    {
        0 => Err("none is running".to_owned()),
        _ => Ok(()),
    });
    host.stop();
    assert_eq!(database.count("SELECT count(*) FROM run"), 16);
    host.restart();
    host.kill();
}
