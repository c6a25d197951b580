//! A changed configuration is put in force whole or not at all, while events flow.

use std::os::unix::fs::symlink;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use serde_json::Value;
use triage_host::model::secret::Secret;
use triage_host::model::source::Source;
use triage_tests::delivery::now;
use triage_tests::folder::SERVER;
use triage_tests::guest::{self, classifier};
use triage_tests::host::deliver_to;
use triage_tests::receiver::Reply;
use triage_tests::{Delivery, Folder, Host, Receiver, config, wait_until};

const CLIENTS: usize = 3;

/// A policy that only classifies.
fn policy(name: &str, plugin: &str, trigger: &str, lines: &str) -> String {
    format!(
        "[[policy]]\nname = \"{name}\"\ntriggers = [\"{trigger}\"]\nclassifier = \"{plugin}\"\n{lines}\n"
    )
}

/// One integration for each source, and a plugin `c` that classifies.
fn sections(folder: &Folder) -> String {
    let plugin = config::plugin("c", &folder.guest("c", &classifier("")));
    config::integrations() + &plugin
}

/// A host with the policy `p` for `standard.one.*`, and the sections without it.
fn host() -> (Host, String) {
    let folder = Folder::new("");
    let sections = sections(&folder);
    folder.configure(&(sections.clone() + &policy("p", "c", "standard.one.*", "")));
    (Host::start_in(folder), sections)
}

fn event(kind: &str, id: &str) -> Delivery {
    Delivery::standard(kind, id, id)
}

fn texts(list: &Value) -> Vec<String> {
    let items = list.as_array().unwrap().iter();
    items.map(|it| it.as_str().unwrap().to_owned()).collect()
}

#[test]
fn a_changed_trigger_takes_effect_while_events_flow() {
    let (host, sections) = host();
    let before = host.json("/v1/config");
    assert_eq!(
        (&before["revision"], &before["last_reload"]),
        (&1.into(), &Value::Null)
    );
    let (address, over, next) = (host.address(), AtomicBool::new(false), AtomicUsize::new(0));
    let answers: Mutex<Vec<Value>> = Mutex::default();
    let after = std::thread::scope(|scope| {
        for _ in 0..CLIENTS {
            scope.spawn(|| {
                while !over.load(Ordering::SeqCst) {
                    let number = next.fetch_add(1, Ordering::SeqCst);
                    let answer = deliver_to(address, &event("two.x", &format!("flow-{number}")));
                    answers
                        .lock()
                        .unwrap()
                        .push(answer.unwrap().expect(200).json());
                }
            });
        }
        let more = |count: usize| {
            wait_until("more answers", || match answers.lock().unwrap().len() {
                it if count <= it => Ok(()),
                it => Err(it.to_string()),
            });
        };
        more(50);
        host.folder
            .reconfigure(&(sections + &policy("p", "c", "standard.two.*", "")));
        let after = host.reloaded(&before, "applied");
        let seen = answers.lock().unwrap().len();
        more(seen + 50);
        over.store(true, Ordering::SeqCst);
        after
    });
    assert_eq!(after["revision"], 2);
    assert_ne!(after["digest"], before["digest"]);
    assert_eq!(
        texts(&after["last_reload"]["changes"]),
        ["policies: 1 changed (p)"]
    );
    let answers = answers.into_inner().unwrap();
    let routed = answers.iter().filter(|it| it["run_id"].is_string()).count();
    assert!(50 - CLIENTS <= routed && routed < answers.len(), "{routed}");
    assert_eq!(
        host.accept(&event("one.x", "old-rule"))["run_id"],
        Value::Null
    );
    host.wait_until_idle();
    assert_eq!(
        host.database()
            .count("SELECT count(*) FROM run WHERE state = 'completed'"),
        routed as u64
    );
}

