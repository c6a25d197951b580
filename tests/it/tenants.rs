//! Tenants see their own and nothing else, also with another's ids in hand.

use serde_json::Value;
use triage_host::model::source::Source;
use triage_host::store::Store;
use triage_host::store::access::Role;
use triage_tests::delivery::{now, ticketed};
use triage_tests::http::{Headers, runtime};
use triage_tests::{Answer, Delivery, Host, binary, config};

const TENANTS: [&str; 2] = ["acme", "globex"];

/// A host with an integration and a policy for each tenant.
fn start() -> Host {
    let mut sections = config::plugin("incident-desk", &binary::component("incident-desk"));
    sections += "[destinations.desk]\nkind = \"ticket\"\n";
    for tenant in TENANTS {
        let owner = format!("tenant = \"{tenant}\"");
        let grants = format!("{owner}\n[policy.grants]\ndestinations = [\"desk\"]");
        sections += &config::integration(tenant, Source::Standard, &owner);
        sections += &config::policy(tenant, "incident-desk", r#"["standard.*"]"#, &grants);
    }
    Host::start_with(&sections)
}

/// The header of a new token for one tenant, made beside the running host.
fn token(host: &Host, tenant: &str, role: Role) -> Headers {
    let store = Store::open_beside(&host.folder.path("triage.db")).unwrap();
    let made = store.create_token(tenant.to_owned(), Some(tenant.to_owned()), role, now());
    let (_, secret) = runtime().block_on(made).unwrap();
    vec![(
        "authorization".to_owned(),
        format!("Bearer {}", secret.expose()),
    )]
}

fn get(host: &Host, headers: &Headers, path: &str) -> Answer {
    host.request("GET", path, headers, "")
}

#[test]
fn a_tenant_sees_its_own_and_nothing_of_another() {
    let host = start();
    for tenant in TENANTS {
        host.finished(&host.accept(&Delivery::incident("same-id").to(tenant)));
        host.deliver(
            &Delivery::incident("forged")
                .to(tenant)
                .without("webhook-signature"),
        )
        .expect(401);
    }
    let lists = ["/v1/events", "/v1/runs", "/v1/tickets", "/v1/rejections"];
    for tenant in TENANTS {
        let token = token(&host, tenant, Role::Viewer);
        for list in lists {
            let items = get(&host, &token, list).expect(200).json()["items"].clone();
            let owners: Vec<&Value> = items
                .as_array()
                .unwrap()
                .iter()
                .map(|it| &it["tenant"])
                .collect();
            assert_eq!(owners, [tenant], "{list}");
        }
        for ticket in host.list("/v1/tickets") {
            let id = |name: &str| ticket[name].as_str().unwrap().to_owned();
            let (event, run) = (id("event_id"), id("run_id"));
            let status = if ticket["tenant"] == tenant { 200 } else { 404 };
            for path in [
                format!("/v1/events/{event}"),
                format!("/v1/events/{event}/payload"),
                format!("/v1/runs/{run}"),
                format!("/v1/runs/{run}/trace"),
                format!("/v1/tickets/{}", id("ticket_id")),
                format!("/events/{event}"),
                format!("/runs/{run}"),
            ] {
                get(&host, &token, &path).expect(status);
            }
            let of_event = get(&host, &token, &format!("/v1/runs?event_id={event}"))
                .expect(200)
                .json();
            assert_eq!(
                of_event["items"].as_array().unwrap().len(),
                usize::from(status == 200)
            );
        }
        let by_key = get(&host, &token, "/v1/events?idempotency_key=same-id")
            .expect(200)
            .json();
        assert_eq!(by_key["items"].as_array().unwrap().len(), 1);
    }
}

#[test]
fn the_same_id_at_two_integrations_is_two_events() {
    let host = start();
    let answers = TENANTS.map(|it| host.accept(&ticketed(Source::Standard, "same-id").to(it)));
    assert!(
        answers.iter().all(|it| it["duplicate"] == false),
        "{answers:?}"
    );
    assert_ne!(answers[0]["event_id"], answers[1]["event_id"]);
    host.wait_until_idle();
    assert_eq!(host.list("/v1/tickets").len(), 2);
}

#[test]
fn a_viewer_lets_nobody_in() {
    let host = start();
    let viewer = token(&host, "acme", Role::Viewer);
    let refused = host
        .request("POST", "/v1/login-links", &viewer, "")
        .expect(403);
    assert_eq!(refused.json()["code"], "forbidden");
    let admin = token(&host, "acme", Role::Admin);
    host.request("POST", "/v1/login-links", &admin, "")
        .expect(200);
}
