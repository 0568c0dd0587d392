//! Loads files as plugins, one after the other, and reads one secret of each: for files that may end the process that loads
//! them, or hold it up.
//!
//! Exit code 0: the last one was loaded, whatever the read answered; 3: it was refused. The reasons are on the standard
//! output, a line for each file.

use std::{
    io::{self, Write},
    path::PathBuf,
    process::ExitCode,
    time::Duration,
};

use anyhow::{Result, ensure};
use keyway_plugin_api::{ReadRequest, SecretManager};
use keyway_tests::plugin;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<ExitCode> {
    let files: Vec<PathBuf> = std::env::args_os().skip(1).map(PathBuf::from).collect();
    ensure!(!files.is_empty(), "usage: load_one FILE...");
    let mut code = 0;
    for file in files {
        let mut spec = plugin::spec("damaged", &file);
        spec.timeout = Duration::from_secs(2);
        let answer = match plugin::load(spec).await {
            Ok((manager, _)) => {
                let read = manager.async_read_secret(&ReadRequest::new("OPENAI_API_KEY")?).await;
                code = 0;
                format!("loaded: {:?}", read.map(|secret| secret.len()))
            }
            Err(error) => {
                code = 3;
                format!("refused: {error:#}")
            }
        };
        writeln!(io::stdout(), "{answer}")?;
    }
    Ok(ExitCode::from(code))
}