#[test]
fn a_configuration_that_cannot_be_used_changes_nothing_and_says_why() {
    let (mut host, sections) = host();
    host.allow_errors();
    host.folder.write("text.wasm", "not WebAssembly");
    let triager = "[[policy]]\nname = \"t\"\ntriggers = [\"*\"]\ntriager = \"c\"\n";
    let good = std::fs::read(host.folder.path("triage.toml")).unwrap();
    let file = |text: String| format!("{SERVER}\n{text}");
    let before = host.json("/v1/config");
    for (number, (text, problems)) in [
        (
            file(sections.clone() + "[[policy]\n"),
            &["triage.toml:"][..],
        ),
        (
            file(config::integration("g", Source::Github, "").replace("TEST_", "NOWHERE_")),
            &[
                "integration.g.secrets[0]",
                "NOWHERE_GITHUB_SECRET is not set",
            ],
        ),
        (
            file(
                "[[integration]]\nid = \"g\"\nsource = \"github\"\nsecrets = [\"file:nowhere\"]\n"
                    .to_owned(),
            ),
            &["integration.g.secrets[0]", "nowhere"],
        ),
        (
            file(config::plugin("gone", Path::new("gone.wasm"))),
            &["plugins.gone.path", "no such file"],
        ),
        (
            file(config::plugin("broken", Path::new("text.wasm"))),
            &["plugins.broken", "not a component"],
        ),
        (
            file(sections.clone() + triager + "colour = \"red\"\n"),
            &["policy.t.colour"],
        ),
        (file(sections.clone() + triager), &["policy.t.triager"]),
        (
            SERVER.replace(":0", ":1") + &sections,
            &["server.listen", "127.0.0.1:1", "restart"],
        ),
        (
            SERVER.replace("triage.db", "other.db") + &sections,
            &["server.database", "other.db", "restart"],
        ),
        (" \n".to_owned(), &["triage.toml is empty"]),
    ]
    .into_iter()
    .enumerate()
    {
        host.folder.replace("triage.toml", text);
        let refused = host.reload("refused");
        let said = texts(&refused["last_reload"]["problems"]).join("\n");
        for part in problems {
            assert!(said.contains(part), "nothing says `{part}`:\n{said}");
            assert!(host.log().contains(part), "the log does not say `{part}`");
        }
        for field in ["digest", "revision", "since"] {
            assert_eq!(refused[field], before[field]);
        }
        let answer = host.accept(&event("one.x", &format!("refused-{number}")));
        assert_eq!(host.finished(&answer)["state"], "completed");
    }
    host.folder.replace("triage.toml", good);
    assert_eq!(host.reload("unchanged")["revision"], 1);
}

#[test]
fn a_bad_file_is_noticed_without_a_signal_and_logged_once() {
    let (mut host, sections) = host();
    host.allow_errors();
    let before = host.json("/v1/config");
    let refusals = |host: &Host| host.log().matches("is refused").count();
    host.folder.reconfigure("[[policy]\n");
    let refused = host.reloaded(&before, "refused");
    host.folder
        .reconfigure(&(sections + &policy("p", "c", "standard.two.*", "")));
    host.reloaded(&refused, "applied");
    assert_eq!(refusals(&host), 1, "{}", host.log());
}

#[test]
fn a_file_that_did_not_change_changes_nothing() {
    let (host, _) = host();
    let before = host.json("/v1/config");
    let asked = host.reload("unchanged");
    // Written again with the same text.
    let text = std::fs::read(host.folder.path("triage.toml")).unwrap();
    host.folder.replace("triage.toml", text);
    let seen = host.reloaded(&asked, "unchanged");
    for field in ["digest", "revision", "since"] {
        assert_eq!(
            (&asked[field], &seen[field]),
            (&before[field], &before[field])
        );
    }
}

#[test]
fn integrations_come_and_go() {
    let (host, sections) = host();
    let delivery = |id: &str| Delivery::sample(Source::Github, "ping", id).to("github-second");
    host.deliver(&delivery("early")).expect(404);
    let more = config::integration("github-second", Source::Github, "");
    host.folder.reconfigure(&(sections.clone() + &more));
    let with = host.reload("applied");
    assert_eq!(
        texts(&with["last_reload"]["changes"]),
        [
            "integrations: 1 added (github-second)",
            "policies: 1 removed (p)"
        ]
    );
    let kept = host.accept(&delivery("between"));
    host.folder.reconfigure(&sections);
    host.reload("applied");
    let unknown = host.deliver(&delivery("late")).expect(404).without_date();
    let never = host.deliver(&delivery("late").to("never-was")).expect(404);
    assert_eq!(unknown, never.without_date());
    let path = format!("/v1/events/{}", kept["event_id"].as_str().unwrap());
    assert_eq!(host.json(&path)["idempotency_key"], "between");
}

