//! Calls a library's entry function and turns the table it returns into values that need no further checks.

use std::{
    path::{Path, PathBuf},
    slice,
};

use keyway_plugin_api::{Capabilities, abi};

use super::{callbacks, error::OpenError, functions::Functions, layout::Verified, open::Entry};

/// More manager types than this are taken for a fault.
const MAX_TYPES: usize = 256;

/// A library that is open and whose table was checked.
pub(super) struct Plugin {
    /// The operator's file.
    pub(super) path: PathBuf,
    pub(super) id: String,
    pub(super) version: String,
    pub(super) vendor: String,
    /// The contract's version that it was compiled against.
    pub(super) abi: (u32, u32),
    pub(super) layout: Verified,
    pub(super) types: Vec<ManagerType>,
}

/// One manager type of a library.
pub(super) struct ManagerType {
    pub(super) name: String,
    pub(super) description: String,
    /// The JSON Schema of its configuration, when it has one.
    pub(super) config_schema: Option<String>,
    pub(super) functions: Functions,
}

impl ManagerType {
    pub(super) fn capabilities(&self) -> Capabilities {
        self.functions.capabilities
    }
}

impl Plugin {
    /// The type of a name, or the only one.
    pub(super) fn manager_type(&self, wanted: Option<&str>) -> Result<&ManagerType, OpenError> {
        let offered = || self.types.iter().map(|offered| offered.name.clone()).collect();
        match (wanted, self.types.as_slice()) {
            (None, [only]) => Ok(only),
            (None, _) => Err(OpenError::Ambiguous { path: self.path.clone(), offered: offered() }),
            (Some(wanted), types) => {
                types.iter().find(|offered| offered.name == wanted).ok_or_else(|| OpenError::NoSuchType {
                    path: self.path.clone(),
                    wanted: wanted.to_owned(),
                    offered: offered(),
                })
            }
        }
    }
}

/// Calls the entry function and checks what it returns.
pub(super) fn shake(path: &Path, entry: Entry, layout: Verified) -> Result<Plugin, OpenError> {
    let library = path.file_name().unwrap_or_default().to_string_lossy();
    // SAFETY: the function of a verified library, called once, with a table that lives as long as the process.
    let raw = unsafe { entry(callbacks::host_table(&library)) };
    let table = |fault: String| OpenError::Table { path: path.to_owned(), fault };
    if raw.is_null() {
        return Err(OpenError::Refused { path: path.to_owned() });
    }
    // SAFETY: not NULL; every version of the struct begins with two words, its size and its major.
    let size = unsafe { raw.cast::<u32>().read_unaligned() };
    // SAFETY: as above.
    let major = unsafe { raw.cast::<[u32; 2]>().read_unaligned() }[1];
    if major != abi::ABI_MAJOR {
        return Err(OpenError::Major { path: path.to_owned(), major });
    }
    check_size(size, size_of::<abi::Plugin>(), "keyway_plugin_v1").map_err(table)?;
    check_aligned(raw, "keyway_plugin_v1").map_err(table)?;
    // SAFETY: it is aligned, has all bytes of this version, and the header makes it static.
    let raw = unsafe { &*raw };
    if raw.managers.is_null() {
        return Err(table("its list of manager types is NULL".to_owned()));
    }
    if raw.managers_len == 0 || raw.managers_len > MAX_TYPES {
        return Err(table(format!("it offers {} manager types", raw.managers_len)));
    }
    check_aligned(raw.managers, "the list of manager types").map_err(table)?;
    // SAFETY: not NULL and aligned; the header says that there are so many pointers, all of them static.
    let managers = unsafe { slice::from_raw_parts(raw.managers, raw.managers_len) };
    let mut types: Vec<ManagerType> = Vec::with_capacity(managers.len());
    for (index, manager) in managers.iter().enumerate() {
        // SAFETY: an entry of the table, as the header describes it.
        let manager = unsafe { manager_type(*manager) }
            .map_err(|fault| table(format!("manager type {index}: {fault}")))?;
        if types.iter().any(|other| other.name == manager.name) {
            return Err(table(format!("it offers the manager type {} twice", manager.name)));
        }
        types.push(manager);
    }
    Ok(Plugin {
        path: path.to_owned(),
        // SAFETY: the texts of the table are static, as the header says; here and below.
        id: unsafe { callbacks::text(raw.id) },
        // SAFETY: see above.
        version: unsafe { callbacks::text(raw.version) },
        // SAFETY: see above.
        vendor: unsafe { callbacks::text(raw.vendor) },
        abi: (raw.abi_major, raw.abi_minor),
        layout,
        types,
    })
}

/// # Safety
/// `raw` is NULL or points to a table that is static, as the header says.
unsafe fn manager_type(raw: *const abi::Manager) -> Result<ManagerType, String> {
    if raw.is_null() {
        return Err("it is NULL".to_owned());
    }
    check_aligned(raw, "keyway_manager_v1")?;
    // SAFETY: not NULL and aligned; every version of the struct begins with its size.
    let size = unsafe { raw.cast::<u32>().read() };
    check_size(size, size_of::<abi::Manager>(), "keyway_manager_v1")?;
    // SAFETY: it has all bytes of this version and is static.
    let raw = unsafe { &*raw };
    // SAFETY: the texts of the table are static; here and below.
    let name = unsafe { callbacks::text(raw.name) };
    if name.is_empty() || !name.chars().all(|c| c.is_alphanumeric() || c == '_') {
        return Err(format!("its name {name:?} is not made of letters, digits and underscores"));
    }
    let functions = Functions::of(raw).map_err(|missing| format!("{name} has no {missing}"))?;
    // SAFETY: see above.
    let description = unsafe { callbacks::text(raw.description) };
    // SAFETY: see above.
    let config_schema = unsafe { schema(raw.config_schema) };
    Ok(ManagerType { name, description, config_schema, functions })
}

/// # Safety
/// The text is static.
unsafe fn schema(raw: abi::Str) -> Option<String> {
    const MAX_SCHEMA: usize = 1 << 20;
    if raw.len == 0 || raw.len > MAX_SCHEMA || raw.ptr.is_null() {
        return None;
    }
    // SAFETY: not NULL, bounded, and static as the caller says.
    let bytes = unsafe { slice::from_raw_parts(raw.ptr, raw.len) };
    std::str::from_utf8(bytes).ok().map(str::to_owned)
}

fn check_size(size: u32, needed: usize, what: &str) -> Result<(), String> {
    match size as usize {
        size if size < needed => Err(format!("{what} has {size} bytes; version 1.0 has {needed}")),
        _ => Ok(()),
    }
}

fn check_aligned<T>(raw: *const T, what: &str) -> Result<(), String> {
    if raw.is_aligned() { Ok(()) } else { Err(format!("{what} is not aligned")) }
}
