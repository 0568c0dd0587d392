//! Builds plugins as their vendors do: with cargo, and with the system's C compiler.

use std::{
    collections::HashMap,
    env, fs,
    io::{self, Write},
    path::{Path, PathBuf},
    process::{self, Command},
    sync::{Mutex, OnceLock, PoisonError},
};

use anyhow::{Context, Result, bail};

/// Makes something once in each process.
macro_rules! once {
    ($build:expr) => {{
        static BUILT: OnceLock<Result<PathBuf>> = OnceLock::new();
        match BUILT.get_or_init(|| -> Result<PathBuf> { $build }) {
            Ok(library) => Ok(library.as_path()),
            Err(error) => bail!("{error:#}"),
        }
    }};
}

/// The root of the repository.
pub fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap_or(Path::new("."))
}

/// Builds the library of a package of this workspace, once in each process, and returns its path.
///
/// # Errors
/// When cargo fails or makes no library.
pub fn cargo_library(package: &str) -> Result<PathBuf> {
    cargo(package, "cdylib", |file| {
        file.extension().is_some_and(|extension| extension == env::consts::DLL_EXTENSION)
    })
}

/// Builds the program of a package of this workspace, once in each process, and returns its path.
///
/// # Errors
/// When cargo fails or makes no program.
pub fn cargo_binary(package: &str) -> Result<PathBuf> {
    cargo(package, "bin", |file| {
        file.file_name().is_some_and(|name| *name == *format!("{package}{}", env::consts::EXE_SUFFIX))
    })
}

fn cargo(package: &str, kind: &str, fits: impl Fn(&Path) -> bool) -> Result<PathBuf> {
    type Built = HashMap<(String, String), PathBuf>;
    static BUILT: Mutex<Option<Built>> = Mutex::new(None);
    let mut built = BUILT.lock().unwrap_or_else(PoisonError::into_inner);
    let built = built.get_or_insert_default();
    let key = (package.to_owned(), kind.to_owned());
    if let Some(path) = built.get(&key) {
        return Ok(path.clone());
    }
    let mut command = Command::new(env!("CARGO"));
    // The whole workspace, as the tests were built: with fewer packages cargo chooses fewer features of what they depend
    // on, and compiles all of it a second time.
    command.args(["build", "--quiet", "--message-format=json", "--workspace", "--all-targets"]);
    // What cargo tells the tests about their own package is nothing that a build script should see.
    for (name, _) in env::vars_os() {
        let text = name.to_string_lossy();
        if text.starts_with("CARGO_PKG_") || text.starts_with("CARGO_MANIFEST_") {
            command.env_remove(&name);
        }
    }
    let output = command.current_dir(repository()).output().context("cannot run cargo")?;
    if !output.status.success() {
        bail!("cargo cannot build {package}:\n{}", String::from_utf8_lossy(&output.stderr));
    }
    let path = String::from_utf8(output.stdout)?
        .lines()
        .filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok())
        .filter(|message| message["reason"] == "compiler-artifact")
        .filter(|message| is_of(message, package))
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

/// Whether a message of cargo's is about a package of this name.
fn is_of(message: &serde_json::Value, package: &str) -> bool {
    // "path+file:///folder/keyway#0.1.0" when the folder has the package's name, else "...#package@0.1.0".
    let id = message["package_id"].as_str().unwrap_or_default();
    let (path, fragment) = id.rsplit_once('#').unwrap_or((id, ""));
    match fragment.split_once('@') {
        Some((name, _)) => name == package,
        None => path.rsplit('/').next() == Some(package),
    }
}

/// Compiles one C file to a plugin in `folder`, with further arguments for the compiler.
///
/// # Errors
/// When the compiler is missing or refuses the file.
pub fn c_library(source: &Path, folder: &Path, name: &str, arguments: &[&str]) -> Result<PathBuf> {
    compile(&["cc", "-std=c11"], source, folder, name, arguments)
}

/// The same for C++, in a folder beside this test's program; `None`, with a word on the standard error, where there is no
/// compiler for it.
///
/// # Errors
/// When the compiler refuses the file, or is missing although `KEYWAY_TESTS_FORBID_SKIP` is 1.
pub fn cpp_library(source: &Path, name: &str, arguments: &[&str]) -> Result<Option<PathBuf>> {
    let missing = Command::new("g++").arg("--version").output().is_err();
    if !missing {
        return compile(&["g++", "-std=c++17"], source, artifacts()?, name, arguments).map(Some);
    }
    #[expect(clippy::disallowed_methods, reason = "a setting of the tests, not of the host")]
    let forbidden = env::var_os("KEYWAY_TESTS_FORBID_SKIP").is_some_and(|value| value == "1");
    if forbidden {
        bail!("there is no g++, and KEYWAY_TESTS_FORBID_SKIP forbids to go without");
    }
    writeln!(io::stderr(), "skipped: there is no g++ to build {}", source.display())?;
    Ok(None)
}

fn compile(
    compiler: &[&str; 2],
    source: &Path,
    folder: &Path,
    name: &str,
    arguments: &[&str],
) -> Result<PathBuf> {
    let [compiler, standard] = compiler;
    let library = folder.join(format!("{}{name}{}", env::consts::DLL_PREFIX, env::consts::DLL_SUFFIX));
    // Another run of the same tests may be at it: each name is always that of a whole file.
    let unfinished = library.with_extension(format!("{}.unfinished", process::id()));
    let output = Command::new(compiler)
        .args([
            standard,
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
        .arg(&unfinished)
        .output()
        .with_context(|| format!("cannot run the compiler `{compiler}`"))?;
    if !output.status.success() {
        bail!("{compiler} cannot compile {}:\n{}", source.display(), String::from_utf8_lossy(&output.stderr));
    }
    fs::rename(&unfinished, &library)?;
    Ok(library)
}

/// A folder beside this test's program, so that what is built goes with it.
fn artifacts() -> Result<&'static Path> {
    once!({
        let folder = env::current_exe()?.with_extension("plugins");
        fs::create_dir_all(&folder)?;
        Ok(folder)
    })
}

/// The C example of the repository.
///
/// # Errors
/// As [`c_library`].
pub fn c_example() -> Result<&'static Path> {
    let source = repository().join("examples/plugin-c/my_secret_manager.c");
    once!(c_library(&source, artifacts()?, "my_secret_manager", &["-O2"]))
}

/// The plugin that breaks the rules when it is told to.
///
/// # Errors
/// As [`c_library`].
pub fn misbehaving() -> Result<&'static Path> {
    let source = repository().join("tests/plugins/misbehaving/misbehaving.c");
    once!(c_library(&source, artifacts()?, "misbehaving", &["-O1", "-pthread"]))
}

/// The plugin whose table is wrong in the way that the macros ask for.
///
/// # Errors
/// As [`c_library`].
pub fn faulty_table(name: &str, macros: &[&str]) -> Result<PathBuf> {
    c_library(&repository().join("tests/plugins/faulty_table.c"), artifacts()?, name, macros)
}
