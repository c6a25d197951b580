//! Tests of HTTP in and out, through the router and a real store.

mod api;
mod connections;
mod encoding;
mod ingest;
mod login;
mod overload;
mod pages;
mod rejections;
mod slow;
mod tls;
mod wire;

use std::borrow::Borrow;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::{HeaderMap, Request, StatusCode};
use serde_json::Value;
use tempfile::TempDir;
use tokio::sync::Notify;
use tower::ServiceExt as _;

use super::{HttpState, Shared};
use crate::clock::Clock;
use crate::config::Config;
use crate::deployments::Deployments;
use crate::live::{Live, Setup};
use crate::model::integration::{Integration, LiveSecrets, Origin};
use crate::model::policy::Policy;
use crate::model::secret::{MasterKey, Secret};
use crate::model::source::Source;
use crate::model::strike::StrikeLimits;
use crate::model::time::TimestampMs;
use crate::registry::Registry;
use crate::sources::{self, Outgoing, samples};
use crate::store::Store;
use crate::store::access::Role;

/// 2026-11-21T08:00:00Z
pub const NOW: TimestampMs = 1_795_248_000_000;
/// Fits every scheme: Standard Webhooks wants base64.
const SECRET: &str = "whsec_dGhlIHNlY3JldCBvZiBhbGwgdGVzdHM=";
const OLD_SECRET: &str = "whsec_YW4gb2xkZXIgc2VjcmV0LCBzdGlsbCBsaXZl";
const BODY_BYTES_MAX: usize = 16 << 10;
const INFLATED_BYTES_MAX: usize = 60 << 10;

/// One host with an integration of each source for tenant `acme`, and one of `globex`.
pub struct TestHost {
    pub state: HttpState,
    pub clock: Arc<AtomicI64>,
    router: Router,
    _folder: TempDir,
}

/// An answer, read to its end.
#[derive(Debug)]
pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: bytes::Bytes,
}

impl Answer {
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or(Value::Null)
    }

    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |it| it.to_str().unwrap())
    }

    #[track_caller]
    pub fn check(self, status: u16) -> Self {
        assert_eq!(self.status.as_u16(), status, "{:?}", self.body);
        self
    }

    #[track_caller]
    pub fn check_error(self, status: u16, code: &str) -> Self {
        let json = self.json();
        assert_eq!(
            (self.status.as_u16(), &json["code"]),
            (status, &code.into()),
            "{json}"
        );
        assert!(json["message"].as_str().is_some_and(|it| !it.is_empty()));
        assert_eq!(json.as_object().unwrap().len(), 2, "{json}");
        self
    }
}

impl TestHost {
    pub fn start() -> Self {
        Self::with(|_| ())
    }

    pub fn with_public_url(public_url: &str) -> Self {
        Self::with(|config| config.public_url = public_url.parse().unwrap())
    }

