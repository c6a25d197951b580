//! What one tenant does, another does not notice; and each limit of a tenant fires.

use bytes::Bytes;
use serde_json::json;
use triage_host::model::event::{Headers, NewEvent};
use triage_host::model::id::EventId;
use triage_host::model::run::NewRun;
use triage_host::model::source::Source;
use triage_host::store::Store;
use triage_tests::delivery::now;
use triage_tests::guest::{self, classifier};
use triage_tests::http::runtime;
use triage_tests::{Delivery, Folder, Host, binary, config, wait_until};

/// An integration and a policy for each of two tenants: `noisy`, whose plugin computes for ever,
/// and `quiet`, whose events open tickets. `limits` are the policy's, `tenant` is a section.
fn folder(limits: &str, tenant: &str) -> Folder {
    let folder = Folder::new("");
    let spinning = folder.guest("spinning", &classifier(guest::LOOP));
    let desk = binary::component("incident-desk");
    let owned =
        |name: &str| config::integration(name, Source::Standard, &format!("tenant = {name:?}"));
    let triggers = r#"["standard.*"]"#;
    let quiet = "tenant = \"quiet\"\n[policy.grants]\ndestinations = [\"desk\"]";
    let sections = [
        config::plugin("spinning", &spinning),
        config::plugin("incident-desk", &desk),
        "[destinations.desk]\nkind = \"ticket\"\n".to_owned(),
        owned("noisy"),
        owned("quiet"),
        format!(
            "[[policy]]\nname = \"spinning\"\ntenant = \"noisy\"\ntriggers = {triggers}\n\
             classifier = \"spinning\"\nattempts_max = 1\n[policy.limits]\n{limits}\n"
        ),
        config::policy("incidents", "incident-desk", triggers, quiet),
        tenant.to_owned(),
    ];
    folder.configure(&sections.concat());
    folder
}

/// Queues runs of the noisy tenant before the host starts.
fn crowd(folder: &Folder, count: usize) {
    let store = Store::open(&folder.path("triage.db")).unwrap();
    let runtime = runtime();
    let accept_all = async {
        let mut accepts = tokio::task::JoinSet::new();
        for number in 0..count {
            let store = store.clone();
            accepts.spawn(async move { store.accept(queued(number)).await.unwrap() });
        }
        accepts.join_all().await.len()
    };
    assert_eq!(runtime.block_on(accept_all), count);
}

fn queued(number: usize) -> NewEvent {
    let at = now() - 3_600_000;
    NewEvent {
        id: EventId::new(at),
        tenant: "noisy".to_owned(),
        integration_id: "noisy".to_owned(),
        source: "standard".to_owned(),
        event_type: "standard.noise".to_owned(),
        idempotency_key: number.to_string(),
        content_key: None,
        received_at: at,
        occurred_at: None,
        headers: Headers::default(),
        body: Bytes::from_static(b"{}"),
        runs: vec![NewRun {
            policy: "spinning".to_owned(),
            ..NewRun::default()
        }],
    }
}

fn noise(id: &str) -> Delivery {
    Delivery::incident(id).to("noisy")
}

/// Runs of the noisy tenant in a state.
fn noisy(host: &Host, state: &str) -> u64 {
    let sql = format!("SELECT count(*) FROM run WHERE tenant = 'noisy' AND state = '{state}'");
    host.database().count(&sql)
}

#[track_caller]
fn is_decided(host: &Host, id: &str) {
    let run = host.finished(&host.accept(&Delivery::incident(id).to("quiet")));
    assert_eq!(
        (&run["state"], &run["outcome"]),
        (&json!("completed"), &json!("acted")),
        "{run}"
    );
}

/// The operator reads in the log what holds something up, and which setting allows more.
#[track_caller]
fn is_told(host: &Host, what: &str) {
    wait_until(what, || {
        let log = host.log();
        if log.contains(what) { Ok(()) } else { Err(log) }
    });
}

