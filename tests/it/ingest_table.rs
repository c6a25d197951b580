//! The table of answers to a delivery, a test for each of its rows, for every source where it applies.
//!
//! | case | test |
//! |---|---|
//! | new; repeat of a kept event | `a_signed_delivery_of_every_source…` |
//! | no policy matches | `an_event_that_no_policy_wants…` |
//! | signature missing, wrong, outside of the window | all of `forgery.rs` |
//! | unknown source or integration | `what_is_not_there…`; byte for byte in `edges.rs` |
//! | body over the limit; too slow | `a_body_over_the_limit…`, `a_body_that_does_not_come…`; other framings in `ingest.rs` |
//! | over the rate; queue full | `more_than_an_integration_may_send…`, `a_full_queue…` |
//! | cannot commit | `what_cannot_be_committed…`; every place of a failure in `disk_faults.rs` |
//! | Slack's `url_verification`; GitHub's `ping` | `slack_gets…`, `the_ping…` |
//! | verified, but not what the provider documents | `what_is_signed_but_not_documented…` |

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use hex::encode;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use triage_host::model::source::Source;
use triage_tests::delivery::ticketed;
use triage_tests::faults::{Disk, Fault};
use triage_tests::host::deliver_to;
use triage_tests::http::raw;
use triage_tests::senders::SetOnDrop;
use triage_tests::wait::wait_within;
use triage_tests::{Delivery, Folder, Host, config};

/// Threads that fill the queue of writes.
const FLOODERS: usize = 32;
/// How long one flush takes then: long enough for thousands of deliveries.
const SLOW: Duration = Duration::from_secs(8);
/// How long a flooding sender waits for an answer.
const HANG_UP: Duration = Duration::from_millis(10);
const FLOOD_PATIENCE: Duration = Duration::from_secs(90);

/// What an answer to a kept delivery must look like.
#[track_caller]
fn check_acknowledgement(host: &Host, answer: &Value, duplicate: bool, runs: usize) {
    let (event_id, run_id) = (answer["event_id"].as_str().unwrap(), &answer["run_id"]);
    let run_ids = answer["run_ids"].as_array().unwrap();
    assert_eq!(
        (&answer["accepted"], &answer["duplicate"]),
        (&json!(true), &json!(duplicate))
    );
    assert!(event_id.starts_with("evt_"), "{answer}");
    assert_eq!(run_ids.len(), runs, "{answer}");
    assert_eq!(run_ids.first().unwrap_or(&Value::Null), run_id, "{answer}");
    let trace = run_id
        .as_str()
        .map_or_else(|| format!("/events/{event_id}"), |it| format!("/runs/{it}"));
    assert_eq!(answer["trace_url"], host.url(&trace));
}

#[track_caller]
fn check_payload(host: &Host, answer: &Value, body: &[u8]) {
    let event_id = answer["event_id"].as_str().unwrap();
    assert_eq!(
        host.get(&format!("/v1/events/{event_id}/payload"))
            .expect(200)
            .body,
        body
    );
}

#[test]
fn a_signed_delivery_of_every_source_is_kept_and_its_repeat_gets_the_same_answer() {
    let host = Host::start(&config::desk());
    for source in &Source::BUILT_IN {
        let delivery = ticketed(source, "first-1");
        let answer = host.accept(&delivery);
        check_acknowledgement(&host, &answer, false, 1);
        check_payload(&host, &answer, &delivery.body);
        let repeat = host.accept(&delivery);
        check_acknowledgement(&host, &repeat, true, 1);
        assert_eq!(
            (&repeat["event_id"], &repeat["run_ids"]),
            (&answer["event_id"], &answer["run_ids"])
        );

        let event = host.json(&format!(
            "/v1/events/{}",
            answer["event_id"].as_str().unwrap()
        ));
        assert_eq!(
            (&event["source"], &event["duplicate_count"]),
            (&json!(source.as_str()), &json!(1))
        );
        assert_eq!(event["integration_id"], format!("{source}-main"));
        assert!(
            event["idempotency_key"]
                .as_str()
                .unwrap()
                .ends_with("first-1"),
            "{event}"
        );
    }
    assert_eq!(host.list("/v1/events").len(), 5);
    host.wait_until_idle();
    assert_eq!(host.list("/v1/tickets").len(), 5);
}

