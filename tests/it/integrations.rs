//! Integrations that are added while the host runs, and those of the file, which are not changed so.

use serde_json::{Value, json};
use triage_host::model::source::Source;
use triage_host::store::Store;
use triage_host::store::access::Role;
use triage_tests::delivery::now;
use triage_tests::http::{Headers, runtime};
use triage_tests::{Delivery, Host, config, wait_until};

use crate::secrets::{ask, ask_as, secret_of, signed, text};

#[test]
fn secrets_of_the_file_are_shown_and_read_only() {
    let mut host = Host::start("");
    host.accept(&Delivery::sample(Source::Github, "ping", "ping-1"));
    let shown = host.json("/v1/integrations/github-main");
    assert_eq!(
        (&shown["origin"], &shown["secrets"][0]["origin"]),
        (&json!("file"), &json!("file")),
        "{shown}"
    );
    let secret = shown["secrets"][0].clone();
    assert!(
        secret["last_used_at"].is_string() && secret["created_at"].is_string(),
        "{shown}"
    );
    let path = format!(
        "/v1/integrations/github-main/secrets/{}",
        text(&secret["secret_id"])
    );
    for (method, path, body) in [
        ("DELETE", path.as_str(), json!({})),
        ("DELETE", "/v1/integrations/github-main", json!({})),
        (
            "PATCH",
            "/v1/integrations/github-main",
            json!({ "body_limit": "2MiB" }),
        ),
        (
            "POST",
            "/v1/integrations",
            json!({ "source": "github", "id": "github-main" }),
        ),
    ] {
        let refused = ask(&host, method, path, &body).expect(409).json();
        assert_eq!(
            refused["code"], "declared_in_file",
            "{method} {path}: {refused}"
        );
    }
    // Another one in the store is live beside it, and can go again.
    let rotated = ask(
        &host,
        "POST",
        "/v1/integrations/github-main/rotate-secret",
        &json!({}),
    )
    .expect(201)
    .json();
    host.accept(&signed(
        &Source::Github,
        "github-main",
        &text(&rotated["secret"]),
        "stored",
    ));
    host.accept(&Delivery::sample(Source::Github, "ping", "ping-2"));
    host.stop();
    host.restart();
    // The id and the time since when it is live outlive the process.
    assert_eq!(
        secret_of(&host, "github-main", &text(&secret["secret_id"]))["created_at"],
        secret["created_at"]
    );
    host.accept(&signed(
        &Source::Github,
        "github-main",
        &text(&rotated["secret"]),
        "after",
    ));
    let path = format!(
        "/v1/integrations/github-main/secrets/{}",
        text(&rotated["secret_id"])
    );
    ask(&host, "DELETE", &path, &json!({})).expect(200);
    host.deliver(&signed(
        &Source::Github,
        "github-main",
        &text(&rotated["secret"]),
        "late",
    ))
    .expect(401);
    host.accept(&Delivery::sample(Source::Github, "ping", "ping-3"));
}

#[test]
fn a_tenant_changes_its_own_integrations_only() {
    let host = Host::start_with("");
    let token = |tenant: &str, role: Role| -> Headers {
        let store = Store::open_beside(&host.folder.path("triage.db")).unwrap();
        let made = store.create_token(tenant.to_owned(), Some(tenant.to_owned()), role, now());
        let (_, secret) = runtime().block_on(made).unwrap();
        vec![(
            "authorization".to_owned(),
            format!("Bearer {}", secret.expose()),
        )]
    };
    let (acme, globex) = (token("acme", Role::Admin), token("globex", Role::Admin));
    let new = json!({ "source": "github", "id": "acme-hub" });
    let added = ask_as(&host, &acme, "POST", "/v1/integrations", &new)
        .expect(201)
        .json();
    assert_eq!(added["integration"]["tenant"], "acme");
    let path = "/v1/integrations/acme-hub";
    let secret = format!("{path}/secrets/{}", text(&added["secret_id"]));
    for (method, path, body) in [
        ("GET", path, json!({})),
        ("PATCH", path, json!({ "body_limit": "2MiB" })),
        ("DELETE", path, json!({})),
        ("DELETE", &secret, json!({})),
        ("POST", "/v1/integrations/acme-hub/rotate-secret", json!({})),
    ] {
        ask_as(&host, &globex, method, path, &body).expect(404);
    }
    let listed = host
        .request("GET", "/v1/integrations", &globex, "")
        .expect(200)
        .json();
    assert_eq!(listed["items"], json!([]));
    let of_acme = json!({ "source": "github", "tenant": "acme" });
    ask_as(&host, &globex, "POST", "/v1/integrations", &of_acme).expect(400);
    let taken = ask_as(&host, &globex, "POST", "/v1/integrations", &new)
        .expect(409)
        .json();
    assert_eq!(taken["code"], "id_taken");
    let viewer = token("acme", Role::Viewer);
    ask_as(&host, &viewer, "GET", path, &json!({})).expect(200);
    for (method, path) in [
        ("DELETE", path),
        ("POST", "/v1/integrations/acme-hub/rotate-secret"),
    ] {
        ask_as(&host, &viewer, method, path, &json!({})).expect(403);
    }
    // Its id stays its own, for its events are still there.
    host.accept(&signed(
        &Source::Github,
        "acme-hub",
        &text(&added["secret"]),
        "one",
    ));
    ask_as(&host, &acme, "DELETE", path, &json!({})).expect(200);
    host.deliver(&signed(
        &Source::Github,
        "acme-hub",
        &text(&added["secret"]),
        "two",
    ))
    .expect(404);
    ask_as(&host, &globex, "POST", "/v1/integrations", &new).expect(409);
    assert_eq!(host.list("/v1/events?integration=acme-hub").len(), 1);
    ask_as(&host, &acme, "POST", "/v1/integrations", &new).expect(201);
}

