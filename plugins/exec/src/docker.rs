//! The words of Docker's credential helpers.
//!
//! <https://github.com/docker/docker-credential-helpers>: `get` and `erase` take the name on standard input, `store` a JSON
//! object; `get` and `list` answer with one.

use std::collections::BTreeMap;

use keyway_plugin_api::{
    Error, ErrorKind, Result, Secret,
    serde::{Deserialize, Serialize},
};
use zeroize::Zeroizing;

#[derive(Serialize)]
#[serde(crate = "keyway_plugin_api::serde", rename_all = "PascalCase")]
struct Store<'a> {
    #[serde(rename = "ServerURL")]
    server_url: &'a str,
    username: &'a str,
    secret: &'a str,
}

#[derive(Deserialize)]
#[serde(crate = "keyway_plugin_api::serde")]
struct Got {
    #[serde(rename = "Secret")]
    secret: String,
}

/// The standard input of `store`.
pub(crate) fn to_store(name: &str, username: &str, value: &Secret) -> Result<Zeroizing<Vec<u8>>> {
    let secret = value.expose_str().map_err(|_| {
        let message =
            format!("cannot store {name}: its value is not text, and the protocol passes nothing else");
        Error::new(ErrorKind::Unsupported, message)
    })?;
    // JSON needs up to six bytes for one; a buffer that grows would leave a copy behind.
    let room = 6 * (name.len() + username.len() + secret.len()) + 64;
    let mut json = Zeroizing::new(Vec::with_capacity(room));
    serde_json::to_writer(&mut *json, &Store { server_url: name, username, secret })
        .map_err(|_| Error::internal(format!("cannot write {name} as JSON")))?;
    Ok(json)
}

/// The value in what `get` printed.
pub(crate) fn from_get(name: &str, stdout: &[u8]) -> Result<Secret> {
    // The parser's own words could quote the value.
    let got: Got = serde_json::from_slice(stdout).map_err(|_| {
        Error::unavailable(format!(
            "the program's answer for {name} is not a JSON object with the text `Secret`"
        ))
    })?;
    // Taken over, and wiped where it has to be copied.
    Ok(Secret::from(got.secret))
}

/// The names in what `list` printed.
pub(crate) fn from_list(stdout: &[u8]) -> Result<Vec<String>> {
    let names: BTreeMap<String, keyway_plugin_api::serde::de::IgnoredAny> = serde_json::from_slice(stdout)
        .map_err(|_| {
            Error::unavailable("the program's list is not a JSON object with a name for each secret")
        })?;
    Ok(names.into_keys().collect())
}
