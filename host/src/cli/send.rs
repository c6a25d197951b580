//! `triage send`: a delivery as a provider would make it, to the user's own server.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, anyhow};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use serde_json::{Value, json};
use url::Url;

use super::failure::Failure;
use super::output::{Output, clean_lines};
use super::{Context, wait_for};
use crate::config::{self, Config};
use crate::egress::{Egress, Method, Request, Response};
use crate::integrations::{self, Problem};
use crate::model::integration::{Integration, Origin};
use crate::model::secret::Secret;
use crate::model::source::Source;
use crate::sources::{self, Outgoing, samples};
use crate::store::Store;

/// How long the server may take.
const TIMEOUT: Duration = Duration::from_secs(30);
/// The longest `--id`.
const ID_CHARS_MAX: usize = 128;
/// Lines of an answer that is not JSON.
const ANSWER_LINES_MAX: usize = 40;

#[derive(Debug, clap::Args)]
#[command(
    group = clap::ArgGroup::new("what").required(true).multiple(true).args(["event", "file"]),
    override_usage = "triage send [OPTIONS] SOURCE EVENT
       triage send [OPTIONS] SOURCE --file FILE"
)]
pub(super) struct Arguments {
    /// Whose scheme signs it: standard, sentry, stripe, github, slack, one that is shipped, as shopify, or one of
    /// the configuration's own.
    source: String,
    /// A bundled sample, as `incident.opened`; with --file the event's name.
    event: Option<String>,
    /// A file to send instead of a sample, byte for byte.
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
    /// The integration to send to, where the source has several.
    #[arg(long, value_name = "ID")]
    integration: Option<String>,
    /// The delivery's id; the same one again is a repeat. Default: a new one.
    #[arg(long, value_name = "ID", value_parser = parse_id)]
    id: Option<String>,
    /// The server, as http://127.0.0.1:8080. Default: where the configuration listens.
    #[arg(long, value_name = "URL", conflicts_with = "public")]
    url: Option<Url>,
    /// Send to the configuration's public_url.
    #[arg(long)]
    public: bool,
    /// The event's name in the headers, where it is not EVENT.
    #[arg(long = "event", value_name = "NAME", id = "name")]
    name: Option<String>,
    /// Sign with another secret than the integration's: env:NAME or file:PATH.
    #[arg(long, value_name = "PLACE")]
    secret: Option<String>,
    /// Sign with a wrong secret, to see the delivery refused.
    #[arg(long, conflicts_with = "secret")]
    forge: bool,
}

/// What is signed.
struct Delivery {
    event: String,
    id: String,
    body: Bytes,
}

pub(super) fn run(
    arguments: &Arguments,
    context: &Context<'_>,
    output: &mut Output<'_>,
) -> Result<(), Failure> {
    let source = source(arguments, context)?;
    let delivery = delivery(arguments, &source, context)?;
    let (config, integration) = integration(arguments, context)?;
    let secret = secret(arguments, context, &integration)?;
    let url = ingest_url(&server_url(arguments, &config)?, &integration)?;

    let signed = Outgoing {
        event: &delivery.event,
        id: &delivery.id,
        body: &delivery.body,
        now: context.clock.now(),
    };
    let mut headers = sources::sign(&integration.source, &secret, signed)
        .map_err(|error| Failure::Usage(format!("cannot sign: {error}")))?;
    let content_type = content_type(&integration.source, &delivery.body);
    headers.push(("content-type".to_owned(), content_type.to_owned()));
    let request = Request {
        method: Method::Post,
        url: url.clone(),
        headers,
        body: delivery.body,
        timeout: TIMEOUT,
    };
    let response = post(request, context)?;
    show(&url, &response, output)?;
    match response.status {
        200..=299 => Ok(()),
        status => Err(Failure::Refused(status)),
    }
}

/// The source that is meant. The configuration is only read for one that is not built in.
fn source(arguments: &Arguments, context: &Context<'_>) -> Result<Source, Failure> {
    let name = &arguments.source;
    if let Some(built_in) = Source::BUILT_IN.into_iter().find(|it| it.as_str() == name) {
        return Ok(built_in);
    }
    let prefix = format!("sources.{name}");
    let needed = |setting: &str| {
        let own = setting.strip_prefix(&prefix);
        own.is_some_and(|it| it.is_empty() || it.starts_with('.'))
    };
    let config = Config::load_for(&context.config_path, context.env, &needed)?;
    config.sources.get(name).cloned().ok_or_else(|| {
        let known: Vec<&str> = config.sources.keys().map(String::as_str).collect();
        Failure::Usage(format!("no source `{name}`: {}", known.join(", ")))
    })
}

