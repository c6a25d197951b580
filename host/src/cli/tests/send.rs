use std::borrow::Borrow;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::thread::JoinHandle;

use super::*;
use crate::model::event::Headers;
use crate::model::source::Source;
use crate::sources::{self, Delivery, Rejection, samples};

/// A request as a server got it.
struct Received {
    line: String,
    headers: Headers,
    body: Vec<u8>,
}

impl Received {
    fn verify(&self, source: impl Borrow<Source>) -> Result<(), Rejection> {
        let delivery = Delivery {
            headers: &self.headers,
            body: &self.body,
            received_at: NOW,
        };
        sources::verify(source.borrow(), &[Secret::new(SIGNING_SECRET)], delivery).map(drop)
    }
}

/// A server that takes one request and gives one answer.
fn server(status: u16, answer: &'static str) -> (SocketAddr, JoinHandle<Received>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let serving = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let (mut bytes, mut chunk) = (Vec::new(), [0; 4096]);
        let received = loop {
            let count = stream.read(&mut chunk).unwrap();
            bytes.extend_from_slice(&chunk[..count]);
            if let Some(received) = parse(&bytes) {
                break received;
            }
            assert_ne!(count, 0, "the request breaks off");
        };
        let length = answer.len();
        let head =
            format!("HTTP/1.1 {status} X\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n");
        stream
            .write_all(format!("{head}{answer}").as_bytes())
            .unwrap();
        received
    });
    (address, serving)
}

/// The request, if all of it is there.
fn parse(bytes: &[u8]) -> Option<Received> {
    let end = bytes.windows(4).position(|it| it == b"\r\n\r\n")?;
    let head = String::from_utf8(bytes[..end].to_vec()).unwrap();
    let (line, rest) = head.split_once("\r\n").unwrap();
    let headers = rest.lines().map(|it| it.split_once(": ").unwrap());
    let headers = Headers(
        headers
            .map(|(name, value)| (name.to_lowercase(), value.to_owned()))
            .collect(),
    );
    let length: usize = headers.get("content-length")?.parse().unwrap();
    let body = bytes.get(end + 4..end + 4 + length)?.to_vec();
    Some(Received {
        line: line.to_owned(),
        headers,
        body,
    })
}

/// A configuration with an integration for each source, which listens at this address.
fn config(address: SocketAddr) -> tempfile::TempDir {
    let sources = crate::config::ready_sources();
    let integrations: String = sources
        .keys()
        .map(|source| format!("[[integration]]\nid = \"{source}-main\"\nsource = \"{source}\"\nsecrets = [\"env:SIGNING\"]\n"))
        .collect();
    folder(&format!("[server]\nlisten = \"{address}\"\n{integrations}"))
}

#[test]
fn every_sample_is_signed_as_its_provider_does() {
    let sources = crate::config::ready_sources();
    for sample in samples::all() {
        let (address, serving) = server(200, "{}");
        let folder = config(address);
        triage(
            folder.path(),
            &format!("send {} {}", sample.source, sample.event),
        )
        .good();
        let received = serving.join().unwrap();
        let source = sample.source;
        assert_eq!(
            received.line,
            format!("POST /v1/webhooks/{source}/{source}-main HTTP/1.1")
        );
        assert_eq!(
            received.verify(&sources[source]),
            Ok(()),
            "{source} {}",
            sample.event
        );
    }
}

