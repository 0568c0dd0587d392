//! What can go wrong with a request, and the one place that knows which status and body each case gets.

use std::{fmt, time::Duration};

use axum::{
    body::Body,
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde::Serialize;

/// Why the gateway itself refuses or fails a request. No variant carries a value of a secret.
#[derive(Debug, thiserror::Error)]
pub(super) enum GatewayError {
    #[error("this gateway is embedded in a program that offers no administration")]
    NoAdmin,
    #[error("no API key was sent; send the gateway's key as `Authorization: Bearer sk-...`")]
    NoKey,
    #[error("the API key that was sent does not start with `sk-`; send the gateway's own key")]
    MalformedKey,
    #[error("the API key that was sent is not known to this gateway; ask its operator for a valid one")]
    UnknownKey,
    #[error("{} {reference} {fault}", if *.is_reference { "the secret behind" } else { "the setting" })]
    SecretUnavailable { reference: String, is_reference: bool, fault: SecretFault },
    #[error("{}", unknown_model(.model, .available))]
    UnknownModel { model: String, available: Vec<String> },
    #[error("the request body is not valid JSON: line {line}, column {column}: {reason}")]
    InvalidJson { line: usize, column: usize, reason: String },
    #[error("the request body must be a JSON object, but it is {found}")]
    NotAnObject { found: &'static str },
    #[error("the request body lacks the field `{field}`, which this endpoint requires")]
    MissingField { field: &'static str },
    #[error("the field `{field}` must be {expected}")]
    WrongType { field: &'static str, expected: &'static str },
    #[error("the field `{field}` occurs more than once in the request body; send it once")]
    RepeatedField { field: &'static str },
    #[error("the field `{field}` cannot be set by a request; remove it, the operator configures it")]
    ForbiddenField { field: &'static str },
    #[error("the request body is encoded with `content-encoding`; send it uncompressed")]
    EncodedBody,
    #[error("the request body is larger than this gateway's limit of {limit} bytes; send less")]
    BodyTooLarge { limit: usize },
    #[error("the request body ended early or could not be read; send the request again")]
    UnreadableBody,
    #[error("there is no {method} {path} here; chat completions are at POST /v1/chat/completions")]
    NoRoute { method: String, path: String },
    #[error("{method} is not possible on {path}; the `allow` header lists what is")]
    MethodNotAllowed { method: String, path: String },
    #[error(
        "the provider refuses the gateway's own credential for model `{model}` (status {status}); \
         your key is fine, the operator has to check {reference}"
    )]
    UpstreamAuth { model: String, status: StatusCode, reference: String },
    #[error(
        "the upstream of model `{model}` cannot be reached; try again, and if it stays so the operator \
         finds the cause in the gateway's log"
    )]
    UpstreamUnavailable { model: String },
    #[error("the upstream of model `{model}` did not answer within {} s; try again or ask for less", .after.as_secs_f64())]
    UpstreamTimeout { model: String, after: Duration },
}

/// What is wrong with a secret that a request needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SecretFault {
    Missing,
    NotAHeader,
    NotText,
    NotAUrl,
    NotLogged,
}

impl fmt::Display for SecretFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            SecretFault::Missing => {
                "is missing or could not be read; the operator has to store it or repair its secret manager"
            }
            SecretFault::NotAHeader => {
                "cannot be sent as a header, because it holds a line break or another control character; \
                 the operator has to store it without"
            }
            SecretFault::NotText => "is not UTF-8 text; the operator has to store it as text",
            SecretFault::NotAUrl => {
                "is not an http or https URL of an upstream; the operator has to store one"
            }
            SecretFault::NotLogged => {
                "is not handed out, because its use cannot be written to the audit log; the operator has to repair \
                 the log"
            }
        })
    }
}

fn unknown_model(model: &str, available: &[String]) -> String {
    let shown: String = model.chars().take(128).collect();
    if available.is_empty() {
        return format!("the model `{shown}` does not exist here, nor does any other; `model_list` is empty");
    }
    format!("the model `{shown}` does not exist here; available: {}", available.join(", "))
}

