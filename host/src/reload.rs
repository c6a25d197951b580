//! Applies a changed configuration while events flow: whole, or not at all.
//!
//! Run by `app` beside the server, on a thread that serves nobody. It reads again on
//! SIGHUP and when a file changed that makes up the configuration; `watch` knows when
//! that is, `changes` says what differs. What is in force is moved by one pointer, in
//! `live`. The environment is as it was when the process began.

mod changes;
mod watch;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::signal::unix::Signal;
use tokio::sync::watch as channel;
use tokio::time::{MissedTickBehavior, interval};

use self::watch::{Contents, Stamps, Watch};
use crate::clock::Clock;
use crate::config::{Config, ConfigError, ConfigFile, Reading};
use crate::deployments::{Deployments, Problem};
use crate::integrations;
use crate::live::{Live, Reload, ReloadOutcome, Setup, SetupError};
use crate::registry::PluginProblems;
use crate::store::Store;

/// How often the files are looked at. A change is taken up when two looks in a row saw the same.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// A configuration together with the state of the files that it was read from.
pub struct Snapshot {
    reading: Reading,
    stamps: Stamps,
    contents: Contents,
    is_stable: bool,
}

/// What cannot change while the process runs.
pub struct Fixed {
    listen: SocketAddr,
    database: PathBuf,
}

/// Everything that reloading needs.
pub struct Reloader<'a> {
    /// Where the configuration is read from.
    pub file: ConfigFile<'a>,
    /// What is in force.
    pub live: Arc<Live>,
    /// What is added to what the file declares.
    pub store: Store,
    /// Loads plugins, and knows which of their versions run.
    pub deployments: Deployments,
    /// The time.
    pub clock: Clock,
    /// What was configured at the start and stays.
    pub fixed: Fixed,
    /// Where the host listens.
    pub address: SocketAddr,
    /// What is known of the files.
    pub known: Known,
}

/// What is known of the files of the configuration.
pub struct Known {
    watch: Watch,
    in_force: Contents,
    refused: Option<Contents>,
    /// SHA-256 of the configuration file that the process began with.
    pub digest: String,
}

impl Snapshot {
    /// Reads a configuration and notes which files it came from.
    pub fn take(file: &ConfigFile<'_>) -> Self {
        // The files are known only after a first look; what counts is read between two stamps.
        let before = Stamps::of(&file.read().files);
        let reading = file.read();
        let contents = Contents::of(&reading.files);
        let stamps = Stamps::of(&reading.files);
        Self {
            is_stable: before == stamps,
            reading,
            stamps,
            contents,
        }
    }

    /// The configuration, and what is known of its files once it is in force.
    pub fn into_first(self) -> Result<(Config, Known), ConfigError> {
        let known = Known {
            watch: Watch::new(self.stamps, self.is_stable),
            in_force: self.contents,
            refused: None,
            digest: self.reading.digest.unwrap_or_default(),
        };
        Ok((self.reading.config?, known))
    }
}

impl Fixed {
    /// What stays as this configuration has it, as written: before the system chose a port.
    pub fn of(config: &Config) -> Self {
        Self {
            listen: config.listen,
            database: config.database.clone(),
        }
    }

    /// What another configuration wants otherwise.
    fn problems(&self, next: &Config) -> Vec<String> {
        let mut problems = Vec::new();
        if self.listen != next.listen {
            problems.push(format!(
                "server.listen: cannot change from {} to {} while the server runs: restart it",
                self.listen, next.listen
            ));
        }
        if self.database != next.database {
            problems.push(format!(
                "server.database: cannot change from {} to {} while the server runs: restart it",
                self.database.display(),
                next.database.display()
            ));
        }
        problems
    }
}

