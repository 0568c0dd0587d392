//! A request becomes an answer, and a line for the audit.

use std::{sync::Arc, time::Instant};

use http_body_util::Full;
use hyper::{
    Method, Request, Response, StatusCode,
    body::{Body, Bytes},
    header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, HeaderValue, RETRY_AFTER},
};
use keyway_plugin_api::Secret;

use super::{Grants, access::Refusal};
use crate::service::{Caller, with_caller};

/// What the path of a secret begins with.
const SECRET: &str = "/v1/secret/";

/// What the system says about the other end.
#[derive(Clone, Copy, Debug)]
pub(super) struct Peer {
    /// Its user.
    pub(super) uid: u32,
    /// Its process, where the system knows it.
    pub(super) pid: Option<i32>,
}

/// The value as a body: sent from where it is, and wiped when it was sent.
struct Value(Arc<Secret>);

impl AsRef<[u8]> for Value {
    fn as_ref(&self) -> &[u8] {
        self.0.expose_bytes()
    }
}

/// Answers one request of a peer.
pub(super) async fn answer<B: Body>(
    grants: &dyn Grants,
    peer: Peer,
    request: &Request<B>,
) -> Response<Full<Bytes>> {
    let uri = request.uri();
    let Some(encoded) = uri.path().strip_prefix(SECRET).filter(|name| !name.is_empty()) else {
        return error(StatusCode::NOT_FOUND, "NO_SUCH_PATH", "there is only GET /v1/secret/NAME");
    };
    if request.method() != Method::GET {
        let mut response =
            error(StatusCode::METHOD_NOT_ALLOWED, "WRONG_METHOD", "secrets can only be read here, with GET");
        response.headers_mut().insert(ALLOW, HeaderValue::from_static("GET"));
        return response;
    }
    if uri.query().is_some() || !request.body().is_end_stream() {
        let why = "a query and a body mean nothing here; write a question mark in a name as %3F";
        return error(StatusCode::BAD_REQUEST, "BAD_REQUEST", why);
    }
    let started = Instant::now();
    // What is no text is no name, as the empty one.
    let (name, read) = match (decoded(encoded).unwrap_or_default(), grants.access()) {
        (name, None) => (name, Err(Refusal::NotAllowed)),
        (name, Some(access)) => {
            let reader = Caller::Named(format!("uid:{}", peer.uid).into());
            let read = with_caller(reader, access.read(peer.uid, &name)).await;
            (name, read)
        }
    };
    let outcome = read.as_ref().map_or_else(|refusal| refusal.class(), |_| "OK");
    let name = read.as_ref().map_or_else(|refusal| refusal.shown(&name), |_| name.as_str());
    let latency_us = u64::try_from(started.elapsed().as_micros()).unwrap_or(u64::MAX);
    tracing::info!(
        uid = peer.uid,
        pid = peer.pid,
        name,
        outcome,
        latency_us,
        "a secret was asked for locally"
    );
    match read {
        Ok(value) => found(value),
        Err(refusal) => refused(refusal),
    }
}

fn found(value: Arc<Secret>) -> Response<Full<Bytes>> {
    // A version that is no header's text is the store's affair.
    let version = value.metadata().version.as_deref().and_then(|version| HeaderValue::from_str(version).ok());
    let mut response = Response::new(Full::new(Bytes::from_owner(Value(value))));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    if let Some(version) = version {
        headers.insert("keyway-version", version);
    }
    response
}

/// The class and our own words; what the manager said stays inside.
fn refused(refusal: Refusal) -> Response<Full<Bytes>> {
    let (status, message) = match refusal {
        Refusal::NotAllowed => {
            (StatusCode::FORBIDDEN, "keyway.local_api.allow does not let this user read the secret")
        }
        Refusal::InvalidName => (StatusCode::BAD_REQUEST, "no secret can have this name"),
        Refusal::NotFound => (StatusCode::NOT_FOUND, "the secret manager has no such secret"),
        Refusal::Unavailable { .. } => (
            StatusCode::SERVICE_UNAVAILABLE,
            "the secret manager cannot answer; the operator can see why in the log",
        ),
    };
    let mut response = error(status, refusal.class(), message);
    if let Refusal::Unavailable { retry_after: Some(wait), .. } = refusal {
        // Rounded up, so that nobody comes back too early.
        let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
        response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(seconds));
    }
    response
}

fn error(status: StatusCode, class: &str, message: &str) -> Response<Full<Bytes>> {
    let body = serde_json::json!({"error": {"class": class, "message": message}});
    let mut response = Response::new(Full::from(format!("{body}\n")));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

/// The text behind a percent-encoded one; `None` when it is none.
fn decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        let byte = match byte {
            b'%' => {
                let digit = |byte: Option<u8>| char::from(byte?).to_digit(16);
                u8::try_from(16 * digit(rest.next())? + digit(rest.next())?).ok()?
            }
            byte => byte,
        };
        bytes.push(byte);
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_may_be_percent_encoded_and_what_is_no_text_has_no_name() {
        for (text, name) in
            [("A", "A"), ("litellm/a%20b", "litellm/a b"), ("%c3%A4%25", "ä%"), ("a+b", "a+b")]
        {
            assert_eq!(decoded(text).as_deref(), Some(name));
        }
        for text in ["%", "%4", "%zz", "%+1", "%ff"] {
            assert_eq!(decoded(text), None, "{text}");
        }
    }

    #[test]
    fn a_refusal_has_a_class_and_a_time_to_come_back() {
        let wait = Some(std::time::Duration::from_millis(1200));
        let kind = keyway_plugin_api::ErrorKind::Throttled;
        let response = refused(Refusal::Unavailable { kind, retry_after: wait });
        assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(response.headers()[RETRY_AFTER], "2");
    }

    #[test]
    fn a_version_that_is_no_header_is_left_out() {
        let version = |text: &str| {
            let response = found(Arc::new(Secret::from("x").with_version(text)));
            response.headers().get("keyway-version").map(|value| value.as_bytes().to_vec())
        };
        assert_eq!(version("7").as_deref(), Some(&b"7"[..]));
        assert_eq!(version("7\r\nx: y"), None);
    }
}
