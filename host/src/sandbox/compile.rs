//! Compiles components in a process of their own, one after another, so that no plugin can take the server's
//! time, memory or secrets by being hard to compile.
//!
//! Called by `load` for what is not in the cache. The process gets nothing but the component's bytes: no
//! environment, no file, no network, little priority, and limits on time and memory. It dies with this one.

pub mod child;
mod queue;
#[cfg(test)]
mod tests;

use std::io::{self, Read, Write};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread::{self, ScopedJoinHandle};
use std::time::{Duration, Instant};

use close_fds::set_fds_cloexec_threadsafe;
use rustix::process::Signal;

use self::child::COMPILE_MEMORY_MIB;
pub use self::queue::COMPILES_WAITING_MAX;
use self::queue::Queue;
use super::artefacts::Trusted;
use super::load::LoadError;

/// The hidden command that compiles.
pub const COMMAND: &str = "compile-component";
/// A larger component has this share of a small one's seconds more for each full MiB: of computing time ...
const MORE_COMPUTING: (u64, u64) = (1, 2);
/// ... and of wall time, because whatever else is busy goes first.
const MORE_WALL: (u64, u64) = (1, 1);
/// Bytes of machine code. The largest guests have 37 MB.
const ARTEFACT_BYTES_MAX: u64 = 256 << 20;
/// Bytes that are kept of a complaint.
const COMPLAINT_BYTES_MAX: u64 = 1_000;
/// The first descriptor after standard input, output and error.
const FIRST_OTHER_DESCRIPTOR: i32 = 3;
/// How often is looked whether a process that has answered is gone.
const POLL: Duration = Duration::from_millis(2);

/// Starts processes that compile.
pub struct Compiler {
    place: Place,
    queue: Queue,
}

enum Place {
    Program(PathBuf),
    /// In this process: tests of the library have no program.
    #[cfg(test)]
    Here,
}

/// How a compiling process ended.
struct Ended {
    status: ExitStatus,
    answer: Vec<u8>,
    stderr: Vec<u8>,
}

impl Compiler {
    /// Compiles with the program that this process runs, even if its file was replaced meanwhile.
    pub fn own() -> Self {
        let running = PathBuf::from("/proc/self/exe");
        match running.exists() {
            true => Self::with(running),
            // A system without that file. Where this fails as well, the first compile says so.
            false => Self::with(std::env::current_exe().unwrap_or(running)),
        }
    }

    /// Compiles with the program in a file, which must be of this version.
    pub fn with(program: PathBuf) -> Self {
        Self {
            place: Place::Program(program),
            queue: Queue::default(),
        }
    }

    #[cfg(test)]
    pub(super) fn here() -> Self {
        Self {
            place: Place::Here,
            queue: Queue::default(),
        }
    }

    /// Machine code for a component that was looked at. Blocks until it is one's turn, and then for
    /// as long as its size allows where a small one has `seconds`.
    ///
    /// # Errors
    /// Names what is wrong with the component, or the limit that it reached.
    pub(super) fn compile(&self, component: &[u8], seconds: u64) -> Result<Trusted, LoadError> {
        self.compiled(component, seconds).map(Trusted::compiled)
    }

    fn compiled(&self, component: &[u8], seconds: u64) -> Result<Vec<u8>, LoadError> {
        let _turn = self.queue.wait().ok_or(LoadError::Busy)?;
        match &self.place {
            #[cfg(test)]
            Place::Here => child::compile(component).map_err(LoadError::Invalid),
            Place::Program(program) => run(program, component, seconds),
        }
    }
}

/// Seconds for a component of this size, where a small one has so many and each full MiB a share of them more.
fn allowance(bytes: usize, seconds: u64, (more, of): (u64, u64)) -> u64 {
    seconds + seconds * (bytes as u64 >> 20) * more / of
}

