//! Every bundled plugin: builds, loads, and decides in the real host what its fixtures say.
//!
//! The fixtures are those of the plugin's own tests, which run without a host. Each gets a
//! tenant, an integration and a policy of its own, so that one host tries all of them.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::path::Path;

use serde_json::{Value, json};
use triage_host::model::source::Source;
use triage_tests::{Delivery, Folder, Host, binary, config};

/// Every folder of `plugins/`, with how many of its fixtures a host can try at least.
const PLUGINS: [(&str, usize); 2] = [("incident-desk", 20), ("payments", 15)];

/// The policy of `incident-desk` in other languages: folders of `guests/`.
const LANGUAGES: [&str; 4] = ["c", "go", "javascript", "python"];
/// The same in Rust as the bundled one, made for Rust's own component target.
const RUST_WASIP2: &str = "rust-wasip2";

/// Names of guests that must have been built, separated by white space. Set in CI, where their
/// toolchains were installed before; elsewhere those that are missing are only named.
const EXPECTED_GUESTS: &str = "TRIAGE_EXPECT_GUESTS";

/// A guest with a whole interpreter in it is large, and the machine may be busy.
const PATIENT: &str = "compile_seconds = 120\n";

struct Case {
    name: String,
    source: Source,
    event_type: String,
    settings: Value,
    headers: BTreeMap<String, String>,
    body: Vec<u8>,
    expected: Value,
}

/// The fixtures of a plugin that a real sender could have sent now.
fn cases(plugin: &str) -> Vec<Case> {
    let folder = binary::root().join("plugins").join(plugin).join("fixtures");
    let mut cases: Vec<Case> = std::fs::read_dir(&folder)
        .unwrap()
        .filter_map(|it| case(&it.unwrap().path()))
        .collect();
    cases.sort_by(|one, other| one.name.cmp(&other.name));
    cases
}

fn case(path: &Path) -> Option<Case> {
    let name = path
        .file_name()?
        .to_str()?
        .strip_suffix(".json")
        .filter(|it| !it.ends_with(".expected"))?;
    let read =
        |path: &Path| serde_json::from_slice::<Value>(&std::fs::read(path).unwrap()).unwrap();
    let (fixture, expected) = (read(path), read(&path.with_extension("expected.json")));
    let event_type = fixture["event_type"].as_str()?;
    // A clock cannot be set from outside: not for a fixture with its own time, nor for the
    // days that are left to answer a dispute. A body that is not JSON has no event type.
    if fixture.get("now").is_some()
        || event_type.contains(".dispute.")
        || fixture["body"].is_string()
    {
        return None;
    }
    Some(Case {
        name: name.to_owned(),
        source: fixture["source"].as_str()?.parse().unwrap(),
        event_type: event_type.to_owned(),
        settings: fixture
            .get("settings")
            .cloned()
            .unwrap_or_else(|| json!({})),
        headers: serde_json::from_value(fixture["headers"].clone()).unwrap(),
        body: serde_json::to_vec(&fixture["body"]).unwrap(),
        expected,
    })
}

/// TOML of a case's integration and policy, both of this name.
fn sections(plugin: &str, name: &str, case: &Case) -> String {
    let source = &case.source;
    let tenant = format!("tenant = \"{name}\"");
    let settings: toml::Table = serde_json::from_value(case.settings.clone()).unwrap();
    let settings = toml::to_string(&toml::Table::from_iter([(
        "settings".to_owned(),
        settings.into(),
    )]))
    .unwrap();
    let settings = settings.replace("[settings", "[policy.settings");
    let named: Vec<String> = destinations(case).into_keys().collect();
    let grants = format!("[policy.grants]\ndestinations = {named:?}\n");
    let triggers = format!("[\"{}\"]", case.event_type);
    // Guests with a whole interpreter in them need more than the defaults.
    let limits = "[policy.limits]\ncpu_ms = 2000\nmemory_mb = 128\n";
    config::integration(name, source, &tenant)
        + &config::policy(
            name,
            plugin,
            &triggers,
            &format!("{tenant}\n{settings}\n{grants}\n{limits}"),
        )
}

/// The destinations that a case's decision names, with the kind of what they get.
fn destinations(case: &Case) -> BTreeMap<String, String> {
    let actions = case
        .expected
        .pointer("/plan/actions")
        .and_then(Value::as_array);
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    actions
        .into_iter()
        .flatten()
        .map(|it| (text(&it["destination"]), text(&it["content"]["kind"])))
        .collect()
}

/// TOML of a destination. Nothing is sent: the webhook's address is refused, and tried once.
fn destination(name: &str, kind: &str) -> String {
    match kind {
        "ticket" => format!("[destinations.{name}]\nkind = \"ticket\"\n"),
        _ => config::webhook(name, "http://localhost:9/", "attempts_max = 1"),
    }
}

fn delivery(name: &str, case: &Case) -> Delivery {
    let event = case.event_type.split_once('.').unwrap().1;
    let mut delivery = Delivery::new(&case.source, event, &case.name, case.body.clone()).to(name);
    let signed: BTreeSet<String> = delivery
        .headers
        .iter()
        .map(|(name, _)| name.clone())
        .collect();
    let others = case
        .headers
        .iter()
        .filter(|(name, _)| !signed.contains(*name));
    delivery
        .headers
        .extend(others.map(|(name, value)| (name.clone(), value.clone())));
    delivery
}