#[test]
fn an_event_that_no_policy_wants_is_kept_without_a_run() {
    let host = Host::start("");
    for source in Source::BUILT_IN {
        let answer = host.accept(&ticketed(&source, "unrouted-1"));
        check_acknowledgement(&host, &answer, false, 0);
        let event_id = answer["event_id"].as_str().unwrap();
        let event = host.json(&format!("/v1/events/{event_id}"));
        assert_eq!(
            (&event["routed"], &event["run_ids"]),
            (&json!(false), &json!([])),
            "{source}"
        );
    }
}

#[test]
fn what_is_not_there_is_answered_the_same_everywhere() {
    let host = Host::start("");
    let post = |path: &str| {
        host.request("POST", path, &[], "{}")
            .expect(404)
            .without_date()
    };
    let elsewhere = post("/nowhere");
    assert_eq!(elsewhere.json()["code"], "not_found");
    for source in Source::BUILT_IN {
        let delivery = ticketed(&source, "nobody");
        let refused = host.deliver(&delivery.clone().to("nobody"));
        assert_eq!(refused.expect(404).without_date(), elsewhere, "{source}");
        // Another source's integration, although its name and the signature are right.
        for other in Source::BUILT_IN.iter().filter(|it| **it != source) {
            let refused = host.deliver(&delivery.clone().to(&format!("{other}-main")));
            assert_eq!(refused.expect(404).without_date(), elsewhere, "{source}");
        }
    }
    for path in [
        "/v1/webhooks/no-such-source/github-main",
        "/v1/webhooks/github/%ff",
        "/v1/webhooks/github/github-main/more",
        "/v1/webhooks/github",
        "/v1/webhooks/github/..%2fgithub-main",
    ] {
        assert_eq!(post(path), elsewhere, "{path}");
    }
    assert!(host.list("/v1/events").is_empty() && host.list("/v1/rejections").is_empty());
}

/// One integration for each source, `github-limited` and so on, with further lines.
fn limited(lines: &str) -> String {
    Source::BUILT_IN
        .iter()
        .map(|it| config::integration(&format!("{it}-limited"), it, lines))
        .collect()
}

#[test]
fn a_body_over_the_limit_is_refused_and_one_at_the_limit_is_kept() {
    let host = Host::start(&limited("body_limit = \"1KiB\""));
    for source in Source::BUILT_IN {
        let sized = |bytes: usize| {
            let id = format!("sized-{bytes}");
            let body = vec![b'x'; bytes];
            Delivery::new(&source, "push", &id, body).to(&format!("{source}-limited"))
        };
        let refused = host.deliver(&sized(1025)).expect(413);
        assert_eq!(refused.json()["code"], "payload_too_large");
        let answer = host.accept(&sized(1024));
        assert_eq!(answer["duplicate"], false, "{source}");
    }
    let causes = host.list("/v1/rejections");
    assert_eq!(causes.len(), Source::BUILT_IN.len());
    assert!(causes.iter().all(|it| it["cause"] == "body_too_large"));
}

/// A request as a sender without a library writes it.
fn request(delivery: &Delivery) -> Vec<u8> {
    let mut request = format!(
        "POST /v1/webhooks/{} HTTP/1.1\r\nHost: test\r\nContent-Length: {}\r\n",
        delivery.path,
        delivery.body.len()
    );
    for (name, value) in &delivery.headers {
        request.push_str(&format!("{name}: {value}\r\n"));
    }
    let mut request = (request + "\r\n").into_bytes();
    request.extend(&delivery.body);
    request
}