fn delivery(
    arguments: &Arguments,
    source: &Source,
    context: &Context<'_>,
) -> Result<Delivery, Failure> {
    let id = arguments.id.clone().unwrap_or_else(|| new_id(source));
    let name = arguments.name.clone().or_else(|| arguments.event.clone());
    let (event, body) = match (&arguments.file, &arguments.event) {
        (Some(path), _) => {
            let body =
                std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
            (name_of_file(source, name)?, body)
        }
        (None, Some(event)) => {
            let sample =
                samples::find(source.as_str(), event).ok_or_else(|| no_sample(source, event))?;
            let body = samples::fill(sample.template, &id, context.clock.now());
            (name.unwrap_or_else(|| event.clone()), body.into_bytes())
        }
        (None, None) => {
            return Err(Failure::Usage(
                "name a sample, or a file with --file".to_owned(),
            ));
        }
    };
    Ok(Delivery {
        event,
        id,
        body: body.into(),
    })
}

/// GitHub and Sentry name the event in a header, and so may a declared source; the others in the body.
fn name_of_file(source: &Source, name: Option<String>) -> Result<String, Failure> {
    match (source, name) {
        (_, Some(name)) => Ok(name),
        (Source::Standard | Source::Stripe | Source::Slack, None) => Ok(String::new()),
        (Source::Custom(custom), None) if !custom.names_event_in_header() => Ok(String::new()),
        (Source::Github | Source::Sentry | Source::Custom(_), None) => {
            Err(Failure::Usage(format!(
                "a delivery from {source} names its event in a header: add --event NAME, as `issues.opened`"
            )))
        }
    }
}

fn no_sample(source: &Source, event: &str) -> Failure {
    let known: Vec<&str> = samples::all()
        .iter()
        .filter(|it| it.source == source.as_str())
        .map(|it| it.event)
        .collect();
    let known = match known.as_slice() {
        [] => "there is none".to_owned(),
        known => known.join(", "),
    };
    Failure::Usage(format!(
        "no sample `{event}` of {source}: {known}; or a file with --file"
    ))
}

/// The integration to send to, and a configuration in which it has no problem.
fn integration(
    arguments: &Arguments,
    context: &Context<'_>,
) -> Result<(Config, Integration), Failure> {
    let (config, not_joined) = with_store(context)?;
    let source = &arguments.source;
    let of_source = || {
        config
            .integrations
            .values()
            .filter(|it| it.source.as_str() == source)
    };
    let candidates: Vec<&str> = of_source().map(|it| it.id.as_str()).collect();
    let known = match candidates.as_slice() {
        [] => "the configuration has none".to_owned(),
        ids => format!("the configuration has {}", ids.join(", ")),
    };
    let found = match &arguments.integration {
        Some(id) => of_source().find(|it| it.id == *id),
        None => of_source().next(),
    };
    let Some(found) = found else {
        not_joined?;
        let wanted = arguments
            .integration
            .as_ref()
            .map_or(String::new(), |id| format!(" `{id}`"));
        return Err(Failure::NotFound(format!(
            "no {source} integration{wanted}: {known}"
        )));
    };
    let is_known = arguments.secret.is_some() || arguments.forge;
    if is_known || found.origin == Origin::Store {
        return Ok((config.clone(), found.clone()));
    }
    // Now with its own problems, as a secret that is not set; those of others do not matter.
    let prefix = format!("integration.{}", found.id);
    let needed = |setting: &str| {
        let own = setting.strip_prefix(&prefix);
        setting.starts_with("server") || own.is_some_and(|it| it.is_empty() || it.starts_with('.'))
    };
    let checked = Config::load_for(&context.config_path, context.env, &needed)?;
    if found.secrets.at(context.clock.now()).is_empty() {
        not_joined?;
    }
    Ok((checked, found.clone()))
}

/// The configuration, with what is in the database where there is one on this machine; or
/// without, and why. That matters only if the integration is one of the database.
fn with_store(context: &Context<'_>) -> Result<(Config, Result<(), Problem>), Failure> {
    let mut config = context.server_config()?;
    if !config.database.exists() {
        return Ok((config, Ok(())));
    }
    let store = Store::open_to_read(&config.database).map_err(anyhow::Error::new)?;
    let joined = wait_for(integrations::join(&mut config, &store, context.clock.now()))?;
    Ok((config, joined.map(drop)))
}

