//! Against a small server of our own on the loopback address, which each test must allow.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use super::*;

const NOW: TimestampMs = 784_111_740_000;
const LOOPBACK: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
const INNER: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1));

/// How the server goes on after it has read a request.
#[derive(Clone, Copy)]
enum Answer {
    /// Writes this text.
    Text(&'static str),
    /// Writes this text again and again until the client goes away.
    Endless(&'static str),
    /// Writes this text and then nothing more.
    Stall(&'static str),
}

struct Server {
    address: SocketAddr,
    requests: Arc<Mutex<Vec<String>>>,
    connections: Arc<AtomicUsize>,
}

impl Server {
    async fn start(answer: Answer) -> Self {
        let listener = TcpListener::bind((LOOPBACK, 0)).await.unwrap();
        let server = Self {
            address: listener.local_addr().unwrap(),
            requests: Arc::default(),
            connections: Arc::default(),
        };
        let (requests, connections) = (
            Arc::clone(&server.requests),
            Arc::clone(&server.connections),
        );
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                connections.fetch_add(1, Ordering::SeqCst);
                tokio::spawn(serve(stream, answer, Arc::clone(&requests)));
            }
        });
        server
    }

    fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    fn requests(&self) -> Vec<String> {
        self.requests.lock().unwrap().clone()
    }
}

async fn serve(mut stream: TcpStream, answer: Answer, requests: Arc<Mutex<Vec<String>>>) {
    while let Some(request) = read_request(&mut stream).await {
        requests.lock().unwrap().push(request);
        let (Answer::Text(text) | Answer::Endless(text) | Answer::Stall(text)) = answer;
        if stream.write_all(text.as_bytes()).await.is_err() {
            return;
        }
        match answer {
            Answer::Text(_) => {}
            Answer::Endless(text) => while stream.write_all(text.as_bytes()).await.is_ok() {},
            Answer::Stall(_) => std::future::pending().await,
        }
    }
}

/// Head and body of a request whose length its head says.
async fn read_request(stream: &mut TcpStream) -> Option<String> {
    let mut bytes = Vec::new();
    loop {
        let text = String::from_utf8_lossy(&bytes).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head
                .lines()
                .find_map(|it| it.strip_prefix("content-length: "));
            if body.len() == length.map_or(0, |it| it.parse().unwrap()) {
                return Some(text);
            }
        }
        if stream.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
    }
}

fn request(url: &str) -> Request {
    Request {
        method: Method::Post,
        url: url.parse().unwrap(),
        headers: Vec::new(),
        body: Bytes::from_static(b"{}"),
        timeout: Duration::from_secs(10),
    }
}

fn local() -> Egress {
    Egress::new(vec!["127.0.0.0/8".parse().unwrap()]).unwrap()
}

/// A door behind which names have the addresses of one row after another, and then none.
fn with_names(rows: &[&[IpAddr]]) -> (Egress, Arc<AtomicUsize>) {
    let rows: Vec<Vec<IpAddr>> = rows.iter().map(|it| it.to_vec()).collect();
    let count = Arc::new(AtomicUsize::new(0));
    let asked = Arc::clone(&count);
    let lookup = move |_: &str| {
        let row = rows.get(asked.fetch_add(1, Ordering::SeqCst)).cloned();
        row.ok_or_else(|| std::io::Error::other("no such name"))
    };
    let allow = vec!["127.0.0.0/8".parse().unwrap()];
    (Egress::with_lookup(allow, Arc::new(lookup)).unwrap(), count)
}

async fn send_to(egress: &Egress, url: &str) -> Result<Response, EgressError> {
    egress.send(request(url), NOW).await
}

#[track_caller]
fn check_url_is(url: &str, expected: &str) {
    let result = check_url(&url.parse().unwrap(), &[]);
    match expected {
        "" => assert_eq!(result, Ok(()), "{url}"),
        _ => assert!(
            result
                .as_ref()
                .is_err_and(|it| it.to_string().contains(expected)),
            "{url}: {result:?}"
        ),
    }
}

