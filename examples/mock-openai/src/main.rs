//! Runs the mock upstream from the command line.

use std::net::SocketAddr;

use clap::Parser;
use mock_openai::Options;
use tokio::net::TcpListener;

/// Answers like OpenAI from memory, for trying things out without a provider.
#[derive(Parser)]
struct Arguments {
    /// Where to listen.
    #[arg(long, default_value = "127.0.0.1:4010")]
    listen: SocketAddr,
    /// A key that is accepted, can be repeated; without one every request is.
    #[arg(long = "key")]
    keys: Vec<String>,
    /// How many parts of content a stream has.
    #[arg(long, default_value_t = 20)]
    frames: usize,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let Arguments { listen, keys, frames } = Arguments::parse();
    // Nobody looks at the record here.
    let options = Options { keys, frames, remember: 1, ..Options::default() };
    let upstream = mock_openai::serve(TcpListener::bind(listen).await?, options)?;
    announce(&upstream.base());
    tokio::signal::ctrl_c().await?;
    Ok(())
}

#[expect(clippy::print_stdout, reason = "the address is this program's output")]
fn announce(base: &str) {
    println!("listening on {base}");
}