#[test]
fn a_body_that_does_not_come_is_given_up() {
    let host = Host::start("");
    // All at once: each takes as long as the host has patience.
    std::thread::scope(|scope| {
        for source in Source::BUILT_IN {
            let address = host.address();
            scope.spawn(move || {
                let mut request = request(&ticketed(&source, "slow"));
                request.pop();
                let answer = raw(address, &request);
                assert!(
                    answer.starts_with("HTTP/1.1 408 ") && answer.contains("request_timeout"),
                    "{source}: {answer}"
                );
            });
        }
    });
    let causes = host.list("/v1/rejections");
    assert_eq!(causes.len(), Source::BUILT_IN.len());
    assert!(causes.iter().all(|it| it["cause"] == "body_too_slow"));
    assert!(host.list("/v1/events").is_empty());
}

#[test]
fn more_than_an_integration_may_send_is_told_when_to_come_again() {
    let host = Host::start(&limited("rate_limit = \"1/m\"\nburst = 1"));
    for source in Source::BUILT_IN {
        let to = |id: &str| ticketed(&source, id).to(&format!("{source}-limited"));
        host.accept(&to("within"));
        let refused = host.deliver(&to("beyond")).expect(429);
        assert_eq!(refused.json()["code"], "rate_limited");
        let wait: u64 = refused.header("retry-after").unwrap().parse().unwrap();
        assert!((1..=60).contains(&wait), "{source}: {wait}");
        // Nobody else's rate is used up.
        host.accept(&ticketed(&source, "elsewhere"));
    }
    assert_eq!(host.list("/v1/events").len(), 2 * Source::BUILT_IN.len());
}

/// Senders that hang up, so that more deliveries wait for the disk than there may be connections.
#[derive(Default)]
struct Flood {
    sent: AtomicUsize,
    refused: AtomicUsize,
    over: AtomicBool,
}

impl Flood {
    fn run(&self, address: SocketAddr) {
        while !self.over.load(Ordering::SeqCst) {
            let id = format!("flood-{}", self.sent.fetch_add(1, Ordering::SeqCst));
            let delivery = Delivery::sample(Source::Standard, "contact.created", &id);
            let mut stream = TcpStream::connect(address).unwrap();
            stream.write_all(&request(&delivery)).unwrap();
            // Only a refusal comes as fast as this: the disk is slower.
            stream.set_read_timeout(Some(HANG_UP)).unwrap();
            let mut status = [0; 12];
            if stream.read_exact(&mut status).is_ok() && status.ends_with(b"429") {
                self.refused.fetch_add(1, Ordering::SeqCst);
            }
        }
    }

    fn wait_until_full(&self) {
        wait_within(FLOOD_PATIENCE, "a full queue", || {
            match self.refused.load(Ordering::SeqCst) {
                0 => Err(format!("{} sent", self.sent.load(Ordering::SeqCst))),
                _ => Ok(()),
            }
        });
    }
}

#[test]
fn a_full_queue_refuses_deliveries_of_every_source_and_keeps_none_of_them() {
    let folder = Folder::new(&config::integrations());
    let disk = Disk::under(&folder);
    let mut host = Host::stopped_in(folder);
    // The worker cannot claim runs either, and says so.
    host.allow_errors();
    host.environment = disk.environment();
    host.restart();
    let (address, flood) = (host.address(), Flood::default());
    disk.set(Fault::SlowFlush(SLOW));
    std::thread::scope(|scope| {
        for _ in 0..FLOODERS {
            scope.spawn(|| flood.run(address));
        }
        let _over = SetOnDrop(&flood.over);
        flood.wait_until_full();
        let probes =
            Source::BUILT_IN.map(|source| scope.spawn(move || until_full(address, &source)));
        let refused = probes.map(|it| it.join());
        flood.over.store(true, Ordering::SeqCst);
        disk.set(Fault::Sound);
        for delivery in refused {
            let delivery = delivery.unwrap();
            let answer = wait_within(FLOOD_PATIENCE, "a place in the queue", || {
                let answer = deliver_to(address, &delivery)?;
                match answer.status {
                    429 => Err("full".to_owned()),
                    _ => Ok(answer.expect(200).json()),
                }
            });
            // It was not kept: the same delivery is new now.
            assert_eq!(answer["duplicate"], false);
        }
    });
    host.wait_until_idle();
    host.database().check();
}

