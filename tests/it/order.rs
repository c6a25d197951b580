//! Events of one thing are handled one after another; late and stale ones as the policy says.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use triage_host::model::source::Source;
use triage_tests::wait::wait_until;
use triage_tests::{Delivery, Folder, Host, config, guest};

const INCIDENTS: &str = r#"["standard.incident.*"]"#;

/// An incident of this thing, at this version, that occurred then.
fn incident(id: &str, thing: &str, version: u64, timestamp: &str) -> Delivery {
    let data = json!({ "id": thing, "version": version, "title": id, "severity": "high", "environment": "production" });
    let body =
        json!({ "type": "incident.triggered", "timestamp": timestamp, "data": data }).to_string();
    Delivery::new(Source::Standard, "incident.triggered", id, body)
}

fn now() -> String {
    triage_host::model::time::rfc3339(triage_tests::delivery::now())
}

/// A host whose one policy has this classifier and these further lines.
fn host(classifier: &str, lines: &str) -> Host {
    let folder = Folder::new("");
    let guest = folder.guest("guest", &guest::classifier(classifier));
    let policy = format!(
        "[[policy]]\nname = \"ordered\"\ntriggers = {INCIDENTS}\nclassifier = \"guest\"\n{lines}\n"
    );
    let sections = config::integrations() + &config::plugin("guest", &guest) + &policy;
    folder.configure(&sections);
    Host::start_in(folder)
}

fn run(host: &Host, accepted: &Value) -> Value {
    host.json(&format!(
        "/v1/runs/{}",
        accepted["run_id"].as_str().unwrap()
    ))
}

#[test]
fn attempts_of_one_key_never_overlap_and_keep_their_order() {
    // Some milliseconds each, so that they would overlap.
    let host = host(
        "(local $i i32)
         (loop
            (local.set $i (i32.add (local.get $i) (i32.const 1)))
            (br_if 0 (i32.lt_u (local.get $i) (i32.const 5000000))))",
        "ordering_key = \"/data/id\"\nlimits = { cpu_ms = 1000 }",
    );
    let mut runs: Vec<(String, Value)> = Vec::new();
    for number in 0..60 {
        let thing = format!("thing-{}", number % 4);
        let delivery = incident(&format!("o-{number}"), &thing, 1, &now());
        runs.push((thing, host.accept(&delivery)));
    }
    let mut ended: BTreeMap<String, Value> = BTreeMap::new();
    for (thing, accepted) in runs {
        let run = host.finished(&accepted);
        assert_eq!(run["ordering_key"], json!(thing));
        let attempt = &run["attempts"][0];
        let [began, end] = ["started_at", "finished_at"].map(|it| attempt[it].clone());
        if let Some(before) = ended.insert(thing, end) {
            assert!(
                before.as_str() <= began.as_str(),
                "began before {before}: {run}"
            );
        }
    }
}

#[test]
fn a_stuck_key_holds_up_itself_alone_also_after_a_crash() {
    let mut host = host(
        guest::TRAP,
        "ordering_key = \"/data/id\"\nretry_for = \"1h\"\nattempts_max = 20",
    );
    let [first, second, other] = [("s-1", "a"), ("s-2", "a"), ("s-3", "b")]
        .map(|(id, thing)| host.accept(&incident(id, thing, 1, &now())));
    let attempts = |host: &Host, accepted| run(host, accepted)["attempt_count"].as_u64().unwrap();
    for round in 0..2 {
        wait_until("an attempt of the first run of each key", || {
            let tried = [&first, &other].map(|it| attempts(&host, it));
            match tried {
                [0, _] | [_, 0] => Err(format!("{tried:?}")),
                _ => Ok(()),
            }
        });
        let behind = run(&host, &second);
        assert_eq!(
            json!([behind["state"], behind["waits"], behind["attempt_count"]]),
            json!(["queued", true, 0])
        );
        if round == 0 {
            host.kill();
            host.restart();
        }
    }
}

#[test]
fn late_events_are_flagged_processed_or_dropped() {
    for (then, late, state) in [
        ("flag", true, "completed"),
        ("process", false, "completed"),
        ("drop", false, "completed"),
    ] {
        let rule = format!("late = {{ after = \"1h\", then = \"{then}\" }}");
        let host = host("", &rule);
        let old = host.accept(&incident("l-1", "a", 1, "2020-01-01T00:00:00Z"));
        let run = host.finished(&old);
        assert_eq!(json!([run["late"], run["state"]]), json!([late, state]));
        let dropped = then == "drop";
        assert_eq!(
            run["dropped"],
            if dropped { json!("late") } else { json!(null) }
        );
        assert_eq!(run["outcome"], if dropped { "dropped" } else { "noted" });
        assert_eq!(run["attempt_count"], if dropped { 0 } else { 1 });
        let punctual = host.finished(&host.accept(&incident("l-2", "a", 1, &now())));
        assert_eq!(
            json!([punctual["late"], punctual["outcome"]]),
            json!([false, "noted"])
        );
        if dropped {
            let trace = host.json(&format!(
                "/v1/runs/{}/trace",
                run["run_id"].as_str().unwrap()
            ));
            let kinds: Vec<_> = trace["steps"]
                .as_array()
                .unwrap()
                .iter()
                .map(|it| it["kind"].clone())
                .collect();
            assert_eq!(json!(kinds), json!(["delivery", "verification", "dropped"]));
        }
    }
}

#[test]
fn stale_news_are_dropped_also_after_a_restart() {
    let mut host = host(
        "",
        "ordering_key = \"/data/id\"\nstale = { version = \"/data/version\", then = \"drop\" }",
    );
    let outcome = |host: &Host, id: &str, thing: &str, version| {
        let accepted = host.accept(&incident(id, thing, version, &now()));
        let run = host.finished(&accepted);
        json!([run["outcome"], run["dropped"]])
    };
    let handled = json!(["noted", null]);
    let stale = json!(["dropped", "stale"]);
    assert_eq!(outcome(&host, "v-1", "a", 10), handled);
    assert_eq!(outcome(&host, "v-2", "a", 9), stale);
    assert_eq!(outcome(&host, "v-3", "b", 1), handled);
    host.kill();
    host.restart();
    assert_eq!(outcome(&host, "v-4", "a", 9), stale);
    assert_eq!(outcome(&host, "v-5", "a", 11), handled);
    // A repeat of what was dropped is the same event.
    let again = host.accept(&incident("v-2", "a", 9, &now()));
    assert_eq!(again["duplicate"], json!(true));
}
