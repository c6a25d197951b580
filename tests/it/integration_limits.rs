//! Limits of integrations that were added while the host runs: as those of the file, in force at once.

use std::io::Write;

use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::{Value, json};
use triage_host::model::secret::Secret;
use triage_host::model::source::Source;
use triage_tests::delivery::{event_of, now};
use triage_tests::{Delivery, Host, config};

use crate::secrets::{ask, signed, text};

const PATH: &str = "/v1/integrations/hub";

/// A delivery that the integration `hub` takes.
fn push(added: &Value, id: &str) -> Delivery {
    signed(&Source::Github, "hub", &text(&added["secret"]), id)
}

fn limits(shown: &Value) -> Value {
    json!([
        shown["body_bytes_max"],
        shown["inflated_bytes_max"],
        shown["rate_limit"],
        shown["burst"]
    ])
}

#[test]
fn a_rate_limit_of_the_store_fires_and_a_change_of_it_is_in_force_when_the_answer_is_sent() {
    let mut host = Host::start_with("");
    let new = json!({ "source": "github", "id": "hub", "rate_limit": "1/m", "burst": 2 });
    let added = ask(&host, "POST", "/v1/integrations", &new)
        .expect(201)
        .json();
    assert_eq!(
        limits(&added["integration"]),
        json!([1 << 20, 8 << 20, "1/m", 2])
    );
    host.accept(&push(&added, "one"));
    host.accept(&push(&added, "two"));
    let refused = host.deliver(&push(&added, "three")).expect(429);
    assert_eq!(refused.json()["code"], "rate_limited");
    let wait: u64 = refused.header("retry-after").unwrap().parse().unwrap();
    assert!((1..=60).contains(&wait), "{wait}");

    // A larger burst holds at once, without a pause; what is not named stays.
    let changed = ask(&host, "PATCH", PATH, &json!({ "burst": 5 }))
        .expect(200)
        .json();
    assert_eq!(limits(&changed), json!([1 << 20, 8 << 20, "1/m", 5]));
    for id in ["three", "four", "five"] {
        host.accept(&push(&added, id));
    }
    host.deliver(&push(&added, "six")).expect(429);

    // It outlives the process, and `null` takes it away together with its burst.
    host.stop();
    host.restart();
    let shown = host
        .folder
        .triage(&["integration", "show", "hub"])
        .expect(0)
        .text();
    assert!(shown.contains("1/m, at once 5"), "{shown}");
    let open = ask(&host, "PATCH", PATH, &json!({ "rate_limit": null }))
        .expect(200)
        .json();
    assert_eq!(limits(&open), json!([1 << 20, 8 << 20, null, null]));
    for number in 0..8 {
        host.accept(&push(&added, &format!("open-{number}")));
    }
}

#[test]
fn an_inflated_limit_of_the_store_fires_and_follows_the_body_limit_until_it_is_given() {
    let host = Host::start_with("");
    let new = json!({ "source": "github", "id": "hub", "body_limit": "64KiB" });
    let added = ask(&host, "POST", "/v1/integrations", &new)
        .expect(201)
        .json();
    assert_eq!(limits(&added["integration"])[1], 512 << 10);
    let zipped = |id: &str| {
        let plain = push(&added, id);
        let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(&plain.body).unwrap();
        let body = encoder.finish().unwrap();
        let secret = Secret::new(text(&added["secret"]));
        let source = Source::Github;
        let mut zipped = Delivery::signed(&source, event_of(&source), id, body, &secret, now());
        let header = ("content-encoding".to_owned(), "gzip".to_owned());
        zipped.headers.push(header);
        zipped.to("hub")
    };
    let type_of = |id: &str| {
        let accepted = host.accept(&zipped(id));
        let event = host.json(&format!("/v1/events/{}", text(&accepted["event_id"])));
        text(&event["event_type"])
    };
    let named = type_of("one");
    assert_ne!(named, "github.unparsable");
    ask(&host, "PATCH", PATH, &json!({ "inflated_limit": "10B" })).expect(200);
    assert_eq!(type_of("two"), "github.unparsable");
    let reset = json!({ "inflated_limit": null, "body_limit": null });
    let reset = ask(&host, "PATCH", PATH, &reset).expect(200).json();
    assert_eq!(limits(&reset), json!([1 << 20, 8 << 20, null, null]));
    assert_eq!(type_of("three"), named);
}

