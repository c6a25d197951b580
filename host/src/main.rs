//! The program `triage`.

use std::io;
use std::process::ExitCode;

use triage_host::cli;
use triage_host::clock::Clock;

fn main() -> ExitCode {
    let env = |name: &str| std::env::var(name).ok();
    cli::main(
        std::env::args_os(),
        &env,
        Clock::System,
        &mut io::stdout().lock(),
        &mut io::stderr(),
    )
}
