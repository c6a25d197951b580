//! A server of this program in a folder of its own, used as its operator and its senders use it.

use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::DirBuilderExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, anyhow, bail};
use bytes::Bytes;
use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use serde_json::{Value, json};
use url::Url;

use crate::clock::Clock;
use crate::egress::{Egress, Method, Request, Response};
use crate::model::secret::Secret;
use crate::model::source::Source;
use crate::sources::{self, Outgoing};

/// How long a start may take: every plugin is compiled.
const START_PATIENCE: Duration = Duration::from_secs(180);
/// How long a run, or a change of the configuration, may take.
const PATIENCE: Duration = Duration::from_secs(180);
/// How often is looked whether something has happened.
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// A folder that is removed when it is dropped.
pub(super) struct Folder(PathBuf);

impl Folder {
    pub(super) fn new() -> anyhow::Result<Self> {
        let name = format!("triage-selftest-{:016x}", rand::random::<u64>());
        let path = std::env::temp_dir().join(name);
        let made = fs::DirBuilder::new().mode(0o700).create(&path);
        made.with_context(|| format!("cannot make {}", path.display()))?;
        Ok(Self(path))
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// Writes a file in one step.
    pub(super) fn write(&self, name: &str, bytes: &[u8]) -> anyhow::Result<()> {
        let beside = self.path(&format!("{name}.new"));
        let written = fs::write(&beside, bytes).and_then(|()| fs::rename(&beside, self.path(name)));
        written.with_context(|| format!("cannot write {}", self.path(name).display()))
    }

    /// Runs a command of this program to its end.
    fn triage(&self, arguments: &[&str]) -> anyhow::Result<Vec<u8>> {
        let output = command(&self.0, arguments)?.output()?;
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            bail!("`triage {}` failed: {said}", arguments.join(" "));
        }
        Ok(output.stdout)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // What cannot be removed is in the system's folder for such things.
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// This program in a folder, with nothing of the caller's environment, in a group of its own: whoever
/// interrupts the self-test interrupts this side, which ends the other.
fn command(folder: &Path, arguments: &[&str]) -> anyhow::Result<Command> {
    let mut command = Command::new(std::env::current_exe()?);
    command
        .args(arguments)
        .current_dir(folder)
        .env_clear()
        .process_group(0)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    Ok(command)
}

/// A running server.
pub(super) struct Server {
    pub folder: Folder,
    child: Child,
    url: Url,
    token: String,
    secret: Secret,
    egress: Egress,
    clock: Clock,
}

impl Server {
    /// Makes a database and starts a server with this configuration.
    pub(super) fn start(folder: Folder, config: &str, clock: Clock) -> anyhow::Result<Self> {
        let made: Value = serde_json::from_slice(&folder.triage(&["--json", "init", "."])?)?;
        let token = at(&made, "/token").as_str().context("no token")?.to_owned();
        let secret = fs::read_to_string(folder.path("secrets/standard-main"))?;
        folder.write("triage.toml", config.as_bytes())?;
        let (child, url) = started(&folder)?;
        let loopback = "127.0.0.1/32".parse()?;
        Ok(Self {
            folder,
            child,
            url,
            token,
            secret: Secret::new(secret.trim()),
            egress: Egress::new(vec![loopback])?,
            clock,
        })
    }

    /// Ends the process at once, as a power cut does, and starts another.
    pub(super) fn kill_and_restart(&mut self) -> anyhow::Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        (self.child, self.url) = started(&self.folder)?;
        Ok(())
    }

    /// Asks for another look at the configuration.
    pub(super) fn hang_up(&self) -> anyhow::Result<()> {
        Ok(kill_process(Pid::from_child(&self.child), Signal::HUP)?)
    }

    /// Memory that is in use in bytes, where the system tells it.
    pub(super) fn resident_bytes(&self) -> Option<u64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id())).ok()?;
        let line = status.lines().find_map(|it| it.strip_prefix("VmRSS:"))?;
        let kib: u64 = line.trim().trim_end_matches(" kB").parse().ok()?;
        Some(kib << 10)
    }

    /// Whether the process lives and answers.
    pub(super) async fn is_alive(&mut self) -> bool {
        let running = matches!(self.child.try_wait(), Ok(None));
        running && self.get("/healthz").await.is_ok()
    }

    /// Asks the API.
    pub(super) async fn get(&self, path: &str) -> anyhow::Result<Value> {
        let bearer = format!("Bearer {}", self.token);
        let headers = vec![("authorization".to_owned(), bearer)];
        let answer = self.send(Method::Get, path, headers, Bytes::new()).await?;
        if answer.status != 200 || answer.truncated {
            let length = if answer.truncated { ", too long" } else { "" };
            bail!("{path} was answered with {}{length}", answer.status);
        }
        Ok(serde_json::from_slice(&answer.body)?)
    }

    /// Delivers an event to an integration; the run that it led to.
    pub(super) async fn deliver(
        &self,
        integration: &str,
        event: &str,
        id: &str,
    ) -> anyhow::Result<String> {
        let body =
            json!({ "type": event, "timestamp": "2026-01-31T08:30:00Z", "data": { "id": id } });
        let body = body.to_string();
        let outgoing = Outgoing {
            event,
            id,
            body: body.as_bytes(),
            now: self.clock.now(),
        };
        let mut headers = sources::sign(&Source::Standard, &self.secret, outgoing)?;
        headers.push(("content-type".to_owned(), "application/json".to_owned()));
        let path = format!("/v1/webhooks/standard/{integration}");
        let answer = self.send(Method::Post, &path, headers, body.into()).await?;
        let said: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
        let run_id = at(&said, "/run_id").as_str();
        run_id.map(str::to_owned).ok_or_else(|| {
            anyhow!(
                "a delivery of {event} was answered with {}: {said}",
                answer.status
            )
        })
    }

    /// A run, once it and its actions are over.
    pub(super) async fn finished(&self, run_id: &str) -> anyhow::Result<Value> {
        let began = Instant::now();
        loop {
            let run = self.get(&format!("/v1/runs/{run_id}")).await?;
            let actions = at(&run, "/actions").as_array();
            let acted = actions.is_none_or(|it| it.iter().all(|it| at(it, "/state") != "pending"));
            if acted && (at(&run, "/state") == "completed" || at(&run, "/state") == "dead") {
                return Ok(run);
            }
            if PATIENCE < began.elapsed() {
                bail!(
                    "{run_id} is not over after {PATIENCE:?}: {}",
                    at(&run, "/state")
                );
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// Replaces the configuration; how the server took it, once `is_it` says that this is the answer.
    pub(super) async fn reconfigure(
        &self,
        config: &str,
        is_it: impl Fn(&Value) -> bool,
    ) -> anyhow::Result<Value> {
        self.folder.write("triage.toml", config.as_bytes())?;
        self.hang_up()?;
        let began = Instant::now();
        loop {
            let config = self.get("/v1/config").await?;
            let reload = at(&config, "/last_reload");
            if is_it(reload) {
                return Ok(reload.clone());
            }
            if PATIENCE < began.elapsed() {
                bail!("the configuration was not taken up after {PATIENCE:?}: {reload}");
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    async fn send(
        &self,
        method: Method,
        path: &str,
        headers: Vec<(String, String)>,
        body: Bytes,
    ) -> anyhow::Result<Response> {
        let request = Request {
            method,
            url: self.url.join(path)?,
            headers,
            body,
            timeout: PATIENCE,
        };
        Ok(self.egress.send(request, self.clock.now()).await?)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // With what it may have started to compile. Both only fail where it has ended.
        let _ = kill_process_group(Pid::from_child(&self.child), Signal::KILL);
        let _ = self.child.wait();
    }
}

/// Starts the process and waits until it listens.
fn started(folder: &Folder) -> anyhow::Result<(Child, Url)> {
    let mut command = command(&folder.0, &["serve"])?;
    let log = fs::File::create(folder.path("serve.log"))?;
    let mut child = command.stderr(log).spawn()?;
    let stdout = child.stdout.take().context("no output")?;
    let (sender, lines) = mpsc::channel();
    std::thread::spawn(move || {
        for line in BufReader::new(stdout).lines().map_while(Result::ok) {
            // The rest is read as well, so that the server never waits for a reader.
            let _ = sender.send(line);
        }
    });
    let line = lines.recv_timeout(START_PATIENCE).unwrap_or_default();
    match line.strip_prefix("listening on ").map(str::trim) {
        Some(url) => Ok((child, url.parse()?)),
        None => {
            let _ = child.kill();
            let _ = child.wait();
            let log = fs::read_to_string(folder.path("serve.log")).unwrap_or_default();
            bail!("the server did not start: {line}\n{log}")
        }
    }
}

/// What stands at a JSON pointer; null where there is nothing.
pub(super) fn at<'a>(value: &'a Value, pointer: &str) -> &'a Value {
    value.pointer(pointer).unwrap_or(&Value::Null)
}
