//! The command line: one file for each subcommand.
//!
//! Data goes to standard output, everything else to standard error. The exit code is 0 when the work is done, 1 when it
//! failed, and 2 when the command or the configuration is wrong.

mod check;
#[cfg(unix)]
mod exec;
mod failure;
mod output;
mod plugin;
mod secret;
mod serve;
mod status;
mod table;
mod value;

use std::{process::ExitCode, time::Duration};

use clap::{CommandFactory as _, Parser, Subcommand};
use clap_complete::Shell;
use tracing::level_filters::LevelFilter;

use self::failure::Failure;
use crate::{
    config::Env,
    telemetry::{self, Telemetry},
};

/// How long threads that a plugin keeps busy may hold up the end of the process.
const LAST_WAIT: Duration = Duration::from_secs(1);

/// Loads secret managers as compiled plugins and serves an OpenAI-compatible gateway with what they hold.
#[derive(Parser)]
#[command(
    name = "keyway",
    version,
    args_conflicts_with_subcommands = true,
    subcommand_negates_reqs = true,
    after_help = "\
Examples:
  keyway --config config.yaml --port 4000          serve
  keyway config check config.yaml                  resolve every reference, print where each came from
  keyway plugin list ./plugins                     show plugins without loading them
  keyway secret set NAME --config config.yaml < value.txt
  keyway exec --config config.yaml -- ./app        run a program with secrets in its environment

Environment:
  KEYWAY_LOG         what is logged, in the syntax of RUST_LOG: keyway=debug for example
  KEYWAY_LOG_FORMAT  text, or json for programs

Exit code: 0 done, 1 failed, 2 wrong usage or configuration."
)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    serve: Option<serve::Args>,
}

#[derive(Subcommand)]
enum Command {
    /// Serve the gateway; also what happens without a subcommand.
    #[command(after_help = "\
Example:
  keyway serve --config config.yaml --host 127.0.0.1 --port 4000 --detailed_debug

The first SIGTERM or Ctrl-C lets requests in flight finish, the second one cuts them off.")]
    Serve(serve::Args),
    /// Read and change secrets through the configuration's secret manager.
    #[command(
        subcommand,
        after_help = "\
Examples:
  keyway secret get OPENAI_API_KEY --config config.yaml
  keyway secret set OPENAI_API_KEY --config config.yaml < key.txt

Values come from standard input and never from arguments, which other users of the machine could see."
    )]
    Secret(SecretCommand),
    /// Run a program with secrets in its environment; nothing is written to disk.
    #[cfg(unix)]
    #[command(after_help = exec::HELP)]
    Exec(exec::Args),
    /// Look at plugin files; nothing is loaded.
    #[command(
        subcommand,
        after_help = "Examples:\n  keyway plugin list ./plugins\n  keyway plugin inspect ./libacme_vault.so"
    )]
    Plugin(plugin::Command),
    /// Look at configurations.
    #[command(subcommand, after_help = "Example:\n  keyway config check config.yaml")]
    Config(ConfigCommand),
    /// Print a completion script for a shell.
    #[command(after_help = "Example:\n  keyway completions bash > /etc/bash_completion.d/keyway")]
    Completions {
        /// The shell.
        shell: Shell,
    },
}

#[derive(Subcommand)]
enum SecretCommand {
    #[command(flatten)]
    ByHand(secret::Command),
    /// Show what a running gateway knows about each reference: state, age, source, last error; never a value.
    #[command(after_help = "\
Example:
  keyway secret status --config config.yaml --url http://127.0.0.1:4000")]
    Status(status::Args),
}

#[derive(Subcommand)]
enum ConfigCommand {
    /// Load the plugin, resolve every reference, and print where each came from; never a value.
    #[command(after_help = "Example:\n  keyway config check config.yaml")]
    Check(check::Args),
}

/// Runs the program with the process's own arguments.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    let mut telemetry = telemetry::start(&Env::from_process(), cli.level());
    let result = run(cli, &mut telemetry);
    telemetry.stop();
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            failure.print();
            ExitCode::from(failure.code())
        }
    }
}

fn run(cli: Cli, telemetry: &mut Telemetry) -> Result<(), Failure> {
    #[cfg(not(unix))]
    let _ = telemetry;
    protect_memory();
    match (cli.command, cli.serve) {
        (Some(Command::Completions { shell }), _) => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "keyway", &mut script);
            output::write(&script)
        }
        (Some(Command::Plugin(command)), _) => plugin::run(command),
        (Some(Command::Serve(args)), _) | (None, Some(args)) => within_runtime(serve::run(args)),
        (Some(Command::Secret(SecretCommand::ByHand(command))), _) => within_runtime(secret::run(command)),
        (Some(Command::Secret(SecretCommand::Status(args))), _) => within_runtime(status::run(args)),
        #[cfg(unix)]
        (Some(Command::Exec(args)), _) => within_runtime(exec::run(args, telemetry)),
        (Some(Command::Config(ConfigCommand::Check(args))), _) => within_runtime(check::run(args)),
        (None, None) => {
            let error = Cli::command().error(
                clap::error::ErrorKind::MissingRequiredArgument,
                "give a configuration to serve with --config FILE, or a subcommand",
            );
            Err(Failure::Usage(error))
        }
    }
}

impl Cli {
    /// What is logged by default: a server tells what it does, the other commands only what is wrong.
    fn level(&self) -> LevelFilter {
        match (&self.command, &self.serve) {
            (Some(Command::Serve(args)), _) | (None, Some(args)) if args.detailed_debug => LevelFilter::DEBUG,
            (Some(Command::Serve(_)), _) | (None, Some(_)) => LevelFilter::INFO,
            _ => LevelFilter::WARN,
        }
    }
}

fn within_runtime(work: impl Future<Output = Result<(), Failure>>) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().map_err(|error| {
        Failure::failed(anyhow::Error::new(error).context("cannot start the threads of the host"))
    })?;
    let result = runtime.block_on(work);
    runtime.shutdown_timeout(LAST_WAIT);
    result
}

/// Keeps the process's memory, and so the secrets in it, out of core dumps and away from debuggers of the same user.
fn protect_memory() {
    #[cfg(target_os = "linux")]
    {
        use rustix::process::{DumpableBehavior, set_dumpable_behavior};
        if let Err(error) = set_dumpable_behavior(DumpableBehavior::NotDumpable) {
            tracing::warn!(%error, "cannot switch core dumps off");
        }
    }
}
