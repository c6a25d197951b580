//! For whatever watches the process: does it live, can it take deliveries.

use axum::Json;
use axum::extract::State;
use serde::Serialize;

use super::HttpState;
use super::error::ApiError;

/// The answer when all is well.
#[derive(Serialize)]
pub struct Health {
    status: &'static str,
}

/// The process lives.
pub async fn alive() -> Json<Health> {
    Json(Health { status: "ok" })
}

/// The store takes reads and writes, so deliveries can be acknowledged.
pub async fn ready(State(state): State<HttpState>) -> Result<Json<Health>, ApiError> {
    state.store.ready().await?;
    Ok(Json(Health { status: "ready" }))
}