/// A run as a fixture's expected file tells it.
fn told(run: &Value) -> Value {
    if run["state"] == "dead" {
        let attempt = &run["attempts"][0];
        let kind = attempt["class"].as_str().unwrap();
        let error = attempt["error"].as_str().unwrap();
        let message = error.split_once(": ").map_or(error, |(_, message)| message);
        return json!({ "failure": { "kind": kind, "message": message } });
    }
    let mut decision = run["decision"].clone();
    if let Some(actions) = decision
        .pointer_mut("/plan/actions")
        .and_then(Value::as_array_mut)
    {
        for payload in actions
            .iter_mut()
            .filter_map(|it| it["content"].get_mut("payload"))
        {
            *payload = serde_json::from_str(payload.as_str().unwrap()).unwrap();
        }
    }
    decision
}

#[test]
fn every_bundled_plugin_has_a_case_here() {
    let entries = std::fs::read_dir(binary::root().join("plugins")).unwrap();
    let folders: BTreeSet<String> = entries
        .map(|it| it.unwrap().file_name().into_string().unwrap())
        .collect();
    let known: BTreeSet<String> = PLUGINS.iter().map(|(name, _)| (*name).to_owned()).collect();
    assert_eq!(folders, known, "a plugin without a case in this file");
}

#[test]
fn every_bundled_plugin_builds_and_can_be_used() {
    let folder = Folder::new("");
    for (plugin, _) in PLUGINS {
        let component = folder.path(&format!("{plugin}.wasm"));
        binary::build(&binary::root().join("plugins").join(plugin), &component);
        let inspected = folder
            .triage(&["--json", "plugin", "inspect", component.to_str().unwrap()])
            .expect(0)
            .json();
        assert_eq!(
            inspected["digest"].as_str().unwrap().len(),
            64,
            "{inspected}"
        );
        let sections =
            config::plugin(plugin, &component) + &config::policy("p", plugin, r#"["*"]"#, "");
        folder.configure(&(PATIENT.to_owned() + &sections));
        folder.triage(&["check"]).expect(0);
    }
}

#[test]
fn every_bundled_plugin_decides_in_the_host_what_its_fixtures_say() {
    let mut named = BTreeMap::new();
    let mut all = PATIENT.to_owned();
    for (plugin, _) in PLUGINS {
        all += &config::plugin(plugin, &binary::component(plugin));
        for case in cases(plugin) {
            named.extend(destinations(&case));
            all += &sections(plugin, &case.name, &case);
        }
    }
    all.extend(named.iter().map(|(name, kind)| destination(name, kind)));
    let host = Host::start_with(&all);
    for (plugin, least) in PLUGINS {
        let cases = cases(plugin);
        assert!(
            least <= cases.len(),
            "{plugin} has {} fixtures",
            cases.len()
        );
        let answers: Vec<Value> = cases
            .iter()
            .map(|it| host.accept(&delivery(&it.name, it)))
            .collect();
        for (case, answer) in cases.iter().zip(&answers) {
            let run = host.finished(answer);
            assert_eq!(run["event_type"], case.event_type, "{plugin} {}", case.name);
            assert_eq!(told(&run), case.expected, "{plugin} {}", case.name);
        }
    }
}

/// Says something even where the tests' output is kept back.
fn announce(text: &str) {
    let mut stderr = std::io::stderr().lock();
    writeln!(stderr, "{text}").unwrap();
}

#[test]
fn every_guest_has_a_folder_and_every_folder_a_guest() {
    let entries = std::fs::read_dir(binary::root().join("guests")).unwrap();
    let folders: BTreeSet<String> = entries
        .map(|it| it.unwrap().file_name().into_string().unwrap())
        .collect();
    assert_eq!(folders, LANGUAGES.map(str::to_owned).into());
}

#[test]
fn every_guest_of_another_language_decides_byte_for_byte_like_the_one_in_rust() {
    let guests = || LANGUAGES.into_iter().chain([RUST_WASIP2]);
    let built = guests().filter_map(|it| binary::guest(it).map(|component| (it, component)));
    let built: Vec<_> = built.collect();
    let names: Vec<&str> = built.iter().map(|(name, _)| *name).collect();
    let missing = guests().filter(|it| !names.contains(it));
    let missing: Vec<_> = missing.collect();
    announce(&format!(
        "guests compared with the one in Rust: {names:?}; not built here: {missing:?} (`cargo xtask guests`)"
    ));
    let expected = std::env::var(EXPECTED_GUESTS).unwrap_or_default();
    for name in expected.split_whitespace() {
        assert!(names.contains(&name), "{name} was expected and not built");
    }
    for (language, component) in &built {
        compare_with_rust(language, component);
    }
}

/// Each fixture goes to the guest and to the one in Rust, side by side in one host.
fn compare_with_rust(language: &str, component: &Path) {
    let rust = binary::component("incident-desk");
    let plugins = [("rust", rust.as_path()), (language, component)];
    let cases = cases("incident-desk");
    let mut all = PATIENT.to_owned();
    let mut named = BTreeMap::new();
    for (language, component) in plugins {
        all += &config::plugin(language, component);
        for case in &cases {
            named.extend(destinations(case));
            all += &sections(language, &format!("{language}-{}", case.name), case);
        }
    }
    all.extend(named.iter().map(|(name, kind)| destination(name, kind)));
    let host = Host::start_with(&all);
    for case in &cases {
        let runs = plugins
            .map(|(language, _)| delivery(&format!("{language}-{}", case.name), case))
            .map(|it| host.accept(&it))
            .map(|it| host.finished(&it));
        for run in &runs {
            assert_eq!(told(run), case.expected, "{language} {}", case.name);
        }
        let [rust, guest] = runs.map(|it| it["decision"].to_string());
        assert_eq!(guest, rust, "{language} {}", case.name);
    }
}
