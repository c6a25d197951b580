//! The same component, called with nothing but wasmtime: what a sandbox costs at least.
//!
//! The engine is set up as well as is known, calls are synchronous, and an instance has
//! the limits that wasmtime itself offers. There is no clock that interrupts, no log and no
//! measuring, and answers stay in the bindings' types.

use triage_host::model::run::ClaimedRun;
use wasmtime::component::{Component, HasSelf, Instance, InstancePre, Linker};
use wasmtime::error::Context;
use wasmtime::{
    Config, Enabled, Engine, InstanceAllocationStrategy, PoolingAllocationConfig, Result, Store,
    StoreLimits, StoreLimitsBuilder, bail,
};

#[allow(missing_docs, reason = "generated")]
mod bindings {
    wasmtime::component::bindgen!({
        path: "../wit",
        world: "policy-plugin",
        ownership: Borrowing { duplicate_if_necessary: true },
    });
}

use bindings::exports::triage::policy::{classifier, triager};
use bindings::triage::policy::{clock, log, settings, types};

/// An epoch that never comes.
const FAR: u64 = 1 << 40;

/// What the guest's calls see.
struct State {
    limits: StoreLimits,
}

/// The component, ready to be called.
pub struct Bare {
    engine: Engine,
    instance: InstancePre<State>,
    classifier: classifier::GuestIndices,
    triager: triager::GuestIndices,
}

impl Bare {
    pub fn new(component: &[u8]) -> Result<Self> {
        let engine = engine()?;
        let mut linker = Linker::<State>::new(&engine);
        types::add_to_linker::<_, HasSelf<_>>(&mut linker, |state| state)?;
        log::add_to_linker::<_, HasSelf<_>>(&mut linker, |state| state)?;
        settings::add_to_linker::<_, HasSelf<_>>(&mut linker, |state| state)?;
        clock::add_to_linker::<_, HasSelf<_>>(&mut linker, |state| state)?;
        let instance = linker.instantiate_pre(&Component::from_binary(&engine, component)?)?;
        Ok(Self {
            classifier: classifier::GuestIndices::new(&instance)?,
            triager: triager::GuestIndices::new(&instance)?,
            engine,
            instance,
        })
    }

    /// Classifies and triages, each in a fresh instance; gives the plan's summary.
    pub fn judge(&self, run: &ClaimedRun) -> Result<String> {
        let (mut store, instance) = self.instantiate()?;
        let answer = self.classify(&mut store, &instance, run)?;
        drop(store);
        let (mut store, instance) = self.instantiate()?;
        self.triage(&mut store, &instance, run, &answer)
    }

    /// Classifies and triages in the same instance.
    pub fn judge_in_one_instance(&self, run: &ClaimedRun) -> Result<String> {
        let (mut store, instance) = self.instantiate()?;
        let answer = self.classify(&mut store, &instance, run)?;
        self.triage(&mut store, &instance, run, &answer)
    }

    fn instantiate(&self) -> Result<(Store<State>, Instance)> {
        let limits = StoreLimitsBuilder::new()
            .memory_size(64 << 20)
            .table_elements(20_000)
            .build();
        let mut store = Store::new(&self.engine, State { limits });
        store.limiter(|state| &mut state.limits);
        store.set_epoch_deadline(FAR);
        store.set_hostcall_fuel(4 << 20);
        store.set_max_component_handles(1_024);
        let instance = self.instance.instantiate(&mut store)?;
        Ok((store, instance))
    }

    fn classify(
        &self,
        store: &mut Store<State>,
        instance: &Instance,
        run: &ClaimedRun,
    ) -> Result<types::ClassificationResult> {
        let headers = headers(run);
        let guest = self.classifier.load(&mut *store, instance)?;
        match guest.call_classify(store, event(run, &headers))? {
            Ok(answer) => Ok(answer),
            Err(failure) => bail!("{failure:?}"),
        }
    }

    fn triage(
        &self,
        store: &mut Store<State>,
        instance: &Instance,
        run: &ClaimedRun,
        answer: &types::ClassificationResult,
    ) -> Result<String> {
        let headers = headers(run);
        let labels: Vec<&str> = answer.labels.iter().map(String::as_str).collect();
        let classification = types::ClassificationParam {
            priority: answer.priority,
            category: &answer.category,
            labels: &labels,
            confidence_percent: answer.confidence_percent,
            reason: &answer.reason,
        };
        let guest = self.triager.load(&mut *store, instance)?;
        match guest.call_triage(store, event(run, &headers), classification)? {
            Ok(plan) => {
                plan.actions.first().context("no action")?;
                Ok(plan.summary)
            }
            Err(failure) => bail!("{failure:?}"),
        }
    }
}

fn engine() -> Result<Engine> {
    let mut config = Config::new();
    config
        .epoch_interruption(true)
        .concurrency_support(false)
        .wasm_memory64(false)
        .wasm_multi_memory(false)
        .wasm_relaxed_simd(false)
        .wasm_tail_call(false)
        .cranelift_nan_canonicalization(true)
        .max_wasm_stack(512 << 10);
    let mut pool = PoolingAllocationConfig::new();
    pool.total_component_instances(256)
        .total_core_instances(1_024)
        .total_memories(256)
        .total_tables(1_024)
        .max_core_instances_per_component(16)
        .max_memories_per_component(1)
        .max_tables_per_component(8)
        .max_memory_size(64 << 20)
        .table_elements(20_000)
        .linear_memory_keep_resident(256 << 10)
        .table_keep_resident(16 << 10)
        .max_unused_warm_slots(256)
        .decommit_batch_size(16)
        .pagemap_scan(Enabled::Auto);
    config.allocation_strategy(InstanceAllocationStrategy::Pooling(pool));
    Engine::new(&config)
}

fn headers(run: &ClaimedRun) -> Vec<(&str, &str)> {
    run.event
        .headers
        .0
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_str()))
        .collect()
}

fn event<'a>(run: &'a ClaimedRun, headers: &'a [(&'a str, &'a str)]) -> types::Event<'a> {
    let event = &run.event;
    types::Event {
        id: "evt_019b76da800070008000000000000000",
        run_id: "run_019b76da800070008000000000000000",
        tenant: &event.tenant,
        integration_id: &event.integration_id,
        source: &event.source,
        event_type: &event.event_type,
        idempotency_key: &event.idempotency_key,
        ordering_key: None,
        received_at: event.received_at.unsigned_abs(),
        occurred_at: None,
        late: false,
        attempt: run.attempt,
        content_type: event.headers.get("content-type"),
        headers,
        body: &event.body,
    }
}

impl types::Host for State {}

impl log::Host for State {
    fn write(&mut self, _: log::Level, _: String, _: Vec<(String, String)>) {}
}

impl settings::Host for State {
    fn get(&mut self) -> String {
        "{}".to_owned()
    }
}

impl clock::Host for State {
    fn now(&mut self) -> u64 {
        1_767_225_600_000
    }
}
