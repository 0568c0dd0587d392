//! A secret value that cannot be printed by accident and is wiped when it goes.

use std::{fmt, time::Duration, time::SystemTime};

use zeroize::{Zeroize, Zeroizing};

use crate::error::{Error, ErrorKind, Result};

/// The value of a secret: bytes, and what the store said about them.
///
/// There is no `Clone`, `Display` or `Serialize`, and `Debug` shows the length only. The bytes live in one
/// allocation of exactly their size, which is overwritten with zeros on drop.
pub struct Secret {
    value: Zeroizing<Box<[u8]>>,
    metadata: Option<Box<SecretMetadata>>,
}

/// What a store says about a value; everything is optional.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SecretMetadata {
    /// The store's own name of this version.
    pub version: Option<String>,
    /// How long the value may be kept before it is asked for again, at millisecond precision.
    pub ttl: Option<Duration>,
    /// When the value stops being valid, at millisecond precision.
    pub expires_at: Option<SystemTime>,
    /// The lease under which the value was handed out.
    pub lease_id: Option<String>,
    /// The value is not text.
    pub binary: bool,
}

static NO_METADATA: SecretMetadata =
    SecretMetadata { version: None, ttl: None, expires_at: None, lease_id: None, binary: false };

impl Secret {
    /// Takes a value over; a buffer that is larger than its content is copied to size and wiped.
    pub fn new(value: impl Into<Vec<u8>>) -> Self {
        let mut value: Vec<u8> = value.into();
        if value.capacity() == value.len() {
            return Secret { value: Zeroizing::new(value.into_boxed_slice()), metadata: None };
        }
        let secret = Self::copy_from(&value);
        value.zeroize();
        secret
    }

    /// Copies a value once, into an allocation of its size; the caller wipes its own buffer.
    pub fn copy_from(value: &[u8]) -> Self {
        Secret { value: Zeroizing::new(Box::from(value)), metadata: None }
    }

    /// Adds what the store said about the value.
    pub fn with_metadata(mut self, metadata: SecretMetadata) -> Self {
        self.metadata = (metadata != NO_METADATA).then(|| Box::new(metadata));
        self
    }

    /// Adds the store's name of this version.
    pub fn with_version(mut self, version: impl Into<String>) -> Self {
        self.metadata.get_or_insert_default().version = Some(version.into());
        self
    }

    /// Adds how long the value may be kept.
    pub fn with_ttl(mut self, ttl: Duration) -> Self {
        self.metadata.get_or_insert_default().ttl = Some(ttl);
        self
    }

    /// What the store said about the value.
    pub fn metadata(&self) -> &SecretMetadata {
        self.metadata.as_deref().unwrap_or(&NO_METADATA)
    }

    /// The bytes themselves: the one way to the value, so that uses can be found by name.
    pub fn expose_bytes(&self) -> &[u8] {
        &self.value
    }

    /// The value as text.
    ///
    /// # Errors
    /// [`ErrorKind::Unsupported`] when the bytes are not UTF-8.
    pub fn expose_str(&self) -> Result<&str> {
        std::str::from_utf8(&self.value)
            .map_err(|_| Error::new(ErrorKind::Unsupported, "the value of the secret is not UTF-8 text"))
    }

    /// The length in bytes.
    pub fn len(&self) -> usize {
        self.value.len()
    }

    /// Whether the value has no bytes.
    pub fn is_empty(&self) -> bool {
        self.value.is_empty()
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Secret({} bytes, redacted)", self.len())
    }
}

impl From<&str> for Secret {
    fn from(value: &str) -> Self {
        Self::copy_from(value.as_bytes())
    }
}

impl From<String> for Secret {
    fn from(value: String) -> Self {
        Self::new(value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_never_shows_the_value() {
        let secret = Secret::from("canary").with_version("7");
        assert_eq!(format!("{secret:?}"), "Secret(6 bytes, redacted)");
    }

    #[test]
    fn metadata_is_kept() {
        let secret = Secret::from("x").with_version("7").with_ttl(Duration::from_secs(3));
        assert_eq!(secret.metadata().version.as_deref(), Some("7"));
        assert_eq!(secret.metadata().ttl, Some(Duration::from_secs(3)));
    }

    #[test]
    fn bytes_that_are_not_text_are_refused_as_text_only() {
        let secret = Secret::new(vec![0xff, 0x00]);
        assert_eq!(secret.expose_bytes(), [0xff, 0x00]);
        assert_eq!(secret.expose_str().unwrap_err().kind(), ErrorKind::Unsupported);
    }
}
