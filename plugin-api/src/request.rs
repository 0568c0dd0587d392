//! What an operation is asked to do: names, values and the time that is left.

use std::{fmt, sync::Arc, time::Duration};

use serde::de::DeserializeOwned;

use crate::{
    error::{Error, ErrorKind, Result},
    secret::Secret,
};

/// The time an operation may take when its caller says nothing.
pub const DEFAULT_TIMEOUT: Duration = Duration::from_secs(5);

/// The longest name of a secret, in bytes.
pub const MAX_NAME_LEN: usize = 2048;

/// The largest value of a secret, in bytes (16 MiB).
pub const MAX_VALUE_LEN: usize = 16 << 20;

/// The name of a secret: UTF-8 text of 1 to [`MAX_NAME_LEN`] bytes without control characters.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SecretName(Box<str>);

impl SecretName {
    /// Checks a name.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidName`] when it is empty, too long or holds a control character (NUL included).
    pub fn new(name: impl Into<Box<str>>) -> Result<Self> {
        let name = name.into();
        let fault = if name.is_empty() {
            "is empty".to_owned()
        } else if name.len() > MAX_NAME_LEN {
            format!("is {} bytes long; at most {MAX_NAME_LEN} are possible", name.len())
        } else if name.bytes().any(|byte| byte < 0x20 || byte == 0x7f) {
            "holds a control character".to_owned()
        } else {
            return Ok(SecretName(name));
        };
        Err(Error::new(ErrorKind::InvalidName, format!("the name of the secret {fault}")))
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<SecretName> for String {
    fn from(name: SecretName) -> String {
        name.0.into()
    }
}

impl std::ops::Deref for SecretName {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for SecretName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for SecretName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&*self.0, f)
    }
}

/// The `optional_params` of an operation: a JSON object that the host passes on from the configuration.
///
/// It holds every setting of `key_management_settings`, so that a plugin sees what a Python secret manager
/// sees there. It is parsed only when somebody asks.
#[derive(Clone, Default)]
pub struct OptionalParams(Option<Arc<str>>);

impl OptionalParams {
    /// No parameters.
    pub const NONE: OptionalParams = OptionalParams(None);

    /// Takes the text of a JSON object; empty text means none.
    pub fn from_json(json: &str) -> Self {
        OptionalParams((!json.is_empty()).then(|| json.into()))
    }

    /// The text of the JSON object, empty when there is none.
    pub fn as_json(&self) -> &str {
        self.0.as_deref().unwrap_or("")
    }

    /// Reads the parameters into a type; no parameters read as an empty object.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidConfig`] when the object does not fit the type; the error names the parameter and what was
    /// expected, never its value.
    pub fn parse<T: DeserializeOwned>(&self) -> Result<T> {
        crate::config::parse("optional_params", self.as_json())
    }
}

impl fmt::Debug for OptionalParams {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "OptionalParams({} bytes)", self.as_json().len())
    }
}

/// Asks for the value of one secret.
#[derive(Clone, Debug)]
pub struct ReadRequest {
    /// Which secret.
    pub name: SecretName,
    /// Which version; the newest when absent.
    pub version: Option<String>,
    /// What the configuration says beside the name.
    pub optional_params: OptionalParams,
    /// The time that is left; the host stops waiting after it.
    pub timeout: Duration,
}

impl ReadRequest {
    /// Asks for the newest version within [`DEFAULT_TIMEOUT`].
    ///
    /// # Errors
    /// [`ErrorKind::InvalidName`], as [`SecretName::new`].
    pub fn new(name: impl Into<Box<str>>) -> Result<Self> {
        Ok(Self::named(SecretName::new(name)?))
    }

    /// Asks for the newest version within [`DEFAULT_TIMEOUT`].
    pub fn named(name: SecretName) -> Self {
        Self { name, version: None, optional_params: OptionalParams::NONE, timeout: DEFAULT_TIMEOUT }
    }
}

/// Asks to create a secret or to replace its value.
#[derive(Debug)]
pub struct WriteRequest {
    /// Which secret.
    pub name: SecretName,
    /// The new value.
    pub value: Secret,
    /// A text for people who look at the store.
    pub description: Option<String>,
    /// Labels: a JSON object or array.
    pub tags: Option<serde_json::Value>,
    /// What the configuration says beside the name.
    pub optional_params: OptionalParams,
    /// The time that is left; the host stops waiting after it.
    pub timeout: Duration,
}

