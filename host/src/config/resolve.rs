//! From what the file says to what it means: paths, addresses, names that lead somewhere.
//!
//! Called by `Config::load` after `raw`. It looks at environment variables and at
//! files that the configuration names, but opens no component and no database.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use ipnet::IpNet;

use super::problem::Problems;
use super::raw::{RawConfig, RawIntegration, RawPlugin, RawQuarantine, RawRetention};
use super::{Config, destinations, policies, secrets, server, sources, tenants, values};
use crate::content::INFLATED_BYTES_CEILING;
use crate::model::integration::{Integration, LiveSecrets, Origin};
use crate::model::rate::{Rate, RateLimit};
use crate::model::source::Source;
use crate::model::strike::StrikeLimits;

/// Whose integrations and policies those without a `tenant` are.
const TENANT: &str = "default";
/// How long an event is kept, in milliseconds, where the file does not say.
const KEEP_EVENTS_MS: i64 = 30 * 86_400_000;
/// The longest that an event can be kept, in milliseconds: ten years.
const KEEP_EVENTS_MS_CEILING: i64 = 3_650 * 86_400_000;
/// The most strikes that can be asked for: as good as none.
const STRIKES_MOST: u32 = 1_000_000;
/// The longest time over which strikes are counted, in milliseconds: a week.
const STRIKES_WITHIN_MS_CEILING: i64 = 7 * 86_400_000;
/// The largest body of a delivery in bytes, where an integration does not say.
pub const BODY_BYTES_MAX: usize = 1 << 20;
/// The largest `body_limit` in bytes: GitHub sends up to 25 MB, nobody more.
const BODY_BYTES_CEILING: usize = 32 << 20;

/// The most deliveries that may come at once under a rate limit.
const BURST_MAX: u32 = 1_000_000;
/// Why a burst cannot stand by itself.
const BURST_ALONE: &str = "counts only beside a `rate_limit`";

/// What lies around the file.
pub(super) struct Surroundings<'a> {
    /// What paths in the file are relative to; [`Surroundings::file`] joins what is to be watched.
    pub folder: &'a Path,
    /// Environment variables.
    pub env: &'a dyn Fn(&str) -> Option<String>,
    /// Files that make up the configuration besides the file itself.
    named: RefCell<BTreeSet<PathBuf>>,
}

impl<'a> Surroundings<'a> {
    /// What lies around a configuration file.
    pub(super) fn of(path: &'a Path, env: &'a dyn Fn(&str) -> Option<String>) -> Self {
        let folder = path.parent().unwrap_or_else(|| Path::new(""));
        Self {
            folder,
            env,
            named: RefCell::default(),
        }
    }

    /// The place of a file that the configuration names and is made of; it is watched from now on.
    pub(super) fn file(&self, text: &str) -> PathBuf {
        let path = self.folder.join(text);
        self.named.borrow_mut().insert(path.clone());
        path
    }

    /// All that [`Surroundings::file`] was asked for.
    pub(super) fn into_files(self) -> BTreeSet<PathBuf> {
        self.named.into_inner()
    }
}

/// The configuration; `None`, or worthless, where problems were found.
pub(super) fn resolve(
    raw: RawConfig,
    around: &Surroundings<'_>,
    problems: &mut Problems,
) -> Option<Config> {
    let server = server::resolve(raw.server, around, problems);
    let keep_events_ms = keep_events_ms(&raw.retention, problems);
    let strikes = strikes(raw.quarantine, problems);
    let egress_allow = networks("egress.allow", raw.egress.allow, problems);
    let tenants = tenants::resolve(raw.tenants, problems);
    let mut source_names: BTreeSet<String> = raw.sources.keys().cloned().collect();
    let sources = sources::resolve(raw.sources, problems);
    source_names.extend(sources.keys().cloned());
    let known = KnownSources {
        sources: &sources,
        names: &source_names,
    };
    let integrations = integrations(raw.integrations, known, around, problems);

    // A policy that names a plugin or destination which has a problem of its own is not wrong.
    let names = policies::Names {
        sources: source_names.clone(),
        plugins: raw.plugins.keys().cloned().collect(),
        destinations: raw.destinations.keys().cloned().collect(),
    };
    let plugins = plugins(raw.plugins, around, problems);
    let destinations = destinations::resolve(raw.destinations, &egress_allow, around, problems);
    let policies = policies::resolve(raw.policies, &names, problems);
    Some(Config {
        listen: server.listen?,
        public_url: server.public_url?,
        database: server.database?,
        keep_events_ms: keep_events_ms?,
        tls: server.tls,
        trusted_proxies: server.trusted_proxies,
        master_key: server.master_key,
        compile_seconds: server.compile_seconds,
        strikes,
        egress_allow,
        tenants,
        sources,
        integrations,
        plugins,
        destinations,
        policies,
    })
}

