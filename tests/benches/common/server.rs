//! A process that listens, and says so on its first line.

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use rustix::process::{Pid, Signal, kill_process};

/// How long a server may take to stop.
const STOP_WITHIN: Duration = Duration::from_secs(60);
/// Characters of a server's log that an error shows.
const LOG_SHOWN: usize = 2_000;

/// A running server. Killed when dropped.
pub struct Server {
    child: Child,
    log: PathBuf,
    pub address: SocketAddr,
}

impl Server {
    /// Starts it and waits until it listens. Its log goes into the folder.
    pub fn start(mut command: Command, folder: &Path) -> Result<Self> {
        let log = folder.join("server.log");
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(File::create(&log)?)
            .spawn()
            .with_context(|| format!("cannot start {command:?}"))?;
        let mut line = String::new();
        let stdout = child.stdout.take().context("no stdout")?;
        BufReader::new(stdout).read_line(&mut line)?;
        let address = line
            .trim()
            .rsplit_once("http://")
            .and_then(|(_, it)| it.parse().ok());
        let Some(address) = address else {
            // It ends by itself, or is stuck.
            let _ = child.kill();
            let _ = child.wait();
            bail!("{command:?} does not listen: {line}{}", shown(&log));
        };
        Ok(Self {
            child,
            log,
            address,
        })
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What it logged up to now.
    pub fn log(&self) -> Result<String> {
        Ok(std::fs::read_to_string(&self.log)?)
    }

    /// Asks it to stop, and expects that it does so without an error.
    pub fn stop(mut self) -> Result<()> {
        let pid = Pid::from_raw(i32::try_from(self.pid())?).context("no process")?;
        kill_process(pid, Signal::TERM)?;
        let asked = Instant::now();
        let status = loop {
            match self.child.try_wait()? {
                Some(status) => break status,
                None if STOP_WITHIN < asked.elapsed() => {
                    bail!("the server does not stop{}", shown(&self.log))
                }
                None => std::thread::sleep(Duration::from_millis(5)),
            }
        };
        ensure!(
            status.success(),
            "the server ended with {status}{}",
            shown(&self.log)
        );
        Ok(())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Both fail where it is gone already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn shown(log: &Path) -> String {
    let mut text = String::new();
    // A log that cannot be read is not worth an error of its own.
    let _ = File::open(log).and_then(|mut it| it.read_to_string(&mut text));
    let start = text
        .char_indices()
        .rev()
        .nth(LOG_SHOWN)
        .map_or(0, |(at, _)| at);
    format!("\nits log ends with:\n{}", &text[start..])
}
