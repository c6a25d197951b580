//! One attempt of a run: classify, stop at `ignore`, triage, check what was answered.

use std::sync::Arc;

use super::check;
use crate::capabilities::Capabilities;
use crate::capabilities::random::Random;
use crate::content;
use crate::live::Setup;
use crate::model::action::NewAction;
use crate::model::decision::{Classification, Decision, Priority};
use crate::model::outcome::{Breach, Broken, Outcome};
use crate::model::policy::Policy;
use crate::model::run::{ClaimedRun, Evaluation};
use crate::model::time::TimestampMs;
use crate::registry::Deployed;
use crate::sandbox::{Ended, Plugin, Sandbox, Stage};

/// What an attempt came to, with the actions of its decision.
pub(super) struct Decided {
    pub(super) evaluation: Evaluation,
    pub(super) actions: Vec<NewAction>,
}

/// Evaluates a run. Never fails: what goes wrong is the outcome.
pub(super) async fn evaluate(
    sandbox: &Sandbox,
    setup: &Setup,
    run: &ClaimedRun,
    now: TimestampMs,
) -> Decided {
    let (Some(policy), Some(deployed)) = (
        setup.config.policy_of(&run.event.tenant, &run.policy),
        setup.registry.deployed(&run.policy),
    ) else {
        let outcome = Outcome::Unconfigured {
            policy: run.policy.clone(),
        };
        return Decided {
            evaluation: nothing_done(outcome),
            actions: Vec::new(),
        };
    };
    if let Some(quarantined) = deployed.quarantined.clone() {
        let outcome = Outcome::Quarantined {
            plugin: quarantined.plugin,
            digest: quarantined.digest,
            reason: quarantined.reason,
        };
        return Decided {
            evaluation: nothing_done(outcome),
            actions: Vec::new(),
        };
    }
    let event = &run.event;
    let told = content::for_plugin(&event.headers, &event.body, &event.event_type);
    let inflated = told.map(|told| run.clone().with_content(told));
    let mut pipeline = Pipeline {
        sandbox,
        setup,
        policy,
        deployed,
        run: inflated.as_ref().unwrap_or(run),
        now,
        evaluation: nothing_done(Outcome::HostError(String::new())),
    };
    let decided = pipeline.decide().await;
    let mut evaluation = pipeline.evaluation;
    let (outcome, actions) = match decided {
        Ok((decision, actions)) => (Outcome::Decided(Box::new(decision)), actions),
        Err(outcome) => (outcome, Vec::new()),
    };
    evaluation.outcome = outcome;
    Decided {
        evaluation,
        actions,
    }
}

fn nothing_done(outcome: Outcome) -> Evaluation {
    Evaluation {
        outcome,
        classifier_digest: None,
        triager_digest: None,
        log: Vec::new(),
        cpu_us: 0,
        memory_bytes: 0,
    }
}

/// Which version of which plugin a stage runs.
struct Version {
    plugin: String,
    digest: String,
}

impl Version {
    fn of(name: Option<&str>, plugin: &Plugin) -> Self {
        Self {
            plugin: name.unwrap_or_default().to_owned(),
            digest: plugin.digest.clone(),
        }
    }

    fn broke(&self, breach: Breach) -> Outcome {
        Outcome::Broken(Broken {
            plugin: self.plugin.clone(),
            digest: self.digest.clone(),
            breach,
        })
    }
}

struct Pipeline<'a> {
    sandbox: &'a Sandbox,
    setup: &'a Setup,
    policy: &'a Policy,
    deployed: &'a Deployed,
    run: &'a ClaimedRun,
    now: TimestampMs,
    evaluation: Evaluation,
}

impl Pipeline<'_> {
    async fn decide(&mut self) -> Result<(Decision, Vec<NewAction>), Outcome> {
        let classification = self.classify().await?;
        let Some(triager) = self
            .deployed
            .triager
            .as_ref()
            .filter(|_| classification.priority != Priority::Ignore)
        else {
            return Ok((
                Decision {
                    classification,
                    plan: None,
                },
                Vec::new(),
            ));
        };
        let version = Version::of(self.policy.triager.as_deref(), triager);
        self.evaluation.triager_digest = Some(triager.digest.clone());
        let limits = self.policy.limits;
        let stage = self
            .sandbox
            .triage(
                triager,
                self.run,
                &classification,
                &limits,
                self.capabilities("triage"),
            )
            .await;
        let plan = self.answer(&version, stage)?;
        let actions = check::plan(
            self.policy,
            &self.setup.config.destinations,
            self.run,
            &plan,
            self.now,
        )
        .map_err(|breach| version.broke(breach))?;
        Ok((
            Decision {
                classification,
                plan: Some(plan),
            },
            actions,
        ))
    }

    async fn classify(&mut self) -> Result<Classification, Outcome> {
        let Some(classifier) = &self.deployed.classifier else {
            return Ok(Classification::unclassified());
        };
        let version = Version::of(self.policy.classifier.as_deref(), classifier);
        self.evaluation.classifier_digest = Some(classifier.digest.clone());
        let limits = self.policy.limits;
        let stage = self
            .sandbox
            .classify(classifier, self.run, &limits, self.capabilities("classify"))
            .await;
        let classification = self.answer(&version, stage)?;
        check::classification(&limits, &classification).map_err(|breach| version.broke(breach))?;
        Ok(classification)
    }

    fn capabilities(&self, stage: &'static str) -> Capabilities {
        Capabilities::new(
            Arc::from(self.policy.settings.as_str()),
            self.now,
            self.policy.limits.log_bytes,
            Random::of(self.run.id, stage),
        )
    }

    /// Adds what a stage took to the evaluation, and gives its answer.
    fn answer<T>(&mut self, version: &Version, stage: Stage<T>) -> Result<T, Outcome> {
        let evaluation = &mut self.evaluation;
        evaluation.log.extend(stage.log);
        evaluation.cpu_us += stage.cpu_us;
        evaluation.memory_bytes = evaluation.memory_bytes.max(stage.memory_bytes);
        match stage.ended {
            Ended::Answer(answer) => Ok(answer),
            Ended::Refused(refusal) => Err(Outcome::Refused(refusal)),
            Ended::Broken(breach) => Err(version.broke(breach)),
            Ended::HostError(text) => Err(Outcome::HostError(text)),
        }
    }
}
