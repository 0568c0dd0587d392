//! Standard output: data, in one piece.

use std::io::{self, Write as _};

use anyhow::Context as _;

use super::Failure;

/// Prints data. Whoever reads it may stop early, as `head` does: that is no failure.
pub(super) fn write(data: &[u8]) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    match out.write_all(data).and_then(|()| out.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(error).context("cannot write to standard output").map_err(Failure::failed)
        }
        _ => Ok(()),
    }
}
