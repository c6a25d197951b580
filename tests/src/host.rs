//! A running host: started, killed, restarted and stopped as an operator's system does it.

use std::ffi::OsString;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::process::{Child, ExitStatus};
use std::sync::mpsc::{self, Receiver};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rustix::process::Pid;
use serde_json::Value;

use crate::database::Database;
use crate::folder::Folder;
use crate::http::{self, Answer, Headers};
use crate::process::Process;
use crate::wait::wait_until;
use crate::{Delivery, config};

/// How long a start may take: plugins are compiled.
const START_PATIENCE: Duration = Duration::from_secs(120);
/// How long a host may live that is to end by itself.
const END_PATIENCE: Duration = Duration::from_secs(30);
/// How long a stop may take: the host's own bounds for open requests and claimed work.
const STOP_PATIENCE: Duration = Duration::from_secs(35);
/// Characters of the log that a failure shows.
const LOG_SHOWN: usize = 6_000;

/// A host in a folder of its own.
///
/// When it is dropped, no run may be left `running`, and no internal error may have been logged.
pub struct Host {
    /// Where it lives.
    pub folder: Folder,
    /// Variables of the process beside the test secrets, from the next start on.
    pub environment: Vec<(String, OsString)>,
    process: Option<Process>,
    address: SocketAddr,
    scheme: String,
    log: Arc<Mutex<String>>,
    errors_allowed: bool,
}

impl Host {
    /// Starts a host with an integration for each source and these further sections.
    pub fn start(sections: &str) -> Self {
        Self::start_with(&format!("{}{sections}", config::integrations()))
    }

    /// Starts a host with exactly these sections.
    pub fn start_with(sections: &str) -> Self {
        Self::start_in(Folder::new(sections))
    }

    /// Starts a host in a folder that was made ready.
    pub fn start_in(folder: Folder) -> Self {
        let mut host = Self::stopped_in(folder);
        host.restart();
        host
    }

    /// A host in a folder that was made ready, not started yet.
    pub fn stopped_in(folder: Folder) -> Self {
        Self {
            folder,
            environment: Vec::new(),
            process: None,
            address: SocketAddr::from(([127, 0, 0, 1], 0)),
            scheme: "http".to_owned(),
            log: Arc::default(),
            errors_allowed: false,
        }
    }

    /// Starts the process; the one before must have ended.
    pub fn restart(&mut self) {
        if let Err(line) = self.try_restart() {
            panic!("the host did not start: {line:?}\n{}", self.log());
        }
    }

    /// Starts the process, which may end before it listens; what it said instead is the error.
    pub fn try_restart(&mut self) -> Result<(), String> {
        assert!(self.process.is_none(), "the host is still running");
        let mut command = self.folder.command(&["serve"]);
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        let mut process = Process::start(command);
        keep_log(process.child(), self.log.clone());
        let first_line = first_line(process.child());
        self.process = Some(process);
        let line = first_line.recv_timeout(START_PATIENCE).unwrap_or_default();
        let place = line
            .strip_prefix("listening on ")
            .and_then(|it| it.trim().split_once("://"))
            .and_then(|(scheme, address)| Some((scheme.to_owned(), address.parse().ok()?)));
        (self.scheme, self.address) = place.ok_or(line)?;
        Ok(())
    }

    /// Ends the process at once, as a power cut does.
    pub fn kill(&mut self) {
        drop(self.process.take().expect("the host is running"));
    }

    /// Waits until the process ends without being asked to.
    pub fn ended(&mut self) -> ExitStatus {
        let process = self.process.take().expect("the host is running");
        process.wait(END_PATIENCE, "the end of the host by itself")
    }

    /// Asks the process to end, and makes sure that it does, with exit code 0.
    pub fn stop(&mut self) {
        let process = self.process.take().expect("the host is running");
        process.terminate();
        let status = process.wait(STOP_PATIENCE, "the end after SIGTERM");
        assert_eq!(status.code(), Some(0), "{status}\n{}", self.log());
    }

    /// The folder of a host that was stopped, for another one.
    pub fn into_folder(mut self) -> Folder {
        assert!(self.process.is_none(), "the host is still running");
        std::mem::replace(&mut self.folder, Folder::bare())
    }

    /// Asks for a reload, and does not wait.
    pub fn hang_up(&self) {
        self.process
            .as_ref()
            .expect("the host is running")
            .hang_up();
    }

    /// Asks for a reload, and gives what `/v1/config` says once it ended this way.
    #[track_caller]
    pub fn reload(&self, outcome: &str) -> Value {
        let before = self.json("/v1/config")["last_reload"]["at"].clone();
        self.hang_up();
        wait_until(&format!("a reload, {outcome}"), || {
            let config = self.json("/v1/config");
            let reload = &config["last_reload"];
            if reload["at"] != before && reload["outcome"] == outcome {
                Ok(config)
            } else {
                Err(config.to_string())
            }
        })
    }

    /// What `/v1/config` says once a change of a file was seen that ended this way.
    #[track_caller]
    pub fn reloaded(&self, before: &Value, outcome: &str) -> Value {
        wait_until(&format!("a reload without a signal, {outcome}"), || {
            let config = self.json("/v1/config");
            let is_new = config["last_reload"]["at"] != before["last_reload"]["at"];
            if is_new && config["last_reload"]["outcome"] == outcome {
                Ok(config)
            } else {
                Err(config.to_string())
            }
        })
    }

    /// Asks the process to end, and does not wait.
    pub fn terminate(&self) {
        self.process
            .as_ref()
            .expect("the host is running")
            .terminate();
    }

