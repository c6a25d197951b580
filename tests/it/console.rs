//! What people see: the trace as JSON and as a page, and who may see it.

use serde_json::{Value, json};
use triage_tests::http::Headers;
use triage_tests::{Answer, Delivery, Host, Receiver, config};

const FORM: (&str, &str) = ("content-type", "application/x-www-form-urlencoded");

fn headers(pairs: &[(&str, &str)]) -> Headers {
    pairs
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect()
}

/// The cookie that an answer sets, as a browser sends it back.
#[track_caller]
fn cookie(answer: &Answer) -> Headers {
    let set = answer
        .header("set-cookie")
        .unwrap_or_else(|| panic!("no cookie: {answer:?}"));
    assert!(
        set.contains("HttpOnly") && set.contains("SameSite=Strict"),
        "{set}"
    );
    headers(&[("cookie", set.split(';').next().unwrap())])
}

fn log_in(host: &Host) -> Headers {
    let form = format!("token={}&next=%2F", host.folder.token);
    cookie(
        &host
            .request("POST", "/login", &headers(&[FORM]), &form)
            .expect(303),
    )
}

#[test]
fn the_trace_tells_every_step_in_order() {
    let receiver = Receiver::start(&[]);
    let sections = config::desk_and_webhook(&receiver.url(), "");
    let host = Host::start(&format!("[egress]\nallow = [\"127.0.0.1\"]\n{sections}"));
    let delivery = Delivery::incident("trace-1");
    let run = host.finished(&host.accept(&delivery));
    host.accept(&delivery);

    let trace = host.json(&format!(
        "/v1/runs/{}/trace",
        run["run_id"].as_str().unwrap()
    ));
    let steps = trace["steps"].as_array().unwrap();
    let kinds: Vec<&str> = steps
        .iter()
        .map(|it| it["kind"].as_str().unwrap())
        .collect();
    assert_eq!(
        kinds,
        [
            "delivery",
            "verification",
            "attempt",
            "decision",
            "action",
            "action"
        ]
    );
    let times: Vec<&str> = steps.iter().map(|it| it["at"].as_str().unwrap()).collect();
    assert!(times.is_sorted(), "{times:?}");
    assert_eq!(
        (&trace["run"]["run_id"], &trace["event"]["event_id"]),
        (&run["run_id"], &run["event_id"])
    );

    assert_eq!(
        (&steps[0]["body_bytes"], &steps[0]["duplicate_count"]),
        (&json!(delivery.body.len()), &json!(1))
    );
    let signature = delivery
        .headers
        .iter()
        .find(|(name, _)| name == "webhook-signature")
        .unwrap();
    assert!(steps[0].to_string().contains("webhook-signature"));
    assert!(
        !trace.to_string().contains(&signature.1),
        "the signature is shown"
    );
    assert_eq!(steps[1]["integration_id"], "standard-main");
    assert_eq!(
        (&steps[2]["class"], &steps[2]["number"]),
        (&json!("decided"), &json!(1))
    );
    assert_eq!(steps[2]["classifier_digest"].as_str().unwrap().len(), 64);
    assert_eq!(
        (
            &steps[3]["outcome"],
            &steps[3]["classification"]["priority"]
        ),
        (&json!("acted"), &json!("high"))
    );
    let names: Vec<&Value> = steps[4..].iter().map(|it| &it["name"]).collect();
    assert_eq!(names, ["ticket", "page"]);
    assert!(
        steps[4]["receipt"]["ticket_id"]
            .as_str()
            .unwrap()
            .starts_with("tkt_")
    );
    assert_eq!(steps[5]["receipt"]["status"], 200);
}

#[test]
fn a_page_shows_the_trace_and_escapes_what_strangers_wrote() {
    let host = Host::start(&config::desk());
    let title = r#"<script>alert("pwned")</script><img src=x onerror=alert(1)>"#;
    let answer = host.accept(&Delivery::standard("incident.triggered", "page-1", title));
    host.finished(&answer);
    let session = log_in(&host);
    let (run, event) = (
        answer["run_id"].as_str().unwrap(),
        answer["event_id"].as_str().unwrap(),
    );
    for path in [
        format!("/runs/{run}"),
        format!("/events/{event}"),
        "/".to_owned(),
    ] {
        let page = host.request("GET", &path, &session, "").expect(200);
        let html = page.text();
        assert!(html.contains("&lt;script&gt;alert"), "{path}: {html}");
        assert!(
            !html.contains("<script") && !html.contains("<img src=x"),
            "{path}: {html}"
        );
        let policy = page.header("content-security-policy").unwrap();
        assert!(
            policy.contains("default-src 'none'") && !policy.contains("unsafe"),
            "{policy}"
        );
    }
    let page = host
        .request("GET", &format!("/runs/{run}"), &session, "")
        .text();
    for told in [
        "Delivered",
        "standard.incident.triggered",
        "page-1:incidents:ticket",
        "tkt_",
    ] {
        assert!(page.contains(told), "{told}: {page}");
    }
}

