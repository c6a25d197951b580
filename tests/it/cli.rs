//! The commands, in the order in which a newcomer meets them.

use std::os::unix::fs::PermissionsExt;

use serde_json::{Value, json};
use triage_host::model::source::Source;
use triage_host::sources::samples;
use triage_tests::folder::Ended;
use triage_tests::{Delivery, Folder, Host, binary, config};

/// Runs a command beside the host and gives its JSON.
#[track_caller]
fn json(host: &Host, arguments: &[&str]) -> Value {
    host.folder
        .triage(&[&["--json"], arguments].concat())
        .expect(0)
        .json()
}

/// Sends a sample to the host.
#[track_caller]
fn send(host: &Host, arguments: &[&str]) -> Ended {
    host.folder
        .triage(&[&["--json", "send"], arguments, &["--url", &host.url("")]].concat())
}

#[test]
fn what_init_writes_serves_and_takes_the_first_event() {
    let mut folder = Folder::bare();
    let said = folder.triage(&["init"]).expect(0).text();
    let token = said
        .lines()
        .find_map(|it| it.strip_prefix("admin token"))
        .unwrap();
    token.trim().clone_into(&mut folder.token);
    assert!(
        said.contains("triage serve") && said.contains("triage send standard incident.opened"),
        "{said}"
    );
    let mode = |name: &str| folder.path(name).metadata().unwrap().permissions().mode() & 0o777;
    assert_eq!(
        (mode("secrets/standard-main"), mode("triage.db")),
        (0o600, 0o600)
    );
    folder.triage(&["check"]).expect(0);
    // The file's own port may be taken on this machine.
    let file = std::fs::read_to_string(folder.path("triage.toml")).unwrap();
    folder.write(
        "triage.toml",
        file.replace("#listen = \"127.0.0.1:8080\"", "listen = \"127.0.0.1:0\""),
    );
    let host = Host::start_in(folder);
    let sent = send(&host, &["standard", "incident.opened"])
        .expect(0)
        .json();
    assert_eq!(
        (&sent["status"], &sent["answer"]["duplicate"]),
        (&json!(200), &json!(false))
    );
    assert_eq!(
        json(&host, &["event", "list"])["items"][0]["event_type"],
        "standard.incident.opened"
    );
    assert_eq!(host.list("/v1/events").len(), 1);
}

#[test]
fn the_configuration_in_the_readme_can_be_used() {
    let readme = std::fs::read_to_string(binary::root().join("README.md")).unwrap();
    let (_, example) = readme.split_once("```toml\n").unwrap();
    let (example, _) = example.split_once("\n```").unwrap();
    let folder = Folder::new("");
    std::fs::create_dir(folder.path("plugins")).unwrap();
    std::fs::copy(
        binary::component("incident-desk"),
        folder.path("plugins/incident_desk.wasm"),
    )
    .unwrap();
    folder.configure(&example.replace("env:GITHUB_WEBHOOK_SECRET", "env:TEST_GITHUB_SECRET"));
    let host = Host::start_in(folder);
    let answer = send(&host, &["github", "issues.opened"]).expect(0).json()["answer"].clone();
    assert_eq!(host.finished(&answer)["outcome"], "acted");
    assert_eq!(host.list("/v1/tickets").len(), 1);
}

#[test]
fn init_overwrites_nothing() {
    let folder = Folder::new("");
    let before = std::fs::read(folder.path("triage.toml")).unwrap();
    folder
        .triage(&["init"])
        .expect(1)
        .complains(&["triage.toml", "exists already"]);
    assert_eq!(std::fs::read(folder.path("triage.toml")).unwrap(), before);
}

#[test]
fn every_sample_is_sent_as_its_provider_signs_it() {
    let host = Host::start(&config::desk());
    for sample in samples::all() {
        let id = format!("sample-{}", sample.event.replace(['.', '_'], "-"));
        let source = sample.source;
        let sent = send(&host, &[source, sample.event, "--id", &id])
            .expect(0)
            .json();
        if (sample.source, sample.event) != ("slack", "url_verification") {
            let again = send(&host, &[source, sample.event, "--id", &id])
                .expect(0)
                .json();
            assert_eq!(
                again["answer"]["duplicate"], true,
                "{source} {}",
                sample.event
            );
            assert_eq!(
                again["answer"]["event_id"], sent["answer"]["event_id"],
                "{source} {}",
                sample.event
            );
        }
    }
    host.wait_until_idle();
    let dead = host.list("/v1/runs?state=dead");
    assert!(
        dead.is_empty(),
        "samples that the bundled plugins cannot read: {dead:?}"
    );
}

