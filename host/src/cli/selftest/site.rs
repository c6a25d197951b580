//! What the server of the self-test is given: plugins, and the configuration that loads those that can be loaded.

use std::fs::File;
use std::net::{Ipv4Addr, TcpListener};

use anyhow::Context as _;

use super::cases::{self, Kind, Probe};
use super::guest::Guest;
use super::neighbour;
use super::refused::{self, Made};
use super::server::Folder;

/// The one address that outgoing requests may reach: of this machine, and not that of the server.
const OPEN: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);

/// A bomb is given up early: 3 s, and as many again for each MiB.
const SERVER: &str =
    "[server]\nlisten = \"127.0.0.1:0\"\ndatabase = \"triage.db\"\ncompile_seconds = 3\n";

/// What was made for the server, and what waits for it.
pub(super) struct Site {
    /// The configuration that the server starts with.
    pub config: String,
    /// Where requests may go.
    pub open: TcpListener,
    /// Where requests must not go.
    pub closed: TcpListener,
    closed_port: u16,
}

impl Site {
    /// Makes all plugins and the configuration.
    pub(super) fn new(folder: &Folder) -> anyhow::Result<Self> {
        let open = listener(OPEN)?;
        let closed = listener(Ipv4Addr::LOCALHOST)?;
        let config = format!(
            "{SERVER}[egress]\nallow = [\"{OPEN}\"]\n{}{}",
            integration(neighbour::INTEGRATION),
            policy(neighbour::NAME, neighbour::INTEGRATION, "classifier", "")
        );
        let mut site = Self {
            config,
            closed_port: closed.local_addr()?.port(),
            open,
            closed,
        };
        folder.write("quiet.wasm", &Guest::that("").component()?)?;
        for case in cases::all() {
            let integration_id = integration_of(case.number);
            site.config += &integration(&integration_id);
            for probe in case.probes {
                site.add(probe, &integration_id, folder)
                    .with_context(|| format!("cannot make `{}`", probe.name))?;
            }
        }
        Ok(site)
    }

    fn add(&mut self, probe: &Probe, tenant: &str, folder: &Folder) -> anyhow::Result<()> {
        let name = probe.name;
        let file = format!("{name}.wasm");
        match probe.kind {
            Kind::Run {
                guest,
                limits,
                class,
                ..
            } => {
                folder.write(&file, &guest.component()?)?;
                let limits = limits_of(limits, class);
                self.config += &policy(name, tenant, guest.role.name(), &limits);
            }
            Kind::Webhook { url } => {
                folder.write(&file, &Guest::webhook(name)?)?;
                self.add_webhook(name, tenant, &self.url(url));
            }
            Kind::Url { .. } => (),
            Kind::Refused {
                made: Made::Hole(bytes),
                ..
            } => File::create(folder.path(&file))?.set_len(bytes)?,
            Kind::Refused { made, .. } => folder.write(&file, &refused::bytes(made)?)?,
            Kind::Special(special) => match special.guest() {
                None => {
                    folder.write(&file, &Guest::webhook(name)?)?;
                    let url = format!("http://{}/", self.open.local_addr()?);
                    self.add_webhook(name, tenant, &url);
                }
                Some(guest) => {
                    folder.write(&file, &guest.component()?)?;
                    let attempts = special.attempts_max();
                    let lines = format!("attempts_max = {attempts}\n{}", limits_of("", ""));
                    let lines = policy(name, tenant, "classifier", &lines);
                    self.config += &lines;
                }
            },
        }
        Ok(())
    }

    /// A policy whose triager asks for a webhook to this address.
    fn add_webhook(&mut self, name: &str, tenant: &str, url: &str) {
        let grant = format!("[policy.grants]\ndestinations = [\"{name}\"]");
        self.config += &policy(name, tenant, "triager", &grant);
        self.config += &destination(name, url);
    }

    /// The configuration with one more plugin for each of these names.
    pub(super) fn config_with_plugins<'a>(&self, names: impl Iterator<Item = &'a str>) -> String {
        let more = names.map(|it| format!("[plugins.{it}]\npath = \"{it}.wasm\"\n"));
        more.fold(self.config.clone(), |config, it| config + &it)
    }

    /// The configuration with one more destination for each of these names and addresses.
    pub(super) fn config_with_destinations<'a>(
        &self,
        all: impl Iterator<Item = (&'a str, &'a str)>,
    ) -> String {
        let more = all.map(|(name, url)| destination(name, &self.url(url)));
        more.fold(self.config.clone(), |config, it| config + &it)
    }

    /// A port of its own in place of `PORT`.
    fn url(&self, url: &str) -> String {
        url.replace("PORT", &self.closed_port.to_string())
    }
}

/// The integration, and tenant, of a case.
pub(super) fn integration_of(number: u8) -> String {
    format!("case-{number}")
}

fn listener(address: Ipv4Addr) -> anyhow::Result<TcpListener> {
    let listener =
        TcpListener::bind((address, 0)).with_context(|| format!("cannot listen on {address}"))?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

/// A sender of a tenant of the same name.
fn integration(id: &str) -> String {
    format!(
        "[[integration]]\nid = \"{id}\"\ntenant = \"{id}\"\nsource = \"standard\"\n\
         secrets = [\"file:secrets/standard-main\"]\n"
    )
}

/// A plugin with its policy, which gives each event one attempt unless a line says otherwise.
fn policy(name: &str, tenant: &str, role: &str, lines: &str) -> String {
    let attempts = match lines.contains("attempts_max") {
        true => "",
        false => "attempts_max = 1\n",
    };
    format!(
        "[plugins.{name}]\npath = \"{name}.wasm\"\n\
         [[policy]]\nname = \"{name}\"\ntenant = \"{tenant}\"\ntriggers = [\"standard.{name}.event\"]\n\
         {role} = \"{name}\"\n{attempts}{lines}\n"
    )
}

/// `[policy.limits]` with time for all that does not end at that very limit, on slow machines too.
fn limits_of(limits: &str, class: &str) -> String {
    let cpu = match class {
        _ if limits.contains("cpu_ms") => "",
        "cpu_limit" => "cpu_ms = 100\n",
        _ => "cpu_ms = 3000\n",
    };
    // On a machine that does other things as well, plugins compute when those do not.
    let wall = match limits.contains("wall_ms") {
        true => "",
        false => "wall_ms = 120_000\n",
    };
    format!("[policy.limits]\n{cpu}{wall}{limits}\n")
}

/// A webhook's destination that is tried once.
fn destination(name: &str, url: &str) -> String {
    format!(
        "[destinations.{name}]\nkind = \"webhook\"\nurl = \"{url}\"\n\
         secret = \"file:secrets/standard-main\"\nattempts_max = 1\n"
    )
}
