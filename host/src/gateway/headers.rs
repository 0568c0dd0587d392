//! Which headers cross the gateway, in both directions.

use axum::http::{HeaderMap, HeaderName, header};

use crate::gateway::auth::KEY_HEADERS;

/// Belong to one connection, RFC 9110 section 7.6.1.
const HOP_BY_HOP: [&str; 9] = [
    "connection",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// Describe the caller's connection to the gateway, and are no business of a provider.
const CALLERS_OWN: [&str; 9] = [
    "host",
    "content-length",
    "expect",
    "cookie",
    "forwarded",
    "x-forwarded-for",
    "x-forwarded-host",
    "x-forwarded-proto",
    "x-real-ip",
];

/// Belong to the provider's host; a caller would apply them to the gateway's.
const PROVIDERS_OWN: [&str; 4] = ["set-cookie", "alt-svc", "strict-transport-security", "www-authenticate"];

/// Takes out of a request's headers what must not reach an upstream, credentials above all.
pub(super) fn retain_for_upstream(headers: &mut HeaderMap) {
    drop_connection_headers(headers);
    headers.remove(header::AUTHORIZATION);
    for name in KEY_HEADERS.iter().chain(&CALLERS_OWN) {
        headers.remove(*name);
    }
}

/// Takes out of an upstream's headers what must not reach the caller.
pub(super) fn retain_for_caller(headers: &mut HeaderMap) {
    drop_connection_headers(headers);
    for name in PROVIDERS_OWN {
        headers.remove(name);
    }
}

fn drop_connection_headers(headers: &mut HeaderMap) {
    if headers.contains_key(header::CONNECTION) {
        let listed: Vec<HeaderName> = headers
            .get_all(header::CONNECTION)
            .iter()
            .filter_map(|value| value.to_str().ok())
            .flat_map(|value| value.split(','))
            .filter_map(|name| name.trim().parse().ok())
            .collect();
        for name in listed {
            headers.remove(name);
        }
    }
    for name in HOP_BY_HOP {
        headers.remove(name);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(names: &[(&str, &str)]) -> HeaderMap {
        names
            .iter()
            .map(|(name, value)| (name.parse::<HeaderName>().unwrap(), value.parse().unwrap()))
            .collect()
    }

    #[test]
    fn no_credential_and_no_connection_header_reaches_an_upstream() {
        let mut headers = map(&[
            ("authorization", "Bearer a"),
            ("x-litellm-api-key", "a"),
            ("api-key", "a"),
            ("x-api-key", "a"),
            ("x-goog-api-key", "a"),
            ("proxy-authorization", "a"),
            ("cookie", "a"),
            ("host", "gateway"),
            ("connection", "close, X-Private"),
            ("x-private", "a"),
            ("traceparent", "00-1"),
            ("openai-organization", "org"),
        ]);
        retain_for_upstream(&mut headers);
        assert_eq!(headers, map(&[("traceparent", "00-1"), ("openai-organization", "org")]));
    }

    #[test]
    fn a_provider_sets_nothing_for_the_gateways_host() {
        let mut headers = map(&[
            ("set-cookie", "a=b"),
            ("alt-svc", "h3"),
            ("transfer-encoding", "chunked"),
            ("content-type", "text/event-stream"),
            ("x-request-id", "7"),
        ]);
        retain_for_caller(&mut headers);
        assert_eq!(headers, map(&[("content-type", "text/event-stream"), ("x-request-id", "7")]));
    }
}
