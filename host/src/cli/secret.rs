//! `keyway secret`: the configuration's secret manager, by hand.

use std::path::PathBuf;

use anyhow::{Context as _, anyhow};
use keyway_plugin_api::{
    DeleteRequest, ErrorKind, ReadRequest, RotateRequest, Secret, SecretManager, SecretName, WriteReceipt,
    WriteRequest,
};

use super::{
    Failure,
    value::{self, Input},
};
use crate::{
    config::{self, AccessMode, Config, KeyManagement},
    registry::{self, Managers},
    service::{Caller, Metrics, Missed, with_caller},
    startup,
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
        /// Overwrite a secret that has the new name already.
        #[arg(long, requires = "to")]
        replace: bool,
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

/// What is done, once the command line and standard input are understood.
enum Operation {
    Get,
    Set { value: Secret, description: Option<String> },
    Delete { recovery_window_in_days: u32 },
    Rotate { new_name: SecretName, value: Secret, description: Option<String>, replace: bool },
}

/// What is told when the manager has done it and has ended.
enum Done {
    Value(Secret),
    Note(String),
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
    startup::advice::on_file(&config);
    let name = secret_name(&target.name).map_err(Failure::wrong)?;
    let settings = settings(&config, writes).map_err(Failure::wrong)?;
    let operation = operation(command, &name).map_err(Failure::wrong)?;
    let Some(loaded) = registry::load(&config, &Metrics::new()).await.map_err(Failure::managers)? else {
        return Err(Failure::wrong(no_manager(&config)));
    };
    let manager = loaded.stack.manager();
    let done = with_caller(Caller::Cli, async {
        refuse_to_overwrite(&operation, &name, settings, &loaded).await?;
        let what = operation.verb();
        let done = operate(operation, name.clone(), settings, manager.as_ref()).await;
        done.with_context(|| format!("manager {} cannot {what} {name}", loaded.name))
    })
    .await;
    let missed = loaded.finish_repairs(settings.manager.timeout).await;
    let reached = reached_all(&missed).map_err(Failure::failed);
    loaded.shutdown().await;
    match done.map_err(Failure::failed)? {
        Done::Value(value) => {
            value::print(&value).context("cannot write to standard output").map_err(Failure::failed)?;
        }
        Done::Note(text) => Failure::note(&text),
    }
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
            Operation::Set { value: value::read(input.keep_newline)?, description: input.description }
        }
        Command::Delete { recovery_window_in_days, .. } => Operation::Delete { recovery_window_in_days },
        Command::Rotate { to, replace, input, .. } => {
            let new_name = to.map_or_else(|| Ok(name.clone()), |to| secret_name(&to))?;
            Operation::Rotate {
                new_name,
                value: value::read(input.keep_newline)?,
                description: input.description,
                replace,
            }
        }
    })
}

/// A rotation to another name must not overwrite a secret that somebody else may use, unless it was told to.
async fn refuse_to_overwrite(
    operation: &Operation,
    name: &SecretName,
    settings: &KeyManagement,
    loaded: &Managers,
) -> anyhow::Result<()> {
    let new_name = match operation {
        Operation::Rotate { new_name, replace: false, .. } if new_name != name => new_name,
        _ => return Ok(()),
    };
    let request = ReadRequest {
        optional_params: settings.optional_params.clone(),
        timeout: settings.manager.timeout,
        ..ReadRequest::named(new_name.clone())
    };
    // A part of the rotation, which reads the value back as well: whatever `access_mode` and `hosted_keys` say about who
    // is given a value, nobody is given this one.
    match loaded.bare.async_read_secret(&request).await {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        Ok(_) => Err(anyhow!(
            "{name} is not rotated to {new_name}, because manager {} has a secret of that name already; choose a name that \
             is free, or overwrite it with --replace",
            loaded.name
        )),
        Err(error) => Err(anyhow::Error::new(error).context(format!(
            "{name} is not rotated to {new_name}, because manager {} does not tell whether it has a secret of that name; \
             --replace goes on without knowing",
            loaded.name
        ))),
    }
}

