//! The demo's own host: configuration, process, command line.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use serde_json::Value;

use super::receiver::Receiver;
use super::story::{self, Delivery, Kind};
use crate::command;

/// How long a run and its actions may take.
const PATIENCE: Duration = Duration::from_secs(20);
const SOURCES: [&str; 5] = ["standard", "sentry", "stripe", "github", "slack"];
const CONFIGURATION: &str = include_str!("triage.toml");

/// A running host.
pub struct Host {
    /// Where it serves.
    pub url: String,
    triage: PathBuf,
    folder: PathBuf,
    token: String,
    environment: Vec<(String, String)>,
    process: Child,
}

impl Host {
    /// Starts a host in a fresh folder.
    pub fn start(triage: &Path, plugins: &Path, receiver: &Receiver) -> anyhow::Result<Self> {
        let folder = command::target_dir().join("demo");
        if folder.exists() {
            std::fs::remove_dir_all(&folder)
                .with_context(|| format!("cannot clear {}", folder.display()))?;
        }
        let initialised = output(Command::new(triage).args(["--json", "init"]).arg(&folder))?;
        let token = initialised
            .get("token")
            .and_then(Value::as_str)
            .context("`triage init` gave no token")?
            .to_owned();
        let configuration = CONFIGURATION
            .replace("{plugins}", &plugins.display().to_string())
            .replace("{receiver}", &receiver.url);
        std::fs::write(folder.join("triage.toml"), configuration)?;
        let mut environment: Vec<_> = SOURCES
            .iter()
            .map(|it| (format!("DEMO_{}_SECRET", it.to_uppercase()), secret(it)))
            .collect();
        environment.push(("DEMO_RECEIVER_SECRET".to_owned(), receiver.secret.clone()));

        let mut process = Command::new(triage)
            .arg("--config")
            .arg(folder.join("triage.toml"))
            .arg("serve")
            .envs(environment.clone())
            .env("TRIAGE_LOG", "warn")
            .stdout(Stdio::piped())
            .spawn()
            .context("cannot start the host")?;
        let mut lines =
            BufReader::new(process.stdout.take().context("the host has no output")?).lines();
        let line = lines
            .next()
            .context("the host ended at once: its message stands above")??;
        let url = line
            .strip_prefix("listening on ")
            .context("the host does not say where it listens")?
            .to_owned();
        Ok(Self {
            url,
            triage: triage.to_owned(),
            folder,
            token,
            environment,
            process,
        })
    }

    /// Sends one delivery as its provider would.
    pub fn send(&self, delivery: &Delivery) -> anyhow::Result<Value> {
        let id = format!(
            "demo-{}-{}",
            delivery.source,
            delivery.event.replace(['.', '_'], "-")
        );
        let mut arguments = vec![
            "send",
            delivery.source,
            delivery.event,
            "--id",
            &id,
            "--url",
            &self.url,
        ];
        if delivery.kind == Kind::Forged {
            arguments.push("--forge");
        }
        self.json(&arguments)
    }

    /// Runs a command of the host's own command line and gives its JSON.
    pub fn json(&self, arguments: &[&str]) -> anyhow::Result<Value> {
        let mut command = Command::new(&self.triage);
        command
            .arg("--json")
            .arg("--config")
            .arg(self.folder.join("triage.toml"));
        output(command.args(arguments).envs(self.environment.clone()))
    }

    /// The desk's tickets, newest first.
    pub fn tickets(&self) -> anyhow::Result<Vec<Value>> {
        let list = self.json(&["ticket", "list"])?;
        Ok(list
            .get("items")
            .and_then(Value::as_array)
            .cloned()
            .unwrap_or_default())
    }

    /// Until when something may take.
    pub fn deadline(&self) -> Instant {
        Instant::now() + PATIENCE
    }

    /// Shows the way into the pages and waits for Ctrl-C, which the host gets as well.
    pub fn serve_until_interrupted(mut self) -> anyhow::Result<()> {
        let answer: Value = ureq::post(format!("{}/v1/login-links", self.url))
            .header("authorization", format!("Bearer {}", self.token))
            .send_empty()?
            .body_mut()
            .read_json()?;
        let link = answer
            .get("url")
            .and_then(Value::as_str)
            .context("no login link")?;
        story::say("");
        story::say(&format!("Look around, with a link that works once: {link}"));
        story::say("Ctrl-C stops the host.");
        let status = self.process.wait()?;
        ensure!(status.success(), "the host ended with {status}");
        Ok(())
    }

    /// Asks the host to stop and waits until it has.
    pub fn stop(mut self) -> anyhow::Result<()> {
        command::run(Command::new("kill").args(["-TERM", &self.process.id().to_string()]))?;
        let status = self.process.wait()?;
        ensure!(status.success(), "the host ended with {status}");
        story::say("The host has stopped.");
        Ok(())
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        // After an error of the demo; a host that ended already is no harm.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// A secret as the provider would make it.
fn secret(source: &str) -> String {
    use base64::Engine as _;
    let key: [u8; 24] = rand::random();
    match source {
        "standard" => format!(
            "whsec_{}",
            base64::engine::general_purpose::STANDARD.encode(key)
        ),
        "stripe" => format!("whsec_{}", hex::encode(key)),
        _ => hex::encode(key),
    }
}

/// The JSON that a command prints. A command that failed may print some as well.
fn output(command: &mut Command) -> anyhow::Result<Value> {
    let output = command
        .stderr(Stdio::piped())
        .output()
        .with_context(|| format!("cannot start {command:?}"))?;
    match serde_json::from_slice(&output.stdout) {
        Ok(value) => Ok(value),
        Err(_) => bail!(
            "{command:?} ended with {}: {}",
            output.status,
            String::from_utf8_lossy(&output.stderr).trim()
        ),
    }
}
