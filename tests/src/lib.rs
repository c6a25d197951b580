//! Drives the real binary `triage` from outside, for the tests in `it/` and the benchmarks.
//!
//! A test writes a configuration, starts a [`Host`] in a folder of its own on a free port,
//! and sends it [`Delivery`]s over HTTP. What the host sends out is caught by a [`Receiver`].
//! Nothing here looks into the host's memory: only its answers, its database file and its log.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stderr,
    reason = "a broken harness fails the test that uses it"
)]

pub mod binary;
pub mod bombs;
pub mod config;
pub mod database;
pub mod delivery;
pub mod faults;
pub mod folder;
pub mod guest;
pub mod host;
pub mod http;
pub mod process;
pub mod receiver;
pub mod senders;
pub mod wait;

pub use delivery::Delivery;
pub use folder::{Ended, Folder};
pub use host::Host;
pub use http::Answer;
pub use receiver::Receiver;
pub use wait::wait_until;
