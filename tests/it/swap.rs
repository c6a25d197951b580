//! Another version of a plugin takes over while events flow, and nothing is lost, doubled or guessed.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::{Value, json};
use triage_tests::guest::{self, classifier};
use triage_tests::host::deliver_to;
use triage_tests::{Answer, Delivery, Folder, Host, binary, config, http, wait_until};

/// Swaps under load.
const SWAPS: usize = 100;
/// Clients that deliver all the while.
const CLIENTS: usize = 4;

/// A version of the classifier that answers; each number is another one.
fn version(number: u32) -> String {
    classifier(&format!("(drop (i32.const {number}))"))
}

/// A configuration with version 1 of the plugin `p` for everything.
fn folder(lines: &str) -> Folder {
    let folder = Folder::new("");
    let plugin = config::plugin("p", &folder.guest("p", &version(1)));
    let policy = format!(
        "[[policy]]\nname = \"p\"\ntriggers = [\"standard.*\"]\nclassifier = \"p\"\n{lines}\n"
    );
    folder.configure(&(config::integrations() + &plugin + &policy));
    folder
}

/// Pushes a component beside the server; gives its digest.
fn push(folder: &Folder, name: &str, wat: &str) -> String {
    folder.guest(name, wat);
    let file = format!("{name}.wasm");
    let pushed = folder.triage(&["--json", "plugin", "push", &file, "--name", "p"]);
    text(&pushed.expect(0).json()["digest"])
}

fn text(value: &Value) -> String {
    value
        .as_str()
        .unwrap_or_else(|| panic!("no text: {value}"))
        .to_owned()
}

fn post(host: &Host, action: &str, body: &str) -> Answer {
    let path = format!("/v1/plugins/p/{action}");
    host.request("POST", &path, &host.bearer(), body)
}

fn activate(host: &Host, version: &str) -> Answer {
    post(host, "activate", &json!({ "version": version }).to_string())
}

/// The digest of the active version.
fn active(host: &Host) -> String {
    let versions = host.json("/v1/plugins/p/versions");
    let is_active = |it: &&Value| it["activated_at"].is_string() && it["retired_at"] == Value::Null;
    let found: Vec<&Value> = versions["items"]
        .as_array()
        .unwrap()
        .iter()
        .filter(is_active)
        .collect();
    assert_eq!(found.len(), 1, "{versions}");
    text(&found[0]["digest"])
}

#[track_caller]
fn wait_for_active(host: &Host, digest: &str) {
    wait_until("another version", || match active(host) {
        found if found == digest => Ok(()),
        found => Err(found),
    });
}

/// The version that decided about a new event.
#[track_caller]
fn decided_by(host: &Host, id: &str) -> String {
    let run = host.finished(&host.accept(&event(id)));
    assert_eq!(run["state"], "completed", "{run}");
    text(&run["attempts"][0]["classifier_digest"])
}

fn event(id: &str) -> Delivery {
    Delivery::standard("one.x", id, id)
}

