//! The clock that interrupts guests, so that limits are looked at and other threads get their turn.
//!
//! A guest that is interrupted offers its processor to others (`meter`). That is more than politeness:
//! Linux lets a thread that is woken wait for milliseconds behind one that computes, whatever their
//! priorities, and a delivery is handed on between threads five times (`docs/decisions/0003`). The clock
//! waits as well then: so there are two, on a processor each, and whichever is on time interrupts all.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::Thread;
use std::time::{Duration, Instant};

use wasmtime::Engine;

use crate::threads;

/// How often a running guest is interrupted. Limits fire this much late.
const TICK: Duration = Duration::from_micros(250);
/// Threads that tick in turns.
const TICKERS: u32 = 2;

/// Advances the engine's epoch from threads of its own, so that a busy runtime cannot delay a limit.
/// They sleep while no guest runs.
pub(super) struct Ticker {
    state: Arc<State>,
    threads: Vec<Thread>,
}

#[derive(Default)]
struct State {
    running: AtomicUsize,
    stop: AtomicBool,
}

impl Ticker {
    /// Starts the threads.
    ///
    /// # Errors
    /// Where the system gives no thread.
    pub(super) fn start(engine: &Engine) -> io::Result<Self> {
        // Stopped when it is dropped, also where the second thread cannot be had.
        let mut ticker = Self {
            state: Arc::default(),
            threads: Vec::new(),
        };
        let began = Instant::now();
        for number in 0..TICKERS {
            let (engine, state) = (engine.clone(), ticker.state.clone());
            let handle = std::thread::Builder::new()
                .name("epoch-ticker".to_owned())
                .spawn(move || {
                    threads::stay_on_processor(number);
                    state.tick(&engine, began, number);
                })?;
            ticker.threads.push(handle.thread().clone());
        }
        Ok(ticker)
    }

    /// Keeps it going until the result is dropped.
    pub(super) fn while_running(&self) -> Running {
        if self.state.running.fetch_add(1, Ordering::SeqCst) == 0 {
            self.threads.iter().for_each(Thread::unpark);
        }
        Running(self.state.clone())
    }
}

impl Drop for Ticker {
    fn drop(&mut self) {
        self.state.stop.store(true, Ordering::SeqCst);
        self.threads.iter().for_each(Thread::unpark);
    }
}

impl State {
    fn tick(&self, engine: &Engine, began: Instant, number: u32) {
        while !self.stop.load(Ordering::SeqCst) {
            if self.running.load(Ordering::SeqCst) == 0 {
                std::thread::park();
            } else {
                std::thread::sleep(until_next(began.elapsed(), number));
                engine.increment_epoch();
            }
        }
    }
}

/// A guest is running.
pub(super) struct Running(Arc<State>);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.running.fetch_sub(1, Ordering::SeqCst);
    }
}

/// How long it is to the next tick of one of the threads: theirs are spread evenly.
fn until_next(elapsed: Duration, number: u32) -> Duration {
    let round = TICK * TICKERS;
    let since = elapsed + round - TICK * number;
    let in_round = since.as_nanos() % round.as_nanos();
    round - Duration::from_nanos(u64::try_from(in_round).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_threads_tick_in_turns() {
        let at = |micros| Duration::from_micros(micros);
        assert_eq!(until_next(at(0), 0), at(500));
        assert_eq!(until_next(at(0), 1), at(250));
        assert_eq!(until_next(at(499), 0), at(1));
        assert_eq!(until_next(at(499), 1), at(251));
        assert_eq!(until_next(at(1_250), 0), at(250));
        assert_eq!(until_next(at(1_250), 1), at(500));
    }
}
