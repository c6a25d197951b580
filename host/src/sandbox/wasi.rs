//! `wasi:*` 0.2 for guests whose language brings it along: everything is there, and empty.
//!
//! No files, no sockets, no environment, no arguments, standard input at its end. Clocks,
//! randomness and output are the run's own (`capabilities`): implemented here, over
//! wasmtime-wasi's, which serves the rest.

use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use bytes::Bytes;
use wasmtime::component::{HasSelf, Linker, Resource, ResourceTable};
use wasmtime_wasi::p2::bindings::cli::{exit, stderr, stdout};
use wasmtime_wasi::p2::bindings::clocks::{monotonic_clock, wall_clock};
use wasmtime_wasi::p2::bindings::random::{insecure, insecure_seed, random};
use wasmtime_wasi::p2::{
    DynOutputStream, DynPollable, OutputStream, Pollable, StreamResult, subscribe,
};
use wasmtime_wasi::{WasiCtx, WasiCtxBuilder, WasiCtxView, WasiView};

use super::host::StageState;
use super::meter::LimitPassed;
use crate::capabilities::log::Log;
use crate::capabilities::output::Output;
use crate::capabilities::random::REQUEST_BYTES_MAX;
use crate::capabilities::time::Monotonic;
use crate::model::outcome::Breach;

/// Entries of the table of host objects for each handle that the guest may have. Some handles
/// have two; the guest's own table of handles is limited as well.
const OBJECTS_PER_HANDLE: usize = 2;
/// Bytes that a guest may write to a stream at once.
const WRITE_BYTES_MAX: usize = 64 << 10;

/// What a guest that imports `wasi:*` has of its own.
pub(super) struct Wasi {
    context: WasiCtx,
    table: ResourceTable,
    monotonic: Monotonic,
    stdout: Output,
    stderr: Output,
}

impl Wasi {
    pub(super) fn new(log: &Log, handles_max: usize) -> Self {
        let mut table = ResourceTable::new();
        table.set_max_capacity(OBJECTS_PER_HANDLE * handles_max);
        Self {
            context: WasiCtxBuilder::new()
                .allow_tcp(false)
                .allow_udp(false)
                .allow_ip_name_lookup(false)
                .build(),
            table,
            monotonic: Monotonic::default(),
            stdout: Output::new("stdout", "info", log.clone()),
            stderr: Output::new("stderr", "warn", log.clone()),
        }
    }

    /// Writes the lines that the guest began and did not end.
    pub(super) fn end_output(&self) {
        self.stdout.end();
        self.stderr.end();
    }
}

/// Links all of `wasi:*` 0.2 but `wasi:http`.
pub(super) fn add_to_linker(linker: &mut Linker<StageState>) -> wasmtime::Result<()> {
    wasmtime_wasi::p2::add_to_linker_async(linker)?;
    linker.allow_shadowing(true);
    exit::add_to_linker::<_, HasSelf<_>>(linker, |state| state)?;
    stdout::add_to_linker::<_, HasSelf<_>>(linker, |state| state)?;
    stderr::add_to_linker::<_, HasSelf<_>>(linker, |state| state)?;
    wall_clock::add_to_linker::<_, HasSelf<_>>(linker, |state| state)?;
    monotonic_clock::add_to_linker::<_, HasSelf<_>>(linker, |state| state)?;
    random::add_to_linker::<_, HasSelf<_>>(linker, |state| state)?;
    insecure::add_to_linker::<_, HasSelf<_>>(linker, |state| state)?;
    insecure_seed::add_to_linker::<_, HasSelf<_>>(linker, |state| state)?;
    linker.allow_shadowing(false);
    Ok(())
}

impl WasiView for StageState {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        let wasi = self.wasi();
        WasiCtxView {
            ctx: &mut wasi.context,
            table: &mut wasi.table,
        }
    }
}

impl exit::Host for StageState {
    fn exit(&mut self, status: Result<(), ()>) -> wasmtime::Result<()> {
        self.exit_with_code(u8::from(status.is_err()))
    }

    fn exit_with_code(&mut self, status: u8) -> wasmtime::Result<()> {
        Err(passed(Breach::Exited { status }))
    }
}

impl stdout::Host for StageState {
    fn get_stdout(&mut self) -> wasmtime::Result<Resource<DynOutputStream>> {
        let wasi = self.wasi();
        let stream: DynOutputStream = Box::new(Lines(wasi.stdout.clone()));
        Ok(wasi.table.push(stream)?)
    }
}

impl stderr::Host for StageState {
    fn get_stderr(&mut self) -> wasmtime::Result<Resource<DynOutputStream>> {
        let wasi = self.wasi();
        let stream: DynOutputStream = Box::new(Lines(wasi.stderr.clone()));
        Ok(wasi.table.push(stream)?)
    }
}

