//! What a guest consumes: computing time and memory, counted and limited.

use std::cell::Cell;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};
use wasmtime::ResourceLimiter;

use super::engine::{CORE_INSTANCES_MAX, MEMORIES_MAX, TABLES_MAX};
use super::turns::Seat;
use crate::model::outcome::Breach;
use crate::model::policy::Limits;

/// How long a thread whose guests compute on and on leaves its processor idle now and then.
///
/// A flush of the disk needs a thread of the kernel, which is bound to a processor. Linux lets that
/// thread wait 6 ms behind a thread that computes without a pause, whatever the priorities of the two
/// (`docs/decisions/0003`), several times for one flush; and every acknowledgement waits for a flush.
const PAUSE: Duration = Duration::from_micros(50);
/// Ticks that find a thread's guests computing for each such pause. At the others the thread only offers
/// its processor to threads that are ready.
const TICKS_PER_PAUSE: u32 = 4;

thread_local! {
    /// Ticks that found this thread's guests computing.
    static TICKS: Cell<u32> = const { Cell::new(0) };
}

/// A limit was passed: carried through wasmtime as the error that ends the guest.
#[derive(Clone, Debug, thiserror::Error)]
#[error(transparent)]
pub(super) struct LimitPassed(pub(super) Breach);

/// Counts the time that the guest's thread spends in the guest, waiting left out.
#[derive(Clone, Default)]
pub(super) struct CpuMeter(Arc<CpuTimes>);

#[derive(Default)]
struct CpuTimes {
    used_ns: AtomicU64,
    poll_began_ns: AtomicU64,
    was_interrupted: AtomicBool,
}

impl CpuMeter {
    /// Computing time so far in nanoseconds; to be asked on the guest's own thread.
    pub(super) fn used_ns(&self) -> u64 {
        let running = thread_cpu_ns().saturating_sub(self.0.poll_began_ns.load(Ordering::Relaxed));
        self.0.used_ns.load(Ordering::Relaxed) + running
    }

    /// The guest is interrupted, and wants to go on.
    pub(super) fn interrupt(&self) {
        self.0.was_interrupted.store(true, Ordering::Relaxed);
    }

    /// Computing time in microseconds, when the guest is not running.
    pub(super) fn total_us(&self) -> u64 {
        self.0.used_ns.load(Ordering::Relaxed) / 1_000
    }

    /// The future, with the time of each poll counted, and polled only when it is its turn.
    pub(super) fn measure<F: Future>(&self, seat: Seat, future: F) -> Measured<F> {
        Measured {
            meter: self.clone(),
            seat,
            future: Box::pin(future),
        }
    }
}

/// See [`CpuMeter::measure`].
pub(super) struct Measured<F> {
    meter: CpuMeter,
    seat: Seat,
    future: Pin<Box<F>>,
}

impl<F: Future> Future for Measured<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        if !self.seat.take(context.waker()) {
            return Poll::Pending;
        }
        let began_ns = thread_cpu_ns();
        self.meter
            .0
            .poll_began_ns
            .store(began_ns, Ordering::Relaxed);
        let polled = self.future.as_mut().poll(context);
        let used_ns = thread_cpu_ns().saturating_sub(began_ns);
        self.meter.0.used_ns.fetch_add(used_ns, Ordering::Relaxed);
        let was_interrupted = self.meter.0.was_interrupted.swap(false, Ordering::Relaxed);
        let goes_on = was_interrupted && polled.is_pending();
        if goes_on {
            // Before the next guest is told, which would use the processor at once.
            step_aside();
        }
        self.seat.give(used_ns, goes_on);
        polled
    }
}

/// Lets other threads use this one's processor.
fn step_aside() {
    let ticks = (TICKS.get() + 1) % TICKS_PER_PAUSE;
    TICKS.set(ticks);
    if ticks == 0 {
        std::thread::sleep(PAUSE);
    } else {
        std::thread::yield_now();
    }
}

