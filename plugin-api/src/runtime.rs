//! The plugin's own tokio runtime.
//!
//! A plugin has its own copy of tokio, whose thread-locals do not reach into the host's. So futures that did not finish
//! in the first poll go on here, and every future is polled inside this runtime's context.

use std::sync::OnceLock;

use tokio::runtime::{Builder, Handle, Runtime};

use crate::error::{Error, Result};

/// A handle to the runtime, which is made on first need: two threads for all instances of the library.
///
/// # Errors
/// [`ErrorKind::Internal`](crate::ErrorKind::Internal) when the threads cannot be started.
pub fn handle() -> Result<&'static Handle> {
    static RUNTIME: OnceLock<std::io::Result<Runtime>> = OnceLock::new();
    let runtime = RUNTIME.get_or_init(|| {
        Builder::new_multi_thread().worker_threads(2).thread_name("keyway-plugin").enable_all().build()
    });
    match runtime {
        Ok(runtime) => Ok(runtime.handle()),
        Err(error) => Err(Error::internal(format!("cannot start the plugin's runtime: {}", error.kind()))),
    }
}