#[test]
fn a_hundred_swaps_under_load_fail_lose_and_double_nothing() {
    let host = Host::start_in(folder(""));
    let first = active(&host);
    let second = push(&host.folder, "second", &version(2));
    assert_eq!(active(&host), first, "a push activates nothing");
    host.folder
        .write("broken.wasm", "\0asm, and then nothing that fits");

    let (address, is_over) = (host.address(), AtomicBool::new(false));
    let accepted: Vec<Value> = std::thread::scope(|scope| {
        let clients: Vec<_> = (0..CLIENTS)
            .map(|client| {
                let is_over = &is_over;
                scope.spawn(move || {
                    let mut accepted = Vec::new();
                    while !is_over.load(Ordering::Relaxed) {
                        let id = format!("c{client}-{}", accepted.len());
                        let answer = deliver_to(address, &event(&id));
                        accepted.push(answer.expect("an answer").expect(200).json());
                    }
                    accepted
                })
            })
            .collect();
        // Whatever fails here ends the clients as well.
        let swapped = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            swap_often(&host, &first, &second);
        }));
        is_over.store(true, Ordering::Relaxed);
        let accepted = clients
            .into_iter()
            .flat_map(|it| it.join().unwrap())
            .collect();
        swapped.unwrap();
        accepted
    });

    host.wait_until_idle();
    let database = host.database();
    let is_new = |it: &&Value| it["duplicate"] == json!(false);
    assert_eq!(accepted.iter().filter(is_new).count(), accepted.len());
    let sent = accepted.len() as u64;
    for (what, sql) in [
        ("events", "SELECT count(*) FROM event"),
        (
            "runs",
            "SELECT count(*) FROM run WHERE state = 'completed' AND outcome = 'noted'",
        ),
        (
            "attempts",
            "SELECT count(*) FROM attempt WHERE class = 'decided'",
        ),
        ("attempts of any kind", "SELECT count(*) FROM attempt"),
    ] {
        assert_eq!(database.count(sql), sent, "{what}");
    }
    let runs: BTreeSet<String> = accepted.iter().map(|it| text(&it["run_id"])).collect();
    assert_eq!(runs.len(), accepted.len());
    let decided = |digest: &str| {
        database.count(&format!(
            "SELECT count(*) FROM attempt WHERE classifier_digest = '{digest}'"
        ))
    };
    let by = (decided(&first), decided(&second));
    assert!(0 < by.0 && 0 < by.1, "{by:?} of {sent}");
    assert_eq!(
        by.0 + by.1,
        sent,
        "every attempt names a version that was active"
    );
    database.check();
}

/// Activates one and the other, and tries what is no plugin in between.
fn swap_often(host: &Host, first: &str, second: &str) {
    for swap in 0..SWAPS {
        let wanted = if swap % 2 == 0 { second } else { first };
        let answer = match swap % 10 {
            9 => post(host, "rollback", ""),
            _ => activate(host, wanted),
        };
        assert_eq!(
            answer.expect(200).json(),
            json!({ "plugin": "p", "digest": wanted }),
            "swap {swap}"
        );
        if swap == SWAPS / 2 {
            let refused =
                host.folder
                    .triage(&["plugin", "push", "broken.wasm", "--name", "p", "--activate"]);
            refused
                .expect(1)
                .complains(&["plugin `p` stays as it is: "]);
            let refused = post(host, "versions", "no component").expect(422).json();
            assert_eq!(refused["code"], "invalid_plugin", "{refused}");
            assert_eq!(active(host), wanted);
        }
    }
}

#[test]
fn an_activated_version_outlives_a_restart_and_ends_with_another_file() {
    let mut host = Host::start_in(folder(""));
    let first = active(&host);
    let second = push(&host.folder, "second", &version(2));
    let activated = host
        .folder
        .triage(&["plugin", "activate", "p", &second[..12]]);
    assert!(activated.expect(0).text().contains("is activated"));
    wait_for_active(&host, &second);
    assert_eq!(decided_by(&host, "activated"), second);
    let list = host.folder.triage(&["plugin", "list"]).expect(0).text();
    for part in ["active in the place of the file's", "retired at "] {
        assert!(list.contains(part), "{list}");
    }

    host.stop();
    host.restart();
    assert_eq!(decided_by(&host, "restarted"), second);
    // A reload of something else changes nothing of it.
    let template = std::fs::read_to_string(host.folder.path("triage.toml")).unwrap();
    host.folder
        .replace("triage.toml", format!("{template}\n# changed\n"));
    host.reload("applied");
    assert_eq!(decided_by(&host, "reloaded"), second);

    // The one before, and back; also while no server runs.
    host.folder.triage(&["plugin", "rollback", "p"]).expect(0);
    wait_for_active(&host, &first);
    assert_eq!(decided_by(&host, "rolled-back"), first);
    host.stop();
    host.folder.triage(&["plugin", "rollback", "p"]).expect(0);
    host.restart();
    assert_eq!(decided_by(&host, "forward"), second);

    // The last change counts, also where it is the file's.
    let third = std::fs::read(host.folder.guest("third", &version(3))).unwrap();
    host.folder.replace("p.wasm", third);
    host.reload("applied");
    let third = active(&host);
    assert!(third != first && third != second);
    assert_eq!(decided_by(&host, "file"), third);
    host.stop();
    host.restart();
    assert_eq!(decided_by(&host, "file-restarted"), third);

    activate(&host, &first).expect(200);
    let file = activate(&host, "file").expect(200).json();
    assert_eq!(file["digest"], json!(third));
}

