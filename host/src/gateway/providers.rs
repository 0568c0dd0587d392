//! The table of providers: where each one is, how it wants its credential and how its paths are made.
//!
//! Nothing is translated: every provider is spoken to in the OpenAI dialect. Anthropic and Gemini offer that
//! dialect at paths of their own, with the credential header of their native interface.

use axum::http::{HeaderName, HeaderValue, header};

/// How a provider wants its credential.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum CredentialStyle {
    /// `Authorization: Bearer KEY`.
    Bearer,
    /// A header of its own that holds nothing but the key.
    Header(&'static str),
}

/// How the path of an endpoint follows from the base.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PathRule {
    /// Base, then the endpoint: `{base}/chat/completions`.
    Append,
    /// As [`PathRule::Append`] on a base that ends in `/v1`, which is added when it is absent.
    AppendToV1,
    /// Azure's `{base}/openai/deployments/{model}/chat/completions?api-version=...`.
    AzureDeployment,
}

/// One row of the table.
#[derive(Debug)]
pub(super) struct Provider {
    /// What stands before the slash in `litellm_params.model`.
    pub(super) prefix: &'static str,
    /// Where the provider is; without one `api_base` is required.
    pub(super) base: Option<&'static str>,
    /// The customary name of its key; with one, a key is required at the provider's own base.
    pub(super) key_name: Option<&'static str>,
    pub(super) credential: CredentialStyle,
    pub(super) path: PathRule,
    /// A header that the provider requires, used unless the caller sends it.
    pub(super) required_header: Option<(&'static str, &'static str)>,
}

/// Azure's `api-version` when the deployment names none.
pub(super) const AZURE_DEFAULT_API_VERSION: &str = "2025-02-01-preview";

const fn bearer(prefix: &'static str, base: &'static str, key_name: &'static str) -> Provider {
    Provider {
        prefix,
        base: Some(base),
        key_name: Some(key_name),
        credential: CredentialStyle::Bearer,
        path: PathRule::Append,
        required_header: None,
    }
}

/// A server that the operator runs: the base must be given and a key is optional.
const fn own_server(prefix: &'static str) -> Provider {
    Provider {
        prefix,
        base: None,
        key_name: None,
        credential: CredentialStyle::Bearer,
        path: PathRule::Append,
        required_header: None,
    }
}

const fn ollama(prefix: &'static str) -> Provider {
    Provider { base: Some("http://localhost:11434/v1"), path: PathRule::AppendToV1, ..own_server(prefix) }
}

static PROVIDERS: &[Provider] = &[
    bearer("openai", "https://api.openai.com/v1", "OPENAI_API_KEY"),
    // Anthropic's OpenAI-compatible endpoint is `/v1/chat/completions` beside its native `/v1/messages`.
    Provider {
        credential: CredentialStyle::Header("x-api-key"),
        path: PathRule::AppendToV1,
        required_header: Some(("anthropic-version", "2023-06-01")),
        ..bearer("anthropic", "https://api.anthropic.com", "ANTHROPIC_API_KEY")
    },
    Provider {
        base: None,
        credential: CredentialStyle::Header("api-key"),
        path: PathRule::AzureDeployment,
        ..bearer("azure", "", "AZURE_API_KEY")
    },
    Provider {
        credential: CredentialStyle::Header("x-goog-api-key"),
        ..bearer("gemini", "https://generativelanguage.googleapis.com/v1beta/openai", "GEMINI_API_KEY")
    },
    bearer("mistral", "https://api.mistral.ai/v1", "MISTRAL_API_KEY"),
    bearer("groq", "https://api.groq.com/openai/v1", "GROQ_API_KEY"),
    bearer("together_ai", "https://api.together.ai/v1", "TOGETHERAI_API_KEY"),
    bearer("openrouter", "https://openrouter.ai/api/v1", "OPENROUTER_API_KEY"),
    bearer("deepseek", "https://api.deepseek.com", "DEEPSEEK_API_KEY"),
    bearer("xai", "https://api.x.ai/v1", "XAI_API_KEY"),
    bearer("fireworks_ai", "https://api.fireworks.ai/inference/v1", "FIREWORKS_AI_API_KEY"),
    bearer("perplexity", "https://api.perplexity.ai", "PERPLEXITYAI_API_KEY"),
    bearer("cerebras", "https://api.cerebras.ai/v1", "CEREBRAS_API_KEY"),
    bearer("nvidia_nim", "https://integrate.api.nvidia.com/v1", "NVIDIA_NIM_API_KEY"),
    bearer("deepinfra", "https://api.deepinfra.com/v1/openai", "DEEPINFRA_API_KEY"),
    bearer("moonshot", "https://api.moonshot.ai/v1", "MOONSHOT_API_KEY"),
    ollama("ollama"),
    ollama("ollama_chat"),
    own_server("hosted_vllm"),
    own_server("lm_studio"),
    own_server("openai_like"),
];

