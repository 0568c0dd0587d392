//! The value of a secret on standard input and standard output.

use std::io::{self, IsTerminal as _, Read as _, Write as _};

use anyhow::{Context as _, anyhow};
use keyway_plugin_api::{Secret, request::MAX_VALUE_LEN};

use super::Failure;

/// How the value is read.
#[derive(clap::Args)]
pub(super) struct Input {
    /// Keep the line break at the end of the input, which otherwise is not part of the value.
    #[arg(long)]
    pub(super) keep_newline: bool,
    /// A text for people who look at the store, in place of the configuration's `description`.
    #[arg(long, value_name = "TEXT")]
    pub(super) description: Option<String>,
}

/// The value from standard input, and never from an argument, which other users of the machine could see.
pub(super) fn read(keep_newline: bool) -> anyhow::Result<Secret> {
    let mut stdin = io::stdin().lock();
    if stdin.is_terminal() {
        Failure::note("type the value and end it with Ctrl-D on a line of its own");
    }
    let mut bytes = Vec::new();
    let limit = u64::try_from(MAX_VALUE_LEN).unwrap_or(u64::MAX).saturating_add(3);
    stdin
        .by_ref()
        .take(limit)
        .read_to_end(&mut bytes)
        .context("cannot read the value from standard input")?;
    let len = match bytes.as_slice() {
        [.., b'\r', b'\n'] if !keep_newline => bytes.len() - 2,
        [.., b'\n'] if !keep_newline => bytes.len() - 1,
        _ => bytes.len(),
    };
    let value = Secret::copy_from(&bytes[..len]);
    zeroize::Zeroize::zeroize(&mut bytes);
    match value.len() {
        0 => Err(anyhow!("standard input held no value; give it with `< FILE` or through a pipe")),
        len if len > MAX_VALUE_LEN => {
            Err(anyhow!("the value is larger than 16 MiB, the most a secret may have"))
        }
        _ => Ok(value),
    }
}

/// Prints the bare value; only a terminal gets a line break after it.
pub(super) fn print(value: &Secret) -> io::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(value.expose_bytes())?;
    if out.is_terminal() {
        out.write_all(b"\n")?;
    }
    out.flush()
}
