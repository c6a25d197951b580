//! Signing secrets are replaced while deliveries come in, and nobody who reads the database has them.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use serde_json::{Value, json};
use triage_host::model::secret::Secret;
use triage_host::model::source::Source;
use triage_tests::delivery::{event_of, now, sample_body};
use triage_tests::host::deliver_to;
use triage_tests::http::Headers;
use triage_tests::{Answer, Delivery, Folder, Host, config, wait_until};

/// Asks the API for a change as the admin.
pub fn ask(host: &Host, method: &str, path: &str, body: &Value) -> Answer {
    ask_as(host, &host.bearer(), method, path, body)
}

pub fn ask_as(host: &Host, headers: &Headers, method: &str, path: &str, body: &Value) -> Answer {
    let mut headers = headers.clone();
    headers.push(("content-type".to_owned(), "application/json".to_owned()));
    host.request(method, path, &headers, &body.to_string())
}

pub fn text(value: &Value) -> String {
    value
        .as_str()
        .unwrap_or_else(|| panic!("no text: {value}"))
        .to_owned()
}

/// A secret of a form that every source takes, as its provider would make it.
fn given(number: usize) -> String {
    let letter = ["A", "B", "C"][number];
    format!("whsec_{letter}2FVsBQIhrscChlQIMV+b5sSYspob7oD")
}

pub fn signed(source: &Source, integration: &str, secret: &str, id: &str) -> Delivery {
    let event = if *source == Source::Standard {
        "incident.opened"
    } else {
        event_of(source)
    };
    let body = sample_body(source.clone(), event, id);
    let secret = Secret::new(secret);
    Delivery::signed(source.clone(), event, id, body, &secret, now()).to(integration)
}

/// The secret of this id, as the API shows it.
pub fn secret_of(host: &Host, integration: &str, secret_id: &str) -> Value {
    let shown = host.json(&format!("/v1/integrations/{integration}"));
    let secrets = shown["secrets"].as_array().unwrap();
    let found = secrets.iter().find(|it| it["secret_id"] == secret_id);
    found
        .unwrap_or_else(|| panic!("no {secret_id}: {shown}"))
        .clone()
}

#[test]
fn nothing_drops_while_a_secret_is_replaced_under_load() {
    let host = Host::start_with("");
    for source in Source::BUILT_IN {
        let id = format!("{source}-new");
        let new = json!({ "source": source.as_str(), "id": id, "secret": given(0) });
        let added = ask(&host, "POST", "/v1/integrations", &new)
            .expect(201)
            .json();
        let (old, old_id) = (text(&added["secret"]), text(&added["secret_id"]));
        assert_eq!(
            text(&added["integration"]["url"]),
            host.url(&format!("/v1/webhooks/{source}/{id}"))
        );
        // Answers at once.
        host.accept(&signed(&source, &id, &old, "first"));

        // Two senders, one with each secret, that do not stop while secrets change around them.
        let rotated = ask(
            &host,
            "POST",
            &format!("/v1/integrations/{id}/rotate-secret"),
            &json!({ "secret": given(1) }),
        );
        let rotated = rotated.expect(201).json();
        let new = text(&rotated["secret"]);
        let (stop, sent) = (AtomicBool::new(false), AtomicUsize::new(0));
        std::thread::scope(|scope| {
            for (name, secret) in [("old", &old), ("new", &new)] {
                let (stop, sent, address, source, id) =
                    (&stop, &sent, host.address(), &source, &id);
                scope.spawn(move || {
                    for number in 0.. {
                        if stop.load(Ordering::SeqCst) {
                            break;
                        }
                        let delivery = signed(source, id, secret, &format!("{name}-{number}"));
                        let answer = deliver_to(address, &delivery).unwrap().expect(200).json();
                        assert_eq!(answer["accepted"], true, "{answer}");
                        sent.fetch_add(1, Ordering::SeqCst);
                    }
                });
            }
            for _ in 0..5 {
                let path = format!("/v1/integrations/{id}/rotate-secret");
                let third = ask(&host, "POST", &path, &json!({ "secret": given(2) }))
                    .expect(201)
                    .json();
                let path = format!(
                    "/v1/integrations/{id}/secrets/{}",
                    text(&third["secret_id"])
                );
                ask(&host, "DELETE", &path, &json!({})).expect(200);
            }
            let before = sent.load(Ordering::SeqCst);
            wait_until("deliveries after the last change", || {
                match sent.load(Ordering::SeqCst) {
                    sent if before + 10 < sent => Ok(()),
                    sent => Err(format!("{sent} of more than {before}")),
                }
            });
            stop.store(true, Ordering::SeqCst);
        });
        let kept = host.list(&format!("/v1/events?integration={id}")).len();
        assert_eq!(kept, sent.into_inner() + 1, "{source}");

        let path = format!("/v1/integrations/{id}/secrets/{old_id}");
        let retired = ask(&host, "DELETE", &path, &json!({})).expect(200).json();
        assert_eq!(retired["secrets"][0]["state"], "retired", "{retired}");
        host.deliver(&signed(&source, &id, &old, "late"))
            .expect(401);
        host.accept(&signed(&source, &id, &new, "on time"));
        let last_path = format!(
            "/v1/integrations/{id}/secrets/{}",
            text(&rotated["secret_id"])
        );
        let refused = ask(&host, "DELETE", &last_path, &json!({}))
            .expect(409)
            .json();
        assert_eq!(refused["code"], "last_secret");
    }
}

