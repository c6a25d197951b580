//! Logging a browser in and out.

use axum::body::Body;
use axum::http::Request;
use axum::http::request::Builder;

use super::{Answer, TestHost};
use crate::store::access::Role;

fn form(path: &str) -> Builder {
    Request::post(path).header("content-type", "application/x-www-form-urlencoded")
}

async fn log_in(host: &TestHost, fields: &str) -> Answer {
    host.send(form("/login").body(Body::from(fields.to_owned())).unwrap())
        .await
}

fn cookie(answer: &Answer) -> String {
    answer
        .header("set-cookie")
        .split(';')
        .next()
        .unwrap()
        .to_owned()
}

#[tokio::test]
async fn a_stranger_gets_the_login_form_and_then_the_page() {
    let host = TestHost::start();
    let answer = host.visit("", "/?type=github.*").await.check(303);
    assert_eq!(
        answer.header("location"),
        "/login?next=%2F%3Ftype%3Dgithub%2E%2A"
    );
    let page = host.visit("", answer.header("location")).await.check(200);
    assert!(
        page.text()
            .contains(r#"name="next" value="/?type=github.*""#),
        "{}",
        page.text()
    );

    let token = host.token(Some("acme"), Role::Viewer).await;
    let answer = log_in(
        &host,
        &format!("token={token}&next=%2F%3Ftype%3Dgithub%2E%2A"),
    )
    .await
    .check(303);
    assert_eq!(answer.header("location"), "/?type=github.*");
    let set = answer.header("set-cookie");
    for part in [
        "HttpOnly",
        "SameSite=Strict",
        "Secure",
        "Path=/",
        "Max-Age=43200",
    ] {
        assert!(set.split("; ").any(|it| it == part), "{part} in {set}");
    }
    assert!(!set.contains(&token));
    host.visit(&cookie(&answer), "/?type=github.*")
        .await
        .check(200);
}

#[tokio::test]
async fn without_https_the_cookie_is_not_secure() {
    let host = TestHost::with_public_url("http://127.0.0.1:8080");
    let token = host.token(None, Role::Viewer).await;
    let answer = log_in(&host, &format!("token={token}")).await.check(303);
    assert!(!answer.header("set-cookie").contains("Secure"));
    assert_eq!(answer.header("location"), "/");
}

#[tokio::test]
async fn a_wrong_token_is_told() {
    let host = TestHost::start();
    for fields in ["token=triage_wrong&next=/", "token=", "token=%00%ff"] {
        let answer = log_in(&host, fields).await.check(401);
        assert!(answer.text().contains("not known"));
        assert_eq!(answer.header("set-cookie"), "");
    }
    log_in(&host, "next=/").await.check(400);
}

#[tokio::test]
async fn nobody_is_sent_to_another_host() {
    let host = TestHost::start();
    let token = host.token(None, Role::Viewer).await;
    for next in [
        "https://evil.example/",
        "//evil.example",
        "/\\evil.example",
        "%2F%2Fevil.example",
        "javascript:alert(1)",
    ] {
        let answer = log_in(&host, &format!("token={token}&next={next}"))
            .await
            .check(303);
        assert_eq!(answer.header("location"), "/", "{next}");
        let page = host
            .visit("", &format!("/login?next={next}").replace('\\', "%5C"))
            .await
            .check(200);
        assert!(!page.text().contains("evil"), "{next}");
    }
}

#[tokio::test]
async fn a_session_ends_after_twelve_hours() {
    let host = TestHost::start();
    let session = host.session(None).await;
    host.advance(12 * 3_600_000 - 1);
    host.visit(&session, "/").await.check(200);
    host.advance(1);
    host.visit(&session, "/").await.check(303);
}

#[tokio::test]
async fn a_session_ends_when_its_token_is_revoked_or_the_visitor_logs_out() {
    let host = TestHost::start();
    let first = host.session(None).await;
    let request = Request::post("/logout")
        .header("cookie", &first)
        .body(Body::empty())
        .unwrap();
    let answer = host.send(request).await.check(303);
    assert!(answer.header("set-cookie").contains("Max-Age=0"));
    host.visit(&first, "/").await.check(303);

    let second = host.session(None).await;
    host.visit(&second, "/").await.check(200);
    for token in host.state.store.list_tokens(None).await.unwrap() {
        host.state.store.revoke_token(token.token_id).await.unwrap();
    }
    host.visit(&second, "/").await.check(303);
}

#[tokio::test]
async fn a_login_link_works_once() {
    let host = TestHost::start();
    let admin = host.token(Some("acme"), Role::Admin).await;
    let link = host.post(&admin, "/v1/login-links").await.check(200).json();
    assert_eq!(link["expires_at"], "2026-11-21T08:10:00.000Z");
    let path = link["url"]
        .as_str()
        .unwrap()
        .strip_prefix("https://hooks.example.com")
        .unwrap();

    // A chat program looks at the link first: that does not use it up.
    for _ in 0..2 {
        let page = host.visit("", path).await.check(200);
        assert!(page.text().contains(&format!(r#"action="{path}""#)));
        assert_eq!(page.header("set-cookie"), "");
    }
    let answer = host
        .send(form(path).body(Body::empty()).unwrap())
        .await
        .check(303);
    assert_eq!(answer.header("location"), "/");
    host.visit(&cookie(&answer), "/").await.check(200);

    let again = host
        .send(form(path).body(Body::empty()).unwrap())
        .await
        .check(401);
    assert_eq!(again.header("set-cookie"), "");
}

#[tokio::test]
async fn a_login_link_runs_out() {
    let host = TestHost::start();
    let admin = host.token(None, Role::Admin).await;
    let link = host.post(&admin, "/v1/login-links").await.check(200).json();
    host.advance(600_000);
    let path = link["url"]
        .as_str()
        .unwrap()
        .strip_prefix("https://hooks.example.com")
        .unwrap();
    host.send(form(path).body(Body::empty()).unwrap())
        .await
        .check(401);
}

#[tokio::test]
async fn only_an_admin_makes_login_links() {
    let host = TestHost::start();
    for role in [Role::Viewer, Role::Operator] {
        let token = host.token(None, role).await;
        host.post(&token, "/v1/login-links")
            .await
            .check_error(403, "forbidden");
    }
}

#[tokio::test]
async fn another_site_can_neither_log_in_nor_out() {
    let host = TestHost::start();
    let token = host.token(None, Role::Viewer).await;
    let foreign = form("/login").header("sec-fetch-site", "cross-site");
    let answer = host
        .send(foreign.body(Body::from(format!("token={token}"))).unwrap())
        .await
        .check(403);
    assert_eq!(answer.header("set-cookie"), "");
    let foreign = form("/logout").header("sec-fetch-site", "cross-site");
    host.send(foreign.body(Body::empty()).unwrap())
        .await
        .check(403);
}

#[tokio::test]
async fn a_link_in_a_chat_is_loaded_again_with_the_cookie() {
    let host = TestHost::start();
    let from_chat = Request::get("/runs/run_1").header("sec-fetch-site", "cross-site");
    let page = host
        .send(from_chat.body(Body::empty()).unwrap())
        .await
        .check(200);
    assert!(
        page.text()
            .contains(r#"<meta http-equiv="refresh" content="0">"#)
    );
    let from_us = Request::get("/runs/run_1").header("sec-fetch-site", "same-origin");
    host.send(from_us.body(Body::empty()).unwrap())
        .await
        .check(303);
}
