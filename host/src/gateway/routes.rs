//! The HTTP surface: paths, methods and what each handler is given.

use std::time::Duration;

use axum::{
    Json, Router,
    body::{Body, Bytes, HttpBody},
    extract::{Path, Request, State},
    http::{HeaderMap, HeaderValue, Method, StatusCode, Uri, header},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use http_body_util::{BodyExt, LengthLimitError, Limited};

use crate::gateway::{
    admin, auth::authorize, endpoint::Endpoint, error::GatewayError, forward::forward, models, state::Gateway,
};

/// How long the rest of a body that is too large is read and thrown away, so that the caller sees the answer
/// instead of a broken connection.
const LINGER: Duration = Duration::from_secs(2);

/// All routes; those of the OpenAI interface exist with and without `/v1`.
pub(super) fn router(gateway: Gateway) -> Router {
    let mut router = Router::new()
        .route("/health/liveliness", get(liveliness))
        .route("/health/liveness", get(liveliness))
        .route("/health/readiness", get(readiness))
        .route("/metrics", get(admin::metrics))
        .route("/keyway/status", get(admin::status))
        .route("/keyway/reload", post(admin::reload));
    for prefix in ["", "/v1"] {
        router = router
            .route(&format!("{prefix}/models"), get(list_models))
            .route(&format!("{prefix}/models/{{*id}}"), get(one_model));
        for endpoint in Endpoint::ALL {
            let handler = move |state, request| relay(endpoint, state, request);
            router = router.route(&format!("{prefix}{}", endpoint.path()), post(handler));
        }
    }
    router.fallback(no_route).method_not_allowed_fallback(method_not_allowed).with_state(gateway)
}

/// The name of a route in spans: one of a fixed set, whatever a caller sends.
pub(super) fn label(path: &str) -> &'static str {
    match path.strip_prefix("/v1").unwrap_or(path) {
        "/chat/completions" => "chat_completions",
        "/completions" => "completions",
        "/embeddings" => "embeddings",
        path if path == "/models" || path.starts_with("/models/") => "models",
        path if path.starts_with("/health/") => "health",
        "/metrics" => "metrics",
        path if path.starts_with("/keyway/") => "admin",
        _ => "unknown",
    }
}

async fn liveliness() -> Json<&'static str> {
    Json("I'm alive!")
}

async fn readiness(State(gateway): State<Gateway>) -> Response {
    let readiness = gateway.state().health.readiness().await;
    let status = if readiness.is_ready() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, Json(readiness)).into_response()
}

async fn list_models(State(gateway): State<Gateway>, headers: HeaderMap) -> Result<Response, GatewayError> {
    let state = gateway.state();
    authorize(&headers, &state.master_key)?;
    Ok(json(state.models.clone()))
}

async fn one_model(
    State(gateway): State<Gateway>,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Result<Response, GatewayError> {
    let state = gateway.state();
    authorize(&headers, &state.master_key)?;
    models::one(&state.table, &id).map(json)
}

async fn relay(
    endpoint: Endpoint,
    State(gateway): State<Gateway>,
    request: Request,
) -> Result<Response, GatewayError> {
    let state = gateway.state();
    let (parts, body) = request.into_parts();
    authorize(&parts.headers, &state.master_key)?;
    let bytes = read_body(&parts.headers, body, state.max_body).await?;
    forward(&state, endpoint, parts.headers, bytes).await
}

async fn no_route(method: Method, uri: Uri) -> GatewayError {
    GatewayError::NoRoute { method: shown(method.as_str()), path: shown(uri.path()) }
}

async fn method_not_allowed(method: Method, uri: Uri) -> GatewayError {
    GatewayError::MethodNotAllowed { method: shown(method.as_str()), path: shown(uri.path()) }
}

fn shown(text: &str) -> String {
    text.chars().take(128).collect()
}

fn json(body: Bytes) -> Response {
    let mut response = Response::new(Body::from(body));
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

async fn read_body(headers: &HeaderMap, mut body: Body, limit: usize) -> Result<Bytes, GatewayError> {
    if headers.get(header::CONTENT_ENCODING).is_some_and(|encoding| encoding != "identity") {
        return Err(GatewayError::EncodedBody);
    }
    let declared = usize::try_from(body.size_hint().lower()).unwrap_or(usize::MAX);
    if declared <= limit {
        match Limited::new(&mut body, limit).collect().await {
            Ok(collected) => return Ok(collected.to_bytes()),
            Err(error) if error.is::<LengthLimitError>() => {}
            Err(_) => return Err(GatewayError::UnreadableBody),
        }
    }
    // A caller that waits for `100 Continue` has sent nothing yet, and reading would ask it to.
    if !headers.contains_key(header::EXPECT) {
        discard(body, limit).await;
    }
    Err(GatewayError::BodyTooLarge { limit })
}

/// Reads on for a while, at most about as much again as would have been accepted.
async fn discard(mut body: Body, at_most: usize) {
    let rest = async {
        let mut seen = 0;
        while seen <= at_most
            && let Some(Ok(frame)) = body.frame().await
        {
            seen += frame.data_ref().map_or(0, Bytes::len);
        }
    };
    // Out of time is as good as at the end: the answer is the same.
    let _ = tokio::time::timeout(LINGER, rest).await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_span_never_holds_what_a_caller_wrote_as_path() {
        assert_eq!(label("/v1/chat/completions"), "chat_completions");
        assert_eq!(label("/chat/completions"), "chat_completions");
        assert_eq!(label("/models/openai/gpt-4"), "models");
        assert_eq!(label("/sk-test-not-a-key"), "unknown");
    }
}