#[test]
fn a_forged_delivery_is_refused_and_send_says_so() {
    let host = Host::start("");
    let refused = send(&host, &["github", "push", "--forge"]).expect(1);
    assert_eq!(
        (&refused.json()["status"], &refused.json()["answer"]["code"]),
        (&json!(401), &json!("invalid_signature"))
    );
    refused.complains(&["401"]);
}

#[test]
fn a_file_is_sent_byte_for_byte_and_given_back_so() {
    let host = Host::start("");
    let body = b"{\"type\":\"a.b\", \"x\": 1.50,\r\n \"text\":\"\xc3\xa9\\u00e9\"}\n";
    let file = host.folder.write("body.json", body);
    let sent = send(&host, &["standard", "--file", file.to_str().unwrap()])
        .expect(0)
        .json();
    let event_id = sent["answer"]["event_id"].as_str().unwrap();
    let given = host
        .folder
        .triage(&["event", "payload", event_id])
        .expect(0);
    assert_eq!(given.stdout, body);
}

#[test]
fn the_commands_show_what_the_api_shows() {
    let host = Host::start(&config::desk());
    let run = host.finished(&host.accept(&Delivery::incident("cli-1")));
    host.accept(&Delivery::sample(
        Source::Standard,
        "contact.created",
        "cli-2",
    ));
    let (run_id, event_id) = (
        run["run_id"].as_str().unwrap(),
        run["event_id"].as_str().unwrap(),
    );

    let mut events = json(&host, &["event", "list"])["items"].clone();
    assert_eq!(events.as_array().unwrap().len(), 2);
    events = json(&host, &["event", "list", "--key", "cli-1"])["items"].clone();
    assert_eq!(
        (&events[0]["event_id"], events.as_array().unwrap().len()),
        (&json!(event_id), 1)
    );
    assert!(
        json(&host, &["event", "show", event_id])
            .to_string()
            .contains(run_id)
    );
    assert_eq!(
        json(&host, &["run", "list", "--policy", "incidents"])["items"][0]["run_id"],
        run_id
    );

    let mut over_http = host.json(&format!("/v1/runs/{run_id}/trace"));
    over_http.as_object_mut().unwrap().remove("trace_url");
    assert_eq!(json(&host, &["run", "show", run_id]), over_http);

    let tickets = json(&host, &["ticket", "list"]);
    let ticket_id = tickets["items"][0]["ticket_id"].as_str().unwrap();
    assert_eq!(
        json(&host, &["ticket", "show", ticket_id])["title"],
        "Incident cli-1"
    );
    for (command, told) in [
        (vec!["event", "list"], "standard.incident.triggered"),
        (vec!["event", "show", event_id], "cli-1"),
        (vec!["run", "show", run_id], "cli-1:incidents:ticket"),
        (vec!["ticket", "show", ticket_id], "Incident cli-1"),
    ] {
        let text = host.folder.triage(&command).expect(0).text();
        assert!(
            text.contains(told),
            "{command:?} does not say {told}:\n{text}"
        );
    }
}

#[test]
fn text_of_strangers_cannot_move_the_cursor() {
    let host = Host::start(&config::desk());
    let answer = host.accept(&Delivery::standard(
        "incident.triggered",
        "esc-1",
        "\u{1b}[2J\u{202e}gone\r\n\u{7}",
    ));
    host.finished(&answer);
    for command in [
        vec!["ticket", "list"],
        vec!["run", "show", answer["run_id"].as_str().unwrap()],
        vec!["event", "list"],
    ] {
        let text = host.folder.triage(&command).expect(0).text();
        assert!(text.contains("gone"), "{command:?}: {text}");
        assert!(
            !text.contains(['\u{1b}', '\u{202e}', '\r', '\u{7}']),
            "{command:?}: {text:?}"
        );
    }
}

#[test]
fn check_counts_what_the_file_declares() {
    let folder = Folder::new(&(config::integrations() + &config::desk()));
    let counts = folder.triage(&["--json", "check"]).expect(0).json()["counts"].clone();
    assert_eq!(
        counts,
        json!({ "integrations": 11, "plugins": 2, "destinations": 1, "policies": 2 })
    );
}

#[test]
fn what_cannot_be_meant_is_a_usage_error() {
    let folder = Folder::new(&config::integrations());
    for arguments in [
        &["frobnicate"][..],
        &["send", "nobody", "push"],
        &["send", "github", "no.such.sample"],
        &["run", "show", "evt_1"],
        &["event", "list", "--limit", "0"],
    ] {
        let ended = folder.triage(arguments).expect(2);
        assert!(
            !ended.stderr.is_empty() && ended.stdout.is_empty(),
            "{arguments:?}: {ended:?}"
        );
    }
    let missing = folder
        .triage(&["--json", "run", "show", &format!("run_{}", "0".repeat(32))])
        .expect(1);
    let error: Value = serde_json::from_str(&missing.stderr).unwrap();
    assert_eq!(error["code"], "not_found");
}
