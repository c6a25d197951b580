//! One event that plugins judge through the host's sandbox.

use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use tokio::runtime::{Builder, Runtime};
use triage_host::capabilities::Capabilities;
use triage_host::capabilities::random::Random;
use triage_host::model::event::Headers;
use triage_host::model::id::{EventId, RunId};
use triage_host::model::policy::Limits;
use triage_host::model::run::{ClaimedEvent, ClaimedRun};
use triage_host::sandbox::{Artefacts, Compiler, Ended, Plugin, Sandbox};
use triage_tests::binary;

use super::bodies::sentry_issues;

/// How long a plugin may be compiled, in seconds.
pub const COMPILE_SECONDS: u64 = 120;
/// A time of an event: 2026-01-01T00:00:00Z.
const TIME_MS: i64 = 1_767_225_600_000;

/// A sandbox that compiles with the binary under test.
pub fn sandbox(artefacts: Option<Artefacts>) -> Result<Sandbox> {
    Ok(Sandbox::new(Compiler::with(binary::triage()), artefacts)?)
}

/// A component, loaded.
pub fn load(sandbox: &Sandbox, path: &Path) -> Result<Arc<Plugin>> {
    let component = std::fs::read(path).with_context(|| path.display().to_string())?;
    Ok(sandbox.load(&component, COMPILE_SECONDS)?)
}

/// A sandbox and an event of Sentry for it, for one thread.
pub struct Judge {
    sandbox: Sandbox,
    runtime: Runtime,
    settings: Arc<str>,
    limits: Limits,
    pub run: ClaimedRun,
}

impl Judge {
    pub fn new(sandbox: Sandbox, body_bytes: usize, limits: Limits) -> Result<Self> {
        let bodies = sentry_issues(body_bytes)?;
        let body = bodies.first().context("no body")?.to_string();
        let headers = [
            ("content-type", "application/json"),
            ("request-id", "5d7d9a3f-1a6c-4f0a-8b1e-0c7c2f5e9d11"),
            ("sentry-hook-resource", "issue"),
            (
                "sentry-hook-signature",
                "d2f0a7bd0d2c2a3bb7c8d2a0f1f1d1b7d2f0a7bd0d2c2a3bb7c8d2a0f1f1d1b7",
            ),
            ("sentry-hook-timestamp", "1767225600"),
        ];
        let headers: Vec<(String, String)> = headers
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect();
        let run = ClaimedRun {
            id: RunId::new(TIME_MS),
            seq: 1,
            policy: "incidents".to_owned(),
            ordering_key: None,
            late: false,
            attempt: 1,
            host_errors: 0,
            breaches: 0,
            first_attempt_at: TIME_MS,
            event: ClaimedEvent {
                id: EventId::new(TIME_MS),
                seq: 1,
                tenant: "default".to_owned(),
                integration_id: "bench".to_owned(),
                source: "sentry".to_owned(),
                event_type: "sentry.issue.created".to_owned(),
                idempotency_key: "5d7d9a3f-1a6c-4f0a-8b1e-0c7c2f5e9d11".to_owned(),
                received_at: TIME_MS,
                occurred_at: None,
                headers: Headers(headers),
                body: body.into(),
            },
        };
        Ok(Self {
            sandbox,
            runtime: Builder::new_current_thread().enable_all().build()?,
            settings: Arc::from("{}"),
            limits,
            run,
        })
    }

    /// Classifies and triages, each in a fresh instance; gives the plan's summary. There must be an action.
    pub fn judge(&self, plugin: &Plugin) -> Result<String> {
        self.runtime.block_on(self.stages(plugin))
    }

    async fn stages(&self, plugin: &Plugin) -> Result<String> {
        let limits = &self.limits;
        let random = |stage| Random::of(self.run.id, stage);
        let capabilities = |stage| {
            let settings = self.settings.clone();
            Capabilities::new(settings, TIME_MS, limits.log_bytes, random(stage))
        };
        let stage = self
            .sandbox
            .classify(plugin, &self.run, limits, capabilities("classify"))
            .await;
        let Ended::Answer(classification) = stage.ended else {
            bail!("{:?}", stage.ended)
        };
        let stage = self
            .sandbox
            .triage(
                plugin,
                &self.run,
                &classification,
                limits,
                capabilities("triage"),
            )
            .await;
        let Ended::Answer(plan) = stage.ended else {
            bail!("{:?}", stage.ended)
        };
        plan.actions.first().context("no action")?;
        Ok(plan.summary)
    }
}
