//! What the end of a run means: a success, an absent secret, or an outage.

use std::os::unix::process::ExitStatusExt;

use keyway_plugin_api::{Error, Result};

use crate::{
    config::{Config, Protocol},
    output,
    program::Run,
};

/// What Docker's own helpers print when there is no such secret.
const DOCKER_NOT_FOUND: &str = "credentials not found in native keychain";

/// Which failures mean that there is no such secret.
pub(crate) struct Verdict {
    exit_codes: Vec<i32>,
    messages: Vec<String>,
}

impl Verdict {
    pub(crate) fn new(config: &Config) -> Self {
        let messages = config.not_found.messages.clone().unwrap_or_else(|| match config.protocol {
            Protocol::Docker => vec![DOCKER_NOT_FOUND.to_owned()],
            Protocol::Summon => Vec::new(),
        });
        Verdict { exit_codes: config.not_found.exit_codes.clone(), messages }
    }

    /// Passes a success on; `values` are kept out of the log.
    pub(crate) fn judge(&self, run: Run, program: &str, about: &str, values: &[&[u8]]) -> Result<Run> {
        if !run.stderr.is_empty() {
            // What was printed may be a value, or have one in it as a word of JSON.
            let words = run.stdout.split(|byte| byte.is_ascii_whitespace() || *byte == b'"');
            let mut hidden = [values, &[run.stdout.as_slice()]].concat();
            hidden.extend(words.filter(|word| word.len() >= 4));
            let stderr = output::scrubbed(&run.stderr, &hidden);
            tracing::debug!(program, stderr, "the program wrote to standard error");
        }
        if run.status.success() {
            return Ok(run);
        }
        let absent = run.status.code().is_some_and(|code| self.exit_codes.contains(&code))
            || self.messages.iter().any(|message| printed(&run, message));
        if absent {
            return Err(Error::not_found(about));
        }
        let (how, code) = match (run.status.code(), run.status.signal()) {
            (Some(code), _) => (format!("exit code {code}"), code.to_string()),
            (None, Some(signal)) => (format!("signal {signal}"), format!("signal {signal}")),
            (None, None) => ("an unknown status".to_owned(), "unknown".to_owned()),
        };
        let message = format!(
            "the program {program} failed for {about} with {how}; its own words are in the log at debug level"
        );
        Err(Error::unavailable(message).with_vendor_code(code))
    }
}

fn printed(run: &Run, message: &str) -> bool {
    let within = |text: &[u8]| text.windows(message.len()).any(|window| window == message.as_bytes());
    within(&run.stdout) || within(&run.stderr)
}
