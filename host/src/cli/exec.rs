//! `keyway exec`: another program, with secrets in its environment.
//!
//! The program takes this process's place, once everything is resolved and the secret manager has ended. So its signals,
//! its exit code, its terminal and its parent are its own, no plugin lives on beside it, and of the memory that held secrets
//! nothing is left but the environment that it was given.

use std::{
    collections::HashSet,
    error::Error as _,
    ffi::{OsStr, OsString},
    io,
    os::unix::{ffi::OsStrExt as _, process::CommandExt as _},
    path::{Path, PathBuf},
    process,
    sync::Arc,
};

use anyhow::anyhow;
use keyway_plugin_api::{Secret, SecretName};

use super::Failure;
use crate::{
    config::{self, Config, OIDC_PREFIX, PREFIX, Place, Reference, env, is_reference},
    registry,
    service::{Caller, Metrics, Outcome, Policy, ResolveError, Resolved, Resolver, Source, with_caller},
    startup,
    telemetry::Telemetry,
};

pub(super) const HELP: &str = "\
Examples:
  OPENAI_API_KEY=os.environ/OPENAI_API_KEY keyway exec --config config.yaml -- ./app --port 8080
  keyway exec --config config.yaml --secret PGPASSWORD=DATABASE_PASSWORD -- psql

A variable whose whole value is a reference gets the value of the secret, resolved as in config.yaml: the secret manager is
asked first, then the environment. COMMAND replaces this process when all is resolved, so that signals and its exit code are
its own. When anything fails, it is not started.

Exit code: COMMAND's own; 1 when a secret could not be read or COMMAND not be started, 2 for wrong usage or configuration.";

/// What is run, and with which secrets.
#[derive(clap::Args)]
pub(super) struct Args {
    /// The configuration: LiteLLM's config.yaml.
    #[arg(long, short, value_name = "FILE")]
    config: PathBuf,
    /// Set the variable VAR to the secret NAME of the secret manager; can be given several times.
    #[arg(long = "secret", short, value_name = "VAR=NAME", value_parser = wanted)]
    secrets: Vec<Wanted>,
    /// The program and its arguments.
    #[arg(last = true, required = true, value_name = "COMMAND")]
    command: Vec<OsString>,
}

/// A variable that is to hold a secret.
#[derive(Clone, Debug)]
struct Wanted {
    variable: OsString,
    reference: Reference,
    /// The manager must have it; the environment does not count.
    from_manager: bool,
}

/// Resolves what is wanted and becomes the program; returns only when that fails.
pub(super) async fn run(args: Args, telemetry: &mut Telemetry) -> Result<(), Failure> {
    let variables = env::variables();
    let wanted = all_wanted(args.secrets, &variables).map_err(Failure::wrong)?;
    let config = config::load(&args.config).map_err(Failure::wrong)?;
    startup::advice::on_file(&config);
    let values = tokio::select! {
        values = resolve(&config, &wanted) => values?,
        () = stopped_as_first_process() => {
            return Err(Failure::failed(anyhow!("stopped by a signal before the program was started")));
        }
    };
    let Some((program, arguments)) = args.command.split_first() else {
        return Err(Failure::wrong(anyhow!("give a program to run after `--`")));
    };
    let mut command = process::Command::new(program);
    // What a plugin has done to the environment of this process is not passed on.
    command.args(arguments).env_clear().envs(variables);
    for (Wanted { variable, .. }, value) in wanted.iter().zip(&values) {
        command.env(variable, OsStr::from_bytes(value.expose_bytes()));
    }
    // Nothing of this process is left to do it later.
    tokio::task::block_in_place(|| telemetry.stop());
    Err(cannot_run(program, command.exec()))
}

fn cannot_run(program: &OsStr, error: io::Error) -> Failure {
    let advice = match error.kind() {
        io::ErrorKind::ArgumentListTooLong => {
            "its arguments and variables are more than the system passes on; give it large secrets in another way"
        }
        _ => "name a program that is in PATH, or the path of an executable file",
    };
    let program = Path::new(program).display();
    Failure::failed(anyhow::Error::new(error).context(format!("cannot run {program}; {advice}")))
}

/// Done when the first process of a container is told to end, which the system would otherwise ignore; any other process is
/// ended by the system itself, as the program would be, and ignores what its parent has it ignore.
async fn stopped_as_first_process() {
    use tokio::signal::unix::{SignalKind, signal};
    if process::id() == 1
        && let (Ok(mut terminate), Ok(mut interrupt)) =
            (signal(SignalKind::terminate()), signal(SignalKind::interrupt()))
    {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        return;
    }
    std::future::pending().await
}

