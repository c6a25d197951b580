//! What the operator configured: one file and the environment, checked as a whole.
//!
//! `config::raw` is what the file says, [`Config`] is what it means. After the
//! start nothing reads the environment. Whether a plugin's component fits its
//! policy is not checked here but by `registry`, which loads it.

mod destinations;
mod on_failure;
mod order;
mod policies;
mod problem;
mod raw;
mod resolve;
mod secrets;
mod server;
mod sources;
mod tenants;
mod tls;
mod values;

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{ErrorKind, Read};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use ipnet::IpNet;
use sha2::{Digest, Sha256};
use url::Url;

pub use self::problem::Problem;
use self::problem::Problems;
use self::resolve::Surroundings;

pub use self::resolve::BODY_BYTES_MAX;
pub use self::sources::ready as ready_sources;
pub use self::tls::Tls;
use crate::model::integration::{Destination, Integration};
use crate::model::policy::Policy;
use crate::model::rate::Rate;
use crate::model::secret::{MasterKey, Secret};
use crate::model::source::Source;
use crate::model::strike::StrikeLimits;
use crate::model::tenant::TenantLimits;

/// The commented file that `triage init` writes: every setting with its default.
pub const TEMPLATE: &str = include_str!("config/triage.toml");

/// The largest configuration file in bytes.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// The whole configuration: every name in it leads somewhere.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where to listen.
    pub listen: SocketAddr,
    /// How the outside reaches this host; without a slash at the end.
    pub public_url: Url,
    /// The SQLite file.
    pub database: PathBuf,
    /// How long an event is kept, in milliseconds.
    pub keep_events_ms: i64,
    /// How the server speaks TLS; `None` where it does not.
    pub tls: Option<Tls>,
    /// Proxies that are believed about whom they speak for.
    pub trusted_proxies: Vec<IpNet>,
    /// Seals the secrets in the store; or why there is no such key, in a sentence.
    pub master_key: Result<MasterKey, String>,
    /// How long a small plugin may be compiled, in seconds; a larger one longer.
    pub compile_seconds: u64,
    /// When a version of a plugin is quarantined.
    pub strikes: StrikeLimits,
    /// Addresses that outgoing requests may reach although they are not public.
    pub egress_allow: Vec<IpNet>,
    /// By name: those that have limits of their own.
    pub tenants: BTreeMap<String, TenantLimits>,
    /// By name: every source that an integration may name, built in, shipped or declared.
    pub sources: BTreeMap<String, Source>,
    /// By id.
    pub integrations: BTreeMap<String, Integration>,
    /// By name: the component's file.
    pub plugins: BTreeMap<String, PathBuf>,
    /// By name.
    pub destinations: BTreeMap<String, Destination>,
    /// In the order of the file.
    pub policies: Vec<Policy>,
}

/// Why a configuration cannot be used. Nothing of it is applied.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// There is no such file.
    #[error("there is no {}: `triage init` writes one, `--config` names another", .0.display())]
    Missing(PathBuf),
    /// The file cannot be read.
    #[error("cannot read {}", .path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// The file is not TOML.
    #[error("{}:{line}:{column}: {message}", .path.display())]
    Syntax {
        /// The file.
        path: PathBuf,
        /// From 1.
        line: usize,
        /// From 1, in characters.
        column: usize,
        /// What was expected.
        message: String,
    },
    /// Settings that cannot be used: all of them.
    #[error("{}: {}", .path.display(), problem::joined(.problems))]
    Invalid {
        /// The file.
        path: PathBuf,
        /// In the order of the file's sections.
        problems: Vec<Problem>,
    },
}

/// Where a configuration is read from, at the start and whenever it may have changed.
#[derive(Clone, Copy)]
pub struct ConfigFile<'a> {
    /// The file.
    pub path: &'a Path,
    /// Environment variables, as they were when the process began.
    pub env: &'a dyn Fn(&str) -> Option<String>,
}

/// What reading a configuration found, also where it cannot be used.
pub struct Reading {
    /// SHA-256 of the file in hexadecimal; `None` where it could not be read.
    pub digest: Option<String>,
    /// Whether the file holds nothing at all.
    pub is_blank: bool,
    /// The file and the files that it names: when none of them changes, nothing does.
    pub files: BTreeSet<PathBuf>,
    /// What it means.
    pub config: Result<Config, ConfigError>,
}

