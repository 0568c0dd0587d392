//! A setting whose value is a secret or stands for one.

use std::{fmt, sync::Arc};

use keyway_plugin_api::Secret;

use super::{location::Place, reference::is_reference};

/// A setting that stands in the file literally, or as a reference to a secret.
#[derive(Clone, Debug)]
pub struct Setting {
    place: Place,
    value: Value,
}

#[derive(Clone)]
enum Value {
    Literal(Arc<Secret>),
    Reference(String),
}

impl Setting {
    /// The setting; `None` when its value is empty, which counts as missing.
    pub(super) fn new(text: &str, place: Place) -> Option<Self> {
        if text.is_empty() {
            return None;
        }
        let value = if is_reference(text) {
            Value::Reference(text.to_owned())
        } else {
            Value::Literal(Arc::new(text.into()))
        };
        Some(Self { place, value })
    }

    /// The setting of a key, which is sent and compared as a header of HTTP.
    ///
    /// # Errors
    /// Why a key that stands in the file can be in no header.
    pub(super) fn key(text: &str, place: Place) -> Result<Option<Self>, &'static str> {
        if text.contains(['\r', '\n']) {
            return Err(
                "holds a line break, which no HTTP header can; write the key on one line, or end a `|` block with `|-`",
            );
        }
        if text.chars().any(|character| character.is_ascii_control() && character != '\t') {
            return Err("holds a control character, which no HTTP header can; write the key without it");
        }
        Ok(Self::new(text, place))
    }

    /// Where the setting stands.
    pub fn place(&self) -> &Place {
        &self.place
    }

    /// The reference, when the value is one.
    pub fn reference(&self) -> Option<&str> {
        match &self.value {
            Value::Reference(text) => Some(text),
            Value::Literal(_) => None,
        }
    }

    /// The value itself, when it stands in the file.
    pub fn literal(&self) -> Option<&Arc<Secret>> {
        match &self.value {
            Value::Literal(secret) => Some(secret),
            Value::Reference(_) => None,
        }
    }
}

impl fmt::Debug for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Value::Literal(secret) => secret.fmt(f),
            Value::Reference(text) => f.write_str(text),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn setting(text: &str) -> Setting {
        let place = Place { file: Path::new("c").into(), setting: "a".to_owned(), location: None };
        Setting::new(text, place).unwrap()
    }

    #[test]
    fn a_setting_is_a_reference_or_a_literal() {
        assert_eq!(setting("os.environ/A").reference(), Some("os.environ/A"));
        assert!(setting("os.environ/A").literal().is_none());
        assert_eq!(setting("canary").literal().unwrap().expose_bytes(), b"canary");
        assert!(setting("canary").reference().is_none());
    }

    #[test]
    fn an_empty_setting_counts_as_missing() {
        let place = Place { file: Path::new("c").into(), setting: "a".to_owned(), location: None };
        assert!(Setting::new("", place).is_none());
    }

    #[test]
    fn debug_never_shows_a_literal() {
        assert!(!format!("{:?}", setting("canary")).contains("canary"));
    }
}
