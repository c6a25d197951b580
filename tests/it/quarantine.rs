//! Plugins that break rules on many events are taken out of use; one bad event is not the plugin's fault.

use serde_json::{Value, json};
use triage_tests::guest::{self, classifier};
use triage_tests::{Delivery, Folder, Host, config, wait_until};

/// A version is out after this many strikes.
const STRIKES: &str = "[quarantine]\nstrikes = 3\n";

/// A configuration with the plugin `p` for `standard.one.*`.
fn folder(wat: &str, lines: &str) -> Folder {
    let folder = Folder::new("");
    let plugin = config::plugin("p", &folder.guest("p", wat));
    let policy = format!(
        "[[policy]]\nname = \"p\"\ntriggers = [\"standard.one.*\"]\nclassifier = \"p\"\n{lines}\n"
    );
    folder.configure(&[STRIKES, &config::integrations(), &plugin, &policy].concat());
    folder
}

/// Puts another version in force.
fn change(host: &Host, wat: &str) {
    // Built elsewhere and moved over: no reload sees half of it.
    let built = std::fs::read(host.folder.guest("next", wat)).unwrap();
    host.folder.replace("p.wasm", built);
    host.reload("applied");
}

/// Another version of the classifier that answers.
fn good(number: u32) -> String {
    classifier(&format!("(drop (i32.const {number}))"))
}

fn event(id: &str) -> Delivery {
    Delivery::standard("one.x", id, id)
}

fn accept(host: &Host, ids: &[&str]) -> Vec<Value> {
    ids.iter().map(|id| host.accept(&event(id))).collect()
}

fn versions(host: &Host) -> Vec<Value> {
    let list = host.json("/v1/plugins");
    list["items"].as_array().unwrap().clone()
}

/// The active version, once this is so.
fn active(host: &Host, what: &str, is_so: impl Fn(&Value) -> bool) -> Value {
    wait_until(what, || {
        let active = versions(host).remove(0);
        if is_so(&active) {
            Ok(active)
        } else {
            Err(active.to_string())
        }
    })
}

fn is_quarantined(version: &Value) -> bool {
    !version["quarantines"].as_array().unwrap().is_empty()
}

fn last_attempt(run: &Value) -> &Value {
    run["attempts"].as_array().unwrap().last().unwrap()
}

#[test]
fn a_version_that_breaks_rules_on_many_events_is_rolled_back_to_the_one_before() {
    let mut host = Host::start_in(folder(&good(1), ""));
    let first = host.finished(&host.accept(&event("before")));
    let before = last_attempt(&first)["classifier_digest"].clone();

    change(&host, &classifier(guest::TRAP));
    let answers = accept(&host, &["a", "b", "c", "d"]);
    for answer in &answers {
        let run = host.finished(answer);
        assert_eq!(run["outcome"], "noted", "{run}");
        assert_eq!(last_attempt(&run)["classifier_digest"], before, "{run}");
    }
    let bad = active(&host, "a rollback that is written down", |it| {
        it["quarantines"][0]["instead"].is_string()
    });
    assert_eq!(bad["quarantines"][0]["instead"], before);
    let reason = bad["quarantines"][0]["reason"].as_str().unwrap();
    assert!(
        reason.starts_with("it broke rules on ") && reason.ends_with(" runs"),
        "{reason}"
    );
    assert!(host.log().contains("a version of a plugin is quarantined"));
    let list = host.folder.triage(&["plugin", "list"]).expect(0).text();
    for part in [
        "quarantined for default, ",
        " runs in its place: ",
        "retired",
    ] {
        assert!(list.contains(part), "{list}");
    }

    // What was found out outlives the process, and a version that is not the file's any more.
    host.stop();
    host.restart();
    let run = host.finished(&host.accept(&event("restarted")));
    assert_eq!(last_attempt(&run)["classifier_digest"], before, "{run}");

    // Whoever knows better lets it run again.
    let released = host.request("POST", "/v1/plugins/p/release", &host.bearer(), "");
    assert_eq!(
        released.expect(200).json(),
        json!({ "plugin": "p", "quarantines_ended": 1 })
    );
    active(&host, "the end of the quarantine", |it| !is_quarantined(it));
    wait_until("the version to run again", || {
        let id = format!("again-{}", host.list("/v1/events").len());
        let run_id = host.accept(&event(&id))["run_id"].clone();
        let path = format!("/v1/runs/{}", run_id.as_str().unwrap());
        let run = wait_until("an attempt", || {
            let run = host.json(&path);
            match run["attempts"].as_array().unwrap().is_empty() {
                true => Err(run.to_string()),
                false => Ok(run),
            }
        });
        match run["attempts"][0]["class"] == "trap" {
            true => Ok(()),
            false => Err(run.to_string()),
        }
    });

    // Another version begins without a stain.
    change(&host, &good(2));
    let run = host.finished(&host.accept(&event("fixed")));
    assert_eq!(run["outcome"], "noted");
    assert_ne!(last_attempt(&run)["classifier_digest"], before);
    assert!(!is_quarantined(&versions(&host)[0]));
    host.wait_until_idle();
}

