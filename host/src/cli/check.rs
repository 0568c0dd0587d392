//! `keyway config check`: everything that a start does, but for serving.

use std::path::PathBuf;

use super::{Failure, output, table};
use crate::{
    config::{self, Reference},
    loader::LoadReport,
    registry,
    service::{Caller, Metrics, Outcome, Policy, Resolver, resolver, with_caller},
    startup,
};

/// What can be said about a check.
#[derive(clap::Args)]
pub(super) struct Args {
    /// The configuration: LiteLLM's config.yaml.
    #[arg(value_name = "FILE")]
    file: PathBuf,
}

/// Prints one row for each reference; fails when one that is needed has no value.
pub(super) async fn run(args: Args) -> Result<(), Failure> {
    let config = config::load(&args.file).map_err(Failure::wrong)?;
    startup::advice::on_file(&config);
    startup::prove(&config).map_err(Failure::start)?;
    let manager = registry::load(&config, &Metrics::new()).await.map_err(Failure::managers)?;
    let reports = manager.as_ref().map(|manager| &*manager.reports).unwrap_or_default();
    startup::advice::on_serving(&config, reports);
    for LoadReport { name, path, sha256, layout, .. } in reports {
        Failure::note(&format!("{name} is {}, layout {layout}, sha256 {sha256}", path.display()));
    }
    let named = manager.as_ref().map(|loaded| (loaded.name.clone(), loaded.stack.manager()));
    let resolver = Resolver::new(named, Policy::new(&config), config.env.clone());
    let outcomes = with_caller(Caller::Cli, resolver.resolve_all(&config.references)).await;
    if let Some(manager) = manager {
        manager.shutdown().await;
    }
    output::write(&report(&outcomes))?;
    resolver::required(outcomes).map_err(Failure::failed)?;
    Failure::note(&format!("{} is sound", config.path.display()));
    Ok(())
}

fn report(outcomes: &[Outcome]) -> Vec<u8> {
    let rows: Vec<Vec<String>> = outcomes
        .iter()
        .map(|outcome| {
            let from = match &outcome.result {
                Ok(resolved) => resolved.source.to_string(),
                Err(_) if outcome.reference.is_required() => "MISSING".to_owned(),
                Err(_) => "missing, and not needed here".to_owned(),
            };
            vec![outcome.reference.text().to_owned(), from, places(&outcome.reference)]
        })
        .collect();
    table::render(&["REFERENCE", "FROM", "USED BY"], &rows).into_bytes()
}

fn places(reference: &Reference) -> String {
    let places = reference.places().iter().map(|place| match place.location {
        Some(at) => format!("{} (line {})", place.setting, at.line),
        None => place.setting.clone(),
    });
    places.collect::<Vec<_>>().join(", ")
}
