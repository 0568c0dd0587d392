//! Connections, their limits and the end.

use std::{convert::Infallible, io, sync::Arc, time::Duration};

use hyper::{server::conn::http1, service::service_fn};
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    server::graceful::GracefulShutdown,
};
use tokio::{
    net::{UnixListener, UnixStream},
    sync::{OwnedSemaphorePermit, Semaphore},
    task::JoinSet,
};

use super::{
    Access, Grants,
    answer::{Peer, answer},
    socket::Socket,
};

/// How many connections are served at once; further ones wait to be accepted.
const MAX_CONNECTIONS: usize = 64;

/// The largest head of a request, in bytes: the longest name, percent-encoded, and some headers.
const MAX_HEAD: usize = 16 << 10;

/// How long a peer may take to send its request.
const HEAD_TIMEOUT: Duration = Duration::from_secs(5);

/// How long a peer may take to take its answer, beside the time of the read itself.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);

/// How long requests under way may take when the host stops.
const DRAIN: Duration = Duration::from_secs(10);

/// How long to wait when no connection can be accepted, for want of descriptors for example.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Serves one request a connection until `shutdown` is done.
pub(super) async fn serve(
    socket: Socket,
    current: impl Fn() -> Arc<dyn Grants>,
    shutdown: impl Future<Output = ()>,
) {
    let listener = match socket.listener.try_clone().and_then(UnixListener::from_std) {
        Ok(listener) => listener,
        Err(error) => {
            tracing::error!(path = %socket.path.display(), %error, "the local API cannot be served");
            return shutdown.await;
        }
    };
    tracing::info!(path = %socket.path.display(), "the local API is served");
    let graceful = GracefulShutdown::new();
    let slots = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let mut connections = JoinSet::new();
    tokio::pin!(shutdown);
    loop {
        let (slot, stream) = tokio::select! {
            biased;
            () = &mut shutdown => break,
            accepted = accept(&listener, &slots) => accepted,
        };
        while connections.try_join_next().is_some() {}
        let Some(peer) = peer(&stream) else { continue };
        let grants = current();
        let limit = HEAD_TIMEOUT + ANSWER_TIMEOUT + grants.access().map_or(Duration::ZERO, Access::timeout);
        let connection = graceful.watch(http().serve_connection(
            TokioIo::new(stream),
            service_fn(move |request| {
                let grants = Arc::clone(&grants);
                async move { Ok::<_, Infallible>(answer(&*grants, peer, &request).await) }
            }),
        ));
        connections.spawn(async move {
            match tokio::time::timeout(limit, connection).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => tracing::debug!(uid = peer.uid, %error, "a local connection ended early"),
                Err(_) => tracing::debug!(uid = peer.uid, "a local connection took too long and is cut off"),
            }
            drop(slot);
        });
    }
    drop((listener, socket));
    if tokio::time::timeout(DRAIN, graceful.shutdown()).await.is_err() {
        tracing::warn!("local requests under way did not finish in time and are cut off");
    }
    connections.shutdown().await;
}

fn http() -> http1::Builder {
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_buf_size(MAX_HEAD)
        // A connection costs next to nothing here, and an idle one holds a place.
        .keep_alive(false)
        // The value is sent from where it is, and not copied into a buffer that nobody wipes.
        .writev(true);
    http
}

/// The next connection, once there is a place for it.
async fn accept(
    listener: &UnixListener,
    slots: &Arc<Semaphore>,
) -> (Option<OwnedSemaphorePermit>, UnixStream) {
    // The semaphore is never closed.
    let slot = Arc::clone(slots).acquire_owned().await.ok();
    loop {
        match listener.accept().await {
            Ok((stream, _)) => return (slot, stream),
            Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
            Err(error) => {
                tracing::warn!(%error, "cannot accept a local connection now");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// What the system says about the other end; whoever it cannot tell is not served.
fn peer(stream: &UnixStream) -> Option<Peer> {
    match stream.peer_cred() {
        Ok(credentials) => Some(Peer { uid: credentials.uid(), pid: credentials.pid() }),
        Err(error) => {
            tracing::warn!(%error, "a local connection is closed, because the system does not say whose it is");
            None
        }
    }
}