#[test]
fn without_a_version_before_it_runs_wait_and_nothing_is_lost() {
    let host = Host::start_in(folder(&classifier(guest::TRAP), ""));
    let mut answers = accept(&host, &["a", "b", "c"]);
    active(&host, "a quarantine", is_quarantined);
    let waiting = host.accept(&event("d"));
    let path = format!("/v1/runs/{}", waiting["run_id"].as_str().unwrap());
    wait_until("the run to be held", || {
        let run = host.json(&path);
        let is_held = run["attempts"]
            .as_array()
            .unwrap()
            .last()
            .is_some_and(|it| it["class"] == "quarantined");
        match is_held && run["state"] == "queued" {
            true => Ok(()),
            false => Err(run.to_string()),
        }
    });
    assert_eq!(host.list("/v1/runs?state=dead").len(), 0);
    change(&host, &good(1));
    answers.push(waiting);
    for answer in answers {
        let run = host.finished(&answer);
        assert_eq!(run["outcome"], "noted", "{run}");
    }
}

#[test]
fn runs_of_a_quarantined_plugin_end_as_on_failure_says() {
    let route = "on_failure = \"default-route\"\n[policy.default_route]\ndestination = \"desk\"\n\
                 [policy.grants]\ndestinations = [\"desk\"]\n[destinations.desk]\nkind = \"ticket\"";
    for (lines, state, outcome) in [
        ("on_failure = \"dead-letter\"", "dead", json!(null)),
        (route, "completed", json!("routed")),
    ] {
        let host = Host::start_in(folder(&classifier(guest::TRAP), lines));
        accept(&host, &["a", "b", "c"]);
        active(&host, "a quarantine", is_quarantined);
        let run = wait_until("a run that asks no plugin", || {
            let id = format!("later-{}", host.list("/v1/events").len());
            let run = host.finished(&host.accept(&event(&id)));
            match run["attempts"][0]["class"] == "quarantined" {
                true => Ok(run),
                false => Err(run.to_string()),
            }
        });
        assert_eq!(
            (&run["state"], &run["outcome"]),
            (&json!(state), &outcome),
            "{run}"
        );
        let why = format!("{}{}", run["dead_reason"], run["decision"]);
        assert!(why.contains("is quarantined: it broke rules on"), "{why}");
        host.wait_until_idle();
    }
}

#[test]
fn one_event_that_is_tried_many_times_is_one_strike() {
    let host = Host::start_in(folder(&classifier(guest::TRAP), "attempts_max = 4"));
    let run = host.finished(&host.accept(&event("poison")));
    assert_eq!(
        (&run["state"], run["attempts"].as_array().unwrap().len()),
        (&json!("dead"), 4)
    );
    let version = versions(&host).remove(0);
    assert_eq!(version["quarantines"], json!([]));
    let strikes = &version["strikes"][0];
    assert_eq!(
        (&strikes["events"], &strikes["runs"], &strikes["broken"]),
        (&json!(1), &json!(1), &json!(1)),
        "{version}"
    );
}

#[test]
fn an_event_that_breaks_several_versions_is_dead_and_no_plugins_fault() {
    let host = Host::start_in(folder(&classifier(guest::TRAP), "attempts_max = 100"));
    let answer = host.accept(&event("poison"));
    active(&host, "a strike", |it| it["strikes"][0]["events"] == 1);
    change(&host, &classifier(guest::BAD_TEXT));
    let run = host.finished(&answer);
    let reason = run["dead_reason"].as_str().unwrap();
    assert!(
        reason.ends_with("; the event broke several versions of the plugin"),
        "{run}"
    );
    for version in versions(&host) {
        let against: u64 = version["strikes"]
            .as_array()
            .unwrap()
            .iter()
            .map(|it| it["events"].as_u64().unwrap())
            .sum();
        assert_eq!((against, is_quarantined(&version)), (0, false), "{version}");
    }
}

#[test]
fn a_quarantine_of_one_tenant_is_not_another_tenants() {
    let folder = Folder::new("");
    let plugin = config::plugin("p", &folder.guest("p", &classifier(guest::TRAP)));
    let tenant = |name: &str, lines: &str| {
        let source = triage_host::model::source::Source::Standard;
        config::integration(
            &format!("standard-{name}"),
            source,
            &format!("tenant = \"{name}\""),
        ) + &format!(
            "[[policy]]\nname = \"{name}\"\ntenant = \"{name}\"\ntriggers = [\"standard.*\"]\n\
                 classifier = \"p\"\nattempts_max = 1\n{lines}\n"
        )
    };
    let sections = [STRIKES, &plugin, &tenant("one", ""), &tenant("two", "")];
    folder.configure(&sections.concat());
    let host = Host::start_in(folder);
    for id in ["a", "b", "c"] {
        host.accept(&event(id).to("standard-one"));
    }
    let version = active(&host, "a quarantine", is_quarantined);
    let tenants: Vec<&Value> = version["quarantines"]
        .as_array()
        .unwrap()
        .iter()
        .map(|it| &it["tenant"])
        .collect();
    assert_eq!(tenants, [&json!("one")]);
    let run = host.finished(&host.accept(&event("d").to("standard-two")));
    assert_eq!(run["attempts"][0]["class"], "trap", "{run}");
}
