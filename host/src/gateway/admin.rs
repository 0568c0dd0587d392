//! `/keyway/status` and `/keyway/reload`, for whoever has the master key, and `/metrics`.

use async_trait::async_trait;
use axum::{
    Json,
    extract::State,
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse as _, Response},
};
use serde_json::{Value, json};

use crate::{
    gateway::{auth::authorize, error::GatewayError, state::Gateway},
    service::metrics,
};

/// Who answers the admin routes.
#[async_trait]
pub trait Admin: Send + Sync {
    /// What is running, as JSON; never a value of a secret.
    fn status(&self) -> Value;

    /// The metrics, as Prometheus reads them.
    fn metrics(&self) -> String;

    /// Builds the configuration anew and uses it from the next request on.
    ///
    /// # Errors
    /// Why it cannot be used, with file and line where known; what is running goes on.
    async fn reload(&self) -> Result<(), String>;
}

pub(super) async fn status(
    State(gateway): State<Gateway>,
    headers: HeaderMap,
) -> Result<Response, GatewayError> {
    authorize(&headers, &gateway.state().master_key)?;
    let admin = gateway.admin().ok_or(GatewayError::NoAdmin)?;
    Ok(Json(admin.status()).into_response())
}

pub(super) async fn reload(
    State(gateway): State<Gateway>,
    headers: HeaderMap,
) -> Result<Response, GatewayError> {
    authorize(&headers, &gateway.state().master_key)?;
    let admin = gateway.admin().ok_or(GatewayError::NoAdmin)?;
    match admin.reload().await {
        Ok(()) => Ok(Json(json!({"status": "reloaded"})).into_response()),
        Err(reason) => {
            let body =
                json!({"status": "refused", "reason": reason, "running": "the configuration before it"});
            Ok((StatusCode::UNPROCESSABLE_ENTITY, Json(body)).into_response())
        }
    }
}

/// Needs no key, as Prometheus has none by default: there are classes, names of managers and numbers in it, and no more.
pub(super) async fn metrics(State(gateway): State<Gateway>) -> Result<Response, GatewayError> {
    let admin = gateway.admin().ok_or(GatewayError::NoAdmin)?;
    Ok(([(header::CONTENT_TYPE, metrics::CONTENT_TYPE)], admin.metrics()).into_response())
}