/// What the options and the environment ask for; an option wins over what the variable holds.
fn all_wanted(options: Vec<Wanted>, variables: &[(OsString, OsString)]) -> anyhow::Result<Vec<Wanted>> {
    let mut named = HashSet::new();
    if let Some(twice) = options.iter().find(|option| !named.insert(option.variable.clone())) {
        return Err(anyhow!("--secret sets {} twice; remove one of them", twice.variable.display()));
    }
    let mut wanted = Vec::new();
    for (variable, value) in variables.iter().filter(|(variable, _)| !named.contains(variable)) {
        let Some(text) = value.to_str().filter(|text| is_reference(text)) else { continue };
        let setting = variable.display().to_string();
        if text == PREFIX {
            return Err(anyhow!(
                "the environment variable {setting} is `os.environ/`, which names nothing; write the name of the secret after it"
            ));
        }
        let reference = Reference::new(text, vec![place("the environment", setting)]);
        wanted.extend(reference.map(|reference| Wanted {
            variable: variable.clone(),
            reference,
            from_manager: false,
        }));
    }
    wanted.extend(options);
    Ok(wanted)
}

/// Reads `VAR=NAME`.
fn wanted(text: &str) -> Result<Wanted, String> {
    let (variable, name) = text.split_once('=').ok_or("write VAR=NAME, the variable and the secret")?;
    if variable.is_empty() {
        return Err("the name of the variable before `=` is missing".to_owned());
    }
    if !is_variable(variable) {
        return Err(format!(
            "`{}` cannot be the name of a variable; use letters, digits, `_`, `.` and `-`, and no digit first",
            variable.escape_debug()
        ));
    }
    let name = name.strip_prefix(PREFIX).unwrap_or(name);
    if name.starts_with(OIDC_PREFIX) {
        return Err(format!(
            "a token is not a secret of the manager; set {variable}={name} in the environment"
        ));
    }
    SecretName::new(name).map_err(|error| error.message().to_owned())?;
    let at = place("the command line", "--secret".to_owned());
    let reference = Reference::new(format!("{PREFIX}{name}"), vec![at]).ok_or("this names no secret")?;
    Ok(Wanted { variable: variable.into(), reference, from_manager: true })
}

/// The names that Kubernetes takes: not every one is a shell's, but programs have such settings.
fn is_variable(name: &str) -> bool {
    let is_part = |byte: u8| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte);
    !name.starts_with(|first: char| first.is_ascii_digit()) && name.bytes().all(is_part)
}

fn place(file: &str, setting: String) -> Place {
    Place { file: Path::new(file).into(), setting, location: None }
}

/// The value of each, in order; the manager has ended when this returns. Without anything to resolve none is loaded.
async fn resolve(config: &Config, wanted: &[Wanted]) -> Result<Vec<Arc<Secret>>, Failure> {
    if wanted.is_empty() {
        return Ok(Vec::new());
    }
    let managers = registry::load(config, &Metrics::new()).await.map_err(Failure::managers)?;
    let named = managers.as_ref().map(|loaded| (loaded.name.clone(), loaded.stack.manager()));
    let resolver = Resolver::new(named, Policy::new(config), config.env.clone().values_only());
    let references: Vec<Reference> = wanted.iter().map(|wanted| wanted.reference.clone()).collect();
    let outcomes = with_caller(Caller::Cli, resolver.resolve_all(&references)).await;
    if let Some(loaded) = managers {
        loaded.shutdown().await;
    }
    accepted(wanted, outcomes)
}

/// The values, or every reason why one cannot be used.
fn accepted(wanted: &[Wanted], outcomes: Vec<Outcome>) -> Result<Vec<Arc<Secret>>, Failure> {
    let (mut values, mut faults) = (Vec::new(), Vec::new());
    for (wanted, outcome) in wanted.iter().zip(outcomes) {
        match usable(wanted, outcome.result) {
            Ok(value) => values.push(value),
            Err(fault) => faults.push(format!("\n  - {fault}")),
        }
    }
    if faults.is_empty() {
        return Ok(values);
    }
    let (count, total) = (faults.len(), wanted.len());
    Err(Failure::failed(anyhow!(
        "the program is not started, because {count} of {total} variables have no value:{}",
        faults.concat()
    )))
}

fn usable(wanted: &Wanted, result: Result<Resolved, ResolveError>) -> Result<Arc<Secret>, String> {
    let (variable, name) = (wanted.variable.display(), wanted.reference.name());
    match result {
        Err(error) => {
            // A manager's words go to a terminal: nothing in them may move its cursor.
            let words = error.source().map(|cause| format!(": {cause}").replace(char::is_control, " "));
            let words = words.unwrap_or_default();
            match error.asked.first().filter(|_| wanted.from_manager) {
                Some(answer) => Err(format!(
                    "--secret {variable}={name}: {answer}{words}; only the manager counts for --secret, so it must have it"
                )),
                None => Err(format!("{error}{words}")),
            }
        }
        Ok(Resolved { source: source @ Source::Environment { .. }, .. }) if wanted.from_manager => {
            Err(format!(
                "--secret {variable}={name}: the only value is that of the {source}; write {name} to the manager, or run \
                 with {variable}=os.environ/{name} in the environment instead, which lets it answer, too"
            ))
        }
        Ok(resolved) if resolved.value.expose_bytes().contains(&0) => Err(format!(
            "the value of {name} holds a NUL byte, which no environment variable can, so {variable} cannot be set to it; \
             read it with `keyway secret get` instead"
        )),
        Ok(resolved) => Ok(resolved.value),
    }
}

