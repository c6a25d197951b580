//! Pieces of configuration that many tests share.

use std::borrow::Borrow;
use std::path::Path;

use triage_host::model::secret::Secret;
use triage_host::model::source::Source;

use crate::binary;

/// Signs what the host sends to a [`crate::Receiver`]; in the file as `env:TEST_RECEIVER_SECRET`.
pub const RECEIVER_SECRET: &str = "whsec_dHJpYWdlIHRlc3QgcmVjZWl2ZXIga2V5ISE=";

const INCIDENT_TRIGGERS: &str =
    r#"["sentry.*", "github.issues.*", "slack.app_mention", "standard.incident.*"]"#;

/// The secret with which a source's deliveries are signed; in the file as `env:TEST_GITHUB_SECRET`.
pub fn secret(source: impl Borrow<Source>) -> Secret {
    Secret::new(match source.borrow() {
        Source::Standard => "whsec_dHJpYWdlIHRlc3Qgc3RhbmRhcmQga2V5ISE=",
        Source::Stripe => "whsec_test_of_stripe_4f5c0b8e6c1d",
        Source::Sentry => "test-of-sentry-1d0a67c2",
        Source::Github => "test-of-github-93b1c2e7",
        Source::Slack => "test-of-slack-0c55d1f8",
        Source::Custom(_) => "test-of-declared-7f21b3a9",
    })
}

/// The environment that [`integrations`] and [`webhook`] name.
pub fn environment() -> Vec<(String, String)> {
    let sources = triage_host::config::ready_sources();
    let secrets = sources
        .values()
        .map(|it| (variable(it), secret(it).expose().to_owned()));
    secrets
        .chain([(
            "TEST_RECEIVER_SECRET".to_owned(),
            RECEIVER_SECRET.to_owned(),
        )])
        .collect()
}

/// One integration for each source that needs no declaration, `github-main` and so on.
pub fn integrations() -> String {
    triage_host::config::ready_sources()
        .values()
        .map(|it| integration(&format!("{it}-main"), it, ""))
        .collect()
}

/// One integration, with further lines.
pub fn integration(id: &str, source: impl Borrow<Source>, lines: &str) -> String {
    let source = source.borrow();
    let variable = variable(source);
    format!(
        "[[integration]]\nid = \"{id}\"\nsource = \"{source}\"\nsecrets = [\"env:{variable}\"]\n{lines}\n"
    )
}

/// The bundled plugins, each with a policy that opens tickets at the desk.
pub fn desk() -> String {
    bundled("[policy.grants]\ndestinations = [\"desk\"]")
}

/// Only the plugin for incidents, with its policy for all sources but Stripe: half the time to start.
pub fn incidents() -> String {
    [
        plugin("incident-desk", &binary::component("incident-desk")),
        "[destinations.desk]\nkind = \"ticket\"\n".to_owned(),
        policy(
            "incidents",
            "incident-desk",
            INCIDENT_TRIGGERS,
            "[policy.grants]\ndestinations = [\"desk\"]",
        ),
    ]
    .concat()
}

/// The bundled plugins as in [`desk`], with incidents told to a webhook as well. `lines` go into the destination.
pub fn desk_and_webhook(url: &str, lines: &str) -> String {
    let more = "settings = { webhook_destination = \"oncall\" }\n[policy.grants]\ndestinations = [\"desk\", \"oncall\"]";
    bundled(more) + &webhook("oncall", url, lines)
}

/// The bundled plugins; `incidents` are further lines of that policy.
fn bundled(incidents: &str) -> String {
    [
        plugin("incident-desk", &binary::component("incident-desk")),
        plugin("payments", &binary::component("payments")),
        "[destinations.desk]\nkind = \"ticket\"\n".to_owned(),
        policy("incidents", "incident-desk", INCIDENT_TRIGGERS, incidents),
        policy(
            "payments",
            "payments",
            r#"["stripe.*"]"#,
            "[policy.grants]\ndestinations = [\"desk\"]",
        ),
    ]
    .concat()
}

/// One plugin.
pub fn plugin(name: &str, component: &Path) -> String {
    format!("[plugins.{name}]\npath = {component:?}\n")
}

/// One webhook destination, with further lines.
pub fn webhook(name: &str, url: &str, lines: &str) -> String {
    format!(
        "[destinations.{name}]\nkind = \"webhook\"\nurl = \"{url}\"\nsecret = \"env:TEST_RECEIVER_SECRET\"\n{lines}\n"
    )
}

/// One policy whose plugin both classifies and triages, with further lines.
pub fn policy(name: &str, plugin: &str, triggers: &str, lines: &str) -> String {
    format!(
        "[[policy]]\nname = \"{name}\"\ntriggers = {triggers}\nclassifier = \"{plugin}\"\ntriager = \"{plugin}\"\n{lines}\n"
    )
}

fn variable(source: &Source) -> String {
    format!("TEST_{}_SECRET", source.as_str().to_uppercase())
}
