//! The manager: each operation is one run of the program.

use std::time::Duration;

use keyway_plugin_api::{
    Capabilities, DeleteRequest, Error, ErrorKind, ListRequest, ManagerType, ReadRequest, Result, Secret,
    SecretManager, SecretName, WriteReceipt, WriteRequest, async_trait, request::MAX_VALUE_LEN,
};

use crate::{
    config::{Config, Protocol},
    docker,
    program::{Program, Run},
    verdict::Verdict,
};

/// Asks a provider program.
pub struct ExecSecretManager {
    program: Program,
    protocol: Protocol,
    verdict: Verdict,
    username: String,
}

impl ManagerType for ExecSecretManager {
    type Config = Config;

    const DESCRIPTION: &'static str = "Secrets from a provider program, in Summon's or Docker's protocol";
    const CAPABILITIES: Capabilities =
        Capabilities::READ_WRITE.union(Capabilities::LIST).union(Capabilities::HEALTH);

    fn create(config: Config) -> Result<Self> {
        config.check()?;
        let program = Program::new(&config);
        program.check()?;
        Ok(Self {
            program,
            protocol: config.protocol,
            verdict: Verdict::new(&config),
            username: config.username,
        })
    }
}

#[async_trait]
impl SecretManager for ExecSecretManager {
    async fn async_read_secret(&self, request: &ReadRequest) -> Result<Secret> {
        let name = &request.name;
        if request.version.is_some() {
            return Err(Error::new(
                ErrorKind::Unsupported,
                format!("cannot read {name} of a certain version: the program knows only the newest"),
            ));
        }
        match self.protocol {
            Protocol::Docker => {
                let run = self.ask("get", name, Some(name.as_bytes()), request.timeout).await?;
                docker::from_get(name, &run.stdout)
            }
            Protocol::Summon => {
                not_an_option(name)?;
                let run = self.ask(name, name, None, request.timeout).await?;
                let value = run.stdout.strip_suffix(b"\n").unwrap_or(&run.stdout);
                Ok(Secret::copy_from(value))
            }
        }
        .and_then(|value| match value.len() {
            len if len > MAX_VALUE_LEN => {
                let message =
                    format!("the value of {name} has {len} bytes; at most {MAX_VALUE_LEN} are possible");
                Err(Error::new(ErrorKind::TooLarge, message))
            }
            _ => Ok(value),
        })
    }

    async fn async_write_secret(&self, request: &WriteRequest) -> Result<WriteReceipt> {
        self.only_docker("write", &request.name)?;
        let (name, value) = (&request.name, &request.value);
        if value.len() > MAX_VALUE_LEN {
            let message = format!(
                "the value of {name} has {} bytes; at most {MAX_VALUE_LEN} are possible",
                value.len()
            );
            return Err(Error::new(ErrorKind::TooLarge, message));
        }
        let input = docker::to_store(name, &self.username, value)?;
        self.ask("store", name, Some(&input), request.timeout).await.map(|_| WriteReceipt::default())
    }

    async fn async_delete_secret(&self, request: &DeleteRequest) -> Result<()> {
        self.only_docker("delete", &request.name)?;
        let name = &request.name;
        self.ask("erase", name, Some(name.as_bytes()), request.timeout).await.map(drop)
    }

    async fn async_list_secrets(&self, request: &ListRequest) -> Result<Vec<String>> {
        self.only_docker("list", "its secrets")?;
        let run = self.program.run("list", Some(b""), request.timeout).await?;
        let run = self.verdict.judge(run, self.program.name(), "the list of names")?;
        let mut names = docker::from_list(&run.stdout)?;
        names.retain(|name| name.starts_with(&request.prefix) && SecretName::new(name.as_str()).is_ok());
        Ok(names)
    }

    /// Whether the program is there: the protocols have no word for more.
    async fn health_check(&self) -> Result<()> {
        self.program.check()
    }

    fn capabilities(&self) -> Capabilities {
        match self.protocol {
            Protocol::Docker => Self::CAPABILITIES,
            Protocol::Summon => Capabilities::READ.union(Capabilities::HEALTH),
        }
    }
}

impl ExecSecretManager {
    async fn ask(&self, last: &str, name: &SecretName, input: Option<&[u8]>, limit: Duration) -> Result<Run> {
        let run = self.program.run(last, input, limit).await?;
        self.verdict.judge(run, self.program.name(), name)
    }

    fn only_docker(&self, operation: &str, what: &str) -> Result<()> {
        match self.protocol {
            Protocol::Docker => Ok(()),
            Protocol::Summon => {
                let undone = format_args!("{operation} {what}");
                Err(Error::not_implemented("a Summon provider", operation, undone))
            }
        }
    }
}

/// A name that begins with a dash would be an option of the program, whatever it means there.
fn not_an_option(name: &SecretName) -> Result<()> {
    match name.starts_with('-') {
        false => Ok(()),
        true => Err(Error::new(
            ErrorKind::InvalidName,
            format!("the name {name} begins with a dash, so that the program would take it for an option"),
        )),
    }
}