impl wall_clock::Host for StageState {
    fn now(&mut self) -> wasmtime::Result<wall_clock::Datetime> {
        let now = Duration::from_millis(u64::try_from(self.capabilities.now).unwrap_or(0));
        Ok(datetime(now))
    }

    fn resolution(&mut self) -> wasmtime::Result<wall_clock::Datetime> {
        Ok(datetime(Duration::from_millis(1)))
    }
}

fn datetime(since_epoch: Duration) -> wall_clock::Datetime {
    wall_clock::Datetime {
        seconds: since_epoch.as_secs(),
        nanoseconds: since_epoch.subsec_nanos(),
    }
}

impl monotonic_clock::Host for StageState {
    fn now(&mut self) -> wasmtime::Result<monotonic_clock::Instant> {
        Ok(self.wasi().monotonic.ask_ns())
    }

    fn resolution(&mut self) -> wasmtime::Result<monotonic_clock::Duration> {
        Ok(1)
    }

    fn subscribe_instant(
        &mut self,
        when: monotonic_clock::Instant,
    ) -> wasmtime::Result<Resource<DynPollable>> {
        let wasi = self.wasi();
        let sleep = wasi.table.push(Sleep::until(&wasi.monotonic, when))?;
        subscribe(&mut wasi.table, sleep)
    }

    fn subscribe_duration(
        &mut self,
        duration: monotonic_clock::Duration,
    ) -> wasmtime::Result<Resource<DynPollable>> {
        let when = self.wasi().monotonic.after_ns(duration);
        self.subscribe_instant(when)
    }
}

/// A guest's wish to be woken. It takes the time that it says, which the wall limit bounds.
struct Sleep {
    clock: Monotonic,
    until_ns: u64,
    /// The same in the host's own time; never, where that cannot be told.
    end: Option<tokio::time::Instant>,
}

impl Sleep {
    fn until(clock: &Monotonic, until_ns: u64) -> Self {
        let rest = Duration::from_nanos(clock.until_ns(until_ns));
        Self {
            clock: clock.clone(),
            until_ns,
            end: tokio::time::Instant::now().checked_add(rest),
        }
    }

    async fn wait(&self) {
        if 0 < self.clock.until_ns(self.until_ns) {
            match self.end {
                Some(end) => tokio::time::sleep_until(end).await,
                None => std::future::pending().await,
            }
            self.clock.slept_until_ns(self.until_ns);
        } else {
            // A guest that asks in a loop whether something is ready lets others run.
            tokio::task::yield_now().await;
        }
    }
}

impl Pollable for Sleep {
    fn ready<'a, 'b>(&'a mut self) -> Pin<Box<dyn Future<Output = ()> + Send + 'b>>
    where
        'a: 'b,
        Self: 'b,
    {
        Box::pin(self.wait())
    }
}

impl random::Host for StageState {
    fn get_random_bytes(&mut self, count: u64) -> wasmtime::Result<Vec<u8>> {
        match usize::try_from(count) {
            Ok(count_fits) if count <= REQUEST_BYTES_MAX => {
                Ok(self.capabilities.random.bytes(count_fits))
            }
            _ => Err(passed(Breach::RandomLimit {
                limit_bytes: REQUEST_BYTES_MAX,
            })),
        }
    }

    fn get_random_u64(&mut self) -> wasmtime::Result<u64> {
        Ok(self.capabilities.random.number())
    }
}

impl insecure::Host for StageState {
    fn get_insecure_random_bytes(&mut self, count: u64) -> wasmtime::Result<Vec<u8>> {
        random::Host::get_random_bytes(self, count)
    }

    fn get_insecure_random_u64(&mut self) -> wasmtime::Result<u64> {
        random::Host::get_random_u64(self)
    }
}

impl insecure_seed::Host for StageState {
    fn insecure_seed(&mut self) -> wasmtime::Result<(u64, u64)> {
        Ok(self.capabilities.random.seed())
    }
}

/// A standard output: what is written is a line of the log as soon as it ends. It never
/// waits, and takes everything; the log keeps what it has room for.
struct Lines(Output);

impl OutputStream for Lines {
    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        self.0.write(&bytes);
        Ok(())
    }

    fn flush(&mut self) -> StreamResult<()> {
        Ok(())
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        Ok(WRITE_BYTES_MAX)
    }
}

impl Pollable for Lines {
    fn ready<'a, 'b>(&'a mut self) -> Pin<Box<dyn Future<Output = ()> + Send + 'b>>
    where
        'a: 'b,
        Self: 'b,
    {
        Box::pin(std::future::ready(()))
    }
}

fn passed(breach: Breach) -> wasmtime::Error {
    wasmtime::Error::new(LimitPassed(breach))
}
