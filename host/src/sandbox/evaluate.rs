//! Runs one stage of one attempt: a fresh store, hard limits, one call, dropped.

use std::sync::Arc;
use std::time::Duration;

use wasmtime::component::{Instance, ResourceTableError};
use wasmtime::{Store, Trap, UpdateDeadline};

use super::host::StageState;
use super::load::Linked;
use super::meter::LimitPassed;
use super::{Plugin, Sandbox, convert};
use crate::capabilities::Capabilities;
use crate::model::decision::{Classification, Plan};
use crate::model::outcome::{Breach, Refusal};
use crate::model::policy::Limits;
use crate::model::run::{ClaimedRun, LogLine};

/// Characters of a trap's description that are kept.
const TRAP_TEXT_CHARS_MAX: usize = 2_000;

/// How a stage ended.
#[derive(Debug)]
pub enum Ended<T> {
    /// The plugin answered.
    Answer(T),
    /// The plugin answered that it cannot.
    Refused(Refusal),
    /// The plugin broke a rule.
    Broken(Breach),
    /// The host could not run it.
    HostError(String),
}

/// One stage of an attempt: how it ended and what it took.
#[derive(Debug)]
pub struct Stage<T> {
    /// How it ended.
    pub ended: Ended<T>,
    /// The lines that it wrote.
    pub log: Vec<LogLine>,
    /// Computing time in microseconds.
    pub cpu_us: u64,
    /// Most linear memory in bytes.
    pub memory_bytes: u64,
}

/// How a call of a guest's function came back.
type Called<T> = wasmtime::Result<Result<T, Refusal>>;

impl Sandbox {
    /// Asks the plugin's classifier about a run's event.
    pub async fn classify(
        &self,
        plugin: &Plugin,
        run: &ClaimedRun,
        limits: &Limits,
        capabilities: Capabilities,
    ) -> Stage<Classification> {
        let code = match self.code(plugin) {
            Ok(code) => code,
            Err(why) => return not_run(why),
        };
        let Some(exports) = &code.classifier else {
            return not_run("the plugin does not export `classifier`".to_owned());
        };
        self.stage(
            &code,
            &run.event.tenant,
            limits,
            capabilities,
            async |store: &mut Store<StageState>, instance: Instance| {
                let guest = exports.load(&mut *store, &instance)?;
                let (names, headers) = (convert::Names::of(run), convert::headers(run));
                let answer = guest
                    .call_classify(store, convert::event(run, &names, &headers))
                    .await?;
                Ok(answer
                    .map(convert::classification)
                    .map_err(convert::refusal))
            },
        )
        .await
    }

    /// Asks the plugin's triager what should happen.
    pub async fn triage(
        &self,
        plugin: &Plugin,
        run: &ClaimedRun,
        classification: &Classification,
        limits: &Limits,
        capabilities: Capabilities,
    ) -> Stage<Plan> {
        let code = match self.code(plugin) {
            Ok(code) => code,
            Err(why) => return not_run(why),
        };
        let Some(exports) = &code.triager else {
            return not_run("the plugin does not export `triager`".to_owned());
        };
        self.stage(
            &code,
            &run.event.tenant,
            limits,
            capabilities,
            async |store: &mut Store<StageState>, instance: Instance| {
                let guest = exports.load(&mut *store, &instance)?;
                let (names, headers) = (convert::Names::of(run), convert::headers(run));
                let labels = convert::labels(classification);
                let classification = convert::classification_param(classification, &labels);
                let answer = guest
                    .call_triage(store, convert::event(run, &names, &headers), classification)
                    .await?;
                Ok(answer.map(convert::plan).map_err(convert::refusal))
            },
        )
        .await
    }