#[test]
fn a_url_is_refused_before_anything_is_sent() {
    check_url_is("https://example.com/hook?token=x", "");
    check_url_is("http://1.1.1.1:8080/", "");
    check_url_is("ftp://example.com/", "neither http nor https");
    check_url_is("file:///etc/passwd", "neither http nor https");
    check_url_is("https://user@example.com/", "user name or password");
    check_url_is("https://:secret@example.com/", "user name or password");
}

#[test]
fn odd_forms_of_inner_addresses_are_refused() {
    for host in [
        "127.0.0.1",
        "127.1",
        "0x7f.1",
        "2130706433",
        "0x7f000001",
        "017700000001",
        "0177.0.0.1",
        "127.0.0.1.",
        "%31%32%37.0.0.1",
        "127。0。0。1",
        "[::1]",
        "[::ffff:127.0.0.1]",
        "[::ffff:7f00:1]",
        "[64:ff9b::7f00:1]",
        "[2002:7f00:1::]",
    ] {
        check_url_is(&format!("http://{host}/"), "loopback");
    }
    check_url_is("http://0/", "this network");
    check_url_is("http://169.254.169.254/latest/meta-data/", "metadata");
    check_url_is("http://[fd00:ec2::254]/", "unique local");
}

#[tokio::test]
async fn an_address_in_the_url_is_checked_without_a_lookup() {
    let (egress, lookups) = with_names(&[]);
    let refused = send_to(&egress, "http://169.254.169.254/")
        .await
        .unwrap_err();
    assert!(
        matches!(refused, EgressError::RefusedAddress { host, .. } if host == "169.254.169.254")
    );
    assert_eq!(lookups.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn a_name_of_inner_addresses_is_refused() {
    let (egress, _) = with_names(&[&[INNER]]);
    assert_eq!(
        send_to(&egress, "http://inner.test/").await.unwrap_err(),
        EgressError::RefusedAddress {
            host: "inner.test".to_owned(),
            reason: "private address (RFC 1918)"
        }
    );
}

#[tokio::test]
async fn the_systems_names_are_checked_too() {
    let egress = Egress::new(Vec::new()).unwrap();
    let refused = send_to(&egress, "http://localhost:1/").await.unwrap_err();
    assert!(matches!(refused, EgressError::RefusedAddress { host, .. } if host == "localhost"));
}

#[tokio::test]
async fn of_good_and_bad_addresses_only_the_good_one_is_connected_to() {
    let server = Server::start(Answer::Text("HTTP/1.1 204 No Content\r\n\r\n")).await;
    let (egress, _) = with_names(&[&[INNER, LOOPBACK]]);
    let url = format!("http://mixed.test:{}/", server.address.port());
    assert_eq!(send_to(&egress, &url).await.unwrap().status, 204);
    assert!(server.requests()[0].contains("host: mixed.test"));
}

#[tokio::test]
async fn a_name_that_changes_its_address_is_checked_again() {
    let answer = "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";
    let server = Server::start(Answer::Text(answer)).await;
    let (egress, lookups) = with_names(&[&[LOOPBACK], &[INNER]]);
    let url = format!("http://rebinding.test:{}/", server.address.port());
    assert_eq!(send_to(&egress, &url).await.unwrap().status, 200);
    assert_eq!(lookups.load(Ordering::SeqCst), 1);
    let second = send_to(&egress, &url).await.unwrap_err();
    assert!(matches!(second, EgressError::RefusedAddress { .. }));
    assert_eq!(server.requests().len(), 1);
}

#[tokio::test]
async fn a_request_goes_out_as_given_and_the_answer_comes_back() {
    let answer = "HTTP/1.1 201 Created\r\nX-Request-Id: r1\r\nSet-Cookie: a=b\r\n\
        content-encoding: gzip\r\ncontent-length: 3\r\n\r\nyes";
    let server = Server::start(Answer::Text(answer)).await;
    let egress = local();
    let mut request = request(&server.url("/hook?a=b"));
    request
        .headers
        .push(("X-Token".to_owned(), "abc".to_owned()));
    let response = egress.send(request.clone(), NOW).await.unwrap();
    assert_eq!((response.status, response.truncated), (201, false));
    assert_eq!(response.headers.get("x-request-id"), Some("r1"));
    assert_eq!(&response.body[..], b"yes");
    egress.send(request, NOW).await.unwrap();

    let requests = server.requests();
    let expected = format!(
        "POST /hook?a=b HTTP/1.1\nx-token: abc\nuser-agent: {USER_AGENT}\naccept: */*\n\
         host: {}\ncontent-length: 2\n\n{{}}",
        server.address
    );
    let lines = |text: &str| text.lines().map(str::to_owned).collect::<BTreeSet<_>>();
    assert_eq!(lines(&requests[0]), lines(&expected));
    // No cookie, and the same connection.
    assert_eq!(requests[0], requests[1]);
    assert_eq!(server.connections.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    let other = Server::start(Answer::Text("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")).await;
    let answer = format!(
        "HTTP/1.1 302 Found\r\nlocation: {}\r\ncontent-length: 0\r\n\r\n",
        other.url("/")
    );
    let server = Server::start(Answer::Text(answer.leak())).await;
    let response = send_to(&local(), &server.url("/")).await.unwrap();
    assert_eq!(response.status, 302);
    assert!(other.requests().is_empty());
}

#[tokio::test]
async fn a_server_that_stalls_runs_into_the_timeout() {
    for text in [
        "",
        "HTTP/1.1 200 OK\r\n",
        "HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nab",
    ] {
        let server = Server::start(Answer::Stall(text)).await;
        let mut request = request(&server.url("/"));
        request.timeout = Duration::from_millis(60);
        let egress = local();
        // Far more than its own timeout, far less than any other.
        let result = tokio::time::timeout(Duration::from_secs(4), egress.send(request, NOW)).await;
        assert_eq!(
            result.unwrap().unwrap_err(),
            EgressError::Timeout,
            "{text:?}"
        );
    }
}

#[tokio::test]
async fn of_an_endless_body_the_beginning_is_kept() {
    let server = Server::start(Answer::Endless("HTTP/1.1 200 OK\r\n\r\naaaaaaaaaaaaaaaaaa")).await;
    let response = send_to(&local(), &server.url("/")).await.unwrap();
    assert!(response.truncated);
    assert_eq!(response.body.len(), RESPONSE_BYTES_MAX);
}

#[tokio::test]
async fn endless_headers_are_an_error() {
    for text in [
        "a: b\r\n",
        "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
    ] {
        let server = Server::start(Answer::Endless(text)).await;
        let result = send_to(&local(), &server.url("/")).await;
        assert!(
            matches!(result, Err(EgressError::Unreachable(_))),
            "{result:?}"
        );
    }
}

#[tokio::test]
async fn a_body_that_breaks_off_is_no_answer() {
    let text = "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 9\r\n\r\nab";
    let listener = TcpListener::bind((LOOPBACK, 0)).await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        read_request(&mut stream).await.unwrap();
        stream.write_all(text.as_bytes()).await.unwrap();
    });
    let result = send_to(&local(), &url).await;
    assert!(
        matches!(result, Err(EgressError::Unreachable(_))),
        "{result:?}"
    );
}

#[tokio::test]
async fn a_closed_port_is_unreachable_and_the_error_keeps_the_url_secret() {
    let listener = TcpListener::bind((LOOPBACK, 0)).await.unwrap();
    let url = format!(
        "http://{}/path-secret?key=query-secret",
        listener.local_addr().unwrap()
    );
    drop(listener);
    let EgressError::Unreachable(text) = send_to(&local(), &url).await.unwrap_err() else {
        panic!("expected unreachable");
    };
    assert!(text.to_lowercase().contains("refused"), "{text}");
    assert!(!text.contains("secret"), "{text}");
    assert!(!format!("{:?}", request(&url)).contains("secret"));
}

#[tokio::test]
async fn an_unknown_name_is_unreachable() {
    let (egress, _) = with_names(&[]);
    let error = send_to(&egress, "http://nowhere.test/").await.unwrap_err();
    assert!(
        matches!(&error, EgressError::Unreachable(text) if text.contains("no such name")),
        "{error}"
    );
}

#[tokio::test]
async fn retry_after_is_read_from_the_answer() {
    for (text, expected) in [
        (
            "HTTP/1.1 429 Slow\r\nretry-after: 7\r\ncontent-length: 0\r\n\r\n",
            Some(7_000),
        ),
        (
            "HTTP/1.1 503 Busy\r\nRetry-After: Sun, 06 Nov 1994 08:49:37 GMT\r\ncontent-length: 0\r\n\r\n",
            Some(37_000),
        ),
        ("HTTP/1.1 500 Oh\r\ncontent-length: 0\r\n\r\n", None),
    ] {
        let server = Server::start(Answer::Text(text)).await;
        assert_eq!(
            send_to(&local(), &server.url("/"))
                .await
                .unwrap()
                .retry_after_ms,
            expected
        );
    }
}

#[tokio::test]
async fn headers_that_could_smuggle_are_refused() {
    let egress = local();
    for (name, value) in [
        ("x-a", "b\r\nx-c: d"),
        ("x-a", "b\0"),
        ("x-a\r\nx-b", "c"),
        ("x a", "b"),
        ("", "b"),
        ("x-a", "ü"),
        ("Host", "other.test"),
        ("Content-Length", "0"),
        ("Transfer-Encoding", "chunked"),
        ("Connection", "upgrade"),
    ] {
        // Nothing listens there: the request must not get that far.
        let mut request = request("http://127.0.0.1:1/");
        request.headers.push((name.to_owned(), value.to_owned()));
        let result = egress.send(request, NOW).await;
        assert!(
            matches!(result, Err(EgressError::InvalidRequest(_))),
            "{name}: {result:?}"
        );
    }
}

#[tokio::test]
async fn a_request_over_a_limit_is_refused() {
    let egress = local();
    let base = request("http://127.0.0.1:1/");
    let long_url = format!("http://127.0.0.1:1/{}", "a".repeat(8 * 1024))
        .parse()
        .unwrap();
    let headers = |count, value: &str| vec![("x-a".to_owned(), value.to_owned()); count];
    for request in [
        Request {
            url: long_url,
            ..base.clone()
        },
        Request {
            headers: headers(65, "b"),
            ..base.clone()
        },
        Request {
            headers: headers(2, &"b".repeat(8 * 1024)),
            ..base.clone()
        },
        Request {
            body: vec![0; 4 * 1024 * 1024 + 1].into(),
            ..base.clone()
        },
    ] {
        let result = egress.send(request, NOW).await;
        assert!(
            matches!(&result, Err(EgressError::InvalidRequest(text)) if text.contains("at most"))
        );
    }
}

#[test]
fn a_method_is_read_from_its_name() {
    assert_eq!("PATCH".parse(), Ok(Method::Patch));
    for text in ["CONNECT", "TRACE", "get", "GET /", ""] {
        assert_eq!(text.parse::<Method>(), Err(BadMethod));
    }
}

/// Where a second process runs the test below without root certificates.
const BARE: &str = "TRIAGE_TEST_BARE_MACHINE";

#[test]
fn without_root_certificates_plain_http_works_and_https_says_why() {
    let (_, module) = module_path!().split_once("::").unwrap();
    let name = format!("{module}::on_a_machine_without_root_certificates");
    let output = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", &name])
        .env("SSL_CERT_FILE", "/nowhere/certificates.pem")
        .env("SSL_CERT_DIR", "/nowhere")
        // A proxy that nobody asked for must not be used either; nothing listens there.
        .env("http_proxy", "http://127.0.0.1:1")
        .env_remove("no_proxy")
        .env_remove("NO_PROXY")
        .env(BARE, "1")
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success() && text.contains("1 passed"),
        "{text}"
    );
}

#[tokio::test]
async fn on_a_machine_without_root_certificates() {
    let server = Server::start(Answer::Text("HTTP/1.1 204 No Content\r\n\r\n")).await;
    let egress = local();
    assert_eq!(
        send_to(&egress, &server.url("/")).await.unwrap().status,
        204
    );
    // Nothing listens there: with root certificates it is tried, without not even that.
    let Err(EgressError::Unreachable(text)) = send_to(&egress, "https://127.0.0.1:1/").await else {
        panic!("expected unreachable");
    };
    let is_bare = std::env::var_os(BARE).is_some();
    assert_eq!(text.contains("no root certificates"), is_bare, "{text}");
}
