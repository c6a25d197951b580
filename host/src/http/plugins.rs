//! `/v1/plugins`: versions of plugins, and the end of a quarantine.

use std::collections::BTreeSet;

use axum::Json;
use axum::extract::State;
use serde::Serialize;

use super::HttpState;
use super::api::InPath;
use super::auth::Caller;
use super::error::ApiError;
use crate::store::access::Role;
use crate::store::plugins::VersionView;

/// Every version that is remembered; there are few.
#[derive(Serialize)]
pub struct PluginList {
    items: Vec<VersionView>,
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
    let versions = state.store.plugin_versions(caller.tenant()).await?;
    let mut items = versions.versions;
    if let Some(tenant) = caller.tenant() {
        let names = used_by(&state, &tenant);
        items.retain(|it| names.contains(&it.plugin));
    }
    Ok(Json(PluginList { items }))
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

fn used_by(state: &HttpState, tenant: &str) -> BTreeSet<String> {
    let setup = state.live.current();
    let policies = setup.config.policies.iter();
    policies
        .filter(|it| it.tenant == tenant)
        .flat_map(|it| [it.classifier.clone(), it.triager.clone()])
        .flatten()
        .collect()
}
