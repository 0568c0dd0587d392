//! Builds plugins as their vendors do: with cargo, and with the system's C compiler.

use std::{
    collections::HashMap,
    env,
    path::{Path, PathBuf},
    process::Command,
    sync::{Mutex, OnceLock, PoisonError},
};

use anyhow::{Context, Result, bail};

/// The root of the repository.
pub fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap_or(Path::new("."))
}

/// Builds the library of a package of this workspace, once in each process, and returns its path.
///
/// # Errors
/// When cargo fails or makes no library.
pub fn cargo_library(package: &str) -> Result<PathBuf> {
    cargo(package, "--lib", "cdylib", |file| {
        file.extension().is_some_and(|extension| extension == env::consts::DLL_EXTENSION)
    })
}

/// Builds the program of a package of this workspace, once in each process, and returns its path.
///
/// # Errors
/// When cargo fails or makes no program.
pub fn cargo_binary(package: &str) -> Result<PathBuf> {
    cargo(package, "--bins", "bin", |file| {
        file.file_name().is_some_and(|name| *name == *format!("{package}{}", env::consts::EXE_SUFFIX))
    })
}

fn cargo(package: &str, targets: &str, kind: &str, fits: impl Fn(&Path) -> bool) -> Result<PathBuf> {
    type Built = HashMap<(String, String), PathBuf>;
    static BUILT: Mutex<Option<Built>> = Mutex::new(None);
    let mut built = BUILT.lock().unwrap_or_else(PoisonError::into_inner);
    let built = built.get_or_insert_default();
    let key = (package.to_owned(), kind.to_owned());
    if let Some(path) = built.get(&key) {
        return Ok(path.clone());
    }
    let output = Command::new(env!("CARGO"))
        .args(["build", "--quiet", "--message-format=json", targets, "-p", package])
        .current_dir(repository())
        .output()
        .context("cannot run cargo")?;
    if !output.status.success() {
        bail!("cargo cannot build {package}:\n{}", String::from_utf8_lossy(&output.stderr));
    }
    let path = String::from_utf8(output.stdout)?
        .lines()
        .filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok())
        .filter(|message| message["reason"] == "compiler-artifact")
        .filter(|message| {
            message["target"]["kind"].as_array().is_some_and(|kinds| kinds.iter().any(|found| found == kind))
        })
        .filter_map(|message| message["filenames"].as_array().cloned())
        .flatten()
        .filter_map(|file| file.as_str().map(PathBuf::from))
        .rfind(|file| fits(file))
        .with_context(|| format!("cargo made no {kind} of {package}"))?;
    built.insert(key, path.clone());
    Ok(path)
}

/// Compiles one C file to a plugin in `folder`, with further arguments for the compiler.
///
/// # Errors
/// When the compiler is missing or refuses the file.
pub fn c_library(source: &Path, folder: &Path, name: &str, arguments: &[&str]) -> Result<PathBuf> {
    let library = folder.join(format!("{}{name}{}", env::consts::DLL_PREFIX, env::consts::DLL_SUFFIX));
    let output = Command::new("cc")
        .args([
            "-std=c11",
            "-Wall",
            "-Wextra",
            "-Werror",
            "-pedantic",
            "-fPIC",
            "-shared",
            "-fvisibility=hidden",
        ])
        .arg("-I")
        .arg(repository().join("plugin-api/include"))
        .arg(source)
        .args(arguments)
        .arg("-o")
        .arg(&library)
        .output()
        .context("cannot run the C compiler `cc`")?;
    if !output.status.success() {
        bail!("cc cannot compile {}:\n{}", source.display(), String::from_utf8_lossy(&output.stderr));
    }
    Ok(library)
}

/// The C example of the repository, compiled once in each process.
///
/// # Errors
/// As [`c_library`].
pub fn c_example() -> Result<&'static Path> {
    static BUILT: OnceLock<Result<(tempfile::TempDir, PathBuf)>> = OnceLock::new();
    let built = BUILT.get_or_init(|| {
        let folder = tempfile::tempdir()?;
        let source = repository().join("examples/plugin-c/my_secret_manager.c");
        let library = c_library(&source, folder.path(), "my_secret_manager", &["-O2"])?;
        Ok((folder, library))
    });
    match built {
        Ok((_, library)) => Ok(library),
        Err(error) => bail!("{error:#}"),
    }
}