#[test]
fn runs_in_flight_end_on_the_version_they_began_with() {
    // Computes for a second or more.
    let slow = classifier(
        "(local $i i32)
         (loop
            (local.set $i (i32.add (local.get $i) (i32.const 1)))
            (br_if 0 (i32.lt_u (local.get $i) (i32.const 1500000000))))",
    );
    let host = Host::start_in(folder("[policy.limits]\ncpu_ms = 60000\nwall_ms = 60000"));
    let first = active(&host);
    let slow = push(&host.folder, "slow", &slow);
    activate(&host, &slow).expect(200);
    let accepted = host.accept(&event("in-flight"));
    let path = format!("/v1/runs/{}", text(&accepted["run_id"]));
    wait_until("a run in flight", || match host.json(&path) {
        run if run["state"] == "running" => Ok(()),
        run => Err(run.to_string()),
    });
    post(&host, "rollback", "").expect(200);
    assert_eq!(decided_by(&host, "after"), first);
    let run = host.finished(&accepted);
    assert_eq!(run["attempts"].as_array().unwrap().len(), 1, "{run}");
    assert_eq!(
        run["attempts"][0]["classifier_digest"],
        json!(slow),
        "{run}"
    );
    let ended = |run: &Value| text(&run["attempts"][0]["finished_at"]);
    let after = host.list("/v1/runs").remove(0);
    let after = host.json(&format!("/v1/runs/{}", text(&after["run_id"])));
    assert!(ended(&after) < ended(&run), "it was not in flight: {run}");
}

#[test]
fn what_cannot_be_used_changes_nothing_and_says_why() {
    let mut host = Host::start_in(folder(""));
    let first = active(&host);
    let before = host.json("/v1/plugins");
    host.folder.write("text.wasm", "no component");
    let state = r#"(import "triage:policy/state@0.1.0" "delete" (func (param i32 i32 i32)))"#;
    host.folder
        .guest("asks", &guest::classifier_importing(state, ""));
    for (arguments, code, complaint) in [
        (
            "push text.wasm --name p --activate",
            1,
            "plugin `p` stays as it is: not a component that can be run",
        ),
        (
            "push asks.wasm --name p --activate",
            1,
            "plugin `p` stays as it is: it imports `triage:policy/state@0.1.0`",
        ),
        (
            "push p.wasm --name other",
            1,
            "no plugin `other`: declare [plugins.other] in the configuration first",
        ),
        ("push none.wasm --name p", 1, "none.wasm: "),
        (
            "activate p 0123456789ab",
            1,
            "plugin `p` has no version `0123456789ab`: `triage plugin list` shows those that it has",
        ),
        (
            "activate p latest",
            2,
            "`latest` names no version: give 6 to 64 hexadecimal digits of its digest, or `file`",
        ),
        (
            "rollback p",
            1,
            "no other version of plugin `p` was active that is not quarantined",
        ),
    ] {
        let arguments: Vec<&str> = ["plugin"].into_iter().chain(arguments.split(' ')).collect();
        let refused = host.folder.triage(&arguments);
        refused.expect(code).complains(&[complaint]);
    }
    for (action, body, status, code) in [
        ("versions", "no component", 422, "invalid_plugin"),
        (
            "activate",
            r#"{"version":"0123456789ab"}"#,
            400,
            "bad_request",
        ),
        (
            "activate",
            r#"{"digest":"0123456789ab"}"#,
            400,
            "bad_request",
        ),
        ("rollback", "", 409, "no_version_before"),
    ] {
        let refused = post(&host, action, body).expect(status).json();
        assert_eq!(refused["code"], code, "{action}: {refused}");
    }
    assert_eq!(host.json("/v1/plugins"), before);

    // A version that a policy cannot use, and one whose component is gone.
    host.folder.replace(
        "two_roles.wasm",
        std::fs::read(binary::component("incident-desk")).unwrap(),
    );
    let text = std::fs::read_to_string(host.folder.path("triage.toml")).unwrap();
    let text = text.replace("p.wasm", "two_roles.wasm");
    host.folder
        .replace("triage.toml", text.clone() + "triager = \"p\"\n");
    host.reload("applied");
    let refused = host.folder.triage(&["plugin", "activate", "p", &first]);
    refused.expect(1).complains(&[
        "plugin `p` stays as it is: policy.p.triager: plugin `p` does not export triage:policy/triager@0.1.0",
    ]);
    let refused = activate(&host, &first).expect(422).json();
    assert_eq!(refused["code"], "invalid_plugin", "{refused}");
    host.folder.replace("triage.toml", text);
    host.reload("applied");
    let third = push(&host.folder, "third", &version(3));
    std::fs::remove_file(host.folder.path(&format!("triage.db.plugins/{third}.wasm"))).unwrap();
    let refused = host.folder.triage(&["plugin", "activate", "p", &third]);
    refused
        .expect(1)
        .complains(&["cannot be read from the shelf", "push it again"]);
    assert_eq!(push(&host.folder, "third", &version(3)), third);
    activate(&host, &third).expect(200);
    assert_eq!(decided_by(&host, "third"), third);

    // What was activated and then lost is not replaced by a guess.
    host.stop();
    std::fs::remove_file(host.folder.path(&format!("triage.db.plugins/{third}.wasm"))).unwrap();
    let problem = format!("plugins.p: version {third} was activated and cannot be loaded");
    host.folder
        .triage(&["serve"])
        .expect(1)
        .complains(&[&problem]);
    host.folder
        .triage(&["plugin", "activate", "p", "file"])
        .expect(0);
    host.restart();
    host.wait_until_idle();
}