/// The owner of an integration or policy.
pub(super) fn tenant(setting: &str, value: Option<String>, problems: &mut Problems) -> String {
    let tenant = value.unwrap_or_else(|| TENANT.to_owned());
    problems.take(format!("{setting}.tenant"), values::name(&tenant));
    tenant
}

fn keep_events_ms(raw: &RawRetention, problems: &mut Problems) -> Option<i64> {
    match &raw.events {
        None => Some(KEEP_EVENTS_MS),
        Some(text) => problems.take(
            "retention.events",
            values::duration_ms(text, KEEP_EVENTS_MS_CEILING),
        ),
    }
}

fn strikes(raw: RawQuarantine, problems: &mut Problems) -> StrikeLimits {
    let default = StrikeLimits::default();
    let at = |name: &str| format!("quarantine.{name}");
    let window_ms = raw.within.and_then(|text| {
        let window_ms = values::duration_ms(&text, STRIKES_WITHIN_MS_CEILING);
        problems.take(at("within"), window_ms)
    });
    StrikeLimits {
        events: values::bounded(
            problems,
            &at("strikes"),
            raw.strikes,
            2..=STRIKES_MOST,
            default.events,
        ),
        window_ms: window_ms.unwrap_or(default.window_ms),
        share_percent: values::bounded(
            problems,
            &at("share_percent"),
            raw.share_percent,
            1..=100,
            default.share_percent,
        ),
    }
}

/// The good ones of a list of networks.
pub(super) fn networks(
    setting: &str,
    list: Option<Vec<String>>,
    problems: &mut Problems,
) -> Vec<IpNet> {
    let mut networks = Vec::new();
    for (index, text) in list.unwrap_or_default().iter().enumerate() {
        networks.extend(problems.take(format!("{setting}[{index}]"), values::network(text)));
    }
    networks
}

/// What an integration can be of.
#[derive(Clone, Copy)]
struct KnownSources<'a> {
    sources: &'a BTreeMap<String, Source>,
    /// Those as well whose declaration has a problem of its own.
    names: &'a BTreeSet<String>,
}

impl KnownSources<'_> {
    fn find(self, setting: &str, name: &str, problems: &mut Problems) -> Option<Source> {
        if !self.names.contains(name) {
            let known = values::known(self.names.iter());
            problems.add(setting, format!("unknown source `{name}` ({known})"));
        }
        self.sources.get(name).cloned()
    }
}

fn integrations(
    raw: Vec<(String, RawIntegration)>,
    known: KnownSources<'_>,
    around: &Surroundings<'_>,
    problems: &mut Problems,
) -> BTreeMap<String, Integration> {
    let mut integrations = BTreeMap::new();
    let mut ids = BTreeSet::new();
    for (setting, raw) in raw {
        if raw.id.as_ref().is_some_and(|id| !ids.insert(id.clone())) {
            problems.add(&setting, "declared twice: each needs an `id` of its own");
        }
        if let Some(integration) = integration(&setting, raw, known, around, problems) {
            integrations.insert(integration.id.clone(), integration);
        }
    }
    integrations
}

