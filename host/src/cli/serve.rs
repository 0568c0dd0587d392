//! `keyway serve`: the gateway.

use std::path::PathBuf;

use anyhow::Context as _;
use tokio::{net::TcpListener, sync::watch};

use super::Failure;
use crate::{config, gateway, loader::LoadReport, startup::Host};

/// What can be said about serving.
#[derive(clap::Args)]
pub(super) struct Args {
    /// The configuration: LiteLLM's config.yaml.
    #[arg(long, short, value_name = "FILE")]
    config: PathBuf,
    /// The address to listen on.
    #[arg(long, default_value = "0.0.0.0")]
    host: String,
    /// The port to listen on.
    #[arg(long, default_value_t = 4000)]
    port: u16,
    /// Log what happens in detail, never a value.
    #[arg(long = "detailed_debug", visible_alias = "detailed-debug")]
    pub(super) detailed_debug: bool,
}

/// Serves until SIGINT or SIGTERM.
pub(super) async fn run(args: Args) -> Result<(), Failure> {
    let config = config::load(&args.config).map_err(Failure::wrong)?;
    for warning in &config.warnings {
        tracing::warn!("{}: {warning}", config.path.display());
    }
    let stop = stop_signal().context("cannot listen for signals").map_err(Failure::failed)?;
    let started = tokio::select! {
        started = Host::start(config) => started,
        () = stopped(stop.clone()) => return Err(Failure::failed(anyhow::anyhow!("stopped by a signal before it served"))),
    };
    let host = started.map_err(|error| match error.is_configuration() {
        true => Failure::wrong(error),
        false => Failure::failed(error),
    })?;
    tell(&host);
    let served = serve(&args, &host, stop).await;
    host.shutdown().await;
    served.map_err(Failure::failed)
}

async fn serve(args: &Args, host: &Host, stop: watch::Receiver<bool>) -> anyhow::Result<()> {
    let (address, port) = (&args.host, args.port);
    let listener = TcpListener::bind((address.as_str(), port)).await.with_context(|| {
        format!("cannot listen on {address}:{port}; stop what has the port, or choose others with --host and --port")
    })?;
    gateway::serve(listener, host.gateway.clone(), async move {
        stopped(stop).await;
        tracing::info!("stopping: requests under way may finish");
    })
    .await?;
    tracing::info!("stopped");
    Ok(())
}

fn tell(host: &Host) {
    for report in &host.reports {
        let LoadReport {
            name,
            path,
            sha256,
            type_name,
            plugin,
            version,
            layout,
            copy,
            pinned,
            capabilities,
            ..
        } = report;
        tracing::info!(
            manager = name,
            file = %path.display(),
            plugin,
            version,
            "type" = type_name,
            %layout,
            %sha256,
            pinned,
            loaded_from = copy,
            %capabilities,
            "secret manager loaded"
        );
    }
    for (reference, source) in &host.resolved {
        tracing::info!(reference = reference.text(), from = %source, "resolved");
    }
}

/// Becomes true when the process is told to end, by SIGINT or SIGTERM.
fn stop_signal() -> std::io::Result<watch::Receiver<bool>> {
    let (sender, receiver) = watch::channel(false);
    #[cfg(unix)]
    let mut terminate = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?;
    tokio::spawn(async move {
        #[cfg(unix)]
        tokio::select! {
            _ = terminate.recv() => {}
            _ = tokio::signal::ctrl_c() => {}
        }
        #[cfg(not(unix))]
        let _ = tokio::signal::ctrl_c().await;
        sender.send_replace(true);
    });
    Ok(receiver)
}

async fn stopped(mut stop: watch::Receiver<bool>) {
    // An error means that the watching task is gone with its runtime, which is an end as well.
    let _ = stop.wait_for(|stop| *stop).await;
}
