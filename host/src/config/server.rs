//! The server itself: where it listens, what it is called from outside, whom it believes.
//!
//! Called by `resolve`.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;

use ipnet::IpNet;
use url::Url;

use super::problem::Problems;
use super::raw::{self, RawServer};
use super::resolve::{self, Surroundings};
use super::tls::{self, Tls};
use super::{secrets, values};
use crate::model::secret::MasterKey;

const LISTEN: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 8080);
const DATABASE: &str = "triage.db";
const MASTER_KEY: &str = "file:triage.key";
/// How long a small plugin may be compiled, in seconds. A bomb costs no more than that before it is refused;
/// an honest one takes a tenth of a second.
const COMPILE_SECONDS: u64 = 6;
const COMPILE_SECONDS_MAX: u64 = 600;

/// The section `[server]`; `None` where a setting has a problem.
pub(super) struct Server {
    pub listen: Option<SocketAddr>,
    pub public_url: Option<Url>,
    pub database: Option<PathBuf>,
    pub trusted_proxies: Vec<IpNet>,
    pub compile_seconds: u64,
    pub master_key: Result<MasterKey, String>,
    pub tls: Option<Tls>,
}

pub(super) fn resolve(
    raw: RawServer,
    around: &Surroundings<'_>,
    problems: &mut Problems,
) -> Server {
    let listen = listen(&raw, problems);
    let scheme = scheme(raw.tls.is_some());
    Server {
        listen,
        public_url: public_url(&raw, scheme, listen, problems),
        database: database(&raw, around, problems),
        master_key: master_key(&raw, around, problems),
        trusted_proxies: resolve::networks("server.trusted_proxies", raw.trusted_proxies, problems),
        compile_seconds: values::bounded(
            problems,
            "server.compile_seconds",
            raw.compile_seconds,
            1..=COMPILE_SECONDS_MAX,
            COMPILE_SECONDS,
        ),
        tls: raw.tls.and_then(|table| {
            let raw = raw::section("server.tls", table, problems);
            tls::resolve(raw, around, problems)
        }),
    }
}

/// What the server speaks, as URLs name it.
pub(super) fn scheme(tls: bool) -> &'static str {
    if tls { "https" } else { "http" }
}

fn listen(raw: &RawServer, problems: &mut Problems) -> Option<SocketAddr> {
    let Some(text) = &raw.listen else {
        return Some(LISTEN);
    };
    let listen = text
        .parse()
        .map_err(|_| format!("`{text}` is not an address and a port, as `{LISTEN}`"));
    problems.take("server.listen", listen)
}

fn public_url(
    raw: &RawServer,
    scheme: &str,
    listen: Option<SocketAddr>,
    problems: &mut Problems,
) -> Option<Url> {
    let Some(text) = &raw.public_url else {
        return local_url(scheme, listen?);
    };
    let url = values::http_url(text).and_then(|mut url| {
        if url.query().is_some() || url.fragment().is_some() {
            return Err("must end with its path: take `?` and `#` out".to_owned());
        }
        let path = url.path().trim_end_matches('/').to_owned();
        url.set_path(&path);
        Ok(url)
    });
    problems.take("server.public_url", url)
}

/// How a program on the same machine reaches a server that listens there.
pub(super) fn local_url(scheme: &str, listen: SocketAddr) -> Option<Url> {
    let ip = match listen.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    Url::parse(&format!(
        "{scheme}://{}",
        SocketAddr::new(ip, listen.port())
    ))
    .ok()
}

fn database(
    raw: &RawServer,
    around: &Surroundings<'_>,
    problems: &mut Problems,
) -> Option<PathBuf> {
    let text = raw.database.as_deref().unwrap_or(DATABASE);
    let path = if text.is_empty() || text.ends_with('/') {
        Err(format!("`{text}` is not a file, as `{DATABASE}`"))
    } else {
        Ok(around.folder.join(text))
    };
    problems.take("server.database", path)
}

fn master_key(
    raw: &RawServer,
    around: &Surroundings<'_>,
    problems: &mut Problems,
) -> Result<MasterKey, String> {
    let place = match &raw.master_key {
        None => MASTER_KEY,
        Some(place) => place.as_str().unwrap_or_default(),
    };
    secrets::master_key("server.master_key", place, around, problems)
}
