//! `keyway secret`: the configuration's secret manager, by hand.

use std::{
    io::{self, IsTerminal as _, Read as _, Write as _},
    path::PathBuf,
};

use anyhow::{Context as _, anyhow};
use keyway_plugin_api::{
    Capabilities, DeleteRequest, ErrorKind, ReadRequest, RotateRequest, Secret, SecretManager, SecretName,
    WriteReceipt, WriteRequest, request::MAX_VALUE_LEN,
};

use super::Failure;
use crate::{
    config::{self, AccessMode, Config, KeyManagement},
    registry,
    service::{Caller, Metrics, Missed, with_caller},
};

/// What can be done with a secret.
#[derive(clap::Subcommand)]
pub(super) enum Command {
    /// Print the bare value of a secret.
    #[command(after_help = "Example:\n  keyway secret get OPENAI_API_KEY --config config.yaml")]
    Get(Target),
    /// Create a secret or replace its value, which is read from standard input.
    #[command(after_help = "Example:\n  keyway secret set OPENAI_API_KEY --config config.yaml < key.txt")]
    Set {
        #[command(flatten)]
        target: Target,
        #[command(flatten)]
        input: Input,
    },
    /// Delete a secret.
    #[command(after_help = "Example:\n  keyway secret delete OLD_KEY --config config.yaml")]
    Delete {
        #[command(flatten)]
        target: Target,
        /// For how many days a store that can do so keeps the secret recoverable.
        #[arg(long, value_name = "DAYS", default_value_t = DeleteRequest::DEFAULT_RECOVERY_WINDOW_IN_DAYS)]
        recovery_window_in_days: u32,
    },
    /// Replace a secret, in place or under a new name; the new value is read from standard input.
    #[command(
        after_help = "Example:\n  keyway secret rotate OPENAI_API_KEY --config config.yaml < new-key.txt"
    )]
    Rotate {
        #[command(flatten)]
        target: Target,
        /// The name that the secret has afterwards; the old one is deleted last.
        #[arg(long, value_name = "NEW_NAME")]
        to: Option<String>,
        #[command(flatten)]
        input: Input,
    },
}

/// Which secret of which manager.
#[derive(clap::Args)]
pub(super) struct Target {
    /// The name of the secret in the manager, without `os.environ/`.
    #[arg(value_name = "NAME")]
    name: String,
    /// The configuration: LiteLLM's config.yaml.
    #[arg(long, short, value_name = "FILE")]
    config: PathBuf,
}

/// How the value is read.
#[derive(clap::Args)]
pub(super) struct Input {
    /// Keep the line break at the end of the input, which otherwise is not part of the value.
    #[arg(long)]
    keep_newline: bool,
    /// A text for people who look at the store.
    #[arg(long, value_name = "TEXT")]
    description: Option<String>,
}

/// What is done, once the command line and standard input are understood.
enum Operation {
    Get,
    Set { value: Secret, description: Option<String> },
    Delete { recovery_window_in_days: u32 },
    Rotate { new_name: SecretName, value: Secret, description: Option<String> },
}

/// Loads the manager, does one operation and shuts it down again.
pub(super) async fn run(command: Command) -> Result<(), Failure> {
    let (target, writes) = match &command {
        Command::Get(target) => (target, false),
        Command::Set { target, .. } | Command::Delete { target, .. } | Command::Rotate { target, .. } => {
            (target, true)
        }
    };
    let config = config::load(&target.config).map_err(Failure::wrong)?;
    for warning in &config.warnings {
        tracing::warn!("{}: {warning}", config.path.display());
    }
    let name = secret_name(&target.name).map_err(Failure::wrong)?;
    let settings = settings(&config, writes).map_err(Failure::wrong)?;
    let operation = operation(command, &name).map_err(Failure::wrong)?;
    let Some(loaded) = registry::load(&config, &Metrics::new()).await.map_err(Failure::managers)? else {
        return Err(Failure::wrong(no_manager(&config)));
    };
    let (what, manager) = (operation.verb(), loaded.stack.manager());
    let done = match operation.is_implemented(manager.capabilities()) {
        Ok(()) => {
            with_caller(Caller::Cli, operate(operation, name.clone(), settings, manager.as_ref())).await
        }
        Err(error) => Err(error),
    };
    let missed = loaded.finish_repairs(settings.manager.timeout).await;
    let reached = reached_all(&missed).map_err(Failure::failed);
    loaded.shutdown().await;
    done.map_err(|error| {
        Failure::failed(error.context(format!("manager {} cannot {what} {name}", loaded.name)))
    })?;
    reached
}

impl Operation {
    fn verb(&self) -> &'static str {
        match self {
            Operation::Get => "read",
            Operation::Set { .. } => "write",
            Operation::Delete { .. } => "delete",
            Operation::Rotate { .. } => "rotate",
        }
    }

    /// Whether a manager that has these capabilities can do it.
    fn is_implemented(&self, has: Capabilities) -> anyhow::Result<()> {
        let (what, one_of) = match self {
            Operation::Get => ("Read", Capabilities::READ | Capabilities::SYNC_READ),
            Operation::Set { .. } => ("Write", Capabilities::WRITE),
            Operation::Delete { .. } => ("Delete", Capabilities::DELETE),
            Operation::Rotate { .. } => ("Rotate", Capabilities::ROTATE | Capabilities::WRITE),
        };
        match has.intersects(one_of) {
            true => Ok(()),
            false => Err(anyhow!("{what} operations are not implemented by this plugin; it can: {has}")),
        }
    }
}

