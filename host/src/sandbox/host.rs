//! The host's side of what a guest may call.

use super::bindings::triage::policy::{clock, log, settings, types};
use super::meter::{CpuMeter, MemoryMeter};
use super::wasi::Wasi;
use crate::capabilities::Capabilities;
use crate::model::policy::Limits;
use crate::model::run::LogLine;

/// Everything that one stage of one attempt may touch. Dropped with its store.
pub(super) struct StageState {
    pub(super) capabilities: Capabilities,
    pub(super) cpu: CpuMeter,
    pub(super) memory: MemoryMeter,
    handles_max: usize,
    // Made at the first call: most guests import no WASI.
    wasi: Option<Wasi>,
}

impl StageState {
    pub(super) fn new(capabilities: Capabilities, limits: &Limits) -> Self {
        let memory = MemoryMeter::new(limits);
        Self {
            capabilities,
            cpu: CpuMeter::default(),
            memory,
            handles_max: limits.handles,
            wasi: None,
        }
    }

    /// What the guest has of `wasi:*`.
    pub(super) fn wasi(&mut self) -> &mut Wasi {
        let log = &self.capabilities.log;
        self.wasi
            .get_or_insert_with(|| Wasi::new(log, self.handles_max))
    }

    /// The lines of the guest, with those that it wrote to standard output and error.
    pub(super) fn into_log(self) -> Vec<LogLine> {
        if let Some(wasi) = &self.wasi {
            wasi.end_output();
        }
        self.capabilities.log.take_lines()
    }
}

impl types::Host for StageState {}

impl log::Host for StageState {
    fn write(
        &mut self,
        level: log::Level,
        message: String,
        fields: Vec<(String, String)>,
    ) -> wasmtime::Result<()> {
        let level = match level {
            log::Level::Debug => "debug",
            log::Level::Info => "info",
            log::Level::Warn => "warn",
            log::Level::Error => "error",
        };
        self.capabilities.log.write(level, message, fields);
        Ok(())
    }
}

impl settings::Host for StageState {
    fn get(&mut self) -> wasmtime::Result<String> {
        Ok(self.capabilities.settings.to_string())
    }
}

impl clock::Host for StageState {
    fn now(&mut self) -> wasmtime::Result<u64> {
        Ok(u64::try_from(self.capabilities.now).unwrap_or(0))
    }
}
