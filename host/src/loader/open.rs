//! Opens a verified file as a library, once for each content, and never closes it.

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
    sync::{Arc, Condvar, LazyLock, Mutex, MutexGuard, PoisonError},
    time::Duration,
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

/// What was opened so far; a library that is being opened keeps the others waiting, since the dynamic linker does too.
static OPENED: LazyLock<Opened> = LazyLock::new(Opened::default);

#[derive(Default)]
struct Opened {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    /// The library, or why it was refused, by the hash of its content.
    known: HashMap<FileHash, Answer>,
    /// The file that is being opened at this moment.
    opening: Option<PathBuf>,
}

/// Opens the file and shakes hands with it, or returns what an earlier call with the same content found.
///
/// Blocks: constructors of the library run here. Waits at most `limit` for another library that is being opened.
///
/// # Errors
/// [`OpenError`]; a library that was refused stays open, because its code may have left something behind, and is not
/// opened again.
pub(super) fn open(file: VerifiedFile, limit: Duration) -> Answer {
    let sha256 = file.sha256;
    let busy = |state: &mut State| state.opening.is_some() && !state.known.contains_key(&sha256);
    let waited = OPENED.changed.wait_timeout_while(OPENED.state(), limit, busy);
    let mut state = waited.unwrap_or_else(PoisonError::into_inner).0;
    if let Some(known) = state.known.get(&sha256) {
        return known.clone();
    }
    if let Some(other) = &state.opening {
        let (path, other) = (file.path.clone(), other.clone());
        return Err(Arc::new(OpenError::Busy { path, other, waited: limit }));
    }
    state.opening = Some(file.path.clone());
    drop(state);

    let mut attempt = Attempt { sha256, found: None };
    let answer = match open_new(file) {
        Ok(plugin) => Ok(&*Box::leak(Box::new(plugin))),
        Err(error) => Err(Arc::new(error)),
    };
    // What the linker refused is not in the process: it may be tried again, when what it lacks is there.
    let again = answer
        .as_ref()
        .is_err_and(|error| matches!(**error, OpenError::Linker { .. } | OpenError::SecondGoRuntime { .. }));
    attempt.found = (!again).then(|| answer.clone());
    answer
}

/// The library, or why it is refused.
pub(super) type Answer = Result<&'static Plugin, Arc<OpenError>>;

impl Opened {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The opening of one library; however it ends, the next one can begin.
struct Attempt {
    sha256: FileHash,
    found: Option<Answer>,
}

impl Drop for Attempt {
    fn drop(&mut self) {
        let mut state = OPENED.state();
        state.opening = None;
        if let Some(found) = self.found.take() {
            state.known.insert(self.sha256, found);
        }
        OPENED.changed.notify_all();
    }
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
        let mut holder = GO_RUNTIME.lock().unwrap_or_else(PoisonError::into_inner);
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
            *GO_RUNTIME.lock().unwrap_or_else(PoisonError::into_inner) = None;
        }
    }
}