impl ConfigFile<'_> {
    /// Reads everything and checks everything.
    pub fn read(&self) -> Reading {
        let around = Surroundings::of(self.path, self.env);
        let text = read(self.path);
        let digest = text.as_ref().ok().map(|it| hex::encode(Sha256::digest(it)));
        let is_blank = text.as_ref().is_ok_and(|it| it.trim().is_empty());
        let config = text.and_then(|text| Config::from_text(&text, self.path, &around, &|_| true));
        let mut files = around.into_files();
        files.insert(self.path.to_owned());
        Reading {
            digest,
            is_blank,
            files,
            config,
        }
    }
}

impl ConfigError {
    /// Each problem in a line that names its setting or file.
    pub fn lines(&self) -> Vec<String> {
        match self {
            Self::Invalid { problems, .. } => problems.iter().map(ToString::to_string).collect(),
            Self::Unreadable { source, .. } => vec![format!("{self}: {source}")],
            Self::Missing(_) | Self::Syntax { .. } => vec![self.to_string()],
        }
    }
}

impl Config {
    /// Reads a file and the variables that it names, and checks everything.
    pub fn load(path: &Path, env: &dyn Fn(&str) -> Option<String>) -> Result<Self, ConfigError> {
        Self::load_for(path, env, &|_| true)
    }

    /// Reads a file for a command that needs only some settings, named as in a [`Problem`].
    ///
    /// Problems of other settings are let pass, with what they would have set: who only looks
    /// at events need not hold every sender's secret.
    pub fn load_for(
        path: &Path,
        env: &dyn Fn(&str) -> Option<String>,
        needed: &dyn Fn(&str) -> bool,
    ) -> Result<Self, ConfigError> {
        let around = Surroundings::of(path, env);
        Self::from_text(&read(path)?, path, &around, needed)
    }

    fn from_text(
        text: &str,
        path: &Path,
        around: &Surroundings<'_>,
        needed: &dyn Fn(&str) -> bool,
    ) -> Result<Self, ConfigError> {
        let table = toml::from_str(text).map_err(|error| syntax_error(path, text, &error))?;
        let mut problems = Problems::default();
        let raw = raw::read(table, &mut problems);
        let config = resolve::resolve(raw, around, &mut problems);
        let problems = problems.into_list();
        match config {
            Some(config) if !problems.iter().any(|it| needed(&it.setting)) => Ok(config),
            _ => Err(ConfigError::Invalid {
                path: path.to_owned(),
                problems: problems
                    .into_iter()
                    .filter(|it| needed(&it.setting))
                    .collect(),
            }),
        }
    }

    /// Takes note of where the host listens.
    ///
    /// Where the file leaves the port to the system, the addresses that the host tells name the real one.
    pub fn listens_on(&mut self, address: SocketAddr) {
        if self.public_url.port() == Some(0) {
            // Only fails for URLs without a host, which have no port either.
            let _ = self.public_url.set_port(Some(address.port()));
        }
        self.listen = address;
    }

    /// How a program on this machine reaches the server.
    pub fn local_url(&self) -> Option<Url> {
        server::local_url(self.scheme(), self.listen)
    }

    /// What the server speaks, as URLs name it.
    pub fn scheme(&self) -> &'static str {
        server::scheme(self.tls.is_some())
    }

    /// The policies that want an event of this type, in the order of the file.
    pub fn policies_for<'a>(
        &'a self,
        tenant: &'a str,
        event_type: &'a str,
    ) -> impl Iterator<Item = &'a Policy> {
        self.policies
            .iter()
            .filter(move |it| it.tenant == tenant)
            .filter(move |it| {
                it.triggers
                    .iter()
                    .any(|trigger| trigger.matches(event_type))
            })
    }

    /// What a tenant may take of what all of them share.
    pub fn tenant(&self, name: &str) -> TenantLimits {
        self.tenants.get(name).copied().unwrap_or_default()
    }

    /// The policy of this name, if it is this tenant's.
    pub fn policy_of(&self, tenant: &str, name: &str) -> Option<&Policy> {
        self.policy(name).filter(|it| it.tenant == tenant)
    }

    /// The policy of this name.
    pub fn policy(&self, name: &str) -> Option<&Policy> {
        self.policies.iter().find(|it| it.name == name)
    }
}

