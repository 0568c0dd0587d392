//! Opens a verified file as a library, once for each content, and never closes it.

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
    sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use keyway_plugin_api::abi;
use tokio::sync::{Mutex as AsyncMutex, OwnedMutexGuard};

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

/// The library, or why it is refused.
pub(super) type Answer = Result<&'static Plugin, Arc<OpenError>>;

/// The libraries that were opened, or why they were refused, by the hash of their content.
static KNOWN: LazyLock<Mutex<HashMap<FileHash, Answer>>> = LazyLock::new(Mutex::default);

/// Held by whoever opens a library: the entry function of one library is called by one thread, once.
static TURN: LazyLock<Arc<AsyncMutex<()>>> = LazyLock::new(Arc::default);

/// Whose turn it is.
static OPENING: Mutex<Option<PathBuf>> = Mutex::new(None);

/// The right to open a library, which one file has at a time.
pub(super) struct Turn(#[expect(dead_code, reason = "it is held, not read")] OwnedMutexGuard<()>);

impl Turn {
    /// Waits for the turn of a file.
    ///
    /// It waits in its caller's task and not on a thread: glibc lets no new thread begin while a constructor hangs.
    ///
    /// # Errors
    /// [`OpenError::Busy`] when another library does not come to an end within `limit`.
    pub(super) async fn of(path: &Path, limit: Duration) -> Result<Self, OpenError> {
        match tokio::time::timeout(limit, Arc::clone(&TURN).lock_owned()).await {
            Ok(turn) => {
                *locked(&OPENING) = Some(path.to_owned());
                Ok(Turn(turn))
            }
            Err(_) => {
                let other = locked(&OPENING).clone().unwrap_or_default();
                Err(OpenError::Busy { path: path.to_owned(), other, waited: limit })
            }
        }
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        *locked(&OPENING) = None;
    }
}

/// Opens the file and shakes hands with it, or returns what an earlier call with the same content found.
///
/// Blocks: constructors of the library run here.
///
/// # Errors
/// [`OpenError`]; a library that was refused stays open, because its code may have left something behind, and is not
/// opened again.
pub(super) fn open(file: VerifiedFile, _turn: Turn) -> Answer {
    let sha256 = file.sha256;
    if let Some(known) = locked(&KNOWN).get(&sha256) {
        return known.clone();
    }
    let answer = match open_new(file) {
        Ok(plugin) => Ok(&*Box::leak(Box::new(plugin))),
        Err(error) => Err(Arc::new(error)),
    };
    // What the linker refused is not in the process: it may be tried again, when what it lacks is there.
    let again = answer
        .as_ref()
        .is_err_and(|error| matches!(**error, OpenError::Linker { .. } | OpenError::SecondGoRuntime { .. }));
    if !again {
        locked(&KNOWN).insert(sha256, answer.clone());
    }
    answer
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn open_new(file: VerifiedFile) -> Result<Plugin, OpenError> {
    let path = &file.path.clone();
    let by_fingerprint = match &file.inspection.fingerprint {
        Some(words) => layout::compare_fingerprint(words)
            .map(|()| true)
            .map_err(|source| OpenError::Layout { path: path.clone(), source })?,
        None => false,
    };
    let go_runtime = file.inspection.is_go.then(|| GoRuntime::claim(path)).transpose()?;
    let linker = |source| OpenError::Linker { path: path.clone(), source };
    let library = link(file.sealed.load_path()).map_err(linker)?;
    if let Some(claim) = go_runtime {
        claim.keep();
    }
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

/// The claim to the one Go runtime that a process can hold: it takes signal handlers and threads, and cannot be unloaded.
/// It is given back when its library was not linked.
struct GoRuntime {
    kept: bool,
}

static GO_RUNTIME: Mutex<Option<PathBuf>> = Mutex::new(None);

impl GoRuntime {
    fn claim(path: &Path) -> Result<Self, OpenError> {
        let mut holder = locked(&GO_RUNTIME);
        match &*holder {
            Some(loaded) => Err(OpenError::SecondGoRuntime { path: path.to_owned(), loaded: loaded.clone() }),
            None => {
                *holder = Some(path.to_owned());
                Ok(GoRuntime { kept: false })
            }
        }
    }

    fn keep(mut self) {
        self.kept = true;
    }
}

impl Drop for GoRuntime {
    fn drop(&mut self) {
        if !self.kept {
            *locked(&GO_RUNTIME) = None;
        }
    }
}
