mod problems;
mod sources;

use std::fs;
use std::path::Path;
use std::sync::LazyLock;

use insta::assert_snapshot;
use proptest::prelude::*;

use super::*;
use crate::model::decision::Priority;
use crate::model::policy::{Limits, OnFailure, RetryPolicy};
use crate::model::rate::RateLimit;
use crate::model::source::Source;
use crate::model::strike::StrikeLimits;
use crate::model::tenant::TenantLimits;

const WHSEC: &str = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD";

/// A certificate, its key, and the key of another one.
static PEM: LazyLock<[String; 3]> = LazyLock::new(|| {
    let made = || rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let (own, other) = (made(), made());
    [
        own.cert.pem(),
        own.signing_key.serialize_pem(),
        other.signing_key.serialize_pem(),
    ]
});

/// A folder with a configuration file, a component and secrets.
fn folder(text: &[u8]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    fs::create_dir(at("plugins")).unwrap();
    fs::create_dir(at("secrets")).unwrap();
    fs::write(at("triage.toml"), text).unwrap();
    fs::write(at("plugins/incident_desk.wasm"), b"\0asm").unwrap();
    for (name, pem) in ["cert.pem", "key.pem", "other-key.pem"].iter().zip(&*PEM) {
        fs::write(at(name), pem).unwrap();
    }
    fs::write(at("secrets/standard-main"), format!("{WHSEC}\n")).unwrap();
    folder
}

fn env(name: &str) -> Option<String> {
    match name {
        "GITHUB_WEBHOOK_SECRET" => Some("hunter2".to_owned()),
        "ONCALL_SECRET" => Some(WHSEC.to_owned()),
        "PLAIN" => Some("not-base64!".to_owned()),
        "EMPTY" => Some(String::new()),
        _ => None,
    }
}

fn load(folder: &Path) -> Result<Config, ConfigError> {
    Config::load(&folder.join("triage.toml"), &env)
}

#[track_caller]
fn good(text: &str) -> Config {
    load(folder(text.as_bytes()).path()).unwrap()
}

/// What is wrong with a file, a line for each problem; the folder's name is `DIR`.
fn problems(text: &str) -> String {
    let folder = folder(text.as_bytes());
    let lines = match load(folder.path()) {
        Ok(_) => "none".to_owned(),
        Err(ConfigError::Invalid { problems, .. }) => {
            let lines: Vec<String> = problems.iter().map(Problem::to_string).collect();
            lines.join("\n")
        }
        Err(other) => other.to_string(),
    };
    lines.replace(&folder.path().display().to_string(), "DIR")
}

/// A policy with these further lines, in a file where everything that it names exists.
fn policy(lines: &str) -> String {
    format!(
        r#"
        [plugins.incidents]
        path = "plugins/incident_desk.wasm"
        [destinations.desk]
        kind = "ticket"
        [[policy]]
        name = "incidents"
        triggers = ["github.issues.*"]
        classifier = "incidents"
        {lines}
        "#
    )
}

/// A webhook destination with these further lines.
fn webhook(lines: &str) -> String {
    format!("[destinations.oncall]\nkind = \"webhook\"\n{lines}")
}

#[test]
fn the_template_loads_as_it_is() {
    let config = good(TEMPLATE);
    assert_eq!(config.listen.to_string(), "127.0.0.1:8080");
    assert_eq!(config.public_url.as_str(), "http://127.0.0.1:8080/");
    assert_eq!(config.database.file_name().unwrap(), "triage.db");
    let integration = &config.integrations["standard-main"];
    assert_eq!(integration.tenant, "default");
    assert_eq!(integration.source, Source::Standard);
    assert_eq!(integration.body_bytes_max, 1 << 20);
    assert_eq!(integration.inflated_bytes_max, 8 << 20);
    assert_eq!(integration.rate_limit, None);
    assert!(config.trusted_proxies.is_empty());
    assert_eq!(integration.secrets.at(0)[0].expose(), WHSEC);
    assert!(config.policies.is_empty());
}