/// The secret at a place as `env:NAME` or `file:PATH`, which starts at the file's folder.
///
/// # Errors
/// Why there is none, in a sentence that does not show it.
pub fn read_secret(
    place: &str,
    path: &Path,
    env: &dyn Fn(&str) -> Option<String>,
) -> Result<Secret, String> {
    secrets::read(place, &Surroundings::of(path, env))
}

/// What a gzip body may inflate to, in bytes, where an integration with this limit on bodies does not say.
pub fn inflated_limit(body_bytes_max: usize) -> usize {
    resolve::inflated_bytes_max(body_bytes_max)
}

/// An integration's largest body in bytes, as a text as `25MiB`.
///
/// # Errors
/// Why it is none, in a sentence.
pub fn body_limit(text: &str) -> Result<usize, String> {
    resolve::body_limit(text)
}

/// What a gzip body may inflate to, in bytes, as a text as `25MiB`.
///
/// # Errors
/// Why it is none, in a sentence.
pub fn inflated_size(text: &str) -> Result<usize, String> {
    resolve::inflated_size(text)
}

/// A rate of deliveries, as a text as `100/s` or `600/m`.
///
/// # Errors
/// Why it is none, in a sentence.
pub fn rate(text: &str) -> Result<Rate, String> {
    values::rate(text)
}

/// How many deliveries may come at once under a rate.
///
/// # Errors
/// Why not so many, in a sentence; also where there is no rate.
pub fn burst(number: i64, rate: Option<Rate>) -> Result<u32, String> {
    resolve::burst(number, rate)
}

/// Milliseconds of a text as `500ms`, `30s`, `5m`, `24h` or `7d`, up to `most_ms`.
///
/// # Errors
/// Why it is none, in a sentence.
pub fn duration_ms(text: &str, most_ms: i64) -> Result<i64, String> {
    values::duration_ms(text, most_ms)
}

/// Makes sure that a text can be an id, a tenant or another name.
///
/// # Errors
/// Why it cannot, in a sentence.
pub fn check_name(text: &str) -> Result<(), String> {
    values::name(text)
}

fn read(path: &Path) -> Result<String, ConfigError> {
    let unreadable = |source| ConfigError::Unreadable {
        path: path.to_owned(),
        source,
    };
    let file = File::open(path).map_err(|error| match error.kind() {
        ErrorKind::NotFound => ConfigError::Missing(path.to_owned()),
        _ => unreadable(error),
    })?;
    let mut bytes = Vec::new();
    // One more than allowed, so that a larger file is noticed and not cut.
    file.take(FILE_BYTES_MAX + 1)
        .read_to_end(&mut bytes)
        .map_err(unreadable)?;
    if FILE_BYTES_MAX < bytes.len() as u64 {
        let message = format!("larger than {FILE_BYTES_MAX} bytes");
        return Err(unreadable(std::io::Error::new(
            ErrorKind::FileTooLarge,
            message,
        )));
    }
    String::from_utf8(bytes).map_err(|error| {
        let valid = error.utf8_error().valid_up_to();
        let before = String::from_utf8_lossy(error.as_bytes().get(..valid).unwrap_or_default());
        let (line, column) = position(&before, valid);
        let message = "not UTF-8 text".to_owned();
        ConfigError::Syntax {
            path: path.to_owned(),
            line,
            column,
            message,
        }
    })
}

/// Only the message and the place: the line itself may hold a secret.
fn syntax_error(path: &Path, text: &str, error: &toml::de::Error) -> ConfigError {
    let (line, column) = position(text, error.span().map_or(0, |it| it.start));
    let message = problem::printable(error.message());
    ConfigError::Syntax {
        path: path.to_owned(),
        line,
        column,
        message,
    }
}

/// Line and column of a byte, both from 1.
fn position(text: &str, at: usize) -> (usize, usize) {
    let before = text.get(..at).unwrap_or(text);
    let line_start = before.rfind('\n').map_or(0, |it| it + 1);
    let column = before.get(line_start..).map_or(0, |it| it.chars().count());
    (before.matches('\n').count() + 1, column + 1)
}