impl GatewayError {
    /// A secret that a request cannot do without; `reference` is what its handle says.
    pub(super) fn secret(reference: &str, fault: SecretFault) -> Self {
        let is_reference = reference.starts_with("os.environ/") || reference.starts_with("oidc/");
        GatewayError::SecretUnavailable { reference: reference.to_owned(), is_reference, fault }
    }

    fn class(&self) -> (StatusCode, &'static str, Option<&'static str>) {
        use GatewayError as E;
        const REQUEST: &str = "invalid_request_error";
        match self {
            E::NoKey | E::MalformedKey => (StatusCode::UNAUTHORIZED, "auth_error", None),
            E::UnknownKey => (StatusCode::UNAUTHORIZED, "token_not_found_in_db", None),
            E::SecretUnavailable { .. } => (StatusCode::SERVICE_UNAVAILABLE, "secret_unavailable", None),
            E::UnknownModel { .. } => (StatusCode::BAD_REQUEST, REQUEST, Some("model")),
            E::InvalidJson { .. } | E::NotAnObject { .. } | E::EncodedBody | E::UnreadableBody => {
                (StatusCode::BAD_REQUEST, REQUEST, None)
            }
            E::MissingField { field }
            | E::WrongType { field, .. }
            | E::RepeatedField { field }
            | E::ForbiddenField { field } => (StatusCode::BAD_REQUEST, REQUEST, Some(field)),
            E::BodyTooLarge { .. } => (StatusCode::PAYLOAD_TOO_LARGE, REQUEST, None),
            E::NoRoute { .. } | E::NoAdmin => (StatusCode::NOT_FOUND, REQUEST, None),
            E::MethodNotAllowed { .. } => (StatusCode::METHOD_NOT_ALLOWED, REQUEST, None),
            E::UpstreamAuth { .. } => (StatusCode::BAD_GATEWAY, "upstream_auth_error", None),
            E::UpstreamUnavailable { .. } => (StatusCode::BAD_GATEWAY, "upstream_unavailable", None),
            E::UpstreamTimeout { .. } => (StatusCode::GATEWAY_TIMEOUT, "upstream_timeout", None),
        }
    }
}

#[derive(Serialize)]
struct Envelope<'a> {
    error: Payload<'a>,
}

#[derive(Serialize)]
struct Payload<'a> {
    message: String,
    r#type: &'a str,
    param: Option<&'a str>,
    code: &'a str,
}

impl IntoResponse for GatewayError {
    fn into_response(self) -> Response {
        let (status, kind, param) = self.class();
        let payload = Payload { message: self.to_string(), r#type: kind, param, code: status.as_str() };
        let body = serde_json::to_vec(&Envelope { error: payload }).unwrap_or_default();
        let mut response = Response::new(Body::from(body));
        *response.status_mut() = status;
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        if status == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_is_the_status_as_text_and_a_field_is_named_as_param() {
        let response = GatewayError::MissingField { field: "messages" }.into_response();
        assert_eq!(response.status(), StatusCode::BAD_REQUEST);
        let (status, kind, param) = GatewayError::MissingField { field: "messages" }.class();
        assert_eq!((status.as_str(), kind, param), ("400", "invalid_request_error", Some("messages")));
    }

    #[test]
    fn a_secret_is_named_by_its_reference() {
        let error = GatewayError::secret("os.environ/A", SecretFault::Missing);
        assert!(error.to_string().starts_with("the secret behind os.environ/A is missing"), "{error}");
        let error = GatewayError::secret("model_list[0].litellm_params.api_key", SecretFault::NotAHeader);
        assert!(error.to_string().starts_with("the setting model_list[0]"), "{error}");
    }

    #[test]
    fn a_long_model_name_is_cut() {
        let error = GatewayError::UnknownModel { model: "m".repeat(4096), available: vec!["a".into()] };
        assert!(error.to_string().len() < 256);
    }
}
