//! `/v1/integrations`: senders and their signing secrets.
//!
//! What is changed here is in force when the answer is sent. A secret's value is in one
//! answer only: the one to the request that added it.

use axum::Json;
use axum::extract::rejection::{JsonRejection, PathRejection};
use axum::extract::{Path, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::HttpState;
use super::api::{Asked, InPath, asked};
use super::auth::Caller;
use super::error::ApiError;
use crate::integrations::{
    Added, Change, IntegrationView, Integrations, LimitChanges, NewIntegration, Rotation, refresh,
};
use crate::live::Setup;
use crate::model::id::SecretId;
use crate::model::secret::Secret;
use crate::store::access::Role;
use crate::store::views::{BadPage, LIMIT_DEFAULT, LIMIT_MAX, Page};

/// What can be changed, and how it is written.
const CHANGEABLE: &str = "text or null in `body_limit`, `inflated_limit`, `rate_limit`, and a \
                          number or null in `burst`: at least one of them";

type Answer<T> = Result<Json<T>, ApiError>;
type Body<T> = Result<Json<T>, JsonRejection>;

/// A page of integrations.
#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
pub struct ListQuery {
    cursor: Option<String>,
    limit: Option<u32>,
}

/// What `POST /v1/integrations` takes.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewBody {
    source: String,
    id: Option<String>,
    tenant: Option<String>,
    secret: Option<String>,
    #[serde(default)]
    body_limit: Change<String>,
    #[serde(default)]
    inflated_limit: Change<String>,
    #[serde(default)]
    rate_limit: Change<String>,
    #[serde(default)]
    burst: Change<i64>,
}

/// What `PATCH /v1/integrations/{id}` takes: what is left out stays, `null` is the default again.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ChangeBody {
    #[serde(default)]
    body_limit: Change<String>,
    #[serde(default)]
    inflated_limit: Change<String>,
    #[serde(default)]
    rate_limit: Change<String>,
    #[serde(default)]
    burst: Change<i64>,
}

/// What `POST /v1/integrations/{id}/rotate-secret` takes, if it gets a body.
#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
pub struct RotateBody {
    secret: Option<String>,
    overlap: Option<String>,
}

/// Whether also the last live secret may be retired.
#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
pub struct RetireQuery {
    #[serde(default)]
    force: bool,
}

/// What was added, with the secret's value.
#[derive(Serialize)]
struct AddedView<'a> {
    integration: &'a IntegrationView,
    secret_id: SecretId,
    secret: &'a str,
}

/// What is gone.
#[derive(Serialize)]
pub struct Removed {
    integration_id: String,
    removed: bool,
}

/// `GET /v1/integrations`
pub async fn list(
    caller: Caller,
    State(state): State<HttpState>,
    query: Asked<ListQuery>,
) -> Answer<Page<IntegrationView>> {
    let query = asked(query)?;
    let setup = state.live.current();
    let all = integrations(&caller, &state, &setup).list().await?;
    Ok(Json(query.page(all)?))
}

/// `GET /v1/integrations/{id}`
pub async fn show(
    caller: Caller,
    State(state): State<HttpState>,
    path: InPath,
) -> Answer<IntegrationView> {
    let setup = state.live.current();
    let found = integrations(&caller, &state, &setup).show(&id(path)?).await;
    Ok(Json(found?))
}

/// `POST /v1/integrations`
pub async fn add(
    caller: Caller,
    State(state): State<HttpState>,
    body: Body<NewBody>,
) -> Result<Response, ApiError> {
    caller.require(Role::Admin)?;
    let body = body_of(
        body,
        "text in `source`, and in `id`, `tenant`, `secret`, `body_limit`, `inflated_limit`, \
         `rate_limit`, and a number in `burst`",
    )?;
    let new = NewIntegration {
        source: body.source,
        id: body.id,
        tenant: body.tenant,
        secret: body.secret.map(Secret::new),
        limits: LimitChanges {
            body_limit: body.body_limit,
            inflated_limit: body.inflated_limit,
            rate_limit: body.rate_limit,
            burst: body.burst,
        },
    };
    let setup = state.live.current();
    let added = integrations(&caller, &state, &setup).add(new).await?;
    in_force(&state).await?;
    Ok(created(&added))
}

/// `PATCH /v1/integrations/{id}`
pub async fn change(
    caller: Caller,
    State(state): State<HttpState>,
    path: InPath,
    body: Body<ChangeBody>,
) -> Answer<IntegrationView> {
    caller.require(Role::Admin)?;
    let id = id(path)?;
    let body = body_of(body, CHANGEABLE)?;
    let changes = LimitChanges {
        body_limit: body.body_limit,
        inflated_limit: body.inflated_limit,
        rate_limit: body.rate_limit,
        burst: body.burst,
    };
    if changes.is_empty() {
        return Err(wrong_body(CHANGEABLE));
    }
    let setup = state.live.current();
    let asked = integrations(&caller, &state, &setup);
    let changed = asked.change(&id, &changes).await?;
    in_force(&state).await?;
    Ok(Json(changed))
}

