//! Where a deployment's requests go: a base, and how the path of an endpoint follows from it.

use std::{borrow::Cow, fmt, fmt::Write as _, sync::Arc};

use axum::http::{Uri, uri::Scheme};

use crate::{
    gateway::{
        deployment::Text,
        endpoint::Endpoint,
        error::{GatewayError, SecretFault},
        providers::{AZURE_DEFAULT_API_VERSION, PathRule},
    },
    service::SecretHandle,
};

/// What is wrong with a base address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UrlFault {
    /// It does not parse.
    NotAUrl,
    /// It is neither http nor https.
    Scheme,
    /// It holds a user name or password, which belong into `api_key`.
    Credentials,
    /// It has a query, to which no path can be appended.
    Query,
}

impl fmt::Display for UrlFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            UrlFault::NotAUrl => "is not a URL",
            UrlFault::Scheme => "is neither an http nor an https URL",
            UrlFault::Credentials => "holds a user name or password, which belong into api_key",
            UrlFault::Query => "has a query, which cannot be followed by a path",
        })
    }
}

/// The addresses of a deployment.
#[derive(Debug)]
pub(super) enum Target {
    /// Known from the start: one address for each endpoint, in the order of [`Endpoint::ALL`].
    Fixed(Box<[Uri; Endpoint::ALL.len()]>),
    /// Made for each request, because a part of it is a secret or depends on the requested model.
    PerRequest { rule: PathRule, base: Text, api_version: Text },
}

impl Target {
    /// Proves a base; `model` is the deployment's, possibly with a wildcard.
    pub(super) fn new(
        rule: PathRule,
        base: Text,
        api_version: Option<Text>,
        model: &str,
    ) -> Result<Self, UrlFault> {
        let api_version = api_version.unwrap_or_else(|| Text::Literal(AZURE_DEFAULT_API_VERSION.to_owned()));
        if let Text::Literal(base) = &base {
            check(base)?;
            let model_in_path = rule == PathRule::AzureDeployment && model.contains('*');
            if let (Text::Literal(version), false) = (&api_version, model_in_path) {
                let [chat, completions, embeddings] =
                    Endpoint::ALL.map(|endpoint| build(rule, base, version, endpoint, model));
                return Ok(Target::Fixed(Box::new([chat?, completions?, embeddings?])));
            }
        }
        Ok(Target::PerRequest { rule, base, api_version })
    }

    /// The address of an endpoint for a model.
    ///
    /// # Errors
    /// [`GatewayError::SecretUnavailable`] when a part behind a reference is missing or no URL.
    pub(super) fn uri(&self, endpoint: Endpoint, model: &str) -> Result<Uri, GatewayError> {
        match self {
            Target::Fixed(uris) => Ok(uris[endpoint as usize].clone()),
            Target::PerRequest { rule, base, api_version } => {
                let version = reveal(api_version)?;
                let text = reveal(base)?;
                check(&text).and_then(|()| build(*rule, &text, &version, endpoint, model)).map_err(|_| {
                    let handle = [base, api_version].into_iter().find_map(Text::handle);
                    GatewayError::secret(handle.map_or("api_base", |h| h.reference()), SecretFault::NotAUrl)
                })
            }
        }
    }

    /// Whether requests go over TLS for certain.
    pub(super) fn is_tls(&self) -> bool {
        matches!(self, Target::Fixed(uris) if uris[0].scheme() == Some(&Scheme::HTTPS))
    }

    /// What a log may say of the address: host and port, or the reference behind which it stands.
    pub(super) fn shown(&self) -> &str {
        match self {
            Target::Fixed(uris) => uris[0].authority().map_or("", |authority| authority.as_str()),
            Target::PerRequest { base: Text::Literal(base), .. } => base,
            Target::PerRequest { base: Text::Secret(handle), .. } => handle.reference(),
        }
    }

    /// What the address is made from besides the configuration.
    pub(super) fn secrets(&self) -> impl Iterator<Item = &Arc<SecretHandle>> {
        let texts = match self {
            Target::Fixed(_) => [None, None],
            Target::PerRequest { base, api_version, .. } => [Some(base), Some(api_version)],
        };
        texts.into_iter().flatten().filter_map(Text::handle)
    }
}

impl Text {
    fn handle(&self) -> Option<&Arc<SecretHandle>> {
        match self {
            Text::Literal(_) => None,
            Text::Secret(handle) => Some(handle),
        }
    }
}

