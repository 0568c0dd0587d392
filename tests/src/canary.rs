//! A secret that is looked for in everything that was printed, in each form in which it could have got there.

use std::{
    collections::hash_map::RandomState,
    fmt::Write as _,
    hash::{BuildHasher, Hasher},
};

/// A random value with characters that each encoding changes.
pub struct Canary(String);

impl Canary {
    /// A value that occurs nowhere else.
    pub fn random() -> Self {
        let number = || RandomState::new().build_hasher().finish();
        Canary(format!("canary{:016x}\"ä+/=& %{:016x}", number(), number()))
    }

    /// The value itself.
    pub fn value(&self) -> &str {
        &self.0
    }

    /// The form in which the value occurs in a text, if it does.
    ///
    /// The random parts alone count as well: part of a secret is too much.
    pub fn found_in(&self, text: &str) -> Option<&'static str> {
        let lower = text.to_lowercase();
        let forms = self.forms();
        forms.into_iter().find(|(_, form)| text.contains(form) || lower.contains(form)).map(|(name, _)| name)
    }

    fn forms(&self) -> Vec<(&'static str, String)> {
        let value = self.0.as_bytes();
        let mut forms = vec![
            ("raw", self.0.clone()),
            ("in part", self.0[6..22].to_owned()),
            ("in part", self.0[self.0.len() - 16..].to_owned()),
            ("hex", value.iter().map(|byte| format!("{byte:02x}")).collect()),
            ("a list of bytes", value[..12].iter().map(u8::to_string).collect::<Vec<_>>().join(", ")),
            ("JSON-escaped", escaped_json(&self.0, false)),
            ("JSON-escaped to ASCII", escaped_json(&self.0, true)),
            ("URL-escaped", escaped_url(value, "%20")),
            ("form-escaped", escaped_url(value, "+")),
        ];
        // The value may begin at any of three places within a group of three bytes; the ends depend on its neighbours.
        for shift in 0..3 {
            let mut bytes = vec![0; shift];
            bytes.extend_from_slice(value);
            let whole = base64(&bytes);
            let inner = whole[4..whole.len() - 4].to_owned();
            forms.push(("base64", inner.replace('+', "-").replace('/', "_")));
            forms.push(("base64", inner));
        }
        forms
    }
}

fn escaped_json(text: &str, ascii: bool) -> String {
    text.chars().fold(String::new(), |mut escaped, character| {
        // Writing to a String cannot fail.
        let _ = match character {
            '"' => escaped.write_str("\\\""),
            character if ascii && !character.is_ascii() => write!(escaped, "\\u{:04x}", u32::from(character)),
            character => escaped.write_char(character),
        };
        escaped
    })
}

fn escaped_url(bytes: &[u8], space: &str) -> String {
    bytes
        .iter()
        .map(|byte| match byte {
            b' ' => space.to_owned(),
            byte if byte.is_ascii_alphanumeric() => char::from(*byte).to_string(),
            byte => format!("%{byte:02X}"),
        })
        .collect()
}

fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for group in bytes.chunks(3) {
        let word =
            group.iter().fold(0u32, |word, byte| word << 8 | u32::from(*byte)) << (8 * (3 - group.len()));
        for digit in 0..4 {
            let place = (word >> (18 - 6 * digit) & 63) as usize;
            text.push(if digit > group.len() { '=' } else { char::from(DIGITS[place]) });
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_is_that_of_its_standard() {
        for (bytes, text) in
            [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foobar", "Zm9vYmFy")]
        {
            assert_eq!(base64(bytes.as_bytes()), text);
        }
    }

    #[test]
    fn a_canary_is_found_in_each_form_and_nowhere_else() {
        let canary = Canary::random();
        let value = canary.value();
        let texts = [
            format!("key={value};"),
            format!("{:?}", value.as_bytes()),
            serde_json::json!({"key": value}).to_string(),
            base64(format!("user:{value}").as_bytes()),
            base64(format!("users:{value}!").as_bytes()),
            value.bytes().map(|byte| format!("{byte:02X}")).collect(),
            value[..30].to_owned(),
        ];
        for text in texts {
            assert!(canary.found_in(&text).is_some(), "{text}");
        }
        assert_eq!(canary.found_in(Canary::random().value()), None);
        assert_eq!(canary.found_in("nothing of the kind"), None);
    }
}
