//! Serving: accepting connections, one span a request, and an orderly stop.

use std::{convert::Infallible, io, time::Duration};

use axum::{
    Router,
    body::Body,
    http::{Request, Response},
};
use hyper::{
    body::Incoming,
    service::{Service, service_fn},
};
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::{conn::auto, graceful::GracefulShutdown},
    service::TowerToHyperService,
};
use tokio::{
    net::{TcpListener, TcpStream},
    task::JoinSet,
    time::Instant,
};
use tracing::{Instrument, field::Empty};

use crate::{
    gateway::{forward::UpstreamLatency, routes, state::Gateway},
    telemetry::continue_trace,
};

const HEADER_TIMEOUT: Duration = Duration::from_secs(60);
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Serves HTTP/1.1 and, on the same port and in the clear, HTTP/2, until `shutdown` is done.
///
/// Then no connection is accepted any more, requests in flight get [`Settings::drain`] to finish, and what is
/// left is cut off. Dropping the future cuts everything off at once.
///
/// [`Settings::drain`]: crate::gateway::Settings::drain
///
/// # Errors
/// When the listener's address cannot be read, which means that it is no listener.
pub async fn serve(
    listener: TcpListener,
    gateway: impl Into<Gateway>,
    shutdown: impl Future<Output = ()>,
) -> io::Result<()> {
    tracing::info!(address = %listener.local_addr()?, "serving");
    let gateway = gateway.into();
    let service = TowerToHyperService::new(routes::router(gateway.clone()));
    let builder = connection_builder();
    let graceful = GracefulShutdown::new();
    let mut connections = JoinSet::new();
    tokio::pin!(shutdown);
    loop {
        let stream = tokio::select! {
            biased;
            () = &mut shutdown => break,
            stream = accept(&listener) => stream,
        };
        while connections.try_join_next().is_some() {}
        let service = service.clone();
        let connection = builder
            .serve_connection(TokioIo::new(stream), {
                let gateway = gateway.clone();
                service_fn(move |request| observe(service.clone(), gateway.clone(), request))
            })
            .into_owned();
        let connection = graceful.watch(connection);
        connections.spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "a connection ended early");
            }
        });
    }
    drop(listener);
    tracing::info!(connections = graceful.count(), "stopping: requests in flight may finish");
    if tokio::time::timeout(gateway.state().drain, graceful.shutdown()).await.is_err() {
        tracing::warn!("requests in flight did not finish in time and are cut off");
    }
    connections.shutdown().await;
    Ok(())
}

fn connection_builder() -> auto::Builder<TokioExecutor> {
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(HEADER_TIMEOUT);
    builder.http2().timer(TokioTimer::new()).adaptive_window(true);
    builder
}

/// The next connection. A failure concerns one caller, or passes when others have left: it never ends the
/// gateway.
async fn accept(listener: &TcpListener) -> TcpStream {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                // With Nagle's algorithm each small frame of a stream waits for the previous one's ACK.
                if let Err(error) = stream.set_nodelay(true) {
                    tracing::debug!(%error, "cannot set TCP_NODELAY on a connection");
                }
                return stream;
            }
            Err(error) if is_the_callers(&error) => {}
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection now");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

fn is_the_callers(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset)
}

/// Answers a request inside its span. The latency is that of the answer's head.
async fn observe(
    service: TowerToHyperService<Router>,
    gateway: Gateway,
    request: Request<Incoming>,
) -> Result<Response<Body>, Infallible> {
    let started = Instant::now();
    let span = tracing::info_span!(
        "request",
        method = request.method().as_str(),
        route = routes::label(request.uri().path()),
        model = Empty,
        status = Empty,
        latency_us = Empty,
    );
    continue_trace(&span, request.headers());
    let response = service.call(request).instrument(span.clone()).await?;
    span.record("status", response.status().as_u16());
    let latency = started.elapsed();
    span.record("latency_us", u64::try_from(latency.as_micros()).unwrap_or(u64::MAX));
    let upstream = response.extensions().get::<UpstreamLatency>().map(|latency| latency.0);
    gateway.state().metrics.observe(response.status().as_u16(), latency, upstream);
    span.in_scope(|| tracing::debug!("answered"));
    Ok(response)
}