#[test]
fn it_is_told_which_secret_is_used_also_after_the_end_of_the_host() {
    let mut host = Host::start_with("");
    let added = ask(
        &host,
        "POST",
        "/v1/integrations",
        &json!({ "source": "github", "id": "hub" }),
    )
    .expect(201)
    .json();
    let rotated = ask(
        &host,
        "POST",
        "/v1/integrations/hub/rotate-secret",
        &json!({}),
    )
    .expect(201)
    .json();
    let (old, new) = (text(&added["secret_id"]), text(&rotated["secret_id"]));
    assert_eq!(secret_of(&host, "hub", &new)["last_used_at"], Value::Null);
    host.accept(&signed(
        &Source::Github,
        "hub",
        &text(&rotated["secret"]),
        "one",
    ));
    let used = text(&secret_of(&host, "hub", &new)["last_used_at"]);
    assert_eq!(secret_of(&host, "hub", &old)["last_used_at"], Value::Null);
    // A forged delivery is no use.
    host.deliver(&signed(&Source::Github, "hub", "another", "two"))
        .expect(401);
    assert_eq!(text(&secret_of(&host, "hub", &new)["last_used_at"]), used);
    host.stop();
    let shown = host
        .folder
        .triage(&["--json", "integration", "show", "hub"])
        .expect(0)
        .json();
    assert_eq!(shown["secrets"][1]["last_used_at"], used, "{shown}");
}

#[test]
fn a_running_host_notices_what_the_command_line_changes() {
    let host = Host::start_with("");
    let triage = |arguments: &[&str]| host.folder.triage(arguments);
    let added = triage(&["--json", "integration", "add", "standard", "--id", "cli"])
        .expect(0)
        .json();
    let first = text(&added["secret"]);
    let notices = |what: &str, secret: &str, status: u16| {
        let mut number = 0;
        wait_until(what, || {
            number += 1;
            let delivery = signed(
                &Source::Standard,
                "cli",
                secret,
                &format!("{what}-{number}"),
            );
            match host.deliver(&delivery).status {
                found if found == status => Ok(()),
                found => Err(found.to_string()),
            }
        });
    };
    notices("added", &first, 200);
    let url = host.url("");
    triage(&[
        "send",
        "standard",
        "incident.opened",
        "--integration",
        "cli",
        "--url",
        &url,
    ])
    .expect(0);
    let rotated = triage(&[
        "--json",
        "integration",
        "rotate-secret",
        "cli",
        "--overlap",
        "1h",
    ])
    .expect(0)
    .json();
    notices("rotated", &text(&rotated["secret"]), 200);
    notices("beside", &first, 200);
    let shown = host.json("/v1/integrations/cli");
    assert!(shown["secrets"][0]["live_until"].is_string(), "{shown}");
    assert_eq!(shown["secrets"][1]["live_until"], Value::Null, "{shown}");
    triage(&[
        "integration",
        "retire-secret",
        "cli",
        &text(&added["secret_id"]),
    ])
    .expect(0);
    notices("retired", &first, 401);
    triage(&[
        "integration",
        "retire-secret",
        "cli",
        &text(&rotated["secret_id"]),
    ])
    .expect(1)
    .complains(&["only live secret", &text(&rotated["secret_id"])]);
    triage(&["integration", "remove", "cli"]).expect(0);
    notices("removed", &text(&rotated["secret"]), 404);
    assert!(
        !host.list("/v1/events?integration=cli").is_empty(),
        "events are kept"
    );
}

