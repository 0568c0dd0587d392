//! `keyway secret`: the configuration's secret manager, by hand.

use std::{
    io::{self, IsTerminal as _, Read as _, Write as _},
    path::PathBuf,
};

use anyhow::{Context as _, anyhow};
use keyway_plugin_api::{
    DeleteRequest, ErrorKind, ReadRequest, RotateRequest, Secret, SecretManager, SecretName, WriteReceipt,
    WriteRequest, request::MAX_VALUE_LEN,
};

use super::Failure;
use crate::{
    config::{self, AccessMode, Config},
    registry,
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

/// Loads the manager, does one operation and shuts it down again.
pub(super) async fn run(command: Command) -> Result<(), Failure> {
    let (target, wants_write) = match &command {
        Command::Get(target) => (target, false),
        Command::Set { target, .. } | Command::Delete { target, .. } | Command::Rotate { target, .. } => {
            (target, true)
        }
    };
    let config = config::load(&target.config).map_err(Failure::wrong)?;
    let name = SecretName::new(target.name.as_str()).map_err(|error| {
        Failure::wrong(anyhow!("{:?} cannot be the name of a secret: {}", target.name, error.message()))
    })?;
    allowed(&config, wants_write).map_err(Failure::wrong)?;
    let loaded = registry::load(&config).await.map_err(Failure::failed)?;
    let Some(loaded) = loaded else {
        return Err(Failure::wrong(anyhow!(
            "{} configures no secret manager; set `general_settings.key_management_system: custom` and name one in \
             `general_settings.key_management_settings.custom_secret_manager`",
            config.path.display()
        )));
    };
    let done = operate(command, name.clone(), &config, loaded.manager.as_ref()).await;
    loaded.shutdown().await;
    done.map_err(|error| {
        Failure::failed(error.context(format!("{} cannot do this with {name}", loaded.name)))
    })
}

async fn operate(
    command: Command,
    name: SecretName,
    config: &Config,
    manager: &dyn SecretManager,
) -> anyhow::Result<()> {
    let settings = config.key_management.as_ref();
    let optional_params = settings.map(|settings| settings.optional_params.clone()).unwrap_or_default();
    let timeout =
        settings.map_or(keyway_plugin_api::request::DEFAULT_TIMEOUT, |settings| settings.manager.timeout);
    match command {
        Command::Get(_) => {
            let request = ReadRequest { optional_params, timeout, ..ReadRequest::named(name) };
            let primary = settings.and_then(|settings| settings.primary_secret_name.as_deref());
            let value = manager.async_read_secret(&request).await.map_err(|error| match (error.kind(), primary) {
                (ErrorKind::NotFound, Some(primary)) => anyhow::Error::new(error).context(format!(
                    "primary_secret_name is set: references are fields of the secret {primary}, and `get` reads whole secrets"
                )),
                _ => error.into(),
            })?;
            print(&value).context("cannot write to standard output")
        }
        Command::Set { input, .. } => {
            let request = WriteRequest {
                description: input.description.clone(),
                optional_params,
                timeout,
                ..WriteRequest::new(name.as_str(), read_value(&input)?)?
            };
            let receipt = manager.async_write_secret(&request).await?;
            Failure::note(&format!("wrote {name}{}", version(&receipt)));
            Ok(())
        }
        Command::Delete { recovery_window_in_days, .. } => {
            let request = DeleteRequest { name, recovery_window_in_days, optional_params, timeout };
            manager.async_delete_secret(&request).await?;
            Failure::note(&format!("deleted {}", request.name));
            Ok(())
        }
        Command::Rotate { to, input, .. } => {
            let new_name = to.map(SecretName::new).transpose()?.unwrap_or_else(|| name.clone());
            let request = RotateRequest {
                new_name: new_name.clone(),
                description: input.description.clone(),
                optional_params,
                timeout,
                ..RotateRequest::in_place(name.as_str(), read_value(&input)?)?
            };
            let receipt = manager.async_rotate_secret(request).await?;
            Failure::note(&format!("rotated {name}, which is now {new_name}{}", version(&receipt)));
            Ok(())
        }
    }
}

/// Whether `access_mode` lets the manager be asked.
fn allowed(config: &Config, write: bool) -> anyhow::Result<()> {
    let mode = config.key_management.as_ref().map(|settings| settings.access_mode);
    let (what, needed) = match (mode, write) {
        (Some(AccessMode::ReadOnly), true) => ("written to", "write_only or read_and_write"),
        (Some(AccessMode::WriteOnly), false) => ("read", "read_only or read_and_write"),
        _ => return Ok(()),
    };
    Err(anyhow!(
        "general_settings.key_management_settings.access_mode does not let the secret manager be {what}; set it to {needed}"
    ))
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