#[test]
fn the_answer_is_printed() {
    let (address, serving) = server(200, "{\"accepted\":true}");
    let folder = config(address);
    let said = triage(folder.path(), "send standard incident.opened").good();
    serving.join().unwrap();
    assert_snapshot!(said.replace(&address.to_string(), "ADDRESS"), @r#"
    200 from http://ADDRESS/v1/webhooks/standard/standard-main
    {
      "accepted": true
    }
    "#);
}

#[test]
fn the_answer_is_printed_as_json() {
    let (address, serving) = server(200, "not json");
    let folder = config(address);
    let said = triage(folder.path(), "--json send github ping").good();
    serving.join().unwrap();
    assert_snapshot!(said.replace(&address.to_string(), "ADDRESS"), @r#"
    {
      "answer": "not json",
      "status": 200,
      "url": "http://ADDRESS/v1/webhooks/github/github-main"
    }
    "#);
}

#[test]
fn a_file_is_sent_byte_for_byte() {
    let (address, serving) = server(200, "{}");
    let folder = config(address);
    let body = b" {\"a\" : 1}\r\n\xff\0";
    fs::write(folder.path().join("body"), body).unwrap();
    triage(
        folder.path(),
        "send github --file DIR/body --event issues.opened --id abc",
    )
    .good();
    let received = serving.join().unwrap();
    assert_eq!(received.body, body);
    assert_eq!(received.verify(Source::Github), Ok(()));
    assert_eq!(received.headers.get("x-github-event"), Some("issues"));
    assert_eq!(received.headers.get("x-github-delivery"), Some("abc"));
}

#[test]
fn a_forged_delivery_does_not_verify() {
    for source in &Source::BUILT_IN {
        let (address, serving) = server(401, "{\"code\":\"invalid_signature\"}");
        let folder = config(address);
        fs::write(folder.path().join("body"), "{}").unwrap();
        let command = format!("send {source} --file DIR/body --event a.b --forge");
        assert_eq!(
            triage(folder.path(), &command).bad(1),
            "error: the server answered 401\n"
        );
        let received = serving.join().unwrap();
        assert_eq!(received.verify(source), Err(Rejection::SignatureMismatch));
    }
}

#[test]
fn another_server_and_secret_can_be_named() {
    let (address, serving) = server(204, "");
    let folder = folder(
        "[server]\nlisten = \"127.0.0.1:1\"\n[[integration]]\nid = \"a\"\nsource = \"slack\"\nsecrets = [\"env:NOT_SET\"]",
    );
    let command =
        format!("send slack app_mention --url http://{address}/base/ --secret env:SIGNING");
    triage(folder.path(), &command).good();
    let received = serving.join().unwrap();
    assert_eq!(received.line, "POST /base/v1/webhooks/slack/a HTTP/1.1");
    assert_eq!(received.verify(Source::Slack), Ok(()));
}

#[test]
fn without_a_server_the_error_says_how_to_start_one() {
    let address = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let folder = config(address);
    let said = triage(folder.path(), "send standard incident.opened").bad(1);
    let expected = format!(
        "error: no answer from http://{address}, where `triage serve` should run: unreachable: "
    );
    assert!(said.starts_with(&expected), "{said}");
}

#[test]
fn what_cannot_be_sent_is_named_with_what_can() {
    let folder = folder(
        r#"
        [[integration]]
        id = "one"
        source = "github"
        secrets = ["env:NOT_SET"]
        [[integration]]
        id = "one-more"
        source = "github"
        secrets = ["env:NOT_SET_EITHER"]
        "#,
    );
    let said =
        |arguments: &str, code: u8| triage(folder.path(), &format!("send {arguments}")).bad(code);
    assert_snapshot!(said("standard nope", 2), @"error: no sample `nope` of standard: contact.created, incident.opened; or a file with --file");
    assert_snapshot!(said("stripe payout.failed", 1), @"error: no stripe integration: the configuration has none");
    assert_snapshot!(said("github ping --integration two", 1), @"error: no github integration `two`: the configuration has one, one-more");
    assert_snapshot!(said("github ping", 1), @"error: integration.one.secrets[0]: environment variable NOT_SET is not set");
    assert_snapshot!(said("github ping --integration one-more", 1), @"error: integration.one-more.secrets[0]: environment variable NOT_SET_EITHER is not set");
    assert_snapshot!(said("github --file /nowhere", 1), @"error: cannot read /nowhere: No such file or directory (os error 2)");
    assert_snapshot!(said("github --file DIR/triage.toml", 2), @"error: a delivery from github names its event in a header: add --event NAME, as `issues.opened`");
    assert_snapshot!(said("github ping --secret hunter2", 2), @"error: --secret: write where it is, not what it is: `env:NAME` or `file:PATH`");
    assert_snapshot!(said("gitlub ping", 2), @"error: no source `gitlub`: github, gitlab, intercom, linear, pagerduty, sentry, shopify, slack, standard, stripe, zendesk");
    assert_snapshot!(said("shopify --file DIR/triage.toml", 2), @"error: a delivery from shopify names its event in a header: add --event NAME, as `issues.opened`");
    assert_snapshot!(said("github ping --id a.b", 2), @"
    error: invalid value 'a.b' for '--id <ID>': 1 to 128 letters, digits, `-` and `_`

    For more information, try '--help'.
    ");
}
