//! The host's side of what a guest may call.

use std::time::Duration;

use wasmtime::component::ResourceTable;
use wasmtime_wasi::p2::pipe::MemoryOutputPipe;
use wasmtime_wasi::{
    HostMonotonicClock, HostWallClock, WasiCtx, WasiCtxBuilder, WasiCtxView, WasiView,
};

use super::bindings::triage::policy::{clock, log, settings, types};
use super::meter::{CpuMeter, MemoryMeter};
use crate::capabilities::Capabilities;
use crate::model::run::LogLine;
use crate::model::time::TimestampMs;

/// Bytes of one request for randomness.
const RANDOM_BYTES_MAX: u64 = 64 << 10;
/// Bytes that are kept of each of a WASI guest's two output streams.
const OUTPUT_BYTES_MAX: usize = 16 << 10;

/// Everything that one stage of one attempt may touch. Dropped with its store.
pub(super) struct StageState {
    pub(super) capabilities: Capabilities,
    pub(super) cpu: CpuMeter,
    pub(super) memory: MemoryMeter,
    // Made at the first call: most guests import no WASI.
    wasi: Option<Wasi>,
}

struct Wasi {
    context: WasiCtx,
    table: ResourceTable,
    stdout: MemoryOutputPipe,
    stderr: MemoryOutputPipe,
}

impl StageState {
    pub(super) fn new(capabilities: Capabilities, memory_bytes_max: u64) -> Self {
        let memory = MemoryMeter::new(memory_bytes_max);
        Self {
            capabilities,
            cpu: CpuMeter::default(),
            memory,
            wasi: None,
        }
    }

    /// The lines of the guest, and what it wrote to standard output and error.
    pub(super) fn into_log(self) -> Vec<LogLine> {
        let mut log = self.capabilities.log;
        if let Some(wasi) = self.wasi {
            for (stream, pipe) in [("stdout", wasi.stdout), ("stderr", wasi.stderr)] {
                for line in String::from_utf8_lossy(&pipe.contents()).lines() {
                    log.write(
                        "info",
                        line.to_owned(),
                        vec![("stream".to_owned(), stream.to_owned())],
                    );
                }
            }
        }
        log.into_lines()
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

impl WasiView for StageState {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        let now = self.capabilities.now;
        let wasi = self.wasi.get_or_insert_with(|| Wasi::nothing(now));
        WasiCtxView {
            ctx: &mut wasi.context,
            table: &mut wasi.table,
        }
    }
}

impl Wasi {
    /// No files, no sockets, no environment, no arguments; the run's clock and fixed randomness.
    fn nothing(now: TimestampMs) -> Self {
        let stdout = MemoryOutputPipe::new(OUTPUT_BYTES_MAX);
        let stderr = MemoryOutputPipe::new(OUTPUT_BYTES_MAX);
        let context = WasiCtxBuilder::new()
            .stdout(stdout.clone())
            .stderr(stderr.clone())
            .max_random_size(RANDOM_BYTES_MAX)
            .wall_clock(RunClock(now))
            .monotonic_clock(RunClock(now))
            .allow_tcp(false)
            .allow_udp(false)
            .allow_ip_name_lookup(false)
            .build();
        Self {
            context,
            table: ResourceTable::new(),
            stdout,
            stderr,
        }
    }
}

/// A clock that stands at the attempt's time.
struct RunClock(TimestampMs);

impl HostWallClock for RunClock {
    fn resolution(&self) -> Duration {
        Duration::from_millis(1)
    }

    fn now(&self) -> Duration {
        Duration::from_millis(u64::try_from(self.0).unwrap_or(0))
    }
}

impl HostMonotonicClock for RunClock {
    fn resolution(&self) -> u64 {
        1_000_000
    }

    fn now(&self) -> u64 {
        u64::try_from(self.0).unwrap_or(0) * 1_000_000
    }
}