#[test]
fn an_event_is_decided_while_thousands_of_another_tenants_runs_wait() {
    let folder = folder("cpu_ms = 100\nconcurrency = 256", "");
    crowd(&folder, 3_000);
    let mut host = Host::start_in(folder);
    is_decided(&host, "one");
    is_decided(&host, "two");
    let left = noisy(&host, "queued");
    assert!(
        2_000 < left,
        "only {left} are left: nothing was decided beside them"
    );
    host.kill();
}

#[test]
fn concurrency_and_queued_runs_of_a_tenant_fire_and_a_full_queue_keeps_nothing_new() {
    let tenant = "[tenants.noisy]\nconcurrency = 1\nqueued_runs = 2\n";
    let mut host = Host::start_in(folder("cpu_ms = 60_000\nwall_ms = 60_000", tenant));
    host.accept(&noise("spins"));
    wait_until("the first run to begin", || match noisy(&host, "running") {
        1 => Ok(()),
        other => Err(format!("{other} are running")),
    });
    host.accept(&noise("waits-1"));
    host.accept(&noise("waits-2"));
    let is_refused = |host: &Host| {
        let refused = host.deliver(&noise("too-many")).expect(429);
        let answer = refused.json();
        assert_eq!(answer["code"], "queue_full");
        let message = answer["message"].as_str().unwrap();
        assert!(
            message.starts_with(
                "tenant `noisy` is at its limit of 2 queued runs (`tenants.noisy.queued_runs`)"
            ),
            "{message}"
        );
        let wait: u64 = refused.header("retry-after").unwrap().parse().unwrap();
        assert!(0 < wait);
    };
    is_refused(&host);
    is_told(
        &host,
        "runs wait: tenant `noisy` is at its limit of 1 runs at the same time (`tenants.noisy.concurrency`)",
    );
    assert_eq!((noisy(&host, "running"), noisy(&host, "queued")), (1, 2));
    let repeat = host.accept(&noise("waits-2"));
    assert_eq!(
        repeat["duplicate"], true,
        "it was kept, so it is acknowledged"
    );
    let rejections = host.list("/v1/rejections");
    assert_eq!(rejections[0]["cause"], "queue_full");
    assert_eq!(rejections[0]["tenant"], "noisy");
    is_decided(&host, "beside");

    // What is queued is counted again by the next process: the run that was cut off as well.
    host.kill();
    host.restart();
    is_refused(&host);
    host.kill();
}

#[test]
fn a_tenant_without_computing_time_waits_and_its_runs_are_kept() {
    let tenant = "[tenants.noisy]\nconcurrency = 1\ncpu_ms_per_minute = 50\n";
    let mut host = Host::start_in(folder("cpu_ms = 200", tenant));
    for id in ["spins", "waits-1", "waits-2"] {
        host.accept(&noise(id));
    }
    is_told(
        &host,
        "runs wait: tenant `noisy` is at its limit of 50 ms of computing in a minute (`tenants.noisy.cpu_ms_per_minute`)",
    );
    is_decided(&host, "beside");
    assert_eq!((noisy(&host, "dead"), noisy(&host, "queued")), (1, 2));
    assert_eq!(noisy(&host, "running"), 0);
    host.kill();
}

#[test]
fn actions_over_a_tenants_budget_wait() {
    let tenant = "[tenants.quiet]\nactions_per_minute = 1\n";
    let mut host = Host::start_in(folder("cpu_ms = 10", tenant));
    for id in ["one", "two", "three"] {
        host.accept(&Delivery::incident(id).to("quiet"));
    }
    let database = host.database();
    let count = |state: &str| {
        let sql =
            format!("SELECT count(*) FROM action WHERE tenant = 'quiet' AND state = '{state}'");
        database.count(&sql)
    };
    wait_until("all decisions and one ticket", || {
        match (count("delivered"), count("pending")) {
            (1, 2) => Ok(()),
            other => Err(format!("{other:?}")),
        }
    });
    is_told(
        &host,
        "actions wait: tenant `quiet` is at its limit of 1 attempts of actions in a minute (`tenants.quiet.actions_per_minute`)",
    );
    let attempts = "SELECT coalesce(max(attempt), 0) FROM action WHERE state = 'pending'";
    assert_eq!(database.count(attempts), 0, "what waits is not claimed");
    host.kill();
}
