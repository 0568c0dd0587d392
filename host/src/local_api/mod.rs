//! Secrets for other programs of this machine: a Unix socket that speaks a little HTTP, `GET /v1/secret/NAME`.
//!
//! | file | concept |
//! |---|---|
//! | `access` | who may read what, and what the manager's answers mean |
//! | `answer` | a request becomes an answer and a line for the audit |
//! | `socket` | the socket in its folder: made, guarded, removed |
//! | `server` | connections, their limits and the end |
//!
//! The socket is 0600 in a folder of 0700, so that only the host's own user and root can connect at all; what each of
//! them may read is decided by what the system says about the other end, never by what it says about itself.

mod access;
#[cfg(unix)]
mod answer;
#[cfg(unix)]
mod server;
#[cfg(unix)]
mod socket;

use std::{io, path::PathBuf, sync::Arc};

pub use self::access::Access;
use crate::config::LocalApiSettings;

/// Whatever holds a configuration together while a read under it is under way.
pub trait Grants: Send + Sync {
    /// What may be read; `None` when the configuration has no local API.
    fn access(&self) -> Option<&Access>;
}

/// Why there is no socket.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SocketError {
    /// The system refuses something.
    #[error("cannot {action} {}, for keyway.local_api.path{advice}", path.display())]
    System {
        /// What was tried.
        action: &'static str,
        /// With which file or folder.
        path: PathBuf,
        /// What to do, after a semicolon.
        advice: &'static str,
        /// What the system says.
        source: io::Error,
    },
    /// The folder is not a safe place.
    #[error("the folder {} of keyway.local_api.path {why}", path.display())]
    Folder {
        /// The folder.
        path: PathBuf,
        /// What is wrong with it, and what to do.
        why: String,
    },
    /// Somebody serves there already.
    #[error("a running process serves on {} already; stop it, or give keyway.local_api.path another value", path.display())]
    InUse {
        /// The socket.
        path: PathBuf,
    },
    /// Something else is there.
    #[error("{} is there and is no socket; remove it, or give keyway.local_api.path another value", path.display())]
    NoSocket {
        /// What is there.
        path: PathBuf,
    },
}

/// The socket of a configuration, or none when it asks for none.
pub struct LocalApi {
    #[cfg(unix)]
    socket: Option<socket::Socket>,
}

impl LocalApi {
    /// Makes the socket; nobody is answered before [`LocalApi::serve`].
    ///
    /// # Errors
    /// [`SocketError`]; nothing is left behind then.
    pub fn bind(settings: Option<&LocalApiSettings>) -> Result<Self, SocketError> {
        // Where there are no such sockets, the configuration refuses the section.
        #[cfg(not(unix))]
        let _ = settings;
        Ok(LocalApi {
            #[cfg(unix)]
            socket: settings.map(socket::Socket::bind).transpose()?,
        })
    }

    /// Answers until `shutdown` is done, then lets requests under way finish for a short while, and removes the socket.
    ///
    /// `current` is asked for each connection, so that a configuration that was reloaded decides from then on.
    pub async fn serve(self, current: impl Fn() -> Arc<dyn Grants>, shutdown: impl Future<Output = ()>) {
        #[cfg(unix)]
        if let Some(socket) = self.socket {
            return server::serve(socket, current, shutdown).await;
        }
        drop(current);
        shutdown.await;
    }
}