/// The text as it is now.
fn reveal(text: &Text) -> Result<Cow<'_, str>, GatewayError> {
    match text {
        Text::Literal(text) => Ok(Cow::Borrowed(text)),
        Text::Secret(handle) => super::outbound::secret_text(handle).map(Cow::Owned),
    }
}

fn check(base: &str) -> Result<(), UrlFault> {
    let uri: Uri = base.parse().map_err(|_| UrlFault::NotAUrl)?;
    let authority = uri.authority().ok_or(UrlFault::NotAUrl)?;
    if !matches!(uri.scheme_str(), Some("http" | "https")) {
        Err(UrlFault::Scheme)
    } else if authority.as_str().contains('@') {
        Err(UrlFault::Credentials)
    } else if uri.query().is_some() {
        Err(UrlFault::Query)
    } else {
        Ok(())
    }
}

fn build(
    rule: PathRule,
    base: &str,
    api_version: &str,
    endpoint: Endpoint,
    model: &str,
) -> Result<Uri, UrlFault> {
    let base = base.trim_end_matches('/');
    let path = endpoint.path();
    let text = match rule {
        PathRule::Append => format!("{base}{path}"),
        PathRule::AppendToV1 if base.ends_with("/v1") => format!("{base}{path}"),
        PathRule::AppendToV1 => format!("{base}/v1{path}"),
        PathRule::AzureDeployment => {
            let (model, version) = (escape(model), escape(api_version));
            format!("{base}/openai/deployments/{model}{path}?api-version={version}")
        }
    };
    text.parse().map_err(|_| UrlFault::NotAUrl)
}

/// Percent-encodes what is not unreserved, so that a model's name stays one segment of a path.
fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
            out.push(char::from(byte));
        } else {
            // Writing to a string cannot fail.
            let _ = write!(out, "%{byte:02X}");
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chat(rule: PathRule, base: &str, model: &str) -> String {
        let target = Target::new(rule, Text::Literal(base.into()), None, model).unwrap();
        target.uri(Endpoint::ChatCompletions, model).unwrap().to_string()
    }

    #[test]
    fn paths_follow_the_rule_and_a_trailing_slash_makes_no_difference() {
        assert_eq!(chat(PathRule::Append, "https://a/v1/", "m"), "https://a/v1/chat/completions");
        assert_eq!(chat(PathRule::AppendToV1, "https://a", "m"), "https://a/v1/chat/completions");
        assert_eq!(chat(PathRule::AppendToV1, "https://a/v1", "m"), "https://a/v1/chat/completions");
        assert_eq!(
            chat(PathRule::AzureDeployment, "https://a", "my/gpt"),
            "https://a/openai/deployments/my%2Fgpt/chat/completions?api-version=2025-02-01-preview"
        );
    }

    #[test]
    fn an_address_that_cannot_be_used_is_refused() {
        for (base, fault) in [
            ("not a url", UrlFault::NotAUrl),
            ("/v1", UrlFault::NotAUrl),
            ("ftp://a/v1", UrlFault::Scheme),
            ("https://u:p@a/v1", UrlFault::Credentials),
            ("https://a/v1?x=1", UrlFault::Query),
        ] {
            let target = Target::new(PathRule::Append, Text::Literal(base.into()), None, "m");
            assert_eq!(target.unwrap_err(), fault, "{base}");
        }
    }

    #[test]
    fn an_address_behind_a_reference_is_read_for_each_request_and_named_by_it() {
        let handle = SecretHandle::unresolved("os.environ/BASE");
        let target = Target::new(PathRule::Append, Text::Secret(Arc::clone(&handle)), None, "m").unwrap();
        let missing = target.uri(Endpoint::Embeddings, "m").unwrap_err().to_string();
        assert!(missing.contains("os.environ/BASE"), "{missing}");
        handle.publish(Arc::new("https://one/v1".into()), std::time::Duration::ZERO);
        assert_eq!(target.uri(Endpoint::Embeddings, "m").unwrap(), "https://one/v1/embeddings");
        handle.publish(Arc::new("canary".into()), std::time::Duration::ZERO);
        let bad = target.uri(Endpoint::Embeddings, "m").unwrap_err().to_string();
        assert!(bad.contains("os.environ/BASE") && !bad.contains("canary"), "{bad}");
    }
}
