//! A child process that never outlives its owner.

use std::process::{Child, Command, ExitStatus};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use crate::wait::wait_within;

/// A child process. It is killed when it is dropped.
pub struct Process(Child);

impl Process {
    /// Starts a command; its pipes stay in the child.
    pub fn start(mut command: Command) -> Self {
        Self(
            command
                .spawn()
                .unwrap_or_else(|error| panic!("cannot start {command:?}: {error}")),
        )
    }

    /// The child, for its pipes.
    pub fn child(&mut self) -> &mut Child {
        &mut self.0
    }

    /// Its id.
    pub fn pid(&self) -> Pid {
        Pid::from_child(&self.0)
    }

    /// Asks it to end.
    pub fn terminate(&self) {
        kill_process(self.pid(), Signal::TERM).unwrap();
    }

    /// Tells it to read its configuration again.
    pub fn hang_up(&self) {
        kill_process(self.pid(), Signal::HUP).unwrap();
    }

    /// Waits until it ends by itself.
    #[track_caller]
    pub fn wait(mut self, patience: Duration, what: &str) -> ExitStatus {
        wait_within(patience, what, || {
            self.0
                .try_wait()
                .unwrap()
                .ok_or_else(|| "still running".to_owned())
        })
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Both only fail where it has ended.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