#[test]
fn only_an_operator_of_the_whole_host_changes_versions() {
    let host = Host::start_in(folder(""));
    let second = push(&host.folder, "second", &version(2));
    let component = std::fs::read(host.folder.path("second.wasm")).unwrap();
    let ask = |token: &str, action: &str, body: &[u8]| {
        let bearer = ("authorization".to_owned(), format!("Bearer {token}"));
        let url = format!("http://{}/v1/plugins/p/{action}", host.address());
        http::send("POST", &url, &[bearer], body.to_vec()).unwrap()
    };
    let token = |arguments: &[&str]| {
        let create = [&["--json", "token", "create", "test"], arguments].concat();
        text(&host.folder.triage(&create).expect(0).json()["token"])
    };
    let version = json!({ "version": second }).to_string();
    let (viewer, operator) = (token(&["--role", "viewer"]), token(&["--role", "operator"]));
    let of_tenant = token(&["--role", "admin", "--tenant", "default"]);
    for (token, action, body) in [
        ("none", "activate", version.as_bytes()),
        (viewer.as_str(), "activate", version.as_bytes()),
        (of_tenant.as_str(), "activate", version.as_bytes()),
        (of_tenant.as_str(), "versions", component.as_slice()),
        (operator.as_str(), "versions", component.as_slice()),
    ] {
        let status = if token == "none" { 401 } else { 403 };
        ask(token, action, body).expect(status);
    }
    assert!(active(&host) != second);
    ask(&operator, "activate", version.as_bytes()).expect(200);
    assert_eq!(active(&host), second);
    // It is known already; a component may be larger than other requests.
    let pushed = ask(&host.folder.token, "versions", &component)
        .expect(200)
        .json();
    assert_eq!(
        pushed,
        json!({ "plugin": "p", "digest": second, "is_new": false })
    );
    let desk = std::fs::read(binary::component("incident-desk")).unwrap();
    assert!(16 << 10 < desk.len());
    ask(&host.folder.token, "versions", &desk).expect(201);
}
