//! What the benches share: bodies, load, servers to compare with, figures.
//!
//! Everything here is used from outside the host: it talks HTTP to processes and
//! reads `/proc`. What is measured, and against what, stands in the benches.

#![allow(dead_code, reason = "each bench uses a part")]
#![allow(clippy::indexing_slicing, reason = "a bench fails by panicking")]

pub mod arguments;
pub mod bodies;
pub mod decisions;
pub mod flood;
pub mod floors;
pub mod host;
pub mod judge;
pub mod kept;
pub mod load;
pub mod process;
pub mod report;
pub mod server;
pub mod slow;
pub mod statistics;