    async fn stage<T>(
        &self,
        code: &Linked,
        tenant: &str,
        limits: &Limits,
        capabilities: Capabilities,
        call: impl AsyncFnOnce(&mut Store<StageState>, Instance) -> Called<T>,
    ) -> Stage<T> {
        let mut store = self.store(limits, capabilities);
        let meter = store.data().cpu.clone();
        let running = self.0.ticker.while_running();
        let called = tokio::time::timeout(
            Duration::from_millis(limits.wall_ms),
            meter.measure(self.0.turns.seat(tenant), async {
                let instance = code.instance.instantiate_async(&mut store).await?;
                call(&mut store, instance).await
            }),
        )
        .await;
        drop(running);
        let ended = match called {
            Err(_) => Ended::Broken(Breach::WallLimit {
                limit_ms: limits.wall_ms,
            }),
            Ok(Ok(Ok(answer))) => Ended::Answer(answer),
            Ok(Ok(Err(refusal))) => Ended::Refused(refusal),
            Ok(Err(error)) => ended_by(&error, limits),
        };
        let memory_bytes = store.data().memory.peak_bytes();
        let cpu_us = meter.total_us();
        Stage {
            ended,
            log: store.into_data().into_log(),
            cpu_us,
            memory_bytes,
        }
    }

    /// A version's code, or why it cannot be run.
    fn code(&self, plugin: &Plugin) -> Result<Arc<Linked>, String> {
        self.code_of(plugin).ok_or_else(|| {
            format!(
                "version {:.12} left memory and is no more in the cache of compiled plugins; a reload (SIGHUP) \
                 compiles it again",
                plugin.digest
            )
        })
    }

    fn store(&self, limits: &Limits, capabilities: Capabilities) -> Store<StageState> {
        let mut store = Store::new(&self.0.engine, StageState::new(capabilities, limits));
        store.limiter(|state| &mut state.memory);
        store.set_hostcall_fuel(usize::try_from(limits.host_call_bytes).unwrap_or(usize::MAX));
        store.set_max_component_handles(limits.handles);
        let limit_ms = limits.cpu_ms;
        store.set_epoch_deadline(1);
        store.epoch_deadline_callback(move |context| {
            if limit_ms * 1_000_000 < context.data().cpu.used_ns() {
                return Err(wasmtime::Error::new(LimitPassed(Breach::CpuLimit {
                    limit_ms,
                })));
            }
            context.data().cpu.interrupt();
            // Let other guests of this thread run, and the timer of the wall limit.
            Ok(UpdateDeadline::Yield(1))
        });
        store
    }
}

/// A stage that did not begin.
fn not_run<T>(why: String) -> Stage<T> {
    Stage {
        ended: Ended::HostError(why),
        log: Vec::new(),
        cpu_us: 0,
        memory_bytes: 0,
    }
}

/// Which rule an error of wasmtime means.
fn ended_by<T>(error: &wasmtime::Error, limits: &Limits) -> Ended<T> {
    if let Some(LimitPassed(breach)) = error.downcast_ref::<LimitPassed>() {
        return Ended::Broken(breach.clone());
    }
    if error
        .downcast_ref::<wasmtime::PoolConcurrencyLimitError>()
        .is_some()
    {
        return Ended::HostError("no free slot for a guest".to_owned());
    }
    let text: String = format!("{error:#}")
        .chars()
        .take(TRAP_TEXT_CHARS_MAX)
        .collect();
    if error.downcast_ref::<Trap>().is_some() {
        return Ended::Broken(Breach::Trap(text));
    }
    // wasmtime keeps the types of these errors to itself; tests hold their texts.
    if text.contains("store handle limit exceeded")
        || matches!(error.downcast_ref(), Some(ResourceTableError::Full))
    {
        return Ended::Broken(Breach::HandleLimit {
            limit: limits.handles,
        });
    }
    if text.contains("fuel allocated for hostcalls has been exhausted") {
        return Ended::Broken(Breach::HostCallLimit {
            limit_bytes: limits.host_call_bytes,
        });
    }
    // What is left are answers that the canonical ABI refuses: text that is not UTF-8, a
    // discriminant out of range, a pointer out of bounds, a forged handle.
    Ended::Broken(Breach::Contract(text))
}
