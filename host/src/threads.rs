//! What a thread may ask of the system for itself.

/// Gives this thread a smaller share of a processor that others want too (nice(2); on Linux it is
/// a thread's own): each step of `nice` about a fifth less.
pub fn step_back(nice: i32) {
    // Never needed to work, only to work well.
    if let Err(error) = rustix::process::setpriority_process(None, nice) {
        tracing::debug!(error = %error, "a thread's priority cannot be lowered");
    }
}