/// Delivers until it is refused; gives what was refused.
fn until_full(address: SocketAddr, source: &Source) -> Delivery {
    let mut number = 0;
    wait_within(FLOOD_PATIENCE, "a full queue", || {
        number += 1;
        let delivery = ticketed(source, &format!("probe-{number}"));
        let answer = deliver_to(address, &delivery)?;
        if answer.status == 200 {
            return Err(format!("{number} kept"));
        }
        let refused = answer.expect(429);
        assert_eq!(refused.json()["code"], "too_many_requests");
        assert_eq!(refused.header("retry-after"), Some("1"));
        Ok(delivery)
    })
}

#[test]
fn what_cannot_be_committed_is_never_acknowledged_and_is_new_afterwards() {
    let folder = Folder::new(&(config::integrations() + &config::desk()));
    let disk = Disk::under(&folder);
    let mut host = Host::stopped_in(folder);
    host.allow_errors();
    host.environment = disk.environment();
    host.restart();
    for fault in [
        Fault::Full { after_bytes: 0 },
        Fault::NoFlush {
            after: 0,
            times: None,
        },
    ] {
        let id = format!("{}", disk.failures().len());
        let deliveries = Source::BUILT_IN.map(|it| ticketed(&it, &id));
        disk.set(fault);
        for delivery in &deliveries {
            let refused = host.deliver(delivery).expect(503);
            assert_eq!(refused.json()["code"], "unavailable");
            assert_eq!(refused.header("retry-after"), Some("5"));
        }
        disk.set(Fault::Sound);
        for delivery in &deliveries {
            let answer = host.accept(delivery);
            check_acknowledgement(&host, &answer, false, 1);
            check_payload(&host, &answer, &delivery.body);
        }
    }
    host.wait_until_idle();
    assert_eq!(host.list("/v1/events").len(), 2 * Source::BUILT_IN.len());
}

#[test]
fn slack_gets_its_challenge_back_and_nothing_is_kept() {
    let host = Host::start("");
    let delivery = Delivery::sample(Source::Slack, "url_verification", "challenge-1");
    let challenge = serde_json::from_slice::<Value>(&delivery.body).unwrap()["challenge"].clone();
    assert_eq!(host.accept(&delivery), json!({ "challenge": challenge }));
    host.deliver(&delivery.without("x-slack-signature"))
        .expect(401);
    assert!(host.list("/v1/events").is_empty());
}

#[test]
fn the_ping_of_github_is_kept() {
    let host = Host::start("");
    let answer = host.accept(&Delivery::sample(Source::Github, "ping", "ping-1"));
    check_acknowledgement(&host, &answer, false, 0);
    assert_eq!(host.list("/v1/events")[0]["event_type"], "github.ping");
}

#[test]
fn what_is_signed_but_not_documented_is_kept_as_unparsable() {
    let host = Host::start(&config::desk());
    for source in &Source::BUILT_IN {
        let body = b"\xff\xfe neither JSON nor a form";
        let answer = host.accept(&Delivery::new(
            source,
            "incident.triggered",
            "garbage",
            *body,
        ));
        check_acknowledgement(
            &host,
            &answer,
            false,
            usize::from(*source == Source::Sentry || *source == Source::Stripe),
        );
        check_payload(&host, &answer, body);
        let event = host.json(&format!(
            "/v1/events/{}",
            answer["event_id"].as_str().unwrap()
        ));
        assert_eq!(event["event_type"], format!("{source}.unparsable"));
        assert_eq!(event["idempotency_key"], encode(Sha256::digest(body)));
    }
}