#[test]
fn without_the_right_master_key_nothing_starts_and_nothing_changes() {
    let folder = Folder::new("");
    let added = folder
        .triage(&["--json", "integration", "add", "github", "--id", "hub"])
        .expect(0)
        .json();
    let key = std::fs::read_to_string(folder.path("triage.key")).unwrap();
    let other = "00".repeat(32);
    let before = std::fs::read(folder.path("triage.db")).unwrap();
    let complaint: [(Option<&str>, &[&str]); 3] = [
        (
            None,
            &[
                "server.master_key",
                "cannot read",
                "triage.key",
                "put it back",
            ],
        ),
        (
            Some(&other),
            &["server.master_key", "not the key", "put that one back"],
        ),
        (
            Some("short"),
            &["server.master_key", "32 bytes", "put it back"],
        ),
    ];
    for (content, parts) in complaint {
        match content {
            None => std::fs::remove_file(folder.path("triage.key")).unwrap(),
            Some(content) => drop(folder.write("triage.key", content)),
        }
        for command in [
            &["serve"][..],
            &["check"],
            &["integration", "rotate-secret", "hub"],
        ] {
            let ended = folder.triage(command).expect(1);
            ended.complains(parts);
            assert!(!ended.stderr.contains(key.trim()), "{}", ended.stderr);
        }
    }
    let after = std::fs::read(folder.path("triage.db")).unwrap();
    assert!(before == after, "the database changed");
    // A list still helps, and the key put back makes all well.
    let shown = folder
        .triage(&["--json", "integration", "show", "hub"])
        .expect(0)
        .json();
    assert_eq!(shown["secrets"][0]["state"], "unusable", "{shown}");
    folder.write("triage.key", &key);
    folder.triage(&["check"]).expect(0);
    let host = Host::start_in(folder);
    host.accept(&signed(
        &Source::Github,
        "hub",
        &text(&added["secret"]),
        "one",
    ));
}

#[test]
fn a_host_without_secrets_in_its_database_needs_no_master_key() {
    let folder = Folder::new(&config::integrations());
    std::fs::remove_file(folder.path("triage.key")).unwrap();
    folder.triage(&["check"]).expect(0);
    let mut host = Host::start_in(folder);
    host.accept(&Delivery::sample(Source::Github, "ping", "ping-1"));
    host.allow_errors();
    let refused = ask(
        &host,
        "POST",
        "/v1/integrations",
        &json!({ "source": "github" }),
    )
    .expect(503)
    .json();
    assert_eq!(refused["code"], "master_key", "{refused}");
    assert!(
        host.list("/v1/integrations")
            .iter()
            .all(|it| it["origin"] == "file")
    );
}

