//! What a thread may ask of the system for itself.

use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

/// Gives this thread a smaller share of a processor that others want too (nice(2); on Linux it is
/// a thread's own): each step of `nice` about a fifth less.
pub fn step_back(nice: i32) {
    // Never needed to work, only to work well.
    if let Err(error) = rustix::process::setpriority_process(None, nice) {
        tracing::debug!(error = %error, "a thread's priority cannot be lowered");
    }
}

/// Keeps this thread on one of the processors that it may use, counted from 0 and around
/// (`sched_setaffinity(2)`).
pub fn stay_on_processor(number: u32) {
    let outcome = sched_getaffinity(None).and_then(|all| {
        let usable: Vec<usize> = (0..CpuSet::MAX_CPU).filter(|it| all.is_set(*it)).collect();
        let mut one = CpuSet::new();
        if let Some(processor) = usable.iter().cycle().nth(number as usize) {
            one.set(*processor);
        }
        sched_setaffinity(None, &one)
    });
    // Never needed to work, only to work well.
    if let Err(error) = outcome {
        tracing::debug!(error = %error, "a thread cannot be kept on one processor");
    }
}