fn run(program: &PathBuf, component: &[u8], seconds: u64) -> Result<Vec<u8>, LoadError> {
    let wall = allowance(component.len(), seconds, MORE_WALL);
    let computing = allowance(component.len(), seconds, MORE_COMPUTING);
    let deadline = Instant::now() + Duration::from_secs(wall);
    // What this process opens is not inherited anyway; what it inherited itself ends here.
    set_fds_cloexec_threadsafe(FIRST_OTHER_DESCRIPTOR, &[]);
    let mut child = Command::new(program)
        .arg0("triage")
        .arg(COMMAND)
        .args(["--parent", &std::process::id().to_string()])
        .args(["--seconds", &computing.to_string()])
        .env_clear()
        .current_dir("/")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(LoadError::NoCompiler)?;
    match converse(&mut child, component, deadline) {
        Ok(Some(ended)) => judge(ended, computing),
        Ok(None) => Err(LoadError::TooSlow { seconds: wall }),
        Err(error) => Err(LoadError::NoCompiler(error)),
    }
}

/// Gives the component to the process and takes its answer; `None` if it did not end in time. It is
/// gone in any case.
fn converse(child: &mut Child, component: &[u8], deadline: Instant) -> io::Result<Option<Ended>> {
    let (stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
    thread::scope(|scope| {
        scope.spawn(move || {
            // What it does not take, it does not want: its answer says why.
            let _ = stdin.map(|mut it| it.write_all(component));
        });
        let (done, answered) = mpsc::channel();
        let answer = scope.spawn(move || {
            let answer = read_up_to(stdout, ARTEFACT_BYTES_MAX + 1);
            let _ = done.send(());
            answer
        });
        let stderr = scope.spawn(move || read_up_to(stderr, COMPLAINT_BYTES_MAX));
        let left = deadline.saturating_duration_since(Instant::now());
        let status = match answered.recv_timeout(left) {
            Ok(()) | Err(RecvTimeoutError::Disconnected) => wait_until(child, deadline),
            Err(RecvTimeoutError::Timeout) => Ok(None),
        };
        if !matches!(status, Ok(Some(_))) {
            // Fails only where it has ended.
            let _ = child.kill();
            child.wait()?;
        }
        let (answer, stderr) = (joined(answer), joined(stderr));
        Ok(status?.map(|status| Ended {
            status,
            answer,
            stderr,
        }))
    })
}

/// How it ended, if it does in time.
fn wait_until(child: &mut Child, deadline: Instant) -> io::Result<Option<ExitStatus>> {
    loop {
        let status = child.try_wait()?;
        if status.is_some() || deadline <= Instant::now() {
            return Ok(status);
        }
        thread::sleep(POLL);
    }
}

fn read_up_to(from: Option<impl Read>, most: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    // What was read before an error is judged like any other answer.
    let _ = from.map(|it| it.take(most).read_to_end(&mut bytes));
    bytes
}

fn joined(reader: ScopedJoinHandle<'_, Vec<u8>>) -> Vec<u8> {
    reader.join().unwrap_or_default()
}

/// What a process that ended by itself, or by a limit of its own, has to say.
fn judge(ended: Ended, seconds: u64) -> Result<Vec<u8>, LoadError> {
    let Ended {
        status,
        mut answer,
        stderr,
    } = ended;
    if status.success() && !answer.is_empty() && answer.len() as u64 <= ARTEFACT_BYTES_MAX {
        let kind = answer.remove(0);
        return match kind {
            child::ARTEFACT => Ok(answer),
            _ => Err(LoadError::Invalid(readable(&answer))),
        };
    }
    if ARTEFACT_BYTES_MAX < answer.len() as u64 {
        return Err(LoadError::TooMuchCode {
            bytes: ARTEFACT_BYTES_MAX,
        });
    }
    let stderr = readable(&stderr);
    match status.signal().and_then(Signal::from_named_raw) {
        Some(Signal::XCPU) => Err(LoadError::TooSlow { seconds }),
        // What the allocator of the standard library says before it ends the process.
        Some(Signal::ABORT) if stderr.contains("memory allocation of") => {
            Err(LoadError::TooMuchMemory {
                mib: COMPILE_MEMORY_MIB,
            })
        }
        _ => Err(LoadError::Crashed(format!("{status}: {stderr}"))),
    }
}

/// A complaint about hostile bytes, fit for one line of a log.
fn readable(bytes: &[u8]) -> String {
    let bytes = bytes.get(..COMPLAINT_BYTES_MAX as usize).unwrap_or(bytes);
    let text = String::from_utf8_lossy(bytes);
    let lines: Vec<&str> = text.split_whitespace().collect();
    lines.join(" ").replace(char::is_control, "?")
}
