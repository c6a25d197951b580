//! A folder of its own for each test: configuration, secrets, database, and commands run in it.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread::JoinHandle;
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;

use crate::process::Process;
use crate::{binary, config};

/// How long a command may take. Plugins are compiled by several of them.
const COMMAND_PATIENCE: Duration = Duration::from_secs(60);

/// Address and database of every host: a free port, in the folder.
pub const SERVER: &str = "[server]\nlisten = \"127.0.0.1:0\"\ndatabase = \"triage.db\"\n";

/// A folder with `triage.toml`. It is removed when it is dropped.
#[derive(Debug)]
pub struct Folder {
    dir: TempDir,
    /// The admin token that `triage init` made; empty in a bare folder.
    pub token: String,
}

/// How a command ended.
#[derive(Clone, Debug)]
pub struct Ended {
    /// The exit code; `None` after a signal.
    pub code: Option<i32>,
    /// All of its output.
    pub stdout: Vec<u8>,
    /// All that it complained about.
    pub stderr: String,
}

impl Ended {
    /// Waits for the end of a process that [`Folder::command`] describes.
    #[track_caller]
    pub fn of(mut process: Process, patience: Duration, what: &str) -> Self {
        let stdout = collect(process.child().stdout.take());
        let stderr = collect(process.child().stderr.take());
        let status = process.wait(patience, what);
        let stderr = String::from_utf8_lossy(&stderr.join().unwrap()).into_owned();
        Self {
            code: status.code(),
            stdout: stdout.join().unwrap(),
            stderr,
        }
    }

    /// The result, if it ended with this code.
    #[track_caller]
    pub fn expect(self, code: i32) -> Self {
        assert_eq!(
            self.code,
            Some(code),
            "stdout:\n{}\nstderr:\n{}",
            self.text(),
            self.stderr
        );
        self
    }

    /// The output as JSON.
    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.stdout)
            .unwrap_or_else(|error| panic!("not JSON ({error}): {}", self.text()))
    }

    /// The output as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.stdout).into_owned()
    }

    /// Makes sure that everything is said somewhere in the complaint.
    #[track_caller]
    pub fn complains(&self, parts: &[&str]) {
        for part in parts {
            assert!(
                self.stderr.contains(part),
                "nothing says `{part}`:\n{}",
                self.stderr
            );
        }
    }
}

impl Folder {
    /// An empty folder.
    pub fn bare() -> Self {
        Self {
            dir: TempDir::with_prefix("triage-test-").unwrap(),
            token: String::new(),
        }
    }

    /// A folder with a database, an admin token and this configuration, on a free port.
    pub fn new(sections: &str) -> Self {
        let mut folder = Self::bare();
        let initialised = folder.triage(&["--json", "init", "."]).expect(0).json();
        initialised["token"]
            .as_str()
            .expect("`init` gives a token")
            .clone_into(&mut folder.token);
        folder.configure(sections);
        folder
    }

    /// Replaces the configuration, but for address and database.
    pub fn configure(&self, sections: &str) {
        self.write("triage.toml", format!("{SERVER}\n{sections}"));
    }

    /// Replaces the configuration as an editor does that writes beside it and renames.
    pub fn reconfigure(&self, sections: &str) {
        self.replace("triage.toml", format!("{SERVER}\n{sections}"));
    }

    /// Replaces a file in one step.
    pub fn replace(&self, name: &str, content: impl AsRef<[u8]>) {
        let beside = self.write(&format!("{name}.new"), content);
        std::fs::rename(beside, self.path(name)).unwrap();
    }

    /// A place in the folder.
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Writes a file into the folder.
    pub fn write(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(name);
        std::fs::write(&path, content).unwrap();
        path
    }

    /// Builds a plugin from WebAssembly's text form into the folder.
    pub fn guest(&self, name: &str, wat: &str) -> PathBuf {
        let source = self.write(&format!("{name}.wat"), wat);
        let component = self.path(&format!("{name}.wasm"));
        binary::build(&source, &component);
        component
    }

    /// A command of the binary in this folder, with nothing but the test secrets in its environment.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(binary::triage());
        command
            .args(arguments)
            .current_dir(self.dir.path())
            .env_clear()
            .envs(std::env::var_os("PATH").map(|it| ("PATH", it)))
            .envs(config::environment())
            .env("HOME", self.dir.path())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    /// Runs a command to its end.
    #[track_caller]
    pub fn triage(&self, arguments: &[&str]) -> Ended {
        let what = format!("the end of `triage {}`", arguments.join(" "));
        Ended::of(
            Process::start(self.command(arguments)),
            COMMAND_PATIENCE,
            &what,
        )
    }

    /// The folder itself.
    pub fn root(&self) -> &Path {
        self.dir.path()
    }
}

fn collect(pipe: Option<impl Read + Send + 'static>) -> JoinHandle<Vec<u8>> {
    let mut pipe = pipe.unwrap();
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        pipe.read_to_end(&mut bytes).unwrap();
        bytes
    })
}
