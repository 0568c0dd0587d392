//! The request that goes to an upstream: the caller's, with the deployment's model, defaults and credential.

use std::{borrow::Cow, sync::Arc};

use axum::{
    body::Bytes,
    http::{HeaderMap, HeaderName, HeaderValue, Method, Request, header},
};
use http_body_util::Full;
use keyway_plugin_api::Secret;

use crate::{
    gateway::{
        body::RequestBody,
        deployment::{BodyDefault, BodyValue, Deployment, HeaderText},
        endpoint::Endpoint,
        error::{GatewayError, SecretFault},
    },
    service::{SecretHandle, Version},
};

impl Deployment {
    /// Makes the request; `headers` are the caller's without those that must not pass, `wildcard` is what the `*` of the
    /// model's name stood for, and `credential` is the value to present, see [`Deployment::credential`].
    ///
    /// # Errors
    /// [`GatewayError::SecretUnavailable`] when anything behind a reference is missing or does not fit: then
    /// nothing is sent at all.
    pub(super) fn request(
        &self,
        endpoint: Endpoint,
        body: &RequestBody<'_>,
        wildcard: Option<&str>,
        headers: HeaderMap,
        credential: Option<&Version>,
    ) -> Result<Request<Full<Bytes>>, GatewayError> {
        let (model, model_json) = match wildcard {
            Some(wildcard) if self.model.contains('*') => {
                let model = self.model.replacen('*', wildcard, 1);
                let json = serde_json::Value::from(model.as_str()).to_string();
                (Cow::Owned(model), Cow::Owned(json))
            }
            _ => (Cow::Borrowed(self.model.as_str()), Cow::Borrowed(self.model_json.as_str())),
        };
        let uri = self.target.uri(endpoint, &model)?;
        let mut request = Request::new(Full::new(body.rewrite(&model_json, &self.missing_defaults(body)?)));
        *request.method_mut() = Method::POST;
        *request.uri_mut() = uri;
        *request.headers_mut() = self.complete_headers(headers, credential)?;
        Ok(request)
    }

    /// The value of the deployment's key as it is now; `None` for a deployment without one.
    ///
    /// # Errors
    /// [`GatewayError::SecretUnavailable`] when there should be a value and is none.
    pub(super) fn credential(&self) -> Result<Option<Version>, GatewayError> {
        let Some(handle) = &self.api_key else { return Ok(None) };
        let version = handle.version().filter(|version| !version.value.is_empty());
        version.map(Some).ok_or_else(|| GatewayError::secret(handle.reference(), SecretFault::Missing))
    }

    /// Another value of the key, after those of the generations `tried` were refused.
    pub(super) async fn credential_after_refusal(&self, tried: &[u64]) -> Option<Version> {
        self.api_key.as_ref()?.after_refusal(tried).await
    }

    /// What names the credential in messages.
    pub(super) fn credential_name(&self) -> &str {
        self.api_key.as_ref().map_or("that the deployment has an api_key", |handle| handle.reference())
    }

    fn missing_defaults(&self, body: &RequestBody<'_>) -> Result<Vec<u8>, GatewayError> {
        let mut appended = Vec::new();
        for default in self.defaults.iter().filter(|default| !body.has(&default.name)) {
            appended.push(b',');
            append_entry(&mut appended, default)?;
        }
        Ok(appended)
    }

    fn complete_headers(
        &self,
        mut headers: HeaderMap,
        credential: Option<&Version>,
    ) -> Result<HeaderMap, GatewayError> {
        // The body was read as JSON, whatever the caller called it.
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        if let Some((name, value)) = self.provider.required_header {
            let name = HeaderName::from_static(name);
            headers.entry(name).or_insert(HeaderValue::from_static(value));
        }
        for (name, text) in &self.headers {
            let value = match text {
                HeaderText::Literal(value) => value.clone(),
                HeaderText::Secret(handle) => {
                    let mut value = HeaderValue::from_bytes(secret(handle)?.expose_bytes())
                        .map_err(|_| GatewayError::secret(handle.reference(), SecretFault::NotAHeader))?;
                    value.set_sensitive(true);
                    value
                }
            };
            headers.insert(name.clone(), value);
        }
        if let Some((handle, credential)) = self.api_key.as_ref().zip(credential) {
            let style = self.provider.credential;
            let value = style
                .header_value(credential.value.expose_bytes())
                .ok_or_else(|| GatewayError::secret(handle.reference(), SecretFault::NotAHeader))?;
            headers.insert(style.header_name(), value);
        }
        Ok(headers)
    }
}

/// Appends `"name":value`.
fn append_entry(json: &mut Vec<u8>, entry: &BodyDefault) -> Result<(), GatewayError> {
    json.extend_from_slice(serde_json::Value::from(entry.name.as_str()).to_string().as_bytes());
    json.push(b':');
    append_value(json, &entry.value)
}

/// Appends JSON text, with the values of secrets as they are now.
fn append_value(json: &mut Vec<u8>, value: &BodyValue) -> Result<(), GatewayError> {
    match value {
        BodyValue::Json(text) => json.extend_from_slice(text.as_bytes()),
        BodyValue::Secret(handle) => {
            let text = serde_json::Value::from(secret_text(handle)?).to_string();
            json.extend_from_slice(text.as_bytes());
        }
        BodyValue::List(items) => {
            json.push(b'[');
            for (index, item) in items.iter().enumerate() {
                json.extend_from_slice(if index == 0 { b"" } else { b"," });
                append_value(json, item)?;
            }
            json.push(b']');
        }
        BodyValue::Map(entries) => {
            json.push(b'{');
            for (index, entry) in entries.iter().enumerate() {
                json.extend_from_slice(if index == 0 { b"" } else { b"," });
                append_entry(json, entry)?;
            }
            json.push(b'}');
        }
    }
    Ok(())
}