#[test]
fn a_value_that_cannot_be_is_refused_as_in_the_file_and_nothing_changes() {
    let host = Host::start_with("");
    let before = json!({
        "source": "github", "id": "hub", "body_limit": "2MiB", "inflated_limit": "3MiB",
        "rate_limit": "600/m", "burst": 7,
    });
    ask(&host, "POST", "/v1/integrations", &before).expect(201);
    let bad = [
        (
            json!({ "body_limit": "64MiB" }),
            "body_limit: `64MiB` is not within 1B and 32MiB",
        ),
        (
            json!({ "body_limit": "1GB" }),
            "body_limit: `1GB` is not a size: as `512KiB` or `2MiB`",
        ),
        (
            json!({ "inflated_limit": "33MiB" }),
            "inflated_limit: `33MiB` is not within 1B and 32MiB",
        ),
        (
            json!({ "rate_limit": "100" }),
            "rate_limit: `100` is not a rate: as `100/s` or `600/m`",
        ),
        (
            json!({ "rate_limit": "0/s" }),
            "rate_limit: `0/s` is not within 1 and 1000000",
        ),
        (
            json!({ "rate_limit": "1/s", "burst": 0 }),
            "burst: 0 is not within 1 and 1000000",
        ),
        (
            json!({ "rate_limit": "1/s", "burst": 1_000_001 }),
            "burst: 1000001 is not within 1 and 1000000",
        ),
        (
            json!({ "rate_limit": null, "burst": 3 }),
            "burst: counts only beside a `rate_limit`",
        ),
        (json!({ "burst": "3" }), "a number or null in `burst`"),
        (json!({ "rate_limit": 5 }), "text or null in"),
        (json!({ "colour": "red" }), "`body_limit`"),
        (json!({}), "at least one of them"),
    ];
    for (mut body, message) in bad {
        // Whatever else is good beside it does not come into force.
        if body.get("body_limit").is_none() && body != json!({}) {
            body["body_limit"] = json!("1KiB");
        }
        let refused = ask(&host, "PATCH", PATH, &body).expect(400).json();
        assert_eq!(refused["code"], "bad_request");
        let said = text(&refused["message"]);
        assert!(said.contains(message), "{body}: {said}");
        let shown = host.json(PATH);
        assert_eq!(
            limits(&shown),
            json!([2 << 20, 3 << 20, "600/m", 7]),
            "{body}"
        );
    }
    for (limit, message) in [
        (
            json!({ "burst": 3 }),
            "burst: counts only beside a `rate_limit`",
        ),
        (
            json!({ "inflated_limit": "0B" }),
            "inflated_limit: `0B` is not within",
        ),
        (
            json!({ "rate_limit": "1/h" }),
            "rate_limit: `1/h` is not a rate",
        ),
    ] {
        let mut new = limit;
        new["source"] = json!("github");
        let refused = ask(&host, "POST", "/v1/integrations", &new)
            .expect(400)
            .json();
        assert!(
            text(&refused["message"]).contains(message),
            "{new}: {refused}"
        );
    }
    assert_eq!(host.list("/v1/integrations").len(), 1);
}

#[test]
fn the_command_line_gives_limits_and_shows_those_of_the_file_too() {
    let host = Host::start(&config::integration(
        "of-file",
        Source::Github,
        "rate_limit = \"9/s\"",
    ));
    let triage = |arguments: &[&str]| host.folder.triage(arguments);
    let add = ["integration", "add", "github", "--id"];
    triage(&[&add[..], &["none", "--rate-limit", "5/h"]].concat())
        .expect(1)
        .complains(&["rate_limit: `5/h` is not a rate"]);
    triage(&[&add[..], &["none", "--burst", "5"]].concat())
        .expect(1)
        .complains(&["burst: counts only beside a `rate_limit`"]);
    let limited = [
        "limited",
        "--rate-limit",
        "1/m",
        "--burst",
        "3",
        "--inflated-limit",
        "5KiB",
    ];
    triage(&[&add[..], &limited].concat()).expect(0);
    let shown = triage(&["--json", "integration", "list"]).expect(0).json();
    let of = |id: &str| {
        let items = shown["items"].as_array().unwrap();
        limits(items.iter().find(|it| it["integration_id"] == id).unwrap())
    };
    assert_eq!(of("limited"), json!([1 << 20, 5 << 10, "1/m", 3]));
    assert_eq!(of("of-file"), json!([1 << 20, 8 << 20, "9/s", 9]));
    let items = shown["items"].as_array().unwrap();
    assert!(items.iter().all(|it| it["integration_id"] != "none"));
}