#[test]
fn the_api_asks_for_a_token_and_health_does_not() {
    let host = Host::start(&config::desk());
    let answer = host.accept(&Delivery::incident("auth-1"));
    let run = host.finished(&answer);
    let ticket = &host.list("/v1/tickets")[0];
    let (event, run) = (
        answer["event_id"].as_str().unwrap(),
        run["run_id"].as_str().unwrap(),
    );
    let paths = [
        "/v1/events".to_owned(),
        format!("/v1/events/{event}"),
        format!("/v1/events/{event}/payload"),
        "/v1/runs".to_owned(),
        format!("/v1/runs/{run}"),
        format!("/v1/runs/{run}/trace"),
        "/v1/tickets".to_owned(),
        format!("/v1/tickets/{}", ticket["ticket_id"].as_str().unwrap()),
        "/v1/rejections".to_owned(),
    ];
    let wrong = format!("Bearer {}x", host.folder.token);
    for path in &paths {
        host.get(path).expect(200);
        for tried in [
            &[][..],
            &[("authorization", wrong.as_str())],
            &[("authorization", "Basic YTpi")],
        ] {
            let refused = host.request("GET", path, &headers(tried), "").expect(401);
            assert_eq!(refused.json()["code"], "unauthorized");
            assert!(refused.header("www-authenticate").is_some(), "{path}");
        }
    }
    host.request("POST", "/v1/login-links", &[], "").expect(401);
    for path in ["/healthz", "/readyz"] {
        host.request("GET", path, &[], "").expect(200);
    }
}

#[test]
fn a_page_sends_whoever_is_not_logged_in_to_the_login_and_back() {
    let host = Host::start("");
    let asked = host.request("GET", "/?state=failed", &[], "").expect(303);
    let login = asked.header("location").unwrap();
    assert_eq!(login, "/login?next=%2F%3Fstate%3Dfailed");
    let form = host.request("GET", login, &[], "").expect(200).text();
    assert!(form.contains(r#"value="/?state=failed""#), "{form}");

    let wrong = host
        .request(
            "POST",
            "/login",
            &headers(&[FORM]),
            "token=triage_wrong&next=%2F",
        )
        .expect(401);
    assert_eq!(wrong.header("set-cookie"), None);
    let body = format!("token={}&next=%2F%3Fstate%3Dfailed", host.folder.token);
    let right = host
        .request("POST", "/login", &headers(&[FORM]), &body)
        .expect(303);
    assert_eq!(right.header("location"), Some("/?state=failed"));
    let session = cookie(&right);
    host.request("GET", "/?state=failed", &session, "")
        .expect(200);

    host.request("POST", "/logout", &session, "").expect(303);
    host.request("GET", "/", &session, "").expect(303);
}

#[test]
fn a_login_link_opens_the_pages_once() {
    let host = Host::start("");
    let link = host
        .request("POST", "/v1/login-links", &host.bearer(), "")
        .expect(200)
        .json();
    let path = link["url"]
        .as_str()
        .unwrap()
        .strip_prefix(&host.url(""))
        .unwrap()
        .to_owned();
    // Looking at the link, as chat programs do, does not use it up.
    host.request("GET", &path, &[], "").expect(200);
    let session = cookie(&host.request("POST", &path, &[], "").expect(303));
    host.request("GET", "/", &session, "").expect(200);
    host.request("POST", &path, &[], "").expect(401);
}

#[test]
fn another_site_cannot_log_anybody_in() {
    let host = Host::start("");
    let cross_site = headers(&[FORM, ("sec-fetch-site", "cross-site")]);
    let answer = host
        .request(
            "POST",
            "/login",
            &cross_site,
            &format!("token={}", host.folder.token),
        )
        .expect(403);
    assert_eq!(answer.header("set-cookie"), None);
}

#[test]
fn lists_are_paged_and_filtered() {
    let host = Host::start(&config::desk());
    for number in 0..7 {
        host.accept(&Delivery::incident(&format!("list-{number}")));
    }
    host.accept(&Delivery::standard("incident.resolved", "list-7", "Over"));
    host.wait_until_idle();
    let keys = |items: &[Value]| {
        items
            .iter()
            .map(|it| it["idempotency_key"].clone())
            .collect::<Vec<_>>()
    };
    let newest_first: Vec<String> = (0..8).rev().map(|it| format!("list-{it}")).collect();
    assert_eq!(keys(&host.list("/v1/events")), newest_first);

    let first = host.json("/v1/events?limit=3");
    let next = first["next_cursor"].as_str().unwrap();
    let second = host.json(&format!("/v1/events?limit=3&cursor={next}"));
    assert_eq!(
        keys(second["items"].as_array().unwrap()),
        newest_first[3..6]
    );

    assert_eq!(
        keys(&host.list("/v1/events?type=standard.incident.resolved")),
        ["list-7"]
    );
    assert_eq!(
        keys(&host.list("/v1/events?idempotency_key=list-3")),
        ["list-3"]
    );
    assert_eq!(host.list("/v1/events?integration=github-main").len(), 0);
    assert_eq!(host.list("/v1/events?state=delivered").len(), 8);
    for wrong in [
        "/v1/events?state=gone",
        "/v1/events?limit=0",
        "/v1/events?cursor=x",
        "/v1/events?unknown=1",
    ] {
        assert_eq!(
            host.get(wrong).expect(400).json()["code"],
            "bad_request",
            "{wrong}"
        );
    }
    for missing in [
        "/v1/events/evt_1",
        "/v1/runs/nonsense",
        "/v1/events/evt_00000000000000000000000000000000",
    ] {
        host.get(missing).expect(404);
    }
}
