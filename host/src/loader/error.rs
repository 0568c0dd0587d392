//! Why a library that passed its inspection could not be used.

use std::{path::PathBuf, time::Duration};

use super::layout::LayoutError;
use crate::duration::Rounded;

/// A failure after the file was verified: the library was opened, or an instance was being made.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The dynamic linker refused it.
    #[error("the dynamic linker cannot load {path}")]
    Linker {
        /// The operator's file.
        path: PathBuf,
        /// The linker's reason.
        #[source]
        source: libloading::Error,
    },
    /// A second library with a Go runtime.
    #[error(
        "{path} is a Go plugin, and {loaded} has brought a Go runtime into this process already; \
         one process can hold only one of them"
    )]
    SecondGoRuntime {
        /// The operator's file.
        path: PathBuf,
        /// The library that was first.
        loaded: PathBuf,
    },
    /// The entry function returned NULL.
    #[error("{path} does not work with this host: its entry function returned no table")]
    Refused {
        /// The operator's file.
        path: PathBuf,
    },
    /// The table is not what the header says.
    #[error("{path} has a faulty table: {fault}; ask its vendor for a build that follows keyway_plugin.h")]
    Table {
        /// The operator's file.
        path: PathBuf,
        /// What is wrong.
        fault: String,
    },
    /// Another major of the contract.
    #[error(
        "{path} speaks version {major} of the plugin interface, this host speaks {}",
        keyway_plugin_api::abi::ABI_MAJOR
    )]
    Major {
        /// The operator's file.
        path: PathBuf,
        /// The plugin's.
        major: u32,
    },
    /// The structs of the contract are laid out differently.
    #[error(
        "{path} was compiled against another layout of the plugin interface; rebuild it with this host's version of it"
    )]
    Layout {
        /// The operator's file.
        path: PathBuf,
        /// The first difference.
        #[source]
        source: LayoutError,
    },
    /// No manager type of the name asked for.
    #[error("{path} offers no manager type {wanted}; it has: {}", .offered.join(", "))]
    NoSuchType {
        /// The operator's file.
        path: PathBuf,
        /// The name asked for.
        wanted: String,
        /// The names it has.
        offered: Vec<String>,
    },
    /// Several manager types and no name.
    #[error("{path} offers several manager types; write one of them after a colon: {}", choices(.path, .offered))]
    Ambiguous {
        /// The operator's file.
        path: PathBuf,
        /// The names it has.
        offered: Vec<String>,
    },
    /// Another library is being opened and does not come to an end.
    #[error(
        "{path} was not opened, because {other} has been opening for more than {}; remove that plugin, or see with \
         its vendor why it hangs while it is loaded",
        Rounded(*.waited)
    )]
    Busy {
        /// The operator's file.
        path: PathBuf,
        /// The file that hangs.
        other: PathBuf,
        /// How long was waited for it.
        waited: Duration,
    },
    /// The library does not come to an end while it is opened.
    #[error(
        "{path} was not open within {}: its constructors or its entry function hang; ask its vendor, and restart \
         the host, which can open no other plugin now",
        Rounded(*.waited)
    )]
    Hangs {
        /// The operator's file.
        path: PathBuf,
        /// How long was waited for it.
        waited: Duration,
    },
    /// The thread that opened the library is gone.
    #[error("the thread that opened the library ended without an answer")]
    Ended,
    /// The plugin could not make an instance.
    #[error("the plugin {plugin} could not be started as {name}")]
    Create {
        /// The plugin's id.
        plugin: String,
        /// The manager's name in the configuration.
        name: String,
        /// The plugin's reason.
        #[source]
        source: keyway_plugin_api::Error,
    },
}

fn choices(path: &std::path::Path, offered: &[String]) -> String {
    let choices: Vec<_> = offered.iter().map(|name| format!("{}:{name}", path.display())).collect();
    choices.join(", ")
}