#[cfg(test)]
mod tests {
    use keyway_plugin_api::{ReadRequest, Result, SecretManager, async_trait};

    use super::*;
    use crate::config::Env;

    struct Store;

    #[async_trait]
    impl SecretManager for Store {
        async fn async_read_secret(&self, request: &ReadRequest) -> Result<Secret> {
            match request.name.as_str() {
                "KEY" => Ok("of the store".into()),
                "NUL" => Ok(Secret::new(b"a\0b".to_vec())),
                name => Err(keyway_plugin_api::Error::not_found(name)),
            }
        }
    }

    fn variables(of: &[(&str, &str)]) -> Vec<(OsString, OsString)> {
        of.iter().map(|(name, value)| (name.into(), value.into())).collect()
    }

    async fn values(wanted: &[Wanted], env: Env) -> std::result::Result<Vec<String>, String> {
        let config = config::parse("model_list: []", Path::new("config.yaml"), env.clone()).unwrap();
        let manager: Arc<dyn SecretManager> = Arc::new(Store);
        let named = Some(("store".to_owned(), manager));
        let resolver = Resolver::new(named, Policy::new(&config), env.values_only());
        let references: Vec<Reference> = wanted.iter().map(|wanted| wanted.reference.clone()).collect();
        match accepted(wanted, resolver.resolve_all(&references).await) {
            Ok(values) => Ok(values.iter().map(|value| value.expose_str().unwrap().to_owned()).collect()),
            Err(Failure::Failed(error)) => Err(format!("{error:#}")),
            Err(_) => panic!("a secret that cannot be read is no fault of the configuration"),
        }
    }

    #[test]
    fn references_and_options_are_wanted_and_an_option_wins() {
        let variables =
            variables(&[("A", "os.environ/KEY"), ("B", "see os.environ/KEY"), ("C", "oidc/env/TOKEN")]);
        let wanted = all_wanted(vec![wanted("A=OTHER").unwrap()], &variables).unwrap();
        let all: Vec<_> = wanted.iter().map(|wanted| (&*wanted.variable, wanted.reference.text())).collect();
        assert_eq!(all, [("C".as_ref(), "oidc/env/TOKEN"), ("A".as_ref(), "os.environ/OTHER")]);
    }

    #[test]
    fn an_option_that_names_no_variable_or_no_secret_is_refused() {
        for (text, says) in [
            ("KEY", "VAR=NAME"),
            ("=KEY", "variable before"),
            ("X Y=KEY", "`X Y` cannot be the name of a variable"),
            ("1A=KEY", "no digit first"),
            ("A$B=KEY", "cannot be the name"),
            ("A\u{1b}[2J=KEY", "`A\\u{1b}[2J` cannot be the name"),
            ("A=", "is empty"),
            ("A=os.environ/", "is empty"),
            ("A=a\nb", "control character"),
            ("A=oidc/env/TOKEN", "set A=oidc/env/TOKEN in the environment"),
        ] {
            let error = wanted(text).unwrap_err();
            assert!(error.contains(says), "{text}: {error}");
        }
        assert_eq!(wanted("A=os.environ/KEY").unwrap().reference.name(), "KEY");
        assert_eq!(wanted("A=b=c").unwrap().reference.name(), "b=c");
        assert_eq!(wanted("spring.data-source_1=A").unwrap().variable, "spring.data-source_1");
        let twice = vec![wanted("A=B").unwrap(), wanted("A=C").unwrap()];
        assert!(all_wanted(twice, &[]).unwrap_err().to_string().contains("sets A twice"));
    }

    #[tokio::test]
    async fn a_variable_that_refers_to_itself_is_missing_and_not_its_own_text() {
        let variables = variables(&[("GONE", "os.environ/GONE"), ("KEY", "os.environ/KEY")]);
        let env = Env::from_vars([("GONE", "os.environ/GONE"), ("KEY", "os.environ/KEY")]);
        let wanted = all_wanted(Vec::new(), &variables).unwrap();
        let error = values(&wanted, env.clone()).await.unwrap_err();
        assert!(error.contains("which stands at the environment (GONE)"), "{error}");
        assert!(error.contains("environment variable GONE holds a reference, which is no value"), "{error}");
        assert_eq!(values(&wanted[1..], env).await.unwrap(), ["of the store"]);
    }

    #[tokio::test]
    async fn an_option_takes_no_value_of_the_environment() {
        let wanted = [wanted("A=GONE").unwrap()];
        let error = values(&wanted, Env::from_vars([("GONE", "canary")])).await.unwrap_err();
        assert!(error.contains("since the manager does not have it") && !error.contains("canary"), "{error}");
    }

    #[tokio::test]
    async fn a_value_with_a_nul_byte_is_refused_without_being_shown() {
        let error = values(&[wanted("A=NUL").unwrap()], Env::from_vars([("X", "")])).await.unwrap_err();
        assert!(error.contains("the value of NUL holds a NUL byte"), "{error}");
    }
}
