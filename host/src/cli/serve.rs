//! `keyway serve`: the gateway.

use std::{io, net::SocketAddr, path::PathBuf};

use anyhow::{Context as _, anyhow};
use tokio::{
    net::{TcpListener, TcpSocket, lookup_host},
    sync::watch,
};

use super::Failure;
use crate::{
    config, gateway,
    loader::LoadReport,
    local_api::LocalApi,
    startup::{self, Host},
};

/// How many connections may wait to be accepted.
const BACKLOG: u32 = 1024;

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
    startup::advice::on_file(&config);
    let stop = stop_signals().context("cannot listen for signals").map_err(Failure::failed)?;
    let hangup = Hangup::listen();
    // A port that is taken is found before a plugin runs.
    let socket = bind(&args).await.map_err(Failure::failed)?;
    let local = LocalApi::bind(config.keyway.local_api.as_ref()).map_err(Failure::failed)?;
    let started = tokio::select! {
        started = Host::start(config) => started,
        () = signals(stop.clone(), 1) => return Err(Failure::failed(anyhow!("stopped by a signal before it served"))),
    };
    let host = started.map_err(Failure::start)?;
    tell(&host);
    let served = match socket.listen(BACKLOG) {
        Ok(listener) => serve(listener, local, &host, stop, hangup).await,
        Err(error) => Err(cannot_listen(&args, error)),
    };
    host.shutdown().await;
    served.map_err(Failure::failed)
}

/// Takes the address without listening on it yet.
async fn bind(args: &Args) -> anyhow::Result<TcpSocket> {
    let addresses = lookup_host((args.host.as_str(), args.port)).await.with_context(|| {
        format!("{:?} is no address of this machine; give one with --host, such as 127.0.0.1", args.host)
    })?;
    let mut last = io::Error::from(io::ErrorKind::AddrNotAvailable);
    for address in addresses {
        match bind_to(address) {
            Ok(socket) => return Ok(socket),
            Err(error) => last = error,
        }
    }
    Err(cannot_listen(args, last))
}

fn bind_to(address: SocketAddr) -> io::Result<TcpSocket> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    // A port whose last owner has just stopped is free; elsewhere the option means something else.
    #[cfg(unix)]
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    Ok(socket)
}

fn cannot_listen(args: &Args, error: io::Error) -> anyhow::Error {
    let Args { host, port, .. } = args;
    let advice = match error.kind() {
        io::ErrorKind::AddrInUse => "stop what has the port, or choose another one with --port",
        io::ErrorKind::PermissionDenied => "choose a port from 1024 on with --port",
        _ => "choose another address with --host, or another port with --port",
    };
    anyhow::Error::new(error).context(format!("cannot listen on {host}:{port}; {advice}"))
}

async fn serve(
    listener: TcpListener,
    local: LocalApi,
    host: &Host,
    stop: watch::Receiver<u32>,
    hangup: Hangup,
) -> anyhow::Result<()> {
    let first = signals(stop.clone(), 1);
    let local = async {
        local.serve(|| host.generation(), first).await;
        Ok(())
    };
    let gateway = gateway::serve(listener, host.gateway(), signals(stop.clone(), 1));
    tokio::select! {
        served = async { tokio::try_join!(gateway, local) } => drop(served?),
        () = host.watch() => {}
        () = hangup.reload(host) => {}
        () = signals(stop, 2) => return Err(anyhow!("stopped by a second signal; requests in flight were cut off")),
    }
    tracing::info!("stopped");
    Ok(())
}

fn tell(host: &Host) {
    let generation = host.generation();
    for report in &generation.reports {
        let LoadReport {
            name,
            path,
            sha256,
            type_name,
            plugin,
            version,
            abi: (major, minor),
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
            abi = format!("{major}.{minor}"),
            %layout,
            %sha256,
            pinned,
            loaded_from = copy,
            %capabilities,
            "secret manager loaded"
        );
    }
    for status in generation.keeper.status() {
        if let Some(source) = status.source {
            tracing::info!(reference = status.reference, from = %source, "resolved");
        }
    }
}

/// SIGHUP, which would end the process if nobody listened to it, also during a start that waits.
struct Hangup {
    #[cfg(unix)]
    signal: Option<tokio::signal::unix::Signal>,
}

impl Hangup {
    #[cfg(unix)]
    fn listen() -> Self {
        use tokio::signal::unix::{SignalKind, signal};
        let listening = signal(SignalKind::hangup());
        let told = |error: &io::Error| tracing::warn!(%error, "SIGHUP does not reload the configuration");
        Hangup { signal: listening.inspect_err(told).ok() }
    }

    #[cfg(not(unix))]
    fn listen() -> Self {
        Hangup {}
    }

    /// Reloads the configuration on each signal; never ends.
    async fn reload(self, host: &Host) {
        #[cfg(unix)]
        if let Some(mut signal) = self.signal {
            while signal.recv().await.is_some() {
                host.reopen_audit();
                // The refusal is in the log and in the status.
                let _ = host.reload("SIGHUP").await;
            }
        }
        #[cfg(not(unix))]
        let _ = host;
        std::future::pending().await
    }
}

/// Counts how often the process is told to end, by SIGINT or SIGTERM.
fn stop_signals() -> io::Result<watch::Receiver<u32>> {
    let (sender, receiver) = watch::channel(0);
    #[cfg(unix)]
    let (mut terminate, mut interrupt) = {
        use tokio::signal::unix::{SignalKind, signal};
        (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?)
    };
    tokio::spawn(async move {
        loop {
            #[cfg(unix)]
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
            #[cfg(not(unix))]
            if tokio::signal::ctrl_c().await.is_err() {
                break;
            }
            sender.send_modify(|count| *count += 1);
        }
    });
    Ok(receiver)
}

async fn signals(mut stop: watch::Receiver<u32>, count: u32) {
    // An error means that the watching task is gone with its runtime, which is an end as well.
    let _ = stop.wait_for(|seen| *seen >= count).await;
}
