//! Loads one file as a plugin and reads one secret: for files that may end the process that loads them.
//!
//! Exit code 0: it was loaded, whatever the read answered; 3: it was refused. The reason is on the standard output.

use std::{
    io::{self, Write},
    path::PathBuf,
    process::ExitCode,
};

use anyhow::{Context, Result};
use keyway_plugin_api::{ReadRequest, SecretManager};
use keyway_tests::plugin;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<ExitCode> {
    let file = PathBuf::from(std::env::args_os().nth(1).context("usage: load_one FILE")?);
    let (answer, code) = match plugin::load(plugin::spec("damaged", &file)).await {
        Ok((manager, _)) => {
            let read = manager.async_read_secret(&ReadRequest::new("OPENAI_API_KEY")?).await;
            (format!("loaded: {:?}", read.map(|secret| secret.len())), 0)
        }
        Err(error) => (format!("refused: {error:#}"), 3),
    };
    writeln!(io::stdout(), "{answer}")?;
    Ok(ExitCode::from(code))
}