/// What was done counts as failed when a replica lacks it: nobody repairs that after this process.
fn reached_all(missed: &[(&str, Missed)]) -> anyhow::Result<()> {
    let lacking = |(set, missed): &(&str, Missed)| {
        let (member, repair) = (&missed.member, &missed.repair);
        let (operation, name, class) = (repair.operation, &repair.name, repair.last_error);
        format!("the replica {member} of {set} missed the {operation} of {name} ({class})")
    };
    match missed {
        [] => Ok(()),
        missed => Err(anyhow!(
            "{}, and still has what it had before; the other replicas have the change; repeat it when {} can be reached again",
            missed.iter().map(lacking).collect::<Vec<_>>().join(", "),
            if missed.len() == 1 { "that one" } else { "these" },
        )),
    }
}

fn secret_name(name: &str) -> anyhow::Result<SecretName> {
    SecretName::new(name)
        .map_err(|error| anyhow!("{name:?} cannot be the name of a secret: {}", error.message()))
}

/// Reads standard input, so that what is wrong with it is found before a plugin runs.
fn operation(command: Command, name: &SecretName) -> anyhow::Result<Operation> {
    Ok(match command {
        Command::Get(_) => Operation::Get,
        Command::Set { input, .. } => {
            Operation::Set { value: read_value(&input)?, description: input.description }
        }
        Command::Delete { recovery_window_in_days, .. } => Operation::Delete { recovery_window_in_days },
        Command::Rotate { to, input, .. } => {
            let new_name = to.map_or_else(|| Ok(name.clone()), |to| secret_name(&to))?;
            Operation::Rotate { new_name, value: read_value(&input)?, description: input.description }
        }
    })
}

async fn operate(
    operation: Operation,
    name: SecretName,
    settings: &KeyManagement,
    manager: &dyn SecretManager,
) -> anyhow::Result<()> {
    let (optional_params, timeout) = (settings.optional_params.clone(), settings.manager.timeout);
    match operation {
        Operation::Get => {
            let request = ReadRequest { optional_params, timeout, ..ReadRequest::named(name) };
            let value = manager.async_read_secret(&request).await;
            let primary = settings.primary_secret_name.as_deref();
            let value = value.map_err(|error| match (error.kind(), primary) {
                (ErrorKind::NotFound, Some(primary)) => anyhow::Error::new(error).context(format!(
                    "primary_secret_name is set: references are fields of the secret {primary}, and `get` reads whole secrets"
                )),
                _ => error.into(),
            })?;
            print(&value).context("cannot write to standard output")
        }
        Operation::Set { value, description } => {
            let request = WriteRequest {
                description,
                optional_params,
                timeout,
                ..WriteRequest::new(name.as_str(), value)?
            };
            let receipt = manager.async_write_secret(&request).await?;
            Failure::note(&format!("wrote {name}{}", version(&receipt)));
            Ok(())
        }
        Operation::Delete { recovery_window_in_days } => {
            let request = DeleteRequest { name, recovery_window_in_days, optional_params, timeout };
            manager.async_delete_secret(&request).await?;
            Failure::note(&format!("deleted {}", request.name));
            Ok(())
        }
        Operation::Rotate { new_name, value, description } => {
            let now = if new_name == name { String::new() } else { format!(", which is now {new_name}") };
            let request = RotateRequest {
                new_name,
                description,
                optional_params,
                timeout,
                ..RotateRequest::in_place(name.as_str(), value)?
            };
            let receipt = manager.async_rotate_secret(request).await?;
            Failure::note(&format!("rotated {name}{now}{}", version(&receipt)));
            Ok(())
        }
    }
}

/// The settings of the manager, when there is one and `access_mode` lets it be asked.
fn settings(config: &Config, writes: bool) -> anyhow::Result<&KeyManagement> {
    let settings = config.key_management.as_ref().ok_or_else(|| no_manager(config))?;
    let (what, needed) = match (settings.access_mode, writes) {
        (AccessMode::ReadOnly, true) => {
            ("written to, because it is `read_only`", "write_only` or `read_and_write")
        }
        (AccessMode::WriteOnly, false) => {
            ("read, because it is `write_only`", "read_only` or `read_and_write")
        }
        _ => return Ok(settings),
    };
    Err(anyhow!(
        "{}: general_settings.key_management_settings.access_mode does not let the secret manager be {what}; \
         set it to `{needed}`",
        config.path.display()
    ))
}

fn no_manager(config: &Config) -> anyhow::Error {
    anyhow!(
        "{} configures no secret manager; set `general_settings.key_management_system: custom` and name one in \
         `general_settings.key_management_settings.custom_secret_manager`",
        config.path.display()
    )
}

/// The value from standard input, and never from an argument, which other users of the machine could see.
fn read_value(input: &Input) -> anyhow::Result<Secret> {
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
        [.., b'\r', b'\n'] if !input.keep_newline => bytes.len() - 2,
        [.., b'\n'] if !input.keep_newline => bytes.len() - 1,
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

fn version(receipt: &WriteReceipt) -> String {
    receipt.version.as_ref().map(|version| format!(" (version {version})")).unwrap_or_default()
}

fn print(value: &Secret) -> io::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(value.expose_bytes())?;
    if out.is_terminal() {
        out.write_all(b"\n")?;
    }
    out.flush()
}
