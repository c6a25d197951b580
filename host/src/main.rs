//! The program `triage`.

use std::io;
use std::process::ExitCode;

use triage_host::cli;
use triage_host::clock::Clock;

/// What one thread allocates another frees, all the time: a delivery is read on an HTTP thread
/// and dropped by the writer. The system's allocator spends a tenth of the processor on that.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

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
