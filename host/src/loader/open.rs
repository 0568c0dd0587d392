//! Opens a verified file as a library, once for each content, and never closes it.

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
};

use keyway_plugin_api::abi;

#[cfg(unix)]
use libloading::os::unix::Library;
#[cfg(windows)]
use libloading::os::windows::Library;

use super::{
    error::OpenError,
    handshake::{self, Plugin},
    layout::{self, Verified},
    verify::{FileHash, VerifiedFile},
};

/// The function that every plugin exports.
pub(super) type Entry = unsafe extern "C" fn(*const abi::Host) -> *const abi::Plugin;

/// Opens the file and shakes hands with it, or returns what an earlier call with the same content found.
///
/// Blocks: constructors of the library run here.
///
/// # Errors
/// [`OpenError`]; a library that was refused stays open, because its code may have left something behind.
pub(super) fn open(file: VerifiedFile) -> Result<&'static Plugin, OpenError> {
    static LOADED: Mutex<Option<HashMap<FileHash, &'static Plugin>>> = Mutex::new(None);
    // Held while the library is opened: the entry function of one library is called by one thread, once.
    let mut loaded = LOADED.lock().unwrap_or_else(PoisonError::into_inner);
    let loaded = loaded.get_or_insert_default();
    if let Some(plugin) = loaded.get(&file.sha256) {
        return Ok(plugin);
    }
    let sha256 = file.sha256;
    let plugin = Box::leak(Box::new(open_new(file)?));
    loaded.insert(sha256, plugin);
    Ok(plugin)
}

fn open_new(file: VerifiedFile) -> Result<Plugin, OpenError> {
    let path = &file.path.clone();
    let by_fingerprint = match &file.inspection.fingerprint {
        Some(words) => layout::compare_fingerprint(words)
            .map(|()| true)
            .map_err(|source| OpenError::Layout { path: path.clone(), source })?,
        None => false,
    };
    if file.inspection.is_go {
        claim_go_runtime(path)?;
    }
    let linker = |source| OpenError::Linker { path: path.clone(), source };
    let library = link(file.sealed.load_path()).map_err(linker)?;
    file.sealed.remove_name();
    // Never unloaded: threads, thread-locals and tables of the plugin's live as long as the process.
    let library: &'static Library = Box::leak(Box::new(library));
    // The copy lives as long as the library, also when the library is refused below: the linker knows it by the number of
    // the copy's descriptor, and would hand it out again for the next copy that got this number.
    let file: &'static VerifiedFile = Box::leak(Box::new(file));
    file.sealed.remove_name();
    // SAFETY: the symbol is the one function that the contract names, and inspection saw that it is exported; calling
    // it is what loading this library means.
    let entry = unsafe { library.get::<Entry>(abi::ENTRY_SYMBOL.as_bytes()) }.map_err(linker)?;
    let by_abi_stable =
        root_module(library, *entry).map_err(|source| OpenError::Layout { path: path.clone(), source })?;
    let layout = Verified { fingerprint: by_fingerprint, abi_stable: by_abi_stable };
    handshake::shake(path, *entry, layout)
}

#[cfg(feature = "abi_stable")]
fn root_module(library: &'static Library, entry: Entry) -> Result<bool, layout::LayoutError> {
    use abi_stable::library::{AbiHeaderRef, ROOT_MODULE_LOADER_NAME_WITH_NUL};

    // SAFETY: abi_stable and our macro, the two that export this name, put an AbiHeader at its address; it lives as long as
    // the library, which is never closed. Its magic string is checked before anything else is read.
    let header = unsafe { library.get::<AbiHeaderRef>(ROOT_MODULE_LOADER_NAME_WITH_NUL.as_bytes()) };
    layout::check_root_module(header.ok().map(|header| *header), entry)
}

#[cfg(not(feature = "abi_stable"))]
fn root_module(_library: &'static Library, _entry: Entry) -> Result<bool, layout::LayoutError> {
    Ok(false)
}

/// All symbols now, so that a missing one is an error here and not the end of the process at its first use; none of them
/// for others; and no unloading, whatever the library's own handle says.
#[cfg(unix)]
fn link(path: &Path) -> Result<Library, libloading::Error> {
    use libloading::os::unix::{RTLD_LOCAL, RTLD_NOW};

    // dlopen(3); the same value in glibc and musl on Linux; macOS calls it RTLD_NODELETE too.
    const RTLD_NODELETE: std::ffi::c_int = if cfg!(target_vendor = "apple") { 0x80 } else { 0x1000 };
    // SAFETY: the file was verified: the operator chose to run its code, constructors included.
    unsafe { Library::open(Some(path), RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE) }
}

#[cfg(windows)]
fn link(path: &Path) -> Result<Library, libloading::Error> {
    use libloading::os::windows::{LOAD_LIBRARY_SEARCH_DLL_LOAD_DIR, LOAD_LIBRARY_SEARCH_SYSTEM32};

    // SAFETY: the file was verified: the operator chose to run its code, DllMain included.
    let library = unsafe {
        Library::load_with_flags(path, LOAD_LIBRARY_SEARCH_DLL_LOAD_DIR | LOAD_LIBRARY_SEARCH_SYSTEM32)
    }?;
    library.pin()?;
    Ok(library)
}

/// A process can hold one Go runtime: it takes signal handlers and threads, and cannot be unloaded.
fn claim_go_runtime(path: &Path) -> Result<(), OpenError> {
    static HOLDER: Mutex<Option<PathBuf>> = Mutex::new(None);
    let mut holder = HOLDER.lock().unwrap_or_else(PoisonError::into_inner);
    match &*holder {
        Some(loaded) => Err(OpenError::SecondGoRuntime { path: path.to_owned(), loaded: loaded.clone() }),
        None => {
            *holder = Some(path.to_owned());
            Ok(())
        }
    }
}
