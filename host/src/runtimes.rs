//! The threads that work, in three groups that do not wait for one another.
//!
//! `http` acknowledges and answers, `work` claims runs, writes results and carries actions out,
//! and `guests` computes: it runs plugins and does nothing else. Guests step back where others want
//! a processor, so that an acknowledgement hardly waits for one, and threads that compute for
//! strangers hold nothing that others need.

use anyhow::Context;
use tokio::runtime::{Builder, Runtime};

use crate::threads;

/// Threads that serve HTTP, each with connections of its own: what is woken and freed on the thread that
/// it began on costs less than what another one takes over.
const HTTP_THREADS: usize = 2;

/// How far guests step back: beside a thread of the usual priority, one gets a tenth of a processor.
///
/// Not the scheduling class that gets what nobody else wants (`SCHED_IDLE`): on a machine that other
/// programs keep busy, guests would not run at all then, and their policies' time limits would end
/// them for nothing that they did.
const GUEST_NICE: i32 = 10;

/// One group of threads each.
pub struct Runtimes {
    /// Takes deliveries in and answers requests.
    pub http: [Runtime; HTTP_THREADS],
    /// Claims, writes down, delivers.
    pub work: Runtime,
    /// Runs plugins.
    pub guests: Runtime,
}

impl Runtimes {
    /// Starts the threads.
    pub fn start() -> anyhow::Result<Self> {
        let processors = std::thread::available_parallelism().map_or(2, usize::from);
        Ok(Self {
            http: [runtime("http", 1, || ())?, runtime("http", 1, || ())?],
            work: runtime("worker", processors, || ())?,
            guests: runtime("guest", processors, || threads::step_back(GUEST_NICE))?,
        })
    }
}

fn runtime(name: &str, threads: usize, first: fn()) -> anyhow::Result<Runtime> {
    Builder::new_multi_thread()
        .worker_threads(threads)
        .thread_name(name)
        .on_thread_start(first)
        .enable_all()
        .build()
        .with_context(|| format!("cannot start the {name} threads"))
}
