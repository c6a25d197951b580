//! The threads that work, in three groups that do not wait for one another.
//!
//! `http` acknowledges and answers, `work` claims runs, writes results and carries actions out,
//! and `guests` computes: it runs plugins and does nothing else. Guests get the processors that
//! nobody else wants, so that an acknowledgement never waits for one, and threads that compute
//! for strangers hold nothing that others need.

use anyhow::Context;
use thread_priority::ThreadPriority;
use thread_priority::unix::{
    NormalThreadSchedulePolicy, ThreadSchedulePolicy, set_thread_priority_and_policy,
    thread_native_id,
};
use tokio::runtime::{Builder, Runtime};

/// Threads that serve HTTP.
const HTTP_THREADS: usize = 2;

/// One group of threads each.
pub struct Runtimes {
    /// Takes deliveries in and answers requests.
    pub http: Runtime,
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
            http: runtime("http", HTTP_THREADS, || ())?,
            work: runtime("worker", processors, || ())?,
            guests: runtime("guest", processors, step_back)?,
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

/// Lets this thread run only where no other wants to, and be interrupted at once by one that
/// does (`SCHED_IDLE`, sched(7)).
///
/// A lower priority (nice(1)) does not suffice: the scheduler lets a thread that computes keep
/// its processor for some milliseconds, at any priority but this one.
fn step_back() {
    let policy = ThreadSchedulePolicy::Normal(NormalThreadSchedulePolicy::Idle);
    // Never needed to work, only to work well.
    if let Err(error) =
        set_thread_priority_and_policy(thread_native_id(), ThreadPriority::Min, policy)
    {
        tracing::debug!(error = %error, "a thread's priority cannot be lowered");
    }
}