/// The value behind a handle; an empty one counts as missing.
fn secret(handle: &SecretHandle) -> Result<Arc<Secret>, GatewayError> {
    handle
        .current()
        .filter(|secret| !secret.is_empty())
        .ok_or_else(|| GatewayError::secret(handle.reference(), SecretFault::Missing))
}

/// The value behind a handle as text.
pub(super) fn secret_text(handle: &SecretHandle) -> Result<String, GatewayError> {
    let secret = secret(handle)?;
    secret
        .expose_str()
        .map(str::to_owned)
        .map_err(|_| GatewayError::secret(handle.reference(), SecretFault::NotText))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::gateway::deployment::{DeploymentSpec, Param, Text};

    fn request(spec: DeploymentSpec, wildcard: Option<&str>) -> Result<Request<Full<Bytes>>, GatewayError> {
        let deployment = Deployment::new(spec).unwrap();
        let bytes = Bytes::from_static(br#"{"model":"m","messages":[],"temperature":1.0}"#);
        let body = RequestBody::parse(&bytes, Endpoint::ChatCompletions).unwrap();
        let credential = deployment.credential()?;
        deployment.request(Endpoint::ChatCompletions, &body, wildcard, HeaderMap::new(), credential.as_ref())
    }

    fn spec(model: &str, key: &str) -> DeploymentSpec {
        DeploymentSpec {
            setting: "model_list[0]".into(),
            model_name: "m".into(),
            model: model.into(),
            api_key: Some(SecretHandle::literal("model_list[0].litellm_params.api_key", key.into())),
            ..DeploymentSpec::default()
        }
    }

    async fn text(request: Request<Full<Bytes>>) -> String {
        use http_body_util::BodyExt;
        String::from_utf8(request.into_body().collect().await.unwrap().to_bytes().to_vec()).unwrap()
    }

    #[tokio::test]
    async fn defaults_fill_gaps_only_and_may_be_secrets() {
        let spec = DeploymentSpec {
            params: vec![
                ("temperature".into(), Param::Json(json!(0.1))),
                ("top_p".into(), Param::Json(json!(0.5))),
                ("user".into(), Param::Secret(SecretHandle::literal("user", "u\"1".into()))),
            ],
            ..spec("openai/gpt-4", "sk-test")
        };
        assert_eq!(
            text(request(spec, None).unwrap()).await,
            r#"{"model":"gpt-4","messages":[],"temperature":1.0,"top_p":0.5,"user":"u\"1"}"#
        );
    }

    #[tokio::test]
    async fn a_reference_inside_a_parameter_is_read_for_each_request_and_fails_closed() {
        let handle = SecretHandle::unresolved("os.environ/TENANT");
        let inner = vec![
            ("ids".to_owned(), Param::List(vec![Param::Json(json!(1)), Param::Secret(handle.clone())])),
            ("on".to_owned(), Param::Json(json!(true))),
        ];
        let spec = || DeploymentSpec {
            params: vec![("extra_body".into(), Param::Map(inner.clone()))],
            ..spec("openai/gpt-4", "sk-test")
        };
        let missing = request(spec(), None).unwrap_err();
        assert!(missing.to_string().contains("os.environ/TENANT"), "{missing}");
        for value in ["t\"1", "t2"] {
            handle.publish(Arc::new(value.into()), std::time::Duration::ZERO);
            let body: serde_json::Value =
                serde_json::from_str(&text(request(spec(), None).unwrap()).await).unwrap();
            assert_eq!(body["extra_body"], json!({"ids": [1, value], "on": true}));
        }
    }

    #[test]
    fn each_provider_gets_its_credential_its_way() {
        let anthropic = request(spec("anthropic/claude", "sk-test"), None).unwrap();
        assert_eq!(anthropic.uri(), "https://api.anthropic.com/v1/chat/completions");
        assert_eq!(anthropic.headers()["x-api-key"], "sk-test");
        assert_eq!(anthropic.headers()["anthropic-version"], "2023-06-01");
        assert!(!anthropic.headers().contains_key(header::AUTHORIZATION));

        let azure = DeploymentSpec {
            api_base: Some(Text::Literal("https://res.openai.azure.com/".into())),
            api_version: Some(Text::Literal("2024-10-21".into())),
            ..spec("azure/my-gpt", "sk-test")
        };
        let azure = request(azure, None).unwrap();
        assert_eq!(
            azure.uri(),
            "https://res.openai.azure.com/openai/deployments/my-gpt/chat/completions?api-version=2024-10-21"
        );
        assert_eq!(azure.headers()["api-key"], "sk-test");

        let gemini = request(spec("gemini/gemini-2.0-flash", "sk-test"), None).unwrap();
        assert_eq!(gemini.headers()["x-goog-api-key"], "sk-test");
        assert!(gemini.headers().values().filter(|value| value.is_sensitive()).count() == 1);
    }

    #[tokio::test]
    async fn a_wildcard_is_filled_in() {
        let spec = DeploymentSpec { model_name: "openai/*".into(), ..spec("openai/*", "sk-test") };
        let body = text(request(spec, Some("gpt-4o")).unwrap()).await;
        assert!(body.starts_with(r#"{"model":"gpt-4o""#), "{body}");
    }

    #[test]
    fn a_key_that_is_empty_or_no_header_sends_nothing_and_is_not_shown() {
        for key in ["", "canary\nsecond"] {
            let error = request(spec("openai/gpt-4", key), None).unwrap_err();
            assert!(matches!(error, GatewayError::SecretUnavailable { .. }));
            assert!(!error.to_string().contains("canary"));
        }
    }
}