    /// The process.
    pub fn pid(&self) -> Pid {
        self.process.as_ref().expect("the host is running").pid()
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// A path's whole URL.
    pub fn url(&self, path: &str) -> String {
        format!("{}://{}{path}", self.scheme, self.address)
    }

    /// What it wrote to its log so far, over all starts.
    pub fn log(&self) -> String {
        self.log.lock().unwrap().clone()
    }

    /// Lets internal errors in the log pass.
    pub fn allow_errors(&mut self) {
        self.errors_allowed = true;
    }

    /// The header that shows the admin's token.
    pub fn bearer(&self) -> Headers {
        vec![(
            "authorization".to_owned(),
            format!("Bearer {}", self.folder.token),
        )]
    }

    /// Delivers; the host must answer.
    #[track_caller]
    pub fn deliver(&self, delivery: &Delivery) -> Answer {
        self.try_deliver(delivery)
            .unwrap_or_else(|error| panic!("no answer: {error}\n{}", self.log()))
    }

    /// Delivers to a host that may be going down.
    pub fn try_deliver(&self, delivery: &Delivery) -> Result<Answer, String> {
        let url = self.url(&format!("/v1/webhooks/{}", delivery.path));
        http::send("POST", &url, &delivery.headers, delivery.body.clone())
    }

    /// Delivers, and gives the answer's JSON, which must be a 200.
    #[track_caller]
    pub fn accept(&self, delivery: &Delivery) -> Value {
        self.deliver(delivery).expect(200).json()
    }

    /// Any request, with the headers given.
    #[track_caller]
    pub fn request(
        &self,
        method: &str,
        path: &str,
        headers: &[(String, String)],
        body: &str,
    ) -> Answer {
        http::send(method, &self.url(path), headers, body.into()).unwrap()
    }

    /// Asks the API as the admin.
    #[track_caller]
    pub fn get(&self, path: &str) -> Answer {
        self.request("GET", path, &self.bearer(), "")
    }

    /// Asks the API for JSON as the admin.
    #[track_caller]
    pub fn json(&self, path: &str) -> Value {
        self.get(path).expect(200).json()
    }

    /// Every item of a list, newest first, through all of its pages.
    #[track_caller]
    pub fn list(&self, path: &str) -> Vec<Value> {
        let mut items = Vec::new();
        let mut cursor = String::new();
        loop {
            let separator = if path.contains('?') { '&' } else { '?' };
            let mut page = self.json(&format!("{path}{separator}limit=200{cursor}"));
            items.append(page["items"].as_array_mut().expect("a list has items"));
            match page["next_cursor"].as_str() {
                Some(next) => cursor = format!("&cursor={next}"),
                None => return items,
            }
        }
    }

    /// The run that an acknowledgement names, once it and its actions are over.
    #[track_caller]
    pub fn finished(&self, acknowledgement: &Value) -> Value {
        let run_id = acknowledgement["run_id"]
            .as_str()
            .unwrap_or_else(|| panic!("no run: {acknowledgement}"));
        self.finished_run(run_id)
    }

    /// A run, once it and its actions are over.
    #[track_caller]
    pub fn finished_run(&self, run_id: &str) -> Value {
        wait_until(&format!("the end of {run_id}"), || {
            let run = self.json(&format!("/v1/runs/{run_id}"));
            let actions = run["actions"].as_array().unwrap();
            let over = ["completed", "dead"].contains(&run["state"].as_str().unwrap())
                && actions.iter().all(|it| it["state"] != "pending");
            if over { Ok(run) } else { Err(run.to_string()) }
        })
    }

    /// Waits until nothing is left to do.
    #[track_caller]
    pub fn wait_until_idle(&self) {
        let database = self.database();
        wait_until("the end of all work", || match database.unfinished() {
            0 => Ok(()),
            left => Err(format!("{left} runs and actions left\n{}", self.log_end())),
        });
    }

    /// The database, beside the process.
    pub fn database(&self) -> Database {
        Database::open(&self.folder.path("triage.db"))
    }

    fn log_end(&self) -> String {
        let log = self.log();
        let skipped = log.chars().count().saturating_sub(LOG_SHOWN);
        log.chars().skip(skipped).collect()
    }

    fn check_end(&self) {
        if self.process.is_some() {
            wait_until("the end of claimed runs", || {
                match self.list("/v1/runs?state=running").first() {
                    None => Ok(()),
                    Some(run) => Err(run.to_string()),
                }
            });
        }
        let log = self.log();
        let errors: Vec<&str> = log
            .lines()
            .filter(|it| it.contains("ERROR") || it.contains("panicked"))
            .collect();
        assert!(
            self.errors_allowed || errors.is_empty(),
            "internal errors were logged:\n{}",
            errors.join("\n")
        );
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("log of the host:\n{}", self.log_end());
        } else {
            self.check_end();
        }
    }
}

/// Delivers to a host that another thread may be ending.
pub fn deliver_to(address: SocketAddr, delivery: &Delivery) -> Result<Answer, String> {
    let url = format!("http://{address}/v1/webhooks/{}", delivery.path);
    http::send("POST", &url, &delivery.headers, delivery.body.clone())
}

fn keep_log(process: &mut Child, log: Arc<Mutex<String>>) {
    let lines = BufReader::new(process.stderr.take().unwrap()).lines();
    std::thread::spawn(move || {
        for line in lines.map_while(Result::ok) {
            let mut log = log.lock().unwrap();
            log.push_str(&line);
            log.push('\n');
        }
    });
}

fn first_line(process: &mut Child) -> Receiver<String> {
    let lines = BufReader::new(process.stdout.take().unwrap()).lines();
    let (sender, receiver) = mpsc::channel();
    std::thread::spawn(move || {
        // The rest is read as well, so that the host never waits for a reader.
        for line in lines.map_while(Result::ok) {
            let _ = sender.send(line);
        }
    });
    receiver
}
