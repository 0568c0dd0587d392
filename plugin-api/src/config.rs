//! From the JSON that the host passes to the types of a manager.

use serde::de::DeserializeOwned;

use crate::error::{Error, Result};

/// Reads what is called `root`; the error names the setting and what was expected, never the value that stood there.
/// Absent text reads as an empty object.
pub(crate) fn parse<T: DeserializeOwned>(root: &str, json: &str) -> Result<T> {
    let mut reader = serde_json::Deserializer::from_str(if json.is_empty() { "{}" } else { json });
    serde_path_to_error::deserialize(&mut reader).map_err(|error| {
        let path = error.path().to_string();
        let setting = if path == "." { root.to_owned() } else { format!("{root}.{path}") };
        Error::invalid_config(format!("{setting}: {}", without_value(&error.inner().to_string())))
    })
}

/// Cuts what serde quotes of the input, and the place in a text that no person has seen.
fn without_value(message: &str) -> String {
    let message = message.rsplit_once(" at line ").map_or(message, |(text, _)| text);
    for what in ["invalid type: ", "invalid value: ", "unknown variant "] {
        let Some(rest) = message.strip_prefix(what) else { continue };
        let kind = match what {
            "unknown variant " => "",
            _ => rest.split([' ', ',']).next().unwrap_or(""),
        };
        let expected = rest.rfind(", expected").map_or("", |at| &rest[at..]);
        return format!("{}{kind}{expected}", if kind.is_empty() { what.trim_end() } else { what });
    }
    message.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, serde::Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Config {
        #[expect(dead_code, reason = "only the parsing matters")]
        inner: Inner,
    }

    #[derive(Debug, serde::Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Inner {
        #[expect(dead_code, reason = "only the parsing matters")]
        port: u16,
    }

    #[test]
    fn a_wrong_value_is_named_by_its_place_and_not_quoted() {
        let error = parse::<Config>("config", r#"{"inner": {"port": "canary, expected"}}"#).unwrap_err();
        assert_eq!(error.message(), "config.inner.port: invalid type: string, expected u16");
    }

    #[test]
    fn an_unknown_setting_is_named_with_those_that_exist() {
        let error = parse::<Config>("config", r#"{"inner": {"prot": 1}}"#).unwrap_err();
        assert_eq!(error.message(), "config.inner.prot: unknown field `prot`, expected `port`");
    }
}