#[test]
fn the_database_does_not_tell_a_secret() {
    let mut host = Host::start_with("");
    let added = ask(
        &host,
        "POST",
        "/v1/integrations",
        &json!({ "source": "standard", "id": "one" }),
    )
    .expect(201)
    .json();
    let rotated = ask(
        &host,
        "POST",
        "/v1/integrations/one/rotate-secret",
        &json!({ "secret": given(0) }),
    )
    .expect(201)
    .json();
    host.accept(&signed(
        &Source::Standard,
        "one",
        &text(&added["secret"]),
        "one",
    ));
    let key = std::fs::read_to_string(host.folder.path("triage.key")).unwrap();
    let mut wanted: Vec<Vec<u8>> = Vec::new();
    for secret in [&text(&added["secret"]), &text(&rotated["secret"])] {
        let plain = secret.strip_prefix("whsec_").unwrap();
        wanted.push(plain.as_bytes().to_vec());
    }
    wanted.push(key.trim().as_bytes().to_vec());
    let search = |host: &Host| {
        for name in ["triage.db", "triage.db-wal", "triage.db-shm"] {
            let bytes = std::fs::read(host.folder.path(name)).unwrap_or_default();
            for (number, secret) in wanted.iter().enumerate() {
                let found = bytes.windows(secret.len()).any(|it| it == secret);
                assert!(!found, "secret {number} stands in {name}");
            }
        }
        for secret in &wanted {
            assert!(
                !host.log().contains(std::str::from_utf8(secret).unwrap()),
                "in the log"
            );
        }
    };
    search(&host);
    // Nor does any later answer.
    let shown = host.get("/v1/integrations").expect(200).text()
        + &host.get("/v1/integrations/one").expect(200).text();
    assert!(
        wanted
            .iter()
            .all(|it| !shown.contains(std::str::from_utf8(it).unwrap())),
        "{shown}"
    );
    host.stop();
    search(&host);
    let bytes = std::fs::read(host.folder.path("triage.db")).unwrap();
    assert!(
        bytes.windows(3).any(|it| it == b"one"),
        "the search finds what is there"
    );
}

#[test]
fn a_row_that_was_tampered_with_costs_that_secret_only() {
    let mut host = Host::start_with("");
    let mut secrets = Vec::new();
    for id in ["good", "bad", "moved"] {
        let added = ask(
            &host,
            "POST",
            "/v1/integrations",
            &json!({ "source": "github", "id": id }),
        )
        .expect(201)
        .json();
        secrets.push(text(&added["secret"]));
    }
    host.stop();
    host.allow_errors();
    let database = rusqlite::Connection::open(host.folder.path("triage.db")).unwrap();
    let find = "SELECT sealed FROM secret WHERE integration_id = 'bad'";
    let mut sealed: Vec<u8> = database.query_row(find, [], |row| row.get(0)).unwrap();
    *sealed.last_mut().unwrap() ^= 1;
    let changed = database.execute(
        "UPDATE secret SET sealed = ?1 WHERE integration_id = 'bad'",
        [sealed],
    );
    assert_eq!(changed, Ok(1));
    // The secret of one integration, given to another.
    let moved = database.execute(
        "UPDATE secret SET sealed = (SELECT sealed FROM secret WHERE integration_id = 'good') WHERE integration_id = 'moved'",
        [],
    );
    assert_eq!(moved, Ok(1));
    drop(database);
    host.folder.triage(&["check"]).expect(1).complains(&[
        "integration bad",
        "integration moved",
        "sec_",
    ]);
    host.restart();
    host.accept(&signed(&Source::Github, "good", &secrets[0], "one"));
    host.deliver(&signed(&Source::Github, "bad", &secrets[1], "one"))
        .expect(401);
    host.deliver(&signed(&Source::Github, "moved", &secrets[0], "one"))
        .expect(401);
    assert!(
        host.log().contains("a signing secret cannot be used"),
        "{}",
        host.log()
    );
    let shown = host.json("/v1/integrations/bad");
    assert_eq!(shown["secrets"][0]["state"], "unusable", "{shown}");
    // A new secret helps.
    let rotated = ask(
        &host,
        "POST",
        "/v1/integrations/bad/rotate-secret",
        &json!({}),
    )
    .expect(201)
    .json();
    host.accept(&signed(
        &Source::Github,
        "bad",
        &text(&rotated["secret"]),
        "two",
    ));
}