#[test]
fn a_secret_is_rotated_through_files_and_nothing_drops() {
    let folder = Folder::new("");
    let secrets = ["old-secret-8f5a", "new-secret-c01d"];
    folder.write("old.txt", secrets[0]);
    folder.write("new.txt", secrets[1]);
    let live = |files: &str| {
        format!("[[integration]]\nid = \"github-main\"\nsource = \"github\"\nsecrets = [{files}]\n")
    };
    folder.configure(&live("\"file:old.txt\""));
    let host = Host::start_in(folder);
    let send = |secret: &str, id: &str| {
        let secret = Secret::new(secret);
        let signed = Delivery::signed(Source::Github, "ping", id, "{}", &secret, now());
        host.deliver(&signed).status
    };
    let statuses = |round: &str| secrets.map(|it| send(it, &format!("{round}-{it}")));
    assert_eq!(statuses("old"), [200, 401]);
    host.folder
        .reconfigure(&live("\"file:old.txt\", \"file:new.txt\""));
    host.reload("applied");
    assert_eq!(statuses("both"), [200, 200]);
    host.folder.reconfigure(&live("\"file:new.txt\""));
    host.reload("applied");
    assert_eq!(statuses("new"), [401, 200]);
    // The file that is named stays the same, what it holds does not; nobody sends a signal.
    let before = host.json("/v1/config");
    host.folder.replace("new.txt", secrets[0]);
    let after = host.reloaded(&before, "applied");
    assert_eq!(statuses("replaced"), [200, 401]);
    assert_eq!(
        (&after["digest"], &after["revision"]),
        (&before["digest"], &4.into())
    );
    for text in [host.log(), after.to_string()] {
        assert!(!secrets.iter().any(|it| text.contains(it)), "{text}");
    }
}

#[test]
fn a_replaced_plugin_is_taken_up_and_the_others_are_not_compiled_again() {
    let folder = Folder::new("");
    let sections = sections(&folder)
        + &config::plugin("d", &folder.guest("d", &classifier("nop")))
        + &policy("p", "c", "standard.one.*", "")
        + &policy("q", "d", "standard.two.*", "");
    folder.configure(&sections);
    let host = Host::start_in(folder);
    let digest = |kind: &str, id: &str| {
        let run = host.finished(&host.accept(&event(kind, id)));
        run["attempts"][0]["classifier_digest"].clone()
    };
    let loaded = || host.log().matches("plugin loaded").count();
    let first = (digest("one.x", "a"), digest("two.x", "b"));
    assert_ne!(first.0, first.1);
    assert_eq!(loaded(), 2);
    let before = host.json("/v1/config");
    let next = host.folder.guest("next", &classifier("nop nop"));
    host.folder.replace("c.wasm", std::fs::read(next).unwrap());
    let after = host.reloaded(&before, "applied");
    assert_eq!(
        texts(&after["last_reload"]["changes"]),
        ["plugins: 1 changed (c)"]
    );
    let second = (digest("one.x", "c"), digest("two.x", "d"));
    assert_ne!(second.0, first.0);
    assert_eq!(second.1, first.1);
    assert_eq!(loaded(), 3, "{}", host.log());
}

#[test]
fn runs_of_a_policy_that_was_taken_out_are_dead_letters_at_once() {
    let folder = Folder::new("");
    let traps = config::plugin("t", &folder.guest("t", &classifier(guest::TRAP)));
    let sections = sections(&folder) + &traps + &policy("p", "c", "standard.one.*", "");
    let lines = "attempts_max = 100\nretry_for = \"1h\"";
    folder.configure(&(sections.clone() + &policy("gone", "t", "standard.*.*", lines)));
    let host = Host::start_in(folder);
    let answer = host.accept(&event("two.x", "queued"));
    let path = format!("/v1/runs/{}", answer["run_id"].as_str().unwrap());
    wait_until("a first attempt", || {
        let run = host.json(&path);
        match run["attempts"].as_array().unwrap().len() {
            0 => Err(run.to_string()),
            _ => Ok(()),
        }
    });
    host.folder.reconfigure(&sections);
    host.reload("applied");
    let run = host.finished(&answer);
    assert_eq!(run["state"], "dead", "{run}");
    assert_eq!(
        run["dead_reason"], "policy `gone` is not configured any more",
        "{run}"
    );
    let last = run["attempts"].as_array().unwrap().last().unwrap();
    assert_eq!(last["class"], "unconfigured", "{run}");
    let answer = host.accept(&event("one.x", "stays"));
    assert_eq!(host.finished(&answer)["state"], "completed");
}