#[test]
fn the_templates_examples_load_and_name_the_defaults() {
    let uncommented: Vec<&str> = TEMPLATE
        .lines()
        .map(|line| match line.strip_prefix('#') {
            Some(example) if !example.is_empty() && !example.starts_with(' ') => example,
            _ => line,
        })
        .collect();
    let config = good(&uncommented.join("\n"));
    assert_eq!(config.integrations.len(), 2);
    assert_eq!(config.policies.len(), 1);
    let acme = TenantLimits {
        cpu_ms_per_minute: Some(60_000),
        actions_per_minute: Some(600),
        ..TenantLimits::default()
    };
    assert_eq!((config.tenants.len(), config.tenant("acme")), (1, acme));
    assert_eq!(config.tenant("another"), TenantLimits::default());
    assert_eq!(config.strikes, StrikeLimits::default());
    let policy = config.policy("incidents").unwrap();
    assert_eq!(policy.limits, Limits::default());
    assert_eq!(policy.retry, RetryPolicy::default());
    assert_eq!(policy.on_failure, OnFailure::default());
    assert_eq!(policy.settings, r#"{"team":"platform"}"#);
    assert!(policy.grants.state && policy.grants.model);
    assert_eq!(policy.grants.http, ["api.example.com"]);
    assert_eq!(
        config.destinations["oncall"].retry(),
        RetryPolicy::default()
    );
}

#[test]
fn every_setting_is_in_the_template() {
    let source = include_str!("raw.rs");
    let fields = source
        .lines()
        .filter_map(|line| line.strip_prefix("    pub ")?.split_once(": Option<"));
    for (name, _) in fields {
        let later = ["digest"].contains(&name);
        let section = ["default_route", "settings", "grants", "limits"].contains(&name);
        let expected = if name == "tls" {
            "[server.tls]".to_owned()
        } else if section {
            format!("[policy.{name}]")
        } else {
            format!("{name} = ")
        };
        assert_eq!(TEMPLATE.contains(&expected), !later, "{name}");
    }
}

#[test]
fn a_default_route_has_what_is_not_named() {
    let text = "on_failure = \"default-route\"\ndefault_route = { destination = \"desk\" }\n[policy.grants]\ndestinations = [\"desk\"]";
    let config = good(&policy(text));
    let OnFailure::DefaultRoute(route) = &config.policies[0].on_failure else {
        panic!("{:?}", config.policies[0].on_failure);
    };
    assert_eq!(
        (
            route.title.as_str(),
            route.priority,
            route.category.as_str()
        ),
        (
            "An event could not be triaged",
            Priority::Normal,
            "untriaged"
        )
    );
}

#[test]
fn an_empty_file_is_a_server_with_defaults() {
    let config = good("");
    assert_eq!(config.listen.to_string(), "127.0.0.1:8080");
    assert!(config.integrations.is_empty());
}

#[test]
fn a_rate_limit_has_a_burst_of_one_period() {
    let integration = |lines: &str| {
        let text = format!(
            "[[integration]]\nid = \"a\"\nsource = \"github\"\nsecrets = [\"env:ONCALL_SECRET\"]\n{lines}"
        );
        good(&text).integrations["a"].rate_limit.unwrap()
    };
    assert_eq!(
        integration("rate_limit = \"100/s\""),
        RateLimit::new(100, 1_000, 100)
    );
    assert_eq!(
        integration("rate_limit = \"600/m\"\nburst = 5"),
        RateLimit::new(600, 60_000, 5)
    );
}

#[test]
fn paths_start_at_the_files_folder() {
    let folder = folder(policy("").as_bytes());
    let config = load(folder.path()).unwrap();
    assert_eq!(config.database, folder.path().join("triage.db"));
    assert_eq!(
        config.plugins["incidents"],
        folder.path().join("plugins/incident_desk.wasm")
    );
}

#[test]
fn a_public_url_keeps_its_path_without_the_last_slash() {
    let config = good("[server]\npublic_url = \"https://example.com/hooks/\"");
    assert_eq!(config.public_url.as_str(), "https://example.com/hooks");
}

#[test]
fn a_server_on_all_addresses_is_reached_on_this_machine() {
    let config = good("[server]\nlisten = \"0.0.0.0:9000\"");
    assert_eq!(config.public_url.as_str(), "http://127.0.0.1:9000/");
}

#[test]
fn with_tls_the_server_is_reached_by_https() {
    let config = good("[server.tls]\ncertificate = \"cert.pem\"\nkey = \"key.pem\"");
    assert_eq!(config.public_url.as_str(), "https://127.0.0.1:8080/");
    let tls = config.tls.unwrap();
    assert_eq!(tls.server.alpn_protocols, [&b"h2"[..], b"http/1.1"]);
}

#[test]
fn settings_become_json() {
    let config = good(&policy(
        "[policy.settings]\nsince = 2026-01-02T03:04:05Z\nratio = 0.5\nnames = [\"a\", 1, { x = true }]",
    ));
    assert_snapshot!(config.policies[0].settings, @r#"{"names":["a",1,{"x":true}],"ratio":0.5,"since":"2026-01-02T03:04:05Z"}"#);
}

#[test]
fn a_policy_sees_its_tenants_events_only() {
    let config = good(&policy("tenant = \"acme\""));
    assert_eq!(
        config.policies_for("acme", "github.issues.opened").count(),
        1
    );
    assert_eq!(
        config
            .policies_for("default", "github.issues.opened")
            .count(),
        0
    );
    assert_eq!(config.policies_for("acme", "github.push").count(), 0);
}

#[test]
fn a_file_that_is_not_there_names_the_command_that_makes_one() {
    let folder = tempfile::tempdir().unwrap();
    let error = load(folder.path()).unwrap_err().to_string();
    let error = error.replace(&folder.path().display().to_string(), "DIR");
    assert_snapshot!(error, @"there is no DIR/triage.toml: `triage init` writes one, `--config` names another");
}

#[test]
fn broken_toml_is_shown_with_its_place_but_not_its_text() {
    assert_snapshot!(problems("[server]\nlisten = hunter2"), @"DIR/triage.toml:2:10: string values must be quoted, expected literal string");
    assert_snapshot!(problems("[server]\n[server]"), @"DIR/triage.toml:2:2: duplicate key");
    assert_snapshot!(problems("a = \"é\" b"), @"DIR/triage.toml:1:9: unexpected key or value, expected newline, `#`");
    let folder = folder(b"[server]\n# \xff");
    let error = load(folder.path()).unwrap_err().to_string();
    assert!(
        error.ends_with("triage.toml:2:3: not UTF-8 text"),
        "{error}"
    );
}

#[test]
fn a_file_that_is_too_large_is_refused() {
    let folder = folder(&vec![b'#'; 1 << 21]);
    assert!(matches!(
        load(folder.path()),
        Err(ConfigError::Unreadable { .. })
    ));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn no_bytes_make_the_loader_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        let _ = load(folder(&bytes).path());
    }

    #[test]
    fn no_change_of_a_good_file_makes_the_loader_panic(at in 0..TEMPLATE.len(), length in 0..40usize, put in "\\PC{0,8}") {
        let mut text = TEMPLATE.replace("\n#", "\n").into_bytes();
        text.splice(at.min(text.len())..(at + length).min(text.len()), put.into_bytes());
        let _ = load(folder(&text).path());
    }

    #[test]
    fn no_value_makes_a_check_panic(text in "\\PC{0,24}", number in any::<i64>()) {
        let _ = (values::duration_ms(&text, 1), values::size_bytes(&text, 1), values::host(&text));
        let _ = (values::http_url(&text), values::network(&text), values::duration_ms(&format!("{number}d"), 1));
    }
}

#[test]
fn deep_nesting_is_an_error_and_not_a_crash() {
    for text in [
        format!("a = {}", "[".repeat(200_000)),
        "a.".repeat(200_000),
        format!("{} = 1", vec!["a"; 200_000].join(".")),
    ] {
        assert!(load(folder(text.as_bytes()).path()).is_err());
    }
}
