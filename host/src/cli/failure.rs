//! How a command fails: what is printed, and the exit code.

use std::io::{self, Write as _};

use crate::{registry::RegistryError, startup::StartError};

/// Why a command failed.
pub(super) enum Failure {
    /// The command line is wrong.
    Usage(clap::Error),
    /// The command line or the configuration is wrong.
    Wrong(anyhow::Error),
    /// The work failed.
    Failed(anyhow::Error),
}

impl Failure {
    /// The configuration is wrong, or asks for what cannot be.
    pub(super) fn wrong(error: impl Into<anyhow::Error>) -> Self {
        Failure::Wrong(error.into())
    }

    /// The work failed.
    pub(super) fn failed(error: impl Into<anyhow::Error>) -> Self {
        Failure::Failed(error.into())
    }

    /// The managers were not loaded.
    pub(super) fn managers(error: RegistryError) -> Self {
        match error.is_configuration() {
            true => Failure::wrong(error),
            false => Failure::failed(error),
        }
    }

    /// The host did not start.
    pub(super) fn start(error: StartError) -> Self {
        match error.is_configuration() {
            true => Failure::wrong(error),
            false => Failure::failed(error),
        }
    }

    /// Tells the person something that is neither data nor a failure.
    pub(super) fn note(text: &str) {
        // Nothing can be done about a standard error that is closed.
        let _ = writeln!(io::stderr(), "{text}");
    }

    pub(super) fn code(&self) -> u8 {
        match self {
            Failure::Usage(_) | Failure::Wrong(_) => 2,
            Failure::Failed(_) => 1,
        }
    }

    /// Prints the error with its chain of causes, each on a line of its own.
    pub(super) fn print(&self) {
        let mut out = io::stderr().lock();
        // Nothing can be done about a standard error that is closed.
        let _ = match self {
            Failure::Usage(error) => write!(out, "{}", error.render()),
            Failure::Wrong(error) | Failure::Failed(error) => {
                let mut chain = error.chain();
                let first = chain.next().map(ToString::to_string).unwrap_or_default();
                let causes: String = chain.map(|cause| format!("\n  because: {cause}")).collect();
                writeln!(out, "error: {}", printable(&format!("{first}{causes}")))
            }
        };
    }
}

/// The text without what a terminal could take for a command: a cause may be in a plugin's words.
fn printable(text: &str) -> String {
    text.chars()
        .map(|character| if character.is_control() && character != '\n' { ' ' } else { character })
        .collect()
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_plugins_words_cannot_move_the_cursor() {
        assert_eq!(super::printable("a\x1b[2J\rb\nc"), "a [2J b\nc");
    }
}
