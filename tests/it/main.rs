//! The real binary from outside. Each test has a folder, a port and a host of its own.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stderr,
    reason = "a test fails by panicking and says on stderr what to repeat"
)]

mod cli;
mod compile;
mod conformance;
mod connections;
mod console;
mod crash;
mod disk_faults;
mod edges;
mod forgery;
mod fuzz_corpus;
mod hostile;
mod ingest;
mod ingest_table;
mod integration_limits;
mod integrations;
mod kill_matrix;
mod load;
mod neighbours;
mod order;
mod pipeline;
mod quarantine;
mod reload;
mod repeats;
mod secrets;
mod selftest;
mod sources;
mod start;
mod stop;
mod swap;
mod tenants;
mod webhooks;
