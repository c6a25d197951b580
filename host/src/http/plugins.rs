//! `/v1/plugins`: versions of plugins, which of them is active, and the end of a quarantine.

use std::collections::BTreeSet;

use axum::Json;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};

use super::HttpState;
use super::api::InPath;
use super::auth::Caller;
use super::error::ApiError;
use crate::deployments::{Activated, Pushed};
use crate::store::access::Role;
use crate::store::plugins::VersionView;

/// Every version that is remembered; there are few.
#[derive(Serialize)]
pub struct PluginList {
    items: Vec<VersionView>,
}

/// Which version to activate.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ActivateBody {
    version: String,
}

/// A version that is in force.
#[derive(Serialize)]
pub struct InForce {
    plugin: String,
    digest: String,
}

/// What a release ended.
#[derive(Serialize)]
pub struct Released {
    plugin: String,
    quarantines_ended: usize,
}

/// `GET /v1/plugins`: for a token of one tenant, the plugins of its policies.
pub async fn list(
    caller: Caller,
    State(state): State<HttpState>,
) -> Result<Json<PluginList>, ApiError> {
    let items = seen(&caller, &state).await?;
    Ok(Json(PluginList { items }))
}

/// `GET /v1/plugins/{name}/versions`
pub async fn list_versions(
    caller: Caller,
    State(state): State<HttpState>,
    path: InPath,
) -> Result<Json<PluginList>, ApiError> {
    let plugin = path.map_err(|_| ApiError::NotFound)?.0;
    let mut items = seen(&caller, &state).await?;
    items.retain(|it| it.plugin == plugin);
    match items.is_empty() {
        true => Err(ApiError::NotFound),
        false => Ok(Json(PluginList { items })),
    }
}

/// `POST /v1/plugins/{name}/versions`: the body is the component. It is not activated.
pub async fn push(
    caller: Caller,
    State(state): State<HttpState>,
    path: InPath,
    body: Bytes,
) -> Result<(StatusCode, Json<Pushed>), ApiError> {
    of_whole_host(&caller, Role::Admin)?;
    let plugin = path.map_err(|_| ApiError::NotFound)?.0;
    let (setup, now) = (state.live.current(), state.clock.now());
    let pushed = state
        .deployments
        .push(&setup.config, &plugin, body.into(), now)
        .await?;
    let status = match pushed.is_new {
        true => StatusCode::CREATED,
        false => StatusCode::OK,
    };
    Ok((status, Json(pushed)))
}

/// `POST /v1/plugins/{name}/activate`: in force when it is answered.
pub async fn activate(
    caller: Caller,
    State(state): State<HttpState>,
    path: InPath,
    body: Bytes,
) -> Result<Json<InForce>, ApiError> {
    of_whole_host(&caller, Role::Operator)?;
    let plugin = path.map_err(|_| ApiError::NotFound)?.0;
    let ActivateBody { version } = serde_json::from_slice(&body).map_err(|_| {
        let message = "the body must be one JSON object with nothing but `version`";
        ApiError::BadRequest(message.to_owned())
    })?;
    let setup = state.live.current();
    let activated = state
        .deployments
        .activate(&setup.config, &plugin, &version)
        .await?;
    in_force(&state, activated).await
}

/// `POST /v1/plugins/{name}/rollback`: in force when it is answered.
pub async fn roll_back(
    caller: Caller,
    State(state): State<HttpState>,
    path: InPath,
) -> Result<Json<InForce>, ApiError> {
    of_whole_host(&caller, Role::Operator)?;
    let plugin = path.map_err(|_| ApiError::NotFound)?.0;
    let setup = state.live.current();
    let activated = state.deployments.roll_back(&setup.config, &plugin).await?;
    in_force(&state, activated).await
}

/// `POST /v1/plugins/{name}/release`: in force within a second. A token of one tenant ends what holds for
/// that tenant, any other what holds for all.
pub async fn release(
    caller: Caller,
    State(state): State<HttpState>,
    path: InPath,
) -> Result<Json<Released>, ApiError> {
    caller.require(Role::Operator)?;
    let plugin = path.map_err(|_| ApiError::NotFound)?.0;
    let is_known = match caller.tenant() {
        Some(tenant) => used_by(&state, &tenant).contains(&plugin),
        None => state.live.current().config.plugins.contains_key(&plugin),
    };
    if !is_known {
        return Err(ApiError::NotFound);
    }
    let ended = state
        .store
        .release_plugin(caller.tenant(), plugin.clone())
        .await?;
    Ok(Json(Released {
        plugin,
        quarantines_ended: ended,
    }))
}

/// Plugins are the whole host's: tenants share them.
fn of_whole_host(caller: &Caller, role: Role) -> Result<(), ApiError> {
    caller.require(role)?;
    match caller.tenant() {
        Some(_) => Err(ApiError::Forbidden("a token of one tenant does not do")),
        None => Ok(()),
    }
}

/// Waits until what was activated is in force.
async fn in_force(state: &HttpState, activated: Activated) -> Result<Json<InForce>, ApiError> {
    let plugin = activated.plugin;
    state
        .deployments
        .refresh(&state.live, state.clock.now())
        .await?;
    let setup = state.live.current();
    // Taken out of the configuration meanwhile.
    let active = setup.registry.plugin(&plugin).ok_or(ApiError::NotFound)?;
    Ok(Json(InForce {
        plugin,
        digest: active.digest.clone(),
    }))
}

async fn seen(caller: &Caller, state: &HttpState) -> Result<Vec<VersionView>, ApiError> {
    let mut items = state.store.plugin_versions(caller.tenant()).await?.versions;
    if let Some(tenant) = caller.tenant() {
        let names = used_by(state, &tenant);
        items.retain(|it| names.contains(&it.plugin));
    }
    Ok(items)
}

fn used_by(state: &HttpState, tenant: &str) -> BTreeSet<String> {
    let setup = state.live.current();
    let policies = setup.config.policies.iter();
    policies
        .filter(|it| it.tenant == tenant)
        .flat_map(|it| [it.classifier.clone(), it.triager.clone()])
        .flatten()
        .collect()
}
