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
    log_stderr: bool,
}

impl Verdict {
    pub(crate) fn new(config: &Config) -> Self {
        let messages = config.not_found.messages.clone().unwrap_or_else(|| match config.protocol {
            Protocol::Docker => vec![DOCKER_NOT_FOUND.to_owned()],
            Protocol::Summon => Vec::new(),
        });
        let exit_codes = config.not_found.exit_codes.clone();
        Verdict { exit_codes, messages, log_stderr: config.log_stderr }
    }

    /// Passes a success on.
    pub(crate) fn judge(&self, run: Run, program: &str, about: &str) -> Result<Run> {
        self.log(&run, program);
        if run.status.success() {
            return Ok(run);
        }
        // A program that was killed has not come to the end of what it had to say.
        let absent = run.status.code().is_some_and(|code| {
            self.exit_codes.contains(&code) || self.messages.iter().any(|message| printed(&run, message))
        });
        if absent {
            return Err(Error::not_found(about));
        }
        let (how, code) = match (run.status.code(), run.status.signal()) {
            (Some(code), _) => (format!("exit code {code}"), code.to_string()),
            (None, Some(signal)) => (format!("signal {signal}"), format!("signal {signal}")),
            (None, None) => ("an unknown status".to_owned(), "unknown".to_owned()),
        };
        let advice = match self.log_stderr {
            true => "its own words are in the log at debug level",
            false => "run it by hand to see why, or let config.log_stderr log its own words at debug level",
        };
        let message = format!("the program {program} failed for {about} with {how}; {advice}");
        Err(Error::unavailable(message).with_vendor_code(code))
    }

    /// What a program says may be the value, in whatever form: its words are logged for who asks for them only.
    fn log(&self, run: &Run, program: &str) {
        if run.stderr.is_empty() {
            return;
        }
        let status = run.status.to_string();
        match self.log_stderr {
            true => {
                let stderr = output::one_line(&run.stderr);
                tracing::debug!(program, status, stderr, "the program wrote to standard error");
            }
            false => {
                let kept_bytes = run.stderr.len();
                tracing::debug!(program, status, kept_bytes, "the program wrote to standard error");
            }
        }
    }
}

fn printed(run: &Run, message: &str) -> bool {
    let within = |text: &[u8]| text.windows(message.len()).any(|window| window == message.as_bytes());
    within(&run.stdout) || within(&run.stderr)
}