    /// A host whose configuration is not quite the usual one.
    pub fn with(change: impl FnOnce(&mut Config)) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let database = folder.path().join("triage.db");
        Store::create(&database).unwrap();
        let clock = Arc::new(AtomicI64::new(NOW));
        let mut config = config(database.clone());
        change(&mut config);
        let store = Store::open(&database).unwrap();
        let deployments = Deployments::new(&config, store.clone(), &[0; 32]).unwrap();
        let setup = Setup::assemble(config, Registry::default(), None).unwrap();
        let state = Arc::new(Shared {
            store,
            live: Arc::new(Live::new(setup, "0".repeat(64), NOW)),
            clock: Clock::Manual(clock.clone()),
            runs_wake: Arc::new(Notify::new()),
            rates: Arc::default(),
            deployments,
        });
        Self {
            router: super::router(state.clone()),
            state,
            clock,
            _folder: folder,
        }
    }

    pub fn advance(&self, ms: i64) {
        self.clock.fetch_add(ms, Ordering::SeqCst);
    }

    pub fn now(&self) -> TimestampMs {
        self.state.clock.now()
    }

    pub async fn send(&self, request: Request<Body>) -> Answer {
        let response = self.router.clone().oneshot(request).await.unwrap();
        let (parts, body) = response.into_parts();
        let body = to_bytes(body, usize::MAX).await.unwrap();
        Answer {
            status: parts.status,
            headers: parts.headers,
            body,
        }
    }

    /// Posts one of the bundled samples, signed as its sender would.
    pub async fn deliver(&self, source: impl Borrow<Source>, id: &str) -> Answer {
        self.send(self.delivery(source, id)).await
    }

    pub fn delivery(&self, source: impl Borrow<Source>, id: &str) -> Request<Body> {
        let source = source.borrow();
        let body = sample(source, id, self.now());
        self.signed(source, id, SECRET, &body)
    }

    pub fn signed(
        &self,
        source: impl Borrow<Source>,
        id: &str,
        secret: &str,
        body: &str,
    ) -> Request<Body> {
        let source = source.borrow();
        let mut request = Request::post(format!("/v1/webhooks/{source}/acme-{source}"));
        for (name, value) in self.signature(source, id, secret, body) {
            request = request.header(name, value);
        }
        request
            .header("content-type", "application/json")
            .body(Body::from(body.to_owned()))
            .unwrap()
    }

    pub fn signature(
        &self,
        source: impl Borrow<Source>,
        id: &str,
        secret: &str,
        body: &str,
    ) -> Vec<(String, String)> {
        let outgoing = Outgoing {
            event: event(source.borrow()),
            id,
            body: body.as_bytes(),
            now: self.now(),
        };
        sources::sign(source.borrow(), &Secret::new(secret), outgoing).unwrap()
    }

    pub async fn token(&self, tenant: Option<&str>, role: Role) -> String {
        let tenant = tenant.map(str::to_owned);
        let created = self
            .state
            .store
            .create_token("test".to_owned(), tenant, role, self.now())
            .await;
        created.unwrap().1.expose().to_owned()
    }

    pub async fn get(&self, token: &str, path: &str) -> Answer {
        let request = Request::get(path).header("authorization", format!("Bearer {token}"));
        self.send(request.body(Body::empty()).unwrap()).await
    }

    pub async fn post(&self, token: &str, path: &str) -> Answer {
        let request = Request::post(path).header("authorization", format!("Bearer {token}"));
        self.send(request.body(Body::empty()).unwrap()).await
    }

    /// A page, as a browser with this session asks for it.
    pub async fn visit(&self, cookie: &str, path: &str) -> Answer {
        let request = Request::get(path).header("cookie", cookie);
        self.send(request.body(Body::empty()).unwrap()).await
    }

    /// A cookie for pages, made the short way.
    pub async fn session(&self, tenant: Option<&str>) -> String {
        let token = Secret::new(self.token(tenant, Role::Viewer).await);
        let access = self.state.store.find_token(&token).await.unwrap().unwrap();
        let session = self
            .state
            .store
            .create_session(access.token_id, self.now())
            .await
            .unwrap();
        format!("triage_session={}", session.expose())
    }
}

/// The event that [`sample`] is.
pub fn event(source: &Source) -> &'static str {
    match source {
        Source::Standard => "incident.opened",
        Source::Sentry => "issue.created",
        Source::Stripe => "invoice.payment_failed",
        Source::Github => "issues.opened",
        Source::Slack => "app_mention",
        Source::Custom(_) => unreachable!("no declared source in these tests"),
    }
}

pub fn sample(source: impl Borrow<Source>, id: &str, now: TimestampMs) -> String {
    let source = source.borrow();
    samples::fill(
        samples::find(source.as_str(), event(source))
            .unwrap()
            .template,
        id,
        now,
    )
}

fn config(database: std::path::PathBuf) -> Config {
    let integrations = Source::BUILT_IN
        .map(|source| integration("acme", source))
        .into_iter()
        .chain([integration("globex", Source::Github)]);
    Config {
        strikes: StrikeLimits::default(),
        listen: "127.0.0.1:8080".parse().unwrap(),
        public_url: "https://hooks.example.com".parse().unwrap(),
        database,
        keep_events_ms: 30 * 86_400_000,
        tls: None,
        trusted_proxies: vec!["10.0.0.0/8".parse().unwrap()],
        master_key: Ok(MasterKey::new([7; 32])),
        compile_seconds: 6,
        tenants: BTreeMap::new(),
        egress_allow: Vec::new(),
        sources: crate::config::ready_sources(),
        integrations: integrations.map(|it| (it.id.clone(), it)).collect(),
        plugins: BTreeMap::new(),
        destinations: BTreeMap::new(),
        policies: vec![
            policy(
                "incidents",
                "acme",
                &["github.issues.*", "sentry.issue.*", "standard.incident.*"],
            ),
            policy(
                "audit",
                "acme",
                &["github.*", "stripe.*", "slack.app_mention"],
            ),
            policy("others", "globex", &["github.*"]),
        ],
    }
}

fn integration(tenant: &str, source: Source) -> Integration {
    Integration {
        id: format!("{tenant}-{source}"),
        tenant: tenant.to_owned(),
        source,
        origin: Origin::File,
        secrets: LiveSecrets::declared(vec![Secret::new(SECRET), Secret::new(OLD_SECRET)]),
        body_bytes_max: BODY_BYTES_MAX,
        inflated_bytes_max: INFLATED_BYTES_MAX,
        rate_limit: None,
    }
}

fn policy(name: &str, tenant: &str, triggers: &[&str]) -> Policy {
    Policy {
        triggers: triggers.iter().map(|it| it.parse().unwrap()).collect(),
        ..Policy::named(name, tenant)
    }
}
