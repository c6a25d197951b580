//! TLS: what is agreed on, certificates that are replaced, handshakes that do not come.

use std::sync::Arc;

use axum::body::Body;
use axum::http::Request;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::pki_types::ServerName;
use rustls::pki_types::pem::PemObject as _;
use rustls::version::{TLS12, TLS13};
use rustls::{ClientConfig, RootCertStore, SupportedProtocolVersion};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::wire::{Listening, send};
use super::{NOW, TestHost};
use crate::config::{Config, Tls};
use crate::live::Setup;
use crate::model::source::Source;
use crate::registry::Registry;

/// A certificate for `localhost`, as a file names it, and its PEM.
fn certificate() -> (Tls, String) {
    let folder = tempfile::tempdir().unwrap();
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
    write("cert.pem", &made.cert.pem());
    write("key.pem", &made.signing_key.serialize_pem());
    write(
        "triage.toml",
        "[server.tls]\ncertificate = \"cert.pem\"\nkey = \"key.pem\"",
    );
    let config = Config::load(&folder.path().join("triage.toml"), &|_| None).unwrap();
    (config.tls.unwrap(), made.cert.pem())
}

async fn listening(tls: Tls) -> Listening {
    Listening::serve(TestHost::with(|config| config.tls = Some(tls))).await
}

/// A connection of a client that trusts this certificate only.
async fn connect(
    listening: &Listening,
    trusted: &str,
    version: &'static SupportedProtocolVersion,
    protocols: &[&str],
) -> std::io::Result<TlsStream<TcpStream>> {
    let mut roots = RootCertStore::empty();
    let trusted = rustls::pki_types::CertificateDer::from_pem_slice(trusted.as_bytes());
    roots.add(trusted.unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut client = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[version])
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    client.alpn_protocols = protocols.iter().map(|it| it.as_bytes().to_vec()).collect();
    let stream = TcpStream::connect(listening.address).await.unwrap();
    let name = ServerName::try_from("localhost").unwrap();
    TlsConnector::from(Arc::new(client))
        .connect(name, stream)
        .await
}

#[tokio::test]
async fn both_protocols_are_offered_under_both_versions() {
    let (tls, pem) = certificate();
    let listening = listening(tls).await;
    for version in [&TLS12, &TLS13] {
        let stream = connect(&listening, &pem, version, &["h2", "http/1.1"]).await;
        let stream = stream.unwrap();
        assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
        let handshake = http2::handshake(TokioExecutor::new(), TokioIo::new(stream));
        let (mut client, connection) = handshake.await.unwrap();
        tokio::spawn(connection);
        let delivery = listening.host.delivery(Source::Github, "d1");
        send(&mut client, delivery).await.check(200);

        for protocols in [&["http/1.1"][..], &[]] {
            let stream = connect(&listening, &pem, version, protocols).await.unwrap();
            let handshake = http1::handshake(TokioIo::new(stream));
            let (mut client, connection) = handshake.await.unwrap();
            tokio::spawn(connection);
            let request = Request::get("/healthz").header("host", "localhost");
            let request = request.body(Body::empty()).unwrap();
            assert_eq!(client.send_request(request).await.unwrap().status(), 200);
        }
    }
}

#[tokio::test]
async fn a_new_certificate_counts_from_the_next_connection_on() {
    let (old, old_pem) = certificate();
    let (new, new_pem) = certificate();
    let listening = listening(old).await;
    let kept = connect(&listening, &old_pem, &TLS13, &["h2"])
        .await
        .unwrap();
    let handshake = http2::handshake(TokioExecutor::new(), TokioIo::new(kept));
    let (mut client, connection) = handshake.await.unwrap();
    tokio::spawn(connection);
    connect(&listening, &new_pem, &TLS13, &["h2"])
        .await
        .unwrap_err();

    let live = &listening.host.state.live;
    let mut config = live.current().config.clone();
    config.tls = Some(new);
    let setup = Setup::assemble(config, Registry::default(), None).unwrap();
    live.replace(setup, "1".repeat(64), NOW);
    connect(&listening, &new_pem, &TLS13, &["h2"])
        .await
        .unwrap();
    connect(&listening, &old_pem, &TLS13, &["h2"])
        .await
        .unwrap_err();
    // The one that was open goes on.
    let delivery = listening.host.delivery(Source::Github, "d1");
    send(&mut client, delivery).await.check(200);
}

#[tokio::test]
async fn a_handshake_that_does_not_come_is_given_up() {
    let (tls, _) = certificate();
    let listening = listening(tls).await;
    // Nothing, the beginning of a ClientHello, and no TLS at all.
    for beginning in [
        &b""[..],
        b"\x16\x03\x01\x02\x00\x01",
        b"GET /healthz HTTP/1.1\r\nHost: test\r\n\r\n",
    ] {
        let rest = listening.say(beginning).await.rest().await;
        assert!(!rest.windows(4).any(|it| it == b"HTTP"), "{rest:?}");
    }
    let silent = listening.say(b"").await;
    listening.stop().await;
    silent.rest().await;
}
