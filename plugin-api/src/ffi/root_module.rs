//! The `abi_stable` root module beside the C entry, by which a host verifies the layout of a Rust plugin.
//!
//! It is frozen at one field: layout checking lets an older plugin have no fewer fields than a newer host knows.

pub use abi_stable::library::{LibHeader, RootModuleResult};
use abi_stable::{
    StableAbi,
    library::{CheckTypeLayout, RootModule},
    prefix_type::{PrefixRefTrait, PrefixTypeTrait},
    sabi_types::VersionStrings,
};

use crate::abi;

/// The root module: one way more to the function that the C entry is.
#[repr(C)]
#[derive(StableAbi)]
#[sabi(kind(Prefix(prefix_ref = PluginModule_Ref, prefix_fields = PluginModule_Prefix)))]
#[allow(missing_docs, reason = "abi_stable generates items without documentation")]
pub struct PluginModule {
    /// The same function as the exported `keyway_plugin_entry_v1`.
    #[sabi(last_prefix_field)]
    pub entry: unsafe extern "C" fn(*const abi::Host) -> *const abi::Plugin,
}

impl RootModule for PluginModule_Ref {
    abi_stable::declare_root_module_statics! {PluginModule_Ref}
    const BASE_NAME: &'static str = "keyway_plugin";
    const NAME: &'static str = "keyway_plugin";
    // The version of the root module, not of this crate: it changes with the major of the contract only.
    const VERSION_STRINGS: VersionStrings = VersionStrings::new("1.0.0");
}

/// What the exported `LibHeader` static of a plugin holds.
pub const fn lib_header(constructor: extern "C" fn() -> RootModuleResult) -> LibHeader {
    // SAFETY: `constructor` is made by `export_plugin!` of `load_root_module`, which returns a `PluginModule_Ref`.
    unsafe { LibHeader::from_constructor::<PluginModule_Ref>(constructor, CheckTypeLayout::Yes) }
}

/// The body of a plugin's constructor: `entry` is the function that the plugin exports.
pub fn load_root_module(
    entry: unsafe extern "C" fn(*const abi::Host) -> *const abi::Plugin,
) -> RootModuleResult {
    let module = PluginModule { entry }.leak_into_prefix();
    // SAFETY: the erased reference is read as a `PluginModule_Ref` only, because its layout is checked first.
    let erased = unsafe { module.to_prefix_ref().cast() };
    RootModuleResult::ROk(erased)
}