impl WriteRequest {
    /// Asks to write a value within [`DEFAULT_TIMEOUT`].
    ///
    /// # Errors
    /// [`ErrorKind::InvalidName`], as [`SecretName::new`].
    pub fn new(name: impl Into<Box<str>>, value: impl Into<Secret>) -> Result<Self> {
        Ok(Self {
            name: SecretName::new(name)?,
            value: value.into(),
            description: None,
            tags: None,
            optional_params: OptionalParams::NONE,
            timeout: DEFAULT_TIMEOUT,
        })
    }
}

/// Asks to delete a secret.
#[derive(Clone, Debug)]
pub struct DeleteRequest {
    /// Which secret.
    pub name: SecretName,
    /// For how many days a store that can do so keeps the secret recoverable.
    pub recovery_window_in_days: u32,
    /// What the configuration says beside the name.
    pub optional_params: OptionalParams,
    /// The time that is left; the host stops waiting after it.
    pub timeout: Duration,
}

impl DeleteRequest {
    /// The recovery window that LiteLLM passes when its caller says nothing.
    pub const DEFAULT_RECOVERY_WINDOW_IN_DAYS: u32 = 7;

    /// Asks to delete a secret, recoverable for seven days, within [`DEFAULT_TIMEOUT`].
    ///
    /// # Errors
    /// [`ErrorKind::InvalidName`], as [`SecretName::new`].
    pub fn new(name: impl Into<Box<str>>) -> Result<Self> {
        Ok(Self {
            name: SecretName::new(name)?,
            recovery_window_in_days: Self::DEFAULT_RECOVERY_WINDOW_IN_DAYS,
            optional_params: OptionalParams::NONE,
            timeout: DEFAULT_TIMEOUT,
        })
    }
}

/// Asks to replace a secret, under its own name or a new one.
#[derive(Debug)]
pub struct RotateRequest {
    /// The name it has now; it need not exist.
    pub current_name: SecretName,
    /// The name it has afterwards.
    pub new_name: SecretName,
    /// The new value.
    pub value: Secret,
    /// A text for people who look at the store.
    pub description: Option<String>,
    /// Labels: a JSON object or array.
    pub tags: Option<serde_json::Value>,
    /// What the configuration says beside the names.
    pub optional_params: OptionalParams,
    /// The time that is left; the host stops waiting after it.
    pub timeout: Duration,
}

impl RotateRequest {
    /// Asks for a new value under the same name within [`DEFAULT_TIMEOUT`].
    ///
    /// # Errors
    /// [`ErrorKind::InvalidName`], as [`SecretName::new`].
    pub fn in_place(name: impl Into<Box<str>>, value: impl Into<Secret>) -> Result<Self> {
        let name = SecretName::new(name)?;
        Ok(Self {
            new_name: name.clone(),
            current_name: name,
            value: value.into(),
            description: None,
            tags: None,
            optional_params: OptionalParams::NONE,
            timeout: DEFAULT_TIMEOUT,
        })
    }
}

/// Asks for the names of the secrets that start with a prefix.
#[derive(Clone, Debug)]
pub struct ListRequest {
    /// What the names start with; empty for all.
    pub prefix: String,
    /// What the configuration says beside the prefix.
    pub optional_params: OptionalParams,
    /// The time that is left; the host stops waiting after it.
    pub timeout: Duration,
}

impl Default for ListRequest {
    fn default() -> Self {
        Self { prefix: String::new(), optional_params: OptionalParams::NONE, timeout: DEFAULT_TIMEOUT }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_without_text_or_with_control_characters_is_refused() {
        for bad in ["", "a\0b", "a\nb", "\x7f", &"x".repeat(MAX_NAME_LEN + 1)] {
            assert_eq!(SecretName::new(bad).unwrap_err().kind(), ErrorKind::InvalidName);
        }
        assert_eq!(SecretName::new("litellm/Schlüssel 1").unwrap().as_str(), "litellm/Schlüssel 1");
    }

    #[test]
    fn params_that_do_not_fit_are_named_and_not_quoted() {
        #[derive(Debug, serde::Deserialize)]
        struct Wanted {
            #[expect(dead_code, reason = "only the parsing matters")]
            port: u16,
        }
        let error = OptionalParams::from_json(r#"{"port": "canary"}"#).parse::<Wanted>().unwrap_err();
        assert_eq!(error.message(), "optional_params.port: invalid type: string, expected u16");
        assert!(!format!("{error:?}").contains("canary"));
    }

    #[test]
    fn absent_params_read_as_an_empty_object() {
        let map: serde_json::Map<String, serde_json::Value> = OptionalParams::NONE.parse().unwrap();
        assert!(map.is_empty());
    }
}
