//! `keyway secret status`: what a running gateway knows about its references.

use std::{path::PathBuf, sync::Arc, time::Duration};

use anyhow::{Context as _, anyhow, bail};
use keyway_plugin_api::Secret;
use serde_json::Value;

use super::{Failure, output, table, value};
use crate::{
    config::{self, AccessMode, Config, Reference},
    gateway, registry,
    service::{Caller, Metrics, Policy, Resolver, resolver, with_caller},
    startup::StartError,
};

/// How long the gateway may take to answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// Which gateway, and how its answer is printed.
#[derive(clap::Args)]
pub(super) struct Args {
    /// The configuration that the gateway runs with; its master key is presented.
    #[arg(long, short, value_name = "FILE")]
    config: PathBuf,
    /// Read the master key from standard input, instead of asking the manager for it, which may be away.
    #[arg(long)]
    key_stdin: bool,
    /// The gateway's address.
    #[arg(long, default_value = "http://127.0.0.1:4000")]
    url: String,
    /// Print the whole status as JSON.
    #[arg(long)]
    json: bool,
}

/// Asks the gateway and prints one row for each reference.
pub(super) async fn run(args: Args) -> Result<(), Failure> {
    let config = config::load(&args.config).map_err(Failure::wrong)?;
    let master_key = match args.key_stdin {
        true => Arc::new(value::read(false).map_err(Failure::failed)?),
        false => master_key(&config).await?,
    };
    let status = ask(&args.url, &master_key).await.map_err(Failure::failed)?;
    let printed = match args.json {
        true => format!("{status:#}\n"),
        false => report(&status),
    };
    output::write(printed.as_bytes())
}

/// The value of the master key, from wherever the gateway has it.
async fn master_key(config: &Config) -> Result<Arc<Secret>, Failure> {
    let setting = config.master_key.as_ref();
    if let Some(value) = setting.and_then(|setting| setting.literal()).filter(|value| !value.is_empty()) {
        return Ok(Arc::clone(value));
    }
    let Some(text) = setting.and_then(|setting| setting.reference()) else {
        return Err(Failure::wrong(StartError::no_master_key(config)));
    };
    let references: Vec<Reference> =
        config.references.iter().filter(|reference| reference.text() == text).cloned().collect();
    let policy = Policy::new(config);
    // A plugin is loaded only if it would be asked for this name.
    let is_asked = policy.access_mode != AccessMode::WriteOnly
        && references
            .iter()
            .any(|key| policy.hosted_keys.as_ref().is_none_or(|hosted| hosted.contains(key.name())));
    let loaded = if is_asked {
        registry::load(config, &Metrics::new()).await.map_err(Failure::managers)?
    } else {
        None
    };
    let named = loaded.as_ref().map(|loaded| (loaded.name.clone(), loaded.stack.manager()));
    let resolver = Resolver::new(named, policy, config.env.clone());
    let outcomes = with_caller(Caller::Cli, resolver.resolve_all(&references)).await;
    if let Some(loaded) = loaded {
        loaded.shutdown().await;
    }
    let hint = "without it the gateway cannot be asked; --key-stdin takes it from standard input";
    let mut values = resolver::required(outcomes)
        .map_err(|error| Failure::failed(anyhow::Error::new(error).context(hint)))?;
    let (_, resolved) = values.pop().ok_or_else(|| Failure::wrong(StartError::no_master_key(config)))?;
    Ok(resolved.value)
}

async fn ask(url: &str, master_key: &Secret) -> anyhow::Result<Value> {
    let at = format!("{}/keyway/status", url.trim_end_matches('/'));
    let asked = tokio::time::timeout(PATIENCE, gateway::get_json(&at, master_key)).await;
    let (status, body) = asked
        .map_err(|_| anyhow!("the gateway at {url} did not answer within {} s", PATIENCE.as_secs()))?
        .with_context(|| {
            format!("cannot ask the gateway at {url}; see that it runs there, or give its address with --url")
        })?;
    match status {
        200 => Ok(body),
        401 => bail!("the gateway at {url} has another master key; give the configuration that it runs with"),
        404 => bail!(
            "what answers at {url} has no /keyway/status, so it is not a Keyway gateway of this version"
        ),
        status => {
            let message = body["error"]["message"].as_str().unwrap_or("it gives no reason");
            bail!("the gateway at {url} answered with status {status}: {message}")
        }
    }
}

fn report(status: &Value) -> String {
    let rows: Vec<Vec<String>> = status["references"].as_array().into_iter().flatten().map(row).collect();
    table::render(&["REFERENCE", "STATE", "AGE", "GENERATION", "FROM", "LAST ERROR"], &rows)
}

fn row(reference: &Value) -> Vec<String> {
    let text = |key: &str| reference[key].as_str().unwrap_or("-").to_owned();
    let number = |key: &str| reference[key].as_u64();
    vec![
        text("reference"),
        text("state"),
        number("age_seconds").map_or("-".to_owned(), |seconds| format!("{seconds} s")),
        number("generation").map_or("-".to_owned(), |generation| generation.to_string()),
        text("source"),
        text("last_error"),
    ]
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    #[test]
    fn what_is_not_known_is_a_dash() {
        let status = json!({"references": [
            {"reference": "os.environ/A", "state": "fresh", "age_seconds": 7, "generation": 2, "source": "manager vault"},
            {"reference": "os.environ/B", "state": "missing", "age_seconds": null, "generation": 0, "last_error": "DENIED"},
        ]});
        assert_eq!(
            super::report(&status),
            "\
REFERENCE     STATE    AGE  GENERATION  FROM           LAST ERROR
os.environ/A  fresh    7 s  2           manager vault  -
os.environ/B  missing  -    0           -              DENIED
"
        );
    }
}
