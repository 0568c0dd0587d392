//! The `keyway` program.

use std::process::ExitCode;

fn main() -> ExitCode {
    keyway::cli::main()
}
