//! The one line that makes a library a plugin.

/// Exports manager types as a plugin: the C entry, the layout fingerprint, the manifest and the root module.
///
/// One line, whether there is one type or more: `export_plugin!(AcmeVault);` or
/// `export_plugin!(AcmeVault, AcmeLegacyVault);`. The documentation of the crate has a whole plugin.
///
/// The plugin's id, version and vendor are the package's name, version and authors in `Cargo.toml`; the names of the types
/// are the classes of `module.Class`. Call it once, at the top level of a crate whose `crate-type` is `cdylib`.
/// A crate that is built with `panic = "abort"` is refused: a panic must stay inside the plugin.
#[macro_export]
macro_rules! export_plugin {
    ($first:ident $(, $more:ident)* $(,)?) => {
        #[cfg(panic = "abort")]
        ::core::compile_error!("a Keyway plugin must be built with panic = \"unwind\": an abort would end the host");

        const _: () = {
            static KEYWAY_PLUGIN: $crate::ffi::PluginTable = $crate::ffi::PluginTable::new(
                ::core::env!("CARGO_PKG_NAME"),
                ::core::env!("CARGO_PKG_VERSION"),
                ::core::env!("CARGO_PKG_AUTHORS"),
                &[
                    $crate::ffi::ManagerTable::of::<$first>(::core::stringify!($first)),
                    $($crate::ffi::ManagerTable::of::<$more>(::core::stringify!($more)),)*
                ],
            );

            #[unsafe(no_mangle)]
            unsafe extern "C" fn keyway_plugin_entry_v1(
                host: *const $crate::abi::Host,
            ) -> *const $crate::abi::Plugin {
                // Referred to here, so that no linker drops it.
                ::core::hint::black_box(&MANIFEST);
                // SAFETY: the host passes its table, as the header says.
                unsafe { KEYWAY_PLUGIN.entry(host) }
            }

            #[unsafe(export_name = "keyway_abi_fingerprint_v1")]
            static FINGERPRINT: [u32; $crate::abi::FINGERPRINT_WORDS] = $crate::abi::FINGERPRINT;

            const MANIFEST_TEXT: &str = ::core::concat!(
                "keyway-manifest 1\nid=", ::core::env!("CARGO_PKG_NAME"),
                "\nversion=", ::core::env!("CARGO_PKG_VERSION"),
                "\nvendor=", ::core::env!("CARGO_PKG_AUTHORS"),
                "\nabi=1.0\nmanagers=", ::core::stringify!($first), $(",", ::core::stringify!($more),)* "\n",
            );
            #[used]
            #[cfg_attr(target_vendor = "apple", unsafe(link_section = "__DATA,__keyway"))]
            #[cfg_attr(windows, unsafe(link_section = ".keyway"))]
            #[cfg_attr(not(any(target_vendor = "apple", windows)), unsafe(link_section = ".keyway.manifest"))]
            static MANIFEST: [u8; MANIFEST_TEXT.len()] = $crate::export::bytes(MANIFEST_TEXT);

            $crate::__export_root_module!(keyway_plugin_entry_v1);
        };
    };
}

/// The root module of `abi_stable`, when the feature of this crate is on.
#[cfg(feature = "abi_stable")]
#[doc(hidden)]
#[macro_export]
macro_rules! __export_root_module {
    ($entry:ident) => {
        // The name is `abi_stable::library::ROOT_MODULE_LOADER_NAME`, which a test compares.
        #[unsafe(export_name = "_1as_0lib_1header_0root_bmodule_bloader")]
        static ROOT_MODULE: $crate::ffi::LibHeader = {
            extern "C" fn constructor() -> $crate::ffi::RootModuleResult {
                $crate::ffi::load_root_module($entry)
            }
            $crate::ffi::lib_header(constructor)
        };
    };
}

#[cfg(not(feature = "abi_stable"))]
#[doc(hidden)]
#[macro_export]
macro_rules! __export_root_module {
    ($entry:ident) => {};
}

/// The bytes of a text, by value, for a static that is placed in a section.
#[doc(hidden)]
pub const fn bytes<const N: usize>(text: &str) -> [u8; N] {
    let mut bytes = [0; N];
    bytes.copy_from_slice(text.as_bytes());
    bytes
}

#[cfg(all(test, feature = "abi_stable"))]
mod tests {
    #[test]
    fn the_root_module_has_the_name_that_abi_stable_looks_for() {
        assert_eq!(abi_stable::library::ROOT_MODULE_LOADER_NAME, "_1as_0lib_1header_0root_bmodule_bloader");
    }
}
