//! From the name of a plugin to a manager that can be called.
//!
//! Before anything of a plugin runs: [`locate`] finds the file, [`verify`] checks it and makes the copy that
//! will be loaded, [`inspect`] reads that copy without loading it. Then the copy is opened, once for each content and for
//! the life of the process; its table is checked; and [`LoadedPlugin`] calls it. [`load`] is all of this in order.
#![expect(unsafe_code, reason = "the boundary to C: opening libraries and calling their tables")]

pub mod inspect;
pub mod locate;
pub mod verify;

mod callbacks;
mod client;
mod clock;
mod ending;
mod error;
mod functions;
mod handshake;
mod instance;
mod layout;
mod load;
mod manager;
mod open;
mod pool;
mod slots;
mod wait;

#[cfg(target_os = "linux")]
#[cfg(test)] // alone, so that lints see a test
mod testing;

pub use self::{
    client::{Faults, LoadedPlugin},
    error::OpenError,
    layout::{LayoutError, Verified, compare_fingerprint},
    load::{LoadError, LoadReport, OpenPlugin, PluginSpec, load, open},
    slots::unowned_completions,
};
