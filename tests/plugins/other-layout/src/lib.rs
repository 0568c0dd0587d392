//! A plugin whose `abi_stable` root module is not the one that the host knows: it comes from another package, and its one
//! field has another type.
#![expect(unsafe_code, reason = "it forges what the export macro emits")]
#![allow(non_camel_case_types, reason = "abi_stable generates types whose names end in _Ref")]

use abi_stable::{
    StableAbi,
    library::{CheckTypeLayout, LibHeader, RootModule, RootModuleResult},
    prefix_type::{PrefixRefTrait, PrefixTypeTrait},
    sabi_types::VersionStrings,
};

use keyway_plugin_api::abi::{FINGERPRINT, FINGERPRINT_WORDS, Host, Plugin};

/// The root module, as another release could have had it.
#[repr(C)]
#[derive(StableAbi)]
#[sabi(kind(Prefix(prefix_ref = PluginModule_Ref, prefix_fields = PluginModule_Prefix)))]
#[allow(missing_docs, reason = "abi_stable generates items without documentation")]
pub struct PluginModule {
    /// Takes a number where the host passes its table.
    #[sabi(last_prefix_field)]
    pub entry: unsafe extern "C" fn(u64) -> *const Plugin,
}

impl RootModule for PluginModule_Ref {
    abi_stable::declare_root_module_statics! {PluginModule_Ref}
    const BASE_NAME: &'static str = "keyway_plugin";
    const NAME: &'static str = "keyway_plugin";
    const VERSION_STRINGS: VersionStrings = VersionStrings::new("1.0.0");
}

unsafe extern "C" fn another_entry(_: u64) -> *const Plugin {
    std::ptr::null()
}

extern "C" fn constructor() -> RootModuleResult {
    let module = PluginModule { entry: another_entry }.leak_into_prefix();
    // SAFETY: read back as a `PluginModule_Ref` only, after a check that this plugin exists to fail.
    let erased = unsafe { module.to_prefix_ref().cast() };
    RootModuleResult::ROk(erased)
}

#[unsafe(export_name = "_1as_0lib_1header_0root_bmodule_bloader")]
static ROOT_MODULE: LibHeader = {
    // SAFETY: `constructor` returns a `PluginModule_Ref`.
    unsafe { LibHeader::from_constructor::<PluginModule_Ref>(constructor, CheckTypeLayout::Yes) }
};

#[unsafe(export_name = "keyway_abi_fingerprint_v1")]
static LAYOUTS: [u32; FINGERPRINT_WORDS] = FINGERPRINT;

/// The entry that the host must not come to.
///
/// # Safety
/// None: it reads nothing.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn keyway_plugin_entry_v1(_: *const Host) -> *const Plugin {
    std::ptr::null()
}