/// Computing time of this thread. Not wall time: on a busy machine a guest does not pay
/// for the time in which it was not scheduled.
fn thread_cpu_ns() -> u64 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    u64::try_from(time.tv_sec).unwrap_or(0) * 1_000_000_000
        + u64::try_from(time.tv_nsec).unwrap_or(0)
}

/// Counts and limits linear memory and tables, all of a guest's together.
#[derive(Debug)]
pub(super) struct MemoryMeter {
    limit_bytes: u64,
    limit_elements: usize,
    bytes: u64,
    elements: usize,
}

impl MemoryMeter {
    pub(super) fn new(limits: &Limits) -> Self {
        Self {
            limit_bytes: limits.memory_bytes,
            limit_elements: limits.table_elements,
            bytes: 0,
            elements: 0,
        }
    }

    /// The most linear memory in bytes; it never shrinks.
    pub(super) fn peak_bytes(&self) -> u64 {
        self.bytes
    }
}

impl ResourceLimiter for MemoryMeter {
    // An error and not a refusal: a guest that goes on after a refused request would
    // be judged by whatever it does next.
    fn memory_growing(
        &mut self,
        current: usize,
        desired: usize,
        _maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        let bytes = self.bytes + desired.saturating_sub(current) as u64;
        if self.limit_bytes < bytes {
            let breach = Breach::MemoryLimit {
                limit_bytes: self.limit_bytes,
            };
            return Err(wasmtime::Error::new(LimitPassed(breach)));
        }
        self.bytes = bytes;
        Ok(true)
    }

    fn table_growing(
        &mut self,
        current: usize,
        desired: usize,
        _maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        let elements = self
            .elements
            .saturating_add(desired.saturating_sub(current));
        if self.limit_elements < elements {
            let limit = self.limit_elements;
            return Err(wasmtime::Error::new(LimitPassed(Breach::TableLimit {
                limit,
            })));
        }
        self.elements = elements;
        Ok(true)
    }

    // The same as the pool's, for machines without one.
    fn instances(&self) -> usize {
        CORE_INSTANCES_MAX as usize
    }

    fn tables(&self) -> usize {
        TABLES_MAX as usize
    }

    fn memories(&self) -> usize {
        MEMORIES_MAX as usize
    }
}

#[cfg(test)]
#[cfg(target_os = "linux")]
mod tests {
    use std::future::poll_fn;

    use super::*;
    use crate::sandbox::turns::Turns;

    const PIECES: u64 = 80;
    const PAUSES: u64 = PIECES / TICKS_PER_PAUSE as u64;

    /// How often this thread gave its processor up by itself, as the kernel counts.
    fn times_idle() -> u64 {
        let status = std::fs::read_to_string("/proc/thread-self/status").unwrap();
        let line = status
            .lines()
            .find_map(|it| it.strip_prefix("voluntary_ctxt_switches:"));
        line.unwrap().trim().parse().unwrap()
    }

    fn polled_to_its_end(is_interrupted: bool) -> u64 {
        let meter = CpuMeter::default();
        let (inner, mut left) = (meter.clone(), PIECES);
        let guest = poll_fn(move |_| {
            if left == 0 {
                return Poll::Ready(());
            }
            left -= 1;
            if is_interrupted {
                inner.interrupt();
            }
            Poll::Pending
        });
        let mut guest = meter.measure(Turns::new(1).seat("acme"), guest);
        let mut context = Context::from_waker(std::task::Waker::noop());
        let before = times_idle();
        while Pin::new(&mut guest).poll(&mut context).is_pending() {}
        times_idle() - before
    }

    #[test]
    fn a_guest_that_computes_on_and_on_leaves_its_processor_idle_now_and_then() {
        assert!(PAUSES <= polled_to_its_end(true));
        assert!(polled_to_its_end(false) < PAUSES);
    }
}