impl Reloader<'_> {
    /// Watches until `stopped` becomes true. A reload that is under way then is given up.
    pub async fn run(mut self, mut hangup: Signal, stopped: channel::Receiver<bool>) {
        let mut looks = interval(LOOK_EVERY);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let is_asked = tokio::select! {
                biased;
                () = stop(stopped.clone()) => return,
                _ = hangup.recv() => true,
                _ = looks.tick() => false,
            };
            if !is_asked && !self.known.watch.look() {
                continue;
            }
            tokio::select! {
                biased;
                () = stop(stopped.clone()) => return,
                () = self.reload(is_asked) => (),
            }
        }
    }

    async fn reload(&mut self, is_asked: bool) {
        let snapshot = Snapshot::take(&self.file);
        let is_settled = self
            .known
            .watch
            .settle(&snapshot.stamps, snapshot.is_stable, is_asked);
        // What was refused is refused again only when somebody asks.
        let is_known = self.known.refused.as_ref() == Some(&snapshot.contents);
        if !is_settled || (is_known && !is_asked) {
            return;
        }
        let contents = snapshot.contents.clone();
        let outcome = if contents == self.known.in_force {
            ReloadOutcome::Unchanged
        } else {
            match self.apply(snapshot).await {
                Ok(Some(changes)) => ReloadOutcome::Applied(changes),
                // Looked at again when the files rest.
                Ok(None) => return,
                Err(problems) => ReloadOutcome::Refused(problems),
            }
        };
        match outcome {
            ReloadOutcome::Refused(_) => self.known.refused = Some(contents),
            ReloadOutcome::Applied(_) | ReloadOutcome::Unchanged => {
                self.known.refused = None;
                self.known.in_force = contents;
            }
        }
        self.tell(outcome);
    }

    /// Puts what was read in force; `None` where files changed meanwhile.
    async fn apply(&mut self, snapshot: Snapshot) -> Result<Option<Vec<String>>, Vec<String>> {
        let Reading {
            digest,
            is_blank,
            config,
            ..
        } = snapshot.reading;
        let mut config = config.map_err(|error| error.lines())?;
        if is_blank {
            // An editor that writes in place empties the file first.
            let path = self.file.path.display();
            return Err(vec![format!(
                "{path} is empty: to take everything out, leave a comment in it"
            )]);
        }
        let problems = self.fixed.problems(&config);
        if !problems.is_empty() {
            return Err(problems);
        }
        config.listens_on(self.address);

        let previous = self.live.current();
        let mut setup = self.load(config, previous).await?;
        if !self.known.watch.is_still(&snapshot.stamps) {
            return Ok(None);
        }
        let now = self.clock.now();
        // Not held while plugins are compiled, so that integrations can be changed meanwhile.
        let _alone = self.live.change().await;
        let joined = integrations::join(&mut setup.config, &self.store, now).await;
        joined.map_err(|problem| vec![problem.to_string()])?;
        let joined = self.deployments.join(&mut setup).await;
        joined.map_err(|problem| match problem {
            Problem::Plugins(PluginProblems(problems)) => problems,
            problem @ (Problem::Store(_) | Problem::Egress(_)) => vec![problem.to_string()],
        })?;
        let changes = changes::between(&self.live.current(), &setup);
        if let Err(error) = integrations::remember_declared(&setup.config, &self.store, now).await {
            tracing::warn!(%error, "since when secrets of the file are live is not written down");
        }
        self.live.replace(setup, digest.unwrap_or_default(), now);
        self.deployments.remember(&self.live.current(), now).await;
        // Another version may do what a quarantined one could not.
        if let Err(error) = self.deployments.wake_held_runs(&self.live, now).await {
            tracing::warn!(%error, "runs of quarantined plugins look again later");
        }
        Ok(Some(changes))
    }

    async fn load(&self, config: Config, previous: Arc<Setup>) -> Result<Setup, Vec<String>> {
        let sandbox = self.deployments.sandbox.clone();
        let load = move || Setup::load(config, &sandbox, Some(&previous));
        match tokio::task::spawn_blocking(load).await {
            Ok(Ok(setup)) => Ok(setup),
            Ok(Err(SetupError::Plugins(PluginProblems(problems)))) => Err(problems),
            Ok(Err(error @ SetupError::Egress(_))) => Err(vec![error.to_string()]),
            Err(error) => Err(vec![format!("loading was cut off: {error}")]),
        }
    }

    fn tell(&self, outcome: ReloadOutcome) {
        let version = self.live.version();
        match &outcome {
            ReloadOutcome::Applied(changes) => tracing::info!(
                revision = version.revision,
                digest = version.digest,
                changes = changes.join("; "),
                "the configuration changed"
            ),
            ReloadOutcome::Unchanged => {
                tracing::info!(
                    revision = version.revision,
                    "the configuration is unchanged"
                );
            }
            ReloadOutcome::Refused(problems) => tracing::error!(
                revision = version.revision,
                problems = problems.join("; "),
                "the new configuration is refused; the one before stays in force"
            ),
        }
        self.live.report(Reload {
            at: self.clock.now(),
            outcome,
        });
    }
}

/// Waits until it is time to stop.
async fn stop(mut stopped: channel::Receiver<bool>) {
    // Whoever could say so is gone: that is an end as well.
    let _ = stopped.wait_for(|it| *it).await;
}
