//! Who may call: finding the caller's credential and comparing it in constant time.

use axum::http::{HeaderMap, HeaderValue, header};
use subtle::ConstantTimeEq;

use crate::{
    gateway::error::{GatewayError, SecretFault},
    service::SecretHandle,
};

/// The headers that can hold a caller's credential beside `authorization`; none of them is passed on.
pub(super) const KEY_HEADERS: [&str; 4] = ["x-litellm-api-key", "api-key", "x-api-key", "x-goog-api-key"];

/// Lets a request pass whose credential is the master key.
///
/// # Errors
/// [`GatewayError::NoKey`], [`GatewayError::MalformedKey`] or [`GatewayError::UnknownKey`];
/// [`GatewayError::SecretUnavailable`] when the master key itself has no value now.
pub(super) fn authorize(headers: &HeaderMap, master_key: &SecretHandle) -> Result<(), GatewayError> {
    let presented = credential(headers).ok_or(GatewayError::NoKey)?;
    let master = master_key
        .current()
        .filter(|master| !master.is_empty())
        .ok_or_else(|| GatewayError::secret(master_key.reference(), SecretFault::Missing))?;
    if bool::from(presented.ct_eq(master.expose_bytes())) {
        Ok(())
    } else if presented.starts_with(b"sk-") {
        Err(GatewayError::UnknownKey)
    } else {
        Err(GatewayError::MalformedKey)
    }
}

/// The first credential in the order of precedence; an empty one does not count.
fn credential(headers: &HeaderMap) -> Option<&[u8]> {
    let [first, rest @ ..] = KEY_HEADERS;
    headers
        .get(first)
        .and_then(bare_key)
        .or_else(|| headers.get(header::AUTHORIZATION).and_then(bearer_token))
        .or_else(|| rest.into_iter().find_map(|name| headers.get(name).and_then(bare_key)))
}

/// A key that may also be written with the scheme before it.
fn bare_key(value: &HeaderValue) -> Option<&[u8]> {
    bearer_token(value).or_else(|| {
        let key = value.as_bytes().trim_ascii();
        (!key.is_empty() && !key.eq_ignore_ascii_case(b"bearer")).then_some(key)
    })
}

fn bearer_token(value: &HeaderValue) -> Option<&[u8]> {
    let (scheme, token) = value.as_bytes().split_at_checked(7)?;
    let token = token.trim_ascii();
    (scheme.eq_ignore_ascii_case(b"bearer ") && !token.is_empty()).then_some(token)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(headers: &[(&'static str, &'static str)], master: &str) -> Result<(), GatewayError> {
        let headers =
            headers.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect();
        authorize(&headers, &SecretHandle::literal("general_settings.master_key", master.into()))
    }

    #[test]
    fn the_master_key_is_taken_from_every_header() {
        for name in KEY_HEADERS {
            check(&[(name, "sk-test-master")], "sk-test-master").unwrap();
            check(&[(name, "Bearer sk-test-master")], "sk-test-master").unwrap();
        }
        check(&[("authorization", "bearer  sk-test-master")], "sk-test-master").unwrap();
    }

    #[test]
    fn the_first_header_in_the_order_decides() {
        let headers = [("x-api-key", "sk-test-master"), ("authorization", "Bearer sk-test-other")];
        assert!(matches!(check(&headers, "sk-test-master"), Err(GatewayError::UnknownKey)));
        let headers = [("authorization", "Bearer sk-test-other"), ("x-litellm-api-key", "sk-test-master")];
        check(&headers, "sk-test-master").unwrap();
    }

    #[test]
    fn a_master_key_without_the_prefix_works() {
        check(&[("authorization", "Bearer plain-master")], "plain-master").unwrap();
        let wrong = check(&[("authorization", "Bearer plain")], "plain-master");
        assert!(matches!(wrong, Err(GatewayError::MalformedKey)));
    }

    #[test]
    fn no_credential_an_empty_one_and_another_scheme_are_no_key() {
        for headers in [&[][..], &[("authorization", "Bearer ")], &[("authorization", "Basic c2s=")]] {
            assert!(matches!(check(headers, "sk-test-master"), Err(GatewayError::NoKey)));
        }
    }

    #[test]
    fn an_empty_or_unresolved_master_key_lets_nobody_in() {
        let missing = check(&[("authorization", "Bearer x")], "");
        assert!(matches!(missing, Err(GatewayError::SecretUnavailable { .. })));
    }
}
