//! The SHA-256 hash of a file, as pins give it.

use std::{fmt, str::FromStr};

use sha2::{Digest, Sha256};

/// The SHA-256 hash of a file; text is 64 hexadecimal digits, with or without `sha256:` before them.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct FileHash(pub [u8; 32]);

impl FileHash {
    /// Hashes bytes.
    pub fn of(bytes: &[u8]) -> Self {
        FileHash(Sha256::digest(bytes).into())
    }
}

impl fmt::Display for FileHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for FileHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "FileHash({self})")
    }
}

impl FromStr for FileHash {
    type Err = ParseHashError;

    fn from_str(text: &str) -> Result<Self, ParseHashError> {
        let digits = text.trim();
        let digits = digits.strip_prefix("sha256:").unwrap_or(digits).as_bytes();
        if digits.len() != 64 {
            return Err(ParseHashError::Length { found: digits.len() });
        }
        let mut hash = [0; 32];
        for (byte, pair) in hash.iter_mut().zip(digits.chunks_exact(2)) {
            *byte = (digit(pair[0])? << 4) | digit(pair[1])?;
        }
        Ok(FileHash(hash))
    }
}

/// Why a text is not a hash.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ParseHashError {
    /// Too short or too long.
    #[error("a sha256 has 64 hexadecimal digits, this one has {found} characters")]
    Length {
        /// How many characters there are.
        found: usize,
    },
    /// A character that is no digit.
    #[error("a sha256 has only the digits 0 to 9 and a to f")]
    Digit,
}

fn digit(character: u8) -> Result<u8, ParseHashError> {
    let value = char::from(character).to_digit(16).ok_or(ParseHashError::Digit)?;
    u8::try_from(value).map_err(|_| ParseHashError::Digit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hash_survives_its_text_in_either_case_and_with_a_prefix() {
        let hash = FileHash::of(b"abc");
        let text = hash.to_string();
        assert_eq!(text, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
        for written in [text.clone(), text.to_uppercase(), format!(" sha256:{text}")] {
            assert_eq!(written.parse(), Ok(hash));
        }
    }

    #[test]
    fn what_is_no_hash_is_refused() {
        assert_eq!("abc".parse::<FileHash>(), Err(ParseHashError::Length { found: 3 }));
        assert_eq!("g".repeat(64).parse::<FileHash>(), Err(ParseHashError::Digit));
    }
}
