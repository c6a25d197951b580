//! Project chores: `cargo xtask demo | test | bench | plugins | guests | bindings`.
//!
//! It drives the real binary from outside and needs nothing but a Rust toolchain
//! and the package registries.

mod bench;
mod bindings;
mod command;
mod demo;
mod guests;
mod plugins;
mod test;

use clap::{Parser, Subcommand};

/// Project chores.
#[derive(Parser)]
#[command(name = "cargo xtask")]
struct Arguments {
    #[command(subcommand)]
    chore: Chore,
}

#[derive(Subcommand)]
enum Chore {
    /// Build everything, start a host, send it real signed events and show what it decides.
    Demo {
        /// Exit after the events instead of serving until Ctrl-C.
        #[arg(long)]
        once: bool,
    },
    /// Run every check: format, lints, bindings, tests, documentation.
    Test,
    /// Measure, as ratios to floors in the same run.
    Bench {
        /// `ingest`, `kept`, `attack`, `evaluate` or `pipeline`; all of them where left out.
        which: Option<String>,
        /// Shorter rounds, for a first look.
        #[arg(long)]
        quick: bool,
        /// How many events the store of `kept` holds: 5,000,000, with `--quick` 1,000,000.
        #[arg(long)]
        events: Option<u64>,
    },
    /// Build the bundled plugins.
    Plugins,
    /// Install the toolchains of other languages into `target/guests`, and build the incident policy with each.
    Guests,
    /// Make the Rust bindings of the plugin SDK anew from `wit/`.
    Bindings {
        /// Only say whether they are up to date.
        #[arg(long)]
        check: bool,
    },
}

fn main() -> anyhow::Result<()> {
    std::env::set_current_dir(command::root())?;
    match Arguments::parse().chore {
        Chore::Demo { once } => demo::run(once),
        Chore::Test => test::run(),
        Chore::Bench {
            which,
            quick,
            events,
        } => bench::run(which, quick, events),
        Chore::Plugins => plugins::build(&command::build_host()?).map(drop),
        Chore::Guests => guests::run(),
        Chore::Bindings { check } => bindings::run(check),
    }
}