/// `DELETE /v1/integrations/{id}`
pub async fn remove(
    caller: Caller,
    State(state): State<HttpState>,
    path: InPath,
) -> Answer<Removed> {
    caller.require(Role::Admin)?;
    let integration_id = id(path)?;
    let setup = state.live.current();
    let asked = integrations(&caller, &state, &setup);
    asked.remove(&integration_id).await?;
    in_force(&state).await?;
    Ok(Json(Removed {
        integration_id,
        removed: true,
    }))
}

/// `POST /v1/integrations/{id}/rotate-secret`
pub async fn rotate_secret(
    caller: Caller,
    State(state): State<HttpState>,
    path: InPath,
    body: Bytes,
) -> Result<Response, ApiError> {
    caller.require(Role::Admin)?;
    let id = id(path)?;
    let body: RotateBody = match body.is_empty() {
        true => RotateBody::default(),
        false => {
            serde_json::from_slice(&body).map_err(|_| wrong_body("text in `secret`, `overlap`"))?
        }
    };
    let rotation = Rotation {
        secret: body.secret.map(Secret::new),
        overlap: body.overlap,
    };
    let setup = state.live.current();
    let asked = integrations(&caller, &state, &setup);
    let added = asked.rotate(&id, rotation).await?;
    in_force(&state).await?;
    Ok(created(&added))
}

/// `DELETE /v1/integrations/{id}/secrets/{secret_id}`
pub async fn retire_secret(
    caller: Caller,
    State(state): State<HttpState>,
    path: Result<Path<(String, String)>, PathRejection>,
    query: Asked<RetireQuery>,
) -> Answer<IntegrationView> {
    caller.require(Role::Admin)?;
    let Path((id, secret_id)) = path.map_err(|_| ApiError::NotFound)?;
    let secret_id = secret_id.parse().map_err(|_| ApiError::NotFound)?;
    let force = self::asked(query)?.force;
    let setup = state.live.current();
    let asked = integrations(&caller, &state, &setup);
    let retired = asked.retire(&id, secret_id, force).await?;
    in_force(&state).await?;
    Ok(Json(retired))
}

impl ListQuery {
    /// The page of a list in the order of ids. The cursor is the last id of the page before.
    fn page(self, all: Vec<IntegrationView>) -> Result<Page<IntegrationView>, ApiError> {
        let limit = self.limit.unwrap_or(LIMIT_DEFAULT);
        if !(1..=LIMIT_MAX).contains(&limit) {
            return Err(ApiError::BadRequest(BadPage::Limit.to_string()));
        }
        let after = self.cursor.unwrap_or_default();
        let behind = |it: &IntegrationView| after.is_empty() || after < it.integration_id;
        let mut items: Vec<IntegrationView> = all.into_iter().filter(behind).collect();
        let has_more = (limit as usize) < items.len();
        items.truncate(limit as usize);
        let last = items.last().map(|it| it.integration_id.clone());
        Ok(Page {
            items,
            next_cursor: last.filter(|_| has_more),
        })
    }
}

fn integrations<'a>(caller: &Caller, state: &'a HttpState, setup: &'a Setup) -> Integrations<'a> {
    Integrations {
        config: &setup.config,
        store: &state.store,
        tenant: caller.tenant(),
        now: state.clock.now(),
    }
}

/// Waits until what was changed is in force.
async fn in_force(state: &HttpState) -> Result<(), ApiError> {
    refresh(&state.live, &state.store, state.clock.now()).await?;
    Ok(())
}

fn created(added: &Added) -> Response {
    let view = AddedView {
        integration: &added.integration,
        secret_id: added.secret_id,
        secret: added.secret.expose(),
    };
    let mut response = (StatusCode::CREATED, Json(view)).into_response();
    let no_store = HeaderValue::from_static("no-store");
    response
        .headers_mut()
        .insert(header::CACHE_CONTROL, no_store);
    response
}

fn id(path: InPath) -> Result<String, ApiError> {
    path.map(|Path(id)| id).map_err(|_| ApiError::NotFound)
}

fn body_of<T>(body: Body<T>, fields: &str) -> Result<T, ApiError> {
    body.map(|Json(it)| it).map_err(|error| match error {
        JsonRejection::MissingJsonContentType(_) => {
            ApiError::BadRequest("send JSON as `content-type: application/json`".to_owned())
        }
        _ => wrong_body(fields),
    })
}

/// Not what the parser says, which may show the secret.
fn wrong_body(fields: &str) -> ApiError {
    ApiError::BadRequest(format!(
        "the body must be one JSON object with nothing but {fields}"
    ))
}