fn secret(
    arguments: &Arguments,
    context: &Context<'_>,
    integration: &Integration,
) -> Result<Secret, Failure> {
    if arguments.forge {
        // Of a form that every scheme takes.
        let random = STANDARD.encode(rand::random::<[u8; 32]>());
        return Ok(Secret::new(format!("whsec_{random}")));
    }
    match &arguments.secret {
        Some(place) => config::read_secret(place, &context.config_path, context.env)
            .map_err(|error| Failure::Usage(format!("--secret: {error}"))),
        None => integration
            .secrets
            .at(context.clock.now())
            .first()
            .cloned()
            .ok_or_else(|| anyhow!("integration {} has no secret", integration.id).into()),
    }
}

fn server_url(arguments: &Arguments, config: &Config) -> Result<Url, Failure> {
    if let Some(url) = &arguments.url {
        return Ok(url.clone());
    }
    if arguments.public {
        return Ok(config.public_url.clone());
    }
    match config.local_url() {
        Some(url) if config.listen.port() != 0 => Ok(url),
        _ => Err(Failure::Usage(
            "server.listen leaves the port to the system: name the server with --url".to_owned(),
        )),
    }
}

fn ingest_url(server: &Url, integration: &Integration) -> Result<Url, Failure> {
    let mut url = server.clone();
    url.path_segments_mut()
        .map_err(|()| Failure::Usage("--url: must be a web address".to_owned()))?
        .pop_if_empty()
        .extend([
            "v1",
            "webhooks",
            integration.source.as_str(),
            &integration.id,
        ]);
    Ok(url)
}

fn post(request: Request, context: &Context<'_>) -> Result<Response, Failure> {
    // Everywhere: the user says where to, and mostly it is this machine.
    let everywhere: Vec<IpNet> = vec![Ipv4Net::default().into(), Ipv6Net::default().into()];
    let server = request.url.origin().ascii_serialization();
    let egress = Egress::new(everywhere).map_err(anyhow::Error::new)?;
    let response = wait_for(egress.send(request, context.clock.now()))?
        .map_err(anyhow::Error::new)
        .with_context(|| format!("no answer from {server}, where `triage serve` should run"))?;
    Ok(response)
}

fn show(url: &Url, response: &Response, output: &mut Output<'_>) -> Result<(), Failure> {
    let answer: Option<Value> = serde_json::from_slice(&response.body).ok();
    let text = String::from_utf8_lossy(&response.body);
    if output.is_json() {
        let answer = answer.unwrap_or_else(|| json!(text));
        return output
            .json(&json!({ "url": url.as_str(), "status": response.status, "answer": answer }));
    }
    output.line(&format!("{} from {url}", response.status))?;
    match answer {
        Some(answer) => output.json(&answer),
        None => clean_lines(&text, ANSWER_LINES_MAX)
            .iter()
            .try_for_each(|it| output.line(it)),
    }
}

fn content_type(source: &Source, body: &[u8]) -> &'static str {
    let is_json = serde_json::from_slice::<serde::de::IgnoredAny>(body).is_ok();
    match source {
        Source::Stripe if is_json => "application/json; charset=utf-8",
        Source::Standard | Source::Sentry | Source::Stripe => "application/json",
        Source::Github | Source::Slack | Source::Custom(_) if is_json => "application/json",
        Source::Github | Source::Slack | Source::Custom(_) => "application/x-www-form-urlencoded",
    }
}

/// A random id in the form of the source.
fn new_id(source: &Source) -> String {
    let uuid = uuid::Builder::from_random_bytes(rand::random()).into_uuid();
    match source {
        Source::Github => uuid.hyphenated().to_string(),
        Source::Standard => format!("msg_{}", uuid.simple()),
        Source::Custom(_) => uuid.hyphenated().to_string(),
        Source::Sentry | Source::Stripe | Source::Slack => uuid.simple().to_string(),
    }
}

/// Ids stand in headers, in JSON and in signed text as they are.
fn parse_id(text: &str) -> Result<String, String> {
    let fits = |it: u8| it.is_ascii_alphanumeric() || matches!(it, b'-' | b'_');
    if (1..=ID_CHARS_MAX).contains(&text.len()) && text.bytes().all(fits) {
        return Ok(text.to_owned());
    }
    Err(format!("1 to {ID_CHARS_MAX} letters, digits, `-` and `_`"))
}