#[test]
fn a_mounted_folder_that_is_swapped_by_a_link_is_noticed() {
    let folder = Folder::new("");
    let sections = sections(&folder);
    // As Kubernetes mounts a config map: `triage.toml` → `..data/triage.toml`, `..data` → a folder.
    for (name, trigger) in [("v1", "standard.one.*"), ("v2", "standard.two.*")] {
        std::fs::create_dir(folder.path(name)).unwrap();
        let policy = policy("p", "c", trigger, "");
        folder.write(
            &format!("{name}/triage.toml"),
            format!("{SERVER}\n{sections}{policy}"),
        );
    }
    std::fs::remove_file(folder.path("triage.toml")).unwrap();
    symlink("..data/triage.toml", folder.path("triage.toml")).unwrap();
    symlink("v1", folder.path("..data")).unwrap();
    let host = Host::start_in(folder);
    let before = host.json("/v1/config");
    symlink("v2", host.folder.path("..next")).unwrap();
    std::fs::rename(host.folder.path("..next"), host.folder.path("..data")).unwrap();
    host.reloaded(&before, "applied");
    assert!(host.accept(&event("two.x", "swapped"))["run_id"].is_string());
}

#[test]
fn addresses_that_requests_may_reach_follow_the_configuration() {
    let receiver = Receiver::start(&[Reply::status(200)]);
    let url = receiver.url().replace("127.0.0.1", "localhost");
    let sections = config::integrations() + &config::desk_and_webhook(&url, "");
    let host = Host::start_with(&sections);
    let webhook = |id: &str| {
        let run = host.finished(&host.accept(&Delivery::incident(id)));
        let actions = run["actions"].as_array().unwrap();
        let webhook = actions.iter().find(|it| it["destination"] == "oncall");
        webhook.unwrap()["state"].clone()
    };
    assert_eq!(webhook("closed"), "dead");
    host.folder.reconfigure(&format!(
        "[egress]\nallow = [\"127.0.0.0/8\", \"::1\"]\n{sections}"
    ));
    let opened = host.reload("applied");
    assert_eq!(
        texts(&opened["last_reload"]["changes"]),
        ["settings: 1 changed (egress.allow)"]
    );
    assert_eq!(webhook("open"), "delivered");
    assert_eq!(receiver.received().len(), 1);
}

#[test]
fn another_master_key_is_listed_as_changed() {
    let (host, _) = host();
    assert!(host.folder.path("triage.key").exists());
    host.folder.replace("triage.key", "7".repeat(64));
    let changed = host.reload("applied");
    assert_eq!(
        texts(&changed["last_reload"]["changes"]),
        ["settings: 1 changed (server.master_key)"]
    );
}

#[test]
fn declared_sources_that_differ_are_listed_with_the_integrations_that_name_them() {
    let (host, sections) = host();
    let declared = |name: &str, kind: &str| {
        format!(
            "[sources.{name}]\nevent_type = \"{{header:x-{kind}}}\"\n\
             signature = {{ header = \"x-signature\", algorithm = \"hmac-sha256\", encoding = \"hex\", signed = \"{{body}}\" }}\n"
        )
    };
    let named = "[[integration]]\nid = \"shop\"\nsource = \"shop\"\nsecrets = [\"file:shop\"]\n";
    host.folder.write("shop", "a secret of the shop's own\n");
    let change = |text: String| {
        host.folder.reconfigure(&(text + &sections));
        texts(&host.reload("applied")["last_reload"]["changes"])
    };
    let before = declared("shop", "a") + &declared("desk", "a") + named;
    let after = declared("shop", "b") + &declared("yard", "a") + named;
    let policies = "policies: 1 removed (p)";
    assert_eq!(
        change(before),
        [
            "sources: 2 added (desk, shop)",
            "integrations: 1 added (shop)",
            policies
        ]
    );
    assert_eq!(
        change(after),
        [
            "sources: 1 added (yard), 1 removed (desk), 1 changed (shop)",
            "integrations: 1 changed (shop)"
        ]
    );
}

#[test]
fn only_an_operator_of_the_whole_host_sees_the_configuration() {
    let (host, _) = host();
    let ask = |token: &str| {
        let bearer = ("authorization".to_owned(), format!("Bearer {token}"));
        host.request("GET", "/v1/config", &[bearer], "")
    };
    let token = |arguments: &[&str]| {
        let made = host
            .folder
            .triage(&[&["--json", "token", "create", "test"], arguments].concat());
        made.expect(0).json()["token"].as_str().unwrap().to_owned()
    };
    host.request("GET", "/v1/config", &[], "").expect(401);
    ask(&token(&["--role", "viewer"])).expect(403);
    ask(&token(&["--role", "admin", "--tenant", "default"])).expect(403);
    ask(&token(&["--role", "operator"])).expect(200);
}
