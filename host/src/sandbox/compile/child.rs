//! What happens in the process that compiles: it gives up what it does not need, reads a component from its
//! standard input, and writes machine code or a complaint to its standard output.
//!
//! Started by `compile`, as a hidden command of this program. This is the only file that compiles anything.

use std::io::{Read, Write};

use rustix::process::{Pid, Resource, Rlimit, Signal, getppid, setrlimit};

use super::super::engine;
use super::super::precheck::COMPONENT_BYTES;
use crate::threads;

/// Address space of the compiling process in MiB, its own code included. The largest guests take 1,090, of which
/// the allocator only reserves 600.
pub const COMPILE_MEMORY_MIB: u64 = 1_280;
/// How much it steps back behind everything else where all processors are busy, as in nice(1).
const NICENESS: i32 = 10;
/// Descriptors it may hold: standard input, output and error. It can open no file and no socket.
const DESCRIPTORS: u64 = 3;

/// What the answer's first byte says that the rest is.
pub(super) const ARTEFACT: u8 = 0;
pub(super) const COMPLAINT: u8 = 1;

/// What the compiling process is told.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// The process that waits for the answer. This one ends with it.
    #[arg(long)]
    parent: i32,
    /// Computing time in seconds.
    #[arg(long)]
    seconds: u64,
}

/// Compiles what stands on `input` and answers on `output`.
///
/// # Errors
/// Where nobody takes the answer any more.
pub fn run(
    arguments: &Arguments,
    input: &mut dyn Read,
    output: &mut dyn Write,
) -> std::io::Result<()> {
    let done = confine(arguments)
        .map_err(|error| format!("the compiling process cannot be confined: {error}"))
        .and_then(|()| read(input))
        .and_then(|bytes| compile(&bytes));
    let (kind, bytes) = match done {
        Ok(artefact) => (ARTEFACT, artefact),
        Err(complaint) => (COMPLAINT, complaint.into_bytes()),
    };
    output.write_all(&[kind])?;
    output.write_all(&bytes)?;
    output.flush()
}

/// Gives up everything that compiling does not need. Limits are inherited by nobody: it starts nothing.
fn confine(arguments: &Arguments) -> std::io::Result<()> {
    #[cfg(target_os = "linux")]
    {
        rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
        rustix::thread::set_no_new_privs(true)?;
    }
    if getppid() != Pid::from_raw(arguments.parent) {
        return Err(std::io::Error::other("whoever asked for it is gone"));
    }
    for (resource, most) in [
        (Resource::As, COMPILE_MEMORY_MIB << 20),
        (Resource::Core, 0),
        (Resource::Fsize, 0),
        (Resource::Nofile, DESCRIPTORS),
    ] {
        setrlimit(resource, to(most, most))?;
    }
    // The first says why the process ends (SIGXCPU), the second would end any.
    setrlimit(Resource::Cpu, to(arguments.seconds, arguments.seconds + 1))?;
    threads::step_back(NICENESS);
    Ok(())
}

fn to(current: u64, maximum: u64) -> Rlimit {
    Rlimit {
        current: Some(current),
        maximum: Some(maximum),
    }
}

fn read(input: &mut dyn Read) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::new();
    input
        .take(COMPONENT_BYTES.most)
        .read_to_end(&mut bytes)
        .map_err(|error| format!("the component cannot be read: {error}"))?;
    Ok(bytes)
}

/// Machine code for a component, as the serving engine loads it.
pub(super) fn compile(component: &[u8]) -> Result<Vec<u8>, String> {
    engine::compiling()
        .and_then(|engine| engine.precompile_component(component))
        .map_err(|error| format!("{error:#}"))
}
