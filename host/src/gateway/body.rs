//! The request body: read once for the few fields that matter, and rewritten by splicing bytes.
//!
//! Everything else goes through as the caller wrote it: unknown fields keep their order and numbers their
//! exact text, because nothing is decoded and encoded again.

use std::{borrow::Cow, fmt, ops::Range};

use axum::body::Bytes;
use serde::{
    Deserialize,
    de::{Deserializer, IgnoredAny, MapAccess, Visitor},
};
use serde_json::value::RawValue;

use crate::gateway::{endpoint::Endpoint, error::GatewayError};

/// What the gateway looks at in a request body.
#[derive(Debug)]
pub(super) struct RequestBody<'a> {
    bytes: &'a Bytes,
    model: Cow<'a, str>,
    model_span: Range<usize>,
    stream: bool,
    keys: Vec<Cow<'a, str>>,
}

impl<'a> RequestBody<'a> {
    /// Reads a body that is sent to an endpoint.
    ///
    /// # Errors
    /// Says what is wrong with it: not JSON, a field that is missing, repeated, of a wrong type or not the
    /// caller's to set.
    pub(super) fn parse(bytes: &'a Bytes, endpoint: Endpoint) -> Result<Self, GatewayError> {
        if let Some(found) = what_is_no_object(bytes) {
            return Err(GatewayError::NotAnObject { found });
        }
        let fields: Fields<'a> = serde_json::from_slice(bytes).map_err(invalid_json)?;
        if let Some(fault) = fields.fault {
            return Err(fault);
        }
        let Some((model, raw)) = fields.model else {
            return Err(GatewayError::MissingField { field: "model" });
        };
        let required = endpoint.required_field();
        if !fields.keys.iter().any(|key| key == required) {
            return Err(GatewayError::MissingField { field: required });
        }
        let start = raw.as_ptr().addr() - bytes.as_ptr().addr();
        Ok(RequestBody {
            bytes,
            model,
            model_span: start..start + raw.len(),
            stream: fields.stream,
            keys: fields.keys,
        })
    }

    /// The model that the caller asked for.
    pub(super) fn model(&self) -> &str {
        &self.model
    }

    /// Whether the caller wants a stream of events.
    pub(super) fn is_stream(&self) -> bool {
        self.stream
    }

    /// Whether the caller gave a field.
    pub(super) fn has(&self, field: &str) -> bool {
        self.keys.iter().any(|key| key == field)
    }

    /// The body with another model, given as JSON text, and with fields appended, given as `,"name":value`.
    pub(super) fn rewrite(&self, model_json: &str, appended: &[u8]) -> Bytes {
        if appended.is_empty() && self.bytes[self.model_span.clone()] == *model_json.as_bytes() {
            return self.bytes.clone();
        }
        // The text is a JSON object with at least the model in it, so the last brace closes it.
        let end = self.bytes.iter().rposition(|byte| *byte == b'}').unwrap_or(self.bytes.len());
        let mut out =
            Vec::with_capacity(self.bytes.len() - self.model_span.len() + model_json.len() + appended.len());
        out.extend_from_slice(&self.bytes[..self.model_span.start]);
        out.extend_from_slice(model_json.as_bytes());
        out.extend_from_slice(&self.bytes[self.model_span.end..end]);
        out.extend_from_slice(appended);
        out.extend_from_slice(&self.bytes[end..]);
        out.into()
    }
}

fn what_is_no_object(bytes: &[u8]) -> Option<&'static str> {
    match bytes.iter().find(|byte| !byte.is_ascii_whitespace())? {
        b'[' => Some("an array"),
        b'"' => Some("a string"),
        b'0'..=b'9' | b'-' => Some("a number"),
        _ => None,
    }
}

fn invalid_json(error: serde_json::Error) -> GatewayError {
    let (line, column) = (error.line(), error.column());
    let text = error.to_string();
    let position = format!(" at line {line} column {column}");
    let reason = text.strip_suffix(&position).unwrap_or(&text).to_owned();
    GatewayError::InvalidJson { line, column, reason }
}

/// The top level of the body in one pass; what is wrong with a field is kept until the syntax is known good.
#[derive(Default)]
struct Fields<'a> {
    model: Option<(Cow<'a, str>, &'a str)>,
    stream: bool,
    keys: Vec<Cow<'a, str>>,
    fault: Option<GatewayError>,
}

