//! From what `custom_secret_manager` says to a file.
//!
//! Files are looked for beside the configuration and in the plugin folders, in that order; never in the
//! current directory and never where `LD_LIBRARY_PATH` points.

mod error;
mod reference;

use std::{
    env::consts::DLL_EXTENSION,
    fs::{self, File},
    io::{self, Read},
    path::{Path, PathBuf},
};

pub use self::{
    error::{LocateError, Refused},
    reference::{PluginReference, ReferenceError},
};
use super::inspect::{Format, Kind, sniff};

/// The extensions that libraries have, on whichever system.
pub const LIBRARY_EXTENSIONS: [&str; 3] = ["so", "dll", "dylib"];

/// A file that was found; nothing of its inside is checked yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Located {
    /// The file.
    pub path: PathBuf,
    /// The manager type that was asked for; when absent, the file must offer exactly one.
    pub type_name: Option<String>,
    /// Files that would have come first and could not be libraries of this system.
    pub passed_over: Vec<Refused>,
}

/// Finds the file of a plugin.
///
/// `setting` is the setting that holds the reference, for the texts of errors; relative paths, those of
/// `plugin_dirs` included, count from `config_dir`.
///
/// # Errors
/// [`LocateError`] names the setting, its value, each place looked in, and why what was there was refused.
pub fn locate(
    reference: &PluginReference,
    setting: &str,
    config_dir: &Path,
    plugin_dirs: &[PathBuf],
) -> Result<Located, LocateError> {
    let mut refused = Vec::new();
    for path in candidates(reference, config_dir, plugin_dirs) {
        match check(&path) {
            Ok(()) => {
                let type_name = reference.type_name().map(str::to_owned);
                refused.retain(|candidate: &Refused| !candidate.is_missing());
                return Ok(Located { path, type_name, passed_over: refused });
            }
            Err(reason) => refused.push(Refused { path, reason }),
        }
    }
    let python = python_source(reference, config_dir).filter(|source| source.is_file());
    Err(LocateError {
        setting: setting.to_owned(),
        reference: reference.to_string(),
        is_path: matches!(reference, PluginReference::Path { .. }),
        refused,
        python,
    })
}

/// The files that a reference may mean, best first.
pub fn candidates(reference: &PluginReference, config_dir: &Path, plugin_dirs: &[PathBuf]) -> Vec<PathBuf> {
    let module = match reference {
        PluginReference::Path { path, .. } => return vec![config_dir.join(path)],
        PluginReference::Module { module, .. } => module,
    };
    let (folder, name) = split_module(module);
    let names = if cfg!(windows) {
        [format!("{name}.dll"), format!("lib{name}.dll")]
    } else {
        [format!("lib{name}.{DLL_EXTENSION}"), format!("{name}.{DLL_EXTENSION}")]
    };
    let mut foreign: Vec<String> = Vec::new();
    for extension in LIBRARY_EXTENSIONS.into_iter().filter(|extension| *extension != DLL_EXTENSION) {
        foreign.extend([format!("lib{name}.{extension}"), format!("{name}.{extension}")]);
    }
    let mut found = Vec::new();
    for dir in [Path::new("")].into_iter().chain(plugin_dirs.iter().map(PathBuf::as_path)) {
        let dir = config_dir.join(dir).join(&folder);
        found.extend(names.iter().map(|name| dir.join(name)));
        // Libraries of other systems are worth a word where there is one.
        found.extend(foreign.iter().map(|name| dir.join(name)).filter(|path| path.exists()));
    }
    found
}

/// Whether a file could be a library of this system, by its kind and its first bytes.
fn check(path: &Path) -> Result<(), String> {
    let unreadable = |error: io::Error| match error.kind() {
        io::ErrorKind::NotFound => match fs::read_link(path) {
            Ok(target) => format!("is a link to {}, where nothing is", target.display()),
            Err(_) => error::MISSING.to_owned(),
        },
        _ => format!("cannot be read: {error}"),
    };
    let kind = fs::metadata(path).map_err(unreadable)?.file_type();
    if kind.is_dir() {
        return Err("is a folder".to_owned());
    }
    if !kind.is_file() {
        return Err("is not a regular file".to_owned());
    }
    let mut start = Vec::new();
    File::open(path).and_then(|file| file.take(4096).read_to_end(&mut start)).map_err(unreadable)?;
    let found = match sniff(&start) {
        Kind::Elf => Format::Elf,
        Kind::Pe => Format::Pe,
        Kind::MachO | Kind::FatMachO => Format::MachO,
        Kind::Empty => return Err("is empty".to_owned()),
        Kind::Archive => return Err("is a static library".to_owned()),
        Kind::Python => return Err("is Python source".to_owned()),
        Kind::Text | Kind::LinkerScript => return Err("is a text file".to_owned()),
        Kind::Other(what) => return Err(format!("is {what}")),
    };
    if found == Format::HOST { Ok(()) } else { Err(format!("is {found}, this host needs {}", Format::HOST)) }
}

/// Where the original would find the class.
fn python_source(reference: &PluginReference, config_dir: &Path) -> Option<PathBuf> {
    let PluginReference::Module { module, .. } = reference else { return None };
    let (folder, name) = split_module(module);
    Some(config_dir.join(folder).join(format!("{name}.py")))
}

/// `vaults.acme` is `acme` in the folder `vaults`.
fn split_module(module: &str) -> (PathBuf, &str) {
    match module.rsplit_once('.') {
        Some((folders, name)) => (folders.split('.').collect(), name),
        None => (PathBuf::new(), module),
    }
}

#[cfg(target_os = "linux")]
#[cfg(test)]
mod tests;
