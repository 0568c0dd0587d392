//! The forms in which a secret could be printed.

/// Whether a text holds a secret: raw, as base64 at any offset, as hexadecimal digits, URL-escaped, escaped for JSON
/// or Rust, or as a list of bytes.
pub(crate) fn forms(secret: &str) -> Vec<(&'static str, String)> {
    let bytes = secret.as_bytes();
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    let list = format!("{bytes:?}");
    let url = bytes.iter().map(|byte| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => char::from(*byte).to_string(),
        other => format!("%{other:02X}"),
    });
    let mut forms = vec![
        ("raw", secret.to_owned()),
        ("URL-escaped", url.collect()),
        ("hexadecimal", hex.to_uppercase()),
        ("escaped", secret.escape_debug().to_string()),
        ("a list of bytes", list[1..list.len() - 1].to_owned()),
        ("hexadecimal", hex),
    ];
    for offset in 0..3 {
        let padded = [&vec![0; offset], bytes].concat();
        let text = base64(&padded);
        // What depends on the neighbours of the secret is cut off at both ends.
        forms.push(("base64", text[[0, 2, 3][offset]..text.len() - 2].to_owned()));
    }
    forms
}

/// Base64 without padding, of the whole groups of three bytes.
fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let groups = bytes.chunks_exact(3).map(|group| u32::from_be_bytes([0, group[0], group[1], group[2]]));
    let digits = groups.flat_map(|group| [18, 12, 6, 0].map(|shift| DIGITS[(group >> shift) as usize & 63]));
    digits.map(char::from).collect()
}

#[test]
fn every_form_of_a_secret_is_one_that_a_search_would_find() {
    let forms = forms("a secret+");
    let has = |text: &str| forms.iter().any(|(_, form)| text.contains(form.as_str()));
    for text in [
        "a secret+",
        "a%20secret%2B",
        "6120736563726574 2b".replace(' ', "").as_str(),
        "[0, 97, 32, 115, 101, 99, 114, 101, 116, 43]",
    ] {
        assert!(has(text), "{text}");
    }
    // `x` and `xy` before it.
    assert!(has("YSBzZWNyZXQr") && has("eGEgc2VjcmV0Kw==") && has("eHlhIHNlY3JldCs="));
    assert!(!has("another text"));
}