impl<'a> Fields<'a> {
    fn read_field<M: MapAccess<'a>>(&mut self, key: &str, map: &mut M) -> Result<(), M::Error> {
        match key {
            "model" => {
                let raw = map.next_value::<&'a RawValue>()?.get();
                match serde_json::from_str::<Text<'a>>(raw) {
                    Ok(Text(model)) => self.model = Some((model, raw)),
                    Err(_) => self.refuse(GatewayError::WrongType { field: "model", expected: "a string" }),
                }
                self.refuse_repeated("model");
            }
            "stream" => {
                match map.next_value::<&'a RawValue>()?.get() {
                    "true" => self.stream = true,
                    "false" | "null" => self.stream = false,
                    _ => {
                        self.refuse(GatewayError::WrongType { field: "stream", expected: "true or false" });
                    }
                }
                self.refuse_repeated("stream");
            }
            _ => {
                map.next_value::<IgnoredAny>()?;
                match key {
                    "api_key" => self.refuse(GatewayError::ForbiddenField { field: "api_key" }),
                    "api_base" => self.refuse(GatewayError::ForbiddenField { field: "api_base" }),
                    "base_url" => self.refuse(GatewayError::ForbiddenField { field: "base_url" }),
                    _ => {}
                }
            }
        }
        Ok(())
    }

    /// A second `model` would escape the replacement and reach the upstream as the caller wrote it.
    fn refuse_repeated(&mut self, field: &'static str) {
        if self.keys.iter().any(|key| key == field) {
            self.refuse(GatewayError::RepeatedField { field });
        }
    }

    fn refuse(&mut self, fault: GatewayError) {
        self.fault.get_or_insert(fault);
    }
}

impl<'de> Deserialize<'de> for Fields<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct FieldsVisitor;

        impl<'de> Visitor<'de> for FieldsVisitor {
            type Value = Fields<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a JSON object")
            }

            fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<Self::Value, M::Error> {
                let mut fields = Fields { keys: Vec::with_capacity(8), ..Fields::default() };
                while let Some(Text(key)) = map.next_key()? {
                    fields.read_field(&key, &mut map)?;
                    fields.keys.push(key);
                }
                Ok(fields)
            }
        }

        deserializer.deserialize_map(FieldsVisitor)
    }
}

/// A string that is borrowed from the body unless it holds escapes.
#[derive(Deserialize)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

#[cfg(test)]
mod tests {
    use super::*;

    fn fault(body: &'static str) -> String {
        let bytes = Bytes::from_static(body.as_bytes());
        RequestBody::parse(&bytes, Endpoint::ChatCompletions).unwrap_err().to_string()
    }

    #[test]
    fn only_the_model_is_replaced_and_all_else_keeps_its_bytes() {
        let bytes = Bytes::from_static(
            br#"{ "z":1.10, "model" : "gpt-4","messages":[{"model":"inner"}], "big":12345678901234567890.00 } "#,
        );
        let body = RequestBody::parse(&bytes, Endpoint::ChatCompletions).unwrap();
        assert_eq!(body.model(), "gpt-4");
        assert!(!body.is_stream());
        assert_eq!(
            body.rewrite(r#""other""#, br#","user":"u""#),
            r#"{ "z":1.10, "model" : "other","messages":[{"model":"inner"}], "big":12345678901234567890.00 ,"user":"u"} "#
        );
    }

    #[test]
    fn a_body_that_needs_no_change_is_not_copied() {
        let bytes = Bytes::from_static(br#"{"model":"gpt-4","messages":[],"stream":true}"#);
        let body = RequestBody::parse(&bytes, Endpoint::ChatCompletions).unwrap();
        assert!(body.is_stream());
        assert_eq!(body.rewrite(r#""gpt-4""#, b"").as_ptr(), bytes.as_ptr());
    }

    #[test]
    fn escapes_in_names_do_not_hide_a_field() {
        assert!(fault(r#"{"model":"a","messages":[],"api\u005fkey":"x"}"#).contains("`api_key`"));
        let bytes = Bytes::from_static(br#"{"mod\u0065l":"gpt\u002d4","messages":[]}"#);
        let body = RequestBody::parse(&bytes, Endpoint::ChatCompletions).unwrap();
        assert_eq!(body.model(), "gpt-4");
        assert_eq!(body.rewrite(r#""x""#, b""), r#"{"mod\u0065l":"x","messages":[]}"#);
    }

    #[test]
    fn each_fault_is_named() {
        assert_eq!(
            fault("{\"model\":\n nope}"),
            "the request body is not valid JSON: line 2, column 3: expected ident"
        );
        assert!(fault("").contains("not valid JSON"));
        assert!(fault("[]").contains("it is an array"));
        assert!(fault(r#"{"messages":[]}"#).contains("`model`"));
        assert!(fault(r#"{"model":"a"}"#).contains("`messages`"));
        assert!(fault(r#"{"model":7,"messages":[]}"#).contains("must be a string"));
        assert!(fault(r#"{"model":"a","messages":[],"stream":"yes"}"#).contains("true or false"));
        assert!(fault(r#"{"model":"a","model":"b","messages":[]}"#).contains("more than once"));
        assert!(fault(r#"{"model":"a","messages":[],"api_base":"http://x"}"#).contains("`api_base`"));
        assert!(fault(r#"{"model":"a","messages":[]} x"#).contains("trailing characters"));
    }
}
