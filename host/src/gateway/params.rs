//! What becomes of the `litellm_params` beyond the known ones: body defaults, headers, or nothing.

use axum::http::{HeaderName, HeaderValue};
use serde_json::Value;

use crate::gateway::deployment::{BodyDefault, BodyValue, DeploymentError, HeaderText, Param, Text};

/// Steer LiteLLM itself or are settings of the deployment: they never go into a request body.
const NOT_FOR_THE_BODY: &[&str] = &[
    "additional_drop_params",
    "allowed_openai_params",
    "api_base",
    "api_key",
    "api_version",
    "base_model",
    "base_url",
    "budget_duration",
    "cache_creation_input_token_cost",
    "cache_read_input_token_cost",
    "configurable_clientside_auth_params",
    "cooldown_time",
    "custom_llm_provider",
    "drop_params",
    "input_cost_per_second",
    "input_cost_per_token",
    "litellm_credential_name",
    "max_budget",
    "max_parallel_requests",
    "max_retries",
    "merge_reasoning_content_in_choices",
    "mock_response",
    "model",
    "model_info",
    "num_retries",
    "order",
    "output_cost_per_second",
    "output_cost_per_token",
    "region_name",
    "rpm",
    "stream_timeout",
    "tags",
    "timeout",
    "tpm",
    "use_in_pass_through",
    "use_litellm_proxy",
    "weight",
];

/// The result of sorting.
#[derive(Debug, Default)]
pub(super) struct Extras {
    pub(super) defaults: Vec<BodyDefault>,
    pub(super) headers: Vec<(HeaderName, HeaderText)>,
}

/// Sorts the further parameters of the entry `setting`.
///
/// # Errors
/// [`DeploymentError::Header`] for a header that cannot be sent.
pub(super) fn sort_out(
    setting: &str,
    params: Vec<(String, Param)>,
    headers: Vec<(String, Text)>,
) -> Result<Extras, DeploymentError> {
    let mut extras = Extras::default();
    let refuse = |name: &str, fault| DeploymentError::Header {
        setting: setting.to_owned(),
        name: name.to_owned(),
        fault,
    };
    for (name, param) in params {
        match (name.as_str(), param) {
            ("organization", Param::Json(Value::String(organization))) => {
                extras.headers.push(header("openai-organization", Text::Literal(organization), refuse)?);
            }
            ("organization", Param::Secret(handle)) => {
                extras.headers.push(header("openai-organization", Text::Secret(handle), refuse)?);
            }
            ("extra_headers", Param::Json(Value::Object(given))) => {
                for (name, value) in given {
                    let Value::String(value) = value else {
                        return Err(refuse(&name, "is not a string in extra_headers; write it in quotes"));
                    };
                    extras.headers.push(header(&name, Text::Literal(value), refuse)?);
                }
            }
            (name, _) if NOT_FOR_THE_BODY.contains(&name) => {}
            (_, param) => extras.defaults.push(BodyDefault { name, value: body_value(param) }),
        }
    }
    for (name, value) in headers {
        extras.headers.push(header(&name, value, refuse)?);
    }
    Ok(extras)
}

fn body_value(param: Param) -> BodyValue {
    match param {
        Param::Json(value) => BodyValue::Json(value.to_string()),
        Param::Secret(handle) => BodyValue::Secret(handle),
        Param::List(items) => BodyValue::List(items.into_iter().map(body_value).collect()),
        Param::Map(entries) => {
            let entries = entries.into_iter();
            BodyValue::Map(
                entries.map(|(name, param)| BodyDefault { name, value: body_value(param) }).collect(),
            )
        }
    }
}

fn header(
    name: &str,
    text: Text,
    refuse: impl Fn(&str, &'static str) -> DeploymentError,
) -> Result<(HeaderName, HeaderText), DeploymentError> {
    let header_name = HeaderName::try_from(name)
        .map_err(|_| refuse(name, "is not a header name; use letters, digits and `-`"))?;
    let value = match text {
        Text::Secret(handle) => HeaderText::Secret(handle),
        // Sent as it stands it would tell the provider a name of ours instead of the value.
        Text::Literal(value) if value.starts_with("os.environ/") => {
            return Err(refuse(name, "holds a reference that was not resolved; this is a fault of the host"));
        }
        Text::Literal(value) => HeaderText::Literal(
            HeaderValue::try_from(value)
                .map_err(|_| refuse(name, "holds a line break or another control character; remove it"))?,
        ),
    };
    Ok((header_name, value))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn sort(params: &[(&str, Value)]) -> Result<Extras, DeploymentError> {
        let params =
            params.iter().map(|(name, value)| ((*name).to_owned(), Param::Json(value.clone()))).collect();
        sort_out("model_list[0]", params, Vec::new())
    }

    #[test]
    fn credentials_and_controls_never_become_body_fields() {
        let extras =
            sort(&[("api_key", json!("x")), ("rpm", json!(5)), ("temperature", json!(0.5))]).unwrap();
        let names: Vec<_> = extras.defaults.iter().map(|default| default.name.as_str()).collect();
        assert_eq!(names, ["temperature"]);
    }

    #[test]
    fn organization_and_extra_headers_become_headers() {
        let extras =
            sort(&[("organization", json!("org-1")), ("extra_headers", json!({"X-Team": "a"}))]).unwrap();
        let names: Vec<_> = extras.headers.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["openai-organization", "x-team"]);
        assert!(extras.defaults.is_empty());
    }

    #[test]
    fn a_header_that_cannot_be_sent_is_refused_by_name() {
        for bad in [json!({"X Team": "a"}), json!({"X-Team": "a\nb"}), json!({"X-Team": 7})] {
            let error = sort(&[("extra_headers", bad)]).unwrap_err().to_string();
            assert!(error.starts_with("model_list[0].litellm_params: the header"), "{error}");
        }
    }
}