async fn operate(
    operation: Operation,
    name: SecretName,
    settings: &KeyManagement,
    manager: &dyn SecretManager,
) -> anyhow::Result<Done> {
    let described = |given: Option<String>| given.or_else(|| settings.description.clone());
    let tags = settings.tags.clone();
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
            Ok(Done::Value(value))
        }
        Operation::Set { value, description } => {
            let request = WriteRequest {
                description: described(description),
                tags,
                optional_params,
                timeout,
                ..WriteRequest::new(name.as_str(), value)?
            };
            let receipt = manager.async_write_secret(&request).await?;
            Ok(Done::Note(format!("wrote {name}{}", version(&receipt))))
        }
        Operation::Delete { recovery_window_in_days } => {
            let request = DeleteRequest { name, recovery_window_in_days, optional_params, timeout };
            manager.async_delete_secret(&request).await?;
            Ok(Done::Note(format!("deleted {}", request.name)))
        }
        Operation::Rotate { new_name, value, description, .. } => {
            let to = Some(new_name.clone()).filter(|to| *to != name);
            let request = RotateRequest {
                new_name,
                description: described(description),
                tags,
                optional_params,
                timeout,
                ..RotateRequest::in_place(name.as_str(), value)?
            };
            let receipt = manager.async_rotate_secret(request).await.map_err(|error| match &to {
                Some(to) if error.kind() == ErrorKind::Timeout => anyhow::Error::new(error).context(format!(
                    "it is not known how far it came; see whether {to} and {name} are there, and with which values"
                )),
                _ => error.into(),
            })?;
            let now = to.map(|to| format!(", which is now {to}")).unwrap_or_default();
            Ok(Done::Note(format!("rotated {name}{now}{}", version(&receipt))))
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

fn version(receipt: &WriteReceipt) -> String {
    receipt.version.as_ref().map(|version| format!(" (version {version})")).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::{path::Path, sync::Mutex};

    use keyway_plugin_api::{Capabilities, Result, async_trait};
    use serde_json::{Value, json};

    use super::*;
    use crate::config::Env;

    /// Remembers the descriptions and tags that it is given.
    #[derive(Default)]
    struct Labelled(Mutex<Vec<(Option<String>, Option<Value>)>>);

    #[async_trait]
    impl SecretManager for Labelled {
        async fn async_write_secret(&self, request: &WriteRequest) -> Result<WriteReceipt> {
            self.0.lock().unwrap().push((request.description.clone(), request.tags.clone()));
            Ok(WriteReceipt::default())
        }

        fn capabilities(&self) -> Capabilities {
            Capabilities::READ_WRITE
        }
    }

    #[tokio::test]
    async fn description_and_tags_of_the_configuration_go_with_a_write_and_a_rotation() {
        let text = "general_settings:\n  key_management_system: custom\n  key_management_settings:\n    custom_secret_manager: a.B\n    access_mode: read_and_write\n    description: of the file\n    tags: {Team: AI}\n";
        let config = config::parse(text, Path::new("config.yaml"), Env::from_process()).unwrap();
        let settings = settings(&config, true).unwrap();
        let manager = Labelled::default();
        let name = secret_name("NAME").unwrap();
        let operations = [None, Some("by hand".to_owned())].into_iter().flat_map(|description| {
            let (new_name, value) = (name.clone(), || Secret::from("value"));
            let set = Operation::Set { value: value(), description: description.clone() };
            [set, Operation::Rotate { new_name, value: value(), description, replace: false }]
        });
        for operation in operations {
            operate(operation, name.clone(), settings, &manager).await.unwrap();
        }
        let tags = Some(json!({"Team": "AI"}));
        let labelled = |text: &str| (Some(text.to_owned()), tags.clone());
        let expected = ["of the file", "of the file", "by hand", "by hand"].map(labelled);
        assert_eq!(*manager.0.lock().unwrap(), expected);
    }
}