fn integration(
    setting: &str,
    raw: RawIntegration,
    known: KnownSources<'_>,
    around: &Surroundings<'_>,
    problems: &mut Problems,
) -> Option<Integration> {
    let at = |name: &str| format!("{setting}.{name}");
    let id = problems.required(
        &at("id"),
        raw.id,
        "the last part of its URL, as `github-main`",
    );
    let id = id.and_then(|id| problems.take(at("id"), values::name(&id).map(|()| id)));
    let tenant = tenant(setting, raw.tenant, problems);
    let source = problems.required(
        &at("source"),
        raw.source,
        "as `github`, or one that is declared as [sources.NAME]",
    );
    let source = source.and_then(|name| known.find(&at("source"), &name, problems));
    let secrets = secrets::list(
        &at("secrets"),
        raw.secrets,
        source.as_ref(),
        around,
        problems,
    );
    let body_bytes_max = problems.take(
        at("body_limit"),
        raw.body_limit
            .as_deref()
            .map_or(Ok(BODY_BYTES_MAX), body_limit),
    );
    let inflated_bytes_max = match raw.inflated_limit {
        None => body_bytes_max.map(inflated_bytes_max),
        Some(text) => problems.take(at("inflated_limit"), inflated_size(&text)),
    };
    let rate_limit = rate_limit(setting, raw.rate_limit, raw.burst, problems);
    Some(Integration {
        id: id?,
        tenant,
        source: source?,
        origin: Origin::File,
        secrets: LiveSecrets::declared(secrets),
        body_bytes_max: body_bytes_max?,
        inflated_bytes_max: inflated_bytes_max?,
        rate_limit,
    })
}

/// What a compressed body may inflate to, where an integration does not say: JSON of that size
/// compresses to some eighth.
pub(super) fn inflated_bytes_max(body_bytes_max: usize) -> usize {
    (8 * body_bytes_max).min(INFLATED_BYTES_CEILING)
}

/// `None` where every delivery is taken. As many as come in one period may come at once, if `burst`
/// does not say otherwise.
fn rate_limit(
    setting: &str,
    rate: Option<String>,
    burst: Option<i64>,
    problems: &mut Problems,
) -> Option<RateLimit> {
    let at = |name: &str| format!("{setting}.{name}");
    let Some(rate) = rate else {
        if burst.is_some() && !problems.has(&at("rate_limit")) {
            problems.add(at("burst"), BURST_ALONE);
        }
        return None;
    };
    let Rate {
        deliveries,
        period_ms,
    } = problems.take(at("rate_limit"), values::rate(&rate))?;
    let burst = values::bounded(problems, &at("burst"), burst, 1..=BURST_MAX, deliveries);
    Some(RateLimit::new(deliveries, period_ms, burst))
}

/// How many deliveries may come at once under a rate limit.
pub(super) fn burst(number: i64, rate: Option<Rate>) -> Result<u32, String> {
    match rate {
        None => Err(BURST_ALONE.to_owned()),
        Some(_) => values::within(number, 1..=BURST_MAX),
    }
}

/// The most that a compressed body may inflate to, in bytes.
pub(super) fn inflated_size(text: &str) -> Result<usize, String> {
    values::size_bytes(text, INFLATED_BYTES_CEILING)
}

/// The largest body of a delivery in bytes.
pub(super) fn body_limit(text: &str) -> Result<usize, String> {
    values::size_bytes(text, BODY_BYTES_CEILING)
}

fn plugins(
    raw: BTreeMap<String, RawPlugin>,
    around: &Surroundings<'_>,
    problems: &mut Problems,
) -> BTreeMap<String, PathBuf> {
    let mut plugins = BTreeMap::new();
    for (name, raw) in raw {
        let setting = format!("plugins.{name}");
        problems.take(&setting, values::name(&name));
        let file = plugin(&setting, raw, around, problems);
        plugins.extend(file.map(|file| (name, file)));
    }
    plugins
}

fn plugin(
    setting: &str,
    raw: RawPlugin,
    around: &Surroundings<'_>,
    problems: &mut Problems,
) -> Option<PathBuf> {
    if raw.digest.is_some() {
        let message = "not supported by this version: give the component's file as `path`";
        problems.add(format!("{setting}.digest"), message);
        return None;
    }
    let setting = format!("{setting}.path");
    let text = problems.required(
        &setting,
        raw.path,
        "the component's file, as `plugins/incident_desk.wasm`",
    )?;
    let path = around.file(&text);
    let found = match path.metadata() {
        Ok(metadata) if metadata.is_file() => Ok(path),
        Ok(_) => Err(format!("{} is not a file", path.display())),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Err(format!(
            "no such file {}: build it with `triage plugin build`, or correct the path",
            path.display()
        )),
        Err(error) => Err(format!("cannot read {}: {error}", path.display())),
    };
    problems.take(setting, found)
}
