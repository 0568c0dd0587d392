//! `primary_secret_name`: one JSON secret whose fields are the secrets.

use std::fmt;

use keyway_plugin_api::Secret;
use serde::de::{Deserializer as _, IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;
use zeroize::Zeroizing;

use super::error::PrimaryFault;

/// The field of a JSON object: text as it is, any other scalar as it is spelled; `None` when there is none.
///
/// Nothing but that one field is copied out of the secret.
pub(super) fn field(secret: &Secret, name: &str) -> Result<Option<Secret>, PrimaryFault> {
    let mut json = serde_json::Deserializer::from_slice(secret.expose_bytes());
    let found = json.deserialize_map(Field { name }).map_err(|_| PrimaryFault::NotAnObject)?;
    json.end().map_err(|_| PrimaryFault::NotAnObject)?;
    let Some(raw) = found else { return Ok(None) };
    match raw.get().as_bytes().first() {
        Some(b'"') => {
            let text: Zeroizing<String> =
                serde_json::from_str(raw.get()).map(Zeroizing::new).map_err(|_| PrimaryFault::NotAnObject)?;
            Ok((!text.is_empty()).then(|| Secret::copy_from(text.as_bytes())))
        }
        Some(b'{' | b'[') => Err(PrimaryFault::FieldNotScalar),
        _ if raw.get() == "null" => Ok(None),
        _ => Ok(Some(Secret::copy_from(raw.get().as_bytes()))),
    }
}

struct Field<'a> {
    name: &'a str,
}

impl<'de> Visitor<'de> for Field<'_> {
    type Value = Option<&'de RawValue>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<Self::Value, A::Error> {
        let mut found = None;
        while let Some(key) = fields.next_key::<String>()? {
            if key == self.name {
                found = Some(fields.next_value()?);
            } else {
                fields.next_value::<IgnoredAny>()?;
            }
        }
        Ok(found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(json: &str, name: &str) -> Result<Option<String>, PrimaryFault> {
        let value = field(&json.into(), name)?;
        Ok(value.map(|secret| secret.expose_str().unwrap().to_owned()))
    }

    #[test]
    fn text_is_taken_as_it_is_and_other_scalars_as_they_are_spelled() {
        let json = r#"{"A": "a\"b", "N": 1.50, "T": true, "": "x"}"#;
        assert_eq!(read(json, "A"), Ok(Some("a\"b".to_owned())));
        assert_eq!(read(json, "N"), Ok(Some("1.50".to_owned())));
        assert_eq!(read(json, "T"), Ok(Some("true".to_owned())));
    }

    #[test]
    fn a_missing_null_or_empty_field_is_missing() {
        let json = r#"{"E": "", "0": null}"#;
        for name in ["E", "0", "absent"] {
            assert_eq!(read(json, name), Ok(None), "{name}");
        }
    }

    #[test]
    fn what_is_not_an_object_of_scalars_is_refused() {
        for json in ["", "plain", "[1]", "\"text\"", "{\"A\": 1} x", "{\"A\": 1"] {
            assert_eq!(read(json, "A"), Err(PrimaryFault::NotAnObject), "{json}");
        }
        assert_eq!(read(r#"{"A": {"b": 1}}"#, "A"), Err(PrimaryFault::FieldNotScalar));
    }
}