#[test]
fn every_limit_and_every_wrong_request_is_answered_with_its_cause() {
    let host = Host::start_with("");
    let add = |body: Value| ask(&host, "POST", "/v1/integrations", &body);
    for (body, part) in [
        (json!({ "source": "nobody" }), "nobody"),
        (json!({ "source": "stripe" }), "stripe makes it"),
        (
            json!({ "source": "standard", "secret": "not base64!" }),
            "secret",
        ),
        (
            json!({ "source": "github", "secret": "two\nlines" }),
            "one line",
        ),
        (
            json!({ "source": "github", "secret": "x".repeat(4097) }),
            "4096",
        ),
        (json!({ "source": "github", "id": "a b" }), "id"),
        (json!({ "source": "github", "tenant": "" }), "tenant"),
        (
            json!({ "source": "github", "body_limit": "1GiB" }),
            "body_limit",
        ),
        (json!({ "source": "github", "colour": "red" }), "`source`"),
    ] {
        let refused = add(body).expect(400);
        assert!(
            text(&refused.json()["message"]).contains(part),
            "{part}: {}",
            refused.text()
        );
        assert!(
            !refused.text().contains("not base64!"),
            "{}",
            refused.text()
        );
    }
    assert_eq!(host.list("/v1/integrations"), Vec::<Value>::new());

    let added = add(json!({ "source": "github", "body_limit": "1KiB" }))
        .expect(201)
        .json();
    let id = text(&added["integration"]["integration_id"]);
    assert!(id.starts_with("int_"), "{id}");
    add(json!({ "source": "github", "id": id })).expect(409);
    let large = signed(&Source::Github, &id, &text(&added["secret"]), "one");
    host.deliver(&large).expect(413);
    let path = format!("/v1/integrations/{id}");
    ask(&host, "PATCH", &path, &json!({ "body_limit": "1MiB" })).expect(200);
    host.accept(&large);

    let rotate = format!("{path}/rotate-secret");
    let twice = ask(
        &host,
        "POST",
        &rotate,
        &json!({ "secret": added["secret"] }),
    )
    .expect(400)
    .json();
    assert!(text(&twice["message"]).contains("live already"), "{twice}");
    ask(&host, "POST", &rotate, &json!({ "overlap": "1000d" })).expect(400);
    for _ in 1..8 {
        ask(&host, "POST", &rotate, &json!({})).expect(201);
    }
    let refused = ask(&host, "POST", &rotate, &json!({})).expect(409).json();
    assert_eq!(refused["code"], "too_many", "{refused}");
    assert!(
        text(&refused["message"]).contains("8 live secrets"),
        "{refused}"
    );
}

#[test]
fn a_declared_source_is_added_by_name_and_not_served_when_its_declaration_is_gone() {
    let declaration = r#"
        [sources.acme]
        signature = { header = "x-acme-token", algorithm = "token" }
        event_type = "{body:/type}"
    "#;
    let mut host = Host::start_with(declaration);
    for source in ["acme", "gitlab"] {
        let new = json!({ "source": source, "id": source });
        let added = ask(&host, "POST", "/v1/integrations", &new)
            .expect(201)
            .json();
        let header = match source {
            "acme" => "x-acme-token",
            _ => "x-gitlab-token",
        };
        host.accept(&Delivery {
            path: format!("{source}/{source}"),
            headers: vec![(header.to_owned(), text(&added["secret"]))],
            body: b"{}".to_vec(),
        });
    }
    host.stop();
    host.allow_errors();
    host.folder.configure("");
    host.restart();
    let post = |path: &str| host.request("POST", path, &[], "{}");
    post("/v1/webhooks/gitlab/gitlab").expect(401);
    post("/v1/webhooks/acme/acme").expect(404);
    let shown = host.json("/v1/integrations/acme");
    assert!(
        text(&shown["problem"]).contains("there is no `acme`"),
        "{shown}"
    );
    host.folder
        .triage(&["check"])
        .expect(1)
        .complains(&["integration acme", "there is no `acme`"]);
    ask(&host, "DELETE", "/v1/integrations/acme", &json!({})).expect(200);
    host.folder.triage(&["check"]).expect(0);
}

#[test]
fn what_was_added_outlives_a_change_of_the_file_and_the_other_way_round() {
    let host = Host::start_with("");
    let new = json!({ "source": "github", "id": "hub" });
    let added = ask(&host, "POST", "/v1/integrations", &new)
        .expect(201)
        .json();
    host.folder.configure(&config::integrations());
    let mut number = 0;
    wait_until("the file's integrations", || {
        number += 1;
        let ping = Delivery::sample(&Source::Github, "ping", &format!("ping-{number}"));
        match host.deliver(&ping).status {
            200 => Ok(()),
            status => Err(status.to_string()),
        }
    });
    let hub = |secret: &Value, id: &str| signed(&Source::Github, "hub", &text(secret), id);
    host.accept(&hub(&added["secret"], "one"));
    let rotated = ask(
        &host,
        "POST",
        "/v1/integrations/hub/rotate-secret",
        &json!({}),
    );
    host.accept(&hub(&rotated.expect(201).json()["secret"], "two"));
    host.accept(&Delivery::sample(&Source::Github, "ping", "after"));
}
