//! The zone of unsafe code: what stands between the C table and the safe trait.
//!
//! Every function here guards, borrows, calls and writes out; what an operation means is decided elsewhere.
//! Authors of plugins need nothing from this module; [`export_plugin!`](crate::export_plugin) does.
#![expect(unsafe_code, reason = "the boundary to C: raw requests in, borrowed results out")]

mod borrow;
mod boundary;
mod complete;
mod host;
mod pending;
mod table;

#[cfg(feature = "abi_stable")]
#[allow(non_camel_case_types, reason = "abi_stable generates types whose names end in _Ref")]
mod root_module;

#[cfg(feature = "abi_stable")]
pub use self::root_module::{
    LibHeader, PluginModule, PluginModule_Ref, RootModuleResult, lib_header, load_root_module,
};
pub use self::table::{ManagerTable, PluginTable};
