//! Which configuration is in force, and what came of the last change to it.

use axum::Json;
use axum::extract::State;
use serde::Serialize;

use super::HttpState;
use super::auth::Caller;
use super::error::ApiError;
use crate::live::{Reload, ReloadOutcome};
use crate::store::access::Role;
use crate::store::views::At;

/// The configuration in force.
#[derive(Serialize)]
pub struct ConfigView {
    digest: String,
    revision: u64,
    since: At,
    last_reload: Option<ReloadView>,
}

/// The last look at a configuration that may have changed.
#[derive(Serialize)]
struct ReloadView {
    at: At,
    outcome: &'static str,
    changes: Vec<String>,
    problems: Vec<String>,
}

/// `GET /v1/config`: the file is the whole host's, so a tenant's token does not do.
pub async fn show_config(
    caller: Caller,
    State(state): State<HttpState>,
) -> Result<Json<ConfigView>, ApiError> {
    caller.require(Role::Operator)?;
    if caller.tenant().is_some() {
        return Err(ApiError::Forbidden("a token of one tenant does not do"));
    }
    let version = state.live.version();
    let last_reload = state.live.last_reload();
    Ok(Json(ConfigView {
        digest: version.digest,
        revision: version.revision,
        since: At(version.since),
        last_reload: last_reload.as_deref().map(ReloadView::from),
    }))
}

impl From<&Reload> for ReloadView {
    fn from(reload: &Reload) -> Self {
        let (outcome, changes, problems) = match &reload.outcome {
            ReloadOutcome::Applied(changes) => ("applied", changes.clone(), Vec::new()),
            ReloadOutcome::Unchanged => ("unchanged", Vec::new(), Vec::new()),
            ReloadOutcome::Refused(problems) => ("refused", Vec::new(), problems.clone()),
        };
        Self {
            at: At(reload.at),
            outcome,
            changes,
            problems,
        }
    }
}