/// The provider of a prefix.
pub(super) fn find(prefix: &str) -> Option<&'static Provider> {
    PROVIDERS.iter().find(|provider| provider.prefix == prefix)
}

/// The provider of a model that is written without a prefix, where the name leaves no doubt.
pub(super) fn guess(model: &str) -> Option<&'static Provider> {
    const OPENAI: &[&str] =
        &["gpt-", "chatgpt-", "o1", "o3", "o4", "text-embedding-", "davinci-", "babbage-", "ft:gpt-"];
    if OPENAI.iter().any(|start| model.starts_with(start)) {
        find("openai")
    } else if model.starts_with("claude-") {
        find("anthropic")
    } else {
        None
    }
}

/// The prefixes of the table, for messages.
pub(super) fn known() -> String {
    PROVIDERS.iter().map(|provider| provider.prefix).collect::<Vec<_>>().join(", ")
}

impl CredentialStyle {
    pub(super) fn header_name(self) -> HeaderName {
        match self {
            CredentialStyle::Bearer => header::AUTHORIZATION,
            CredentialStyle::Header(name) => HeaderName::from_static(name),
        }
    }

    /// The header's value, marked so that nothing prints it; `None` when a header cannot hold the key.
    pub(super) fn header_value(self, key: &[u8]) -> Option<HeaderValue> {
        let scheme: &[u8] = match self {
            CredentialStyle::Bearer => b"Bearer ",
            CredentialStyle::Header(_) => b"",
        };
        let mut value = Vec::with_capacity(scheme.len() + key.len());
        value.extend_from_slice(scheme);
        value.extend_from_slice(key);
        let mut value = HeaderValue::try_from(value).ok()?;
        value.set_sensitive(true);
        Some(value)
    }
}

#[cfg(test)]
mod tests {
    use axum::http::Uri;

    use super::*;

    #[test]
    fn every_default_base_is_a_url_without_a_trailing_slash_and_every_prefix_stands_once() {
        for (index, provider) in PROVIDERS.iter().enumerate() {
            if let Some(base) = provider.base {
                let uri: Uri = base.parse().unwrap();
                assert!(uri.scheme().is_some() && uri.authority().is_some(), "{base}");
                assert!(!base.ends_with('/'), "{base}");
            }
            assert!(PROVIDERS[..index].iter().all(|other| other.prefix != provider.prefix));
        }
    }

    #[test]
    fn a_credential_is_sensitive_and_a_line_break_is_refused() {
        let value = CredentialStyle::Bearer.header_value(b"sk-test").unwrap();
        assert_eq!(value, "Bearer sk-test");
        assert!(value.is_sensitive());
        assert_eq!(CredentialStyle::Header("api-key").header_value(b"sk-test").unwrap(), "sk-test");
        assert!(CredentialStyle::Bearer.header_value(b"sk-test\n").is_none());
    }

    #[test]
    fn only_unmistakable_names_are_guessed() {
        assert_eq!(guess("gpt-4o").unwrap().prefix, "openai");
        assert_eq!(guess("claude-3-5-sonnet-20241022").unwrap().prefix, "anthropic");
        assert!(guess("llama3").is_none());
    }
}
