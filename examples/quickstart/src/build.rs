//! Builds the plugin and the host with the cargo that built this program.

use std::{
    env::consts::{DLL_PREFIX, DLL_SUFFIX, EXE_SUFFIX},
    path::{Path, PathBuf},
    process::Stdio,
};

use anyhow::{Context as _, Result, bail};
use serde_json::Value;
use tokio::process::Command;

/// What was built.
pub(crate) struct Built {
    pub(crate) plugin: PathBuf,
    pub(crate) keyway: PathBuf,
}

/// What was built into a folder before.
pub(crate) fn prebuilt(folder: &Path) -> Result<Built> {
    let file = |name: String| {
        let path = folder.join(name);
        if path.is_file() {
            Ok(path)
        } else {
            bail!("{} is missing; build it first, or leave --prebuilt out", path.display())
        }
    };
    Ok(Built {
        plugin: file(format!("{DLL_PREFIX}my_secret_manager{DLL_SUFFIX}"))?,
        keyway: file(format!("keyway{EXE_SUFFIX}"))?,
    })
}

/// Runs cargo; its output is shown only when it fails.
pub(crate) async fn build() -> Result<Built> {
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args([
        "build",
        "--message-format=json-render-diagnostics",
        "-p",
        "quickstart",
        "-p",
        "my-secret-manager",
        "-p",
        "keyway",
    ]);
    if !cfg!(debug_assertions) {
        cargo.arg("--release");
    }
    let output = cargo
        .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."))
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output()
        .await
        .context("cannot run cargo")?;
    if !output.status.success() {
        bail!(
            "cargo cannot build the plugin and the host:\n{}",
            String::from_utf8_lossy(&output.stderr).trim_end()
        );
    }
    let messages = String::from_utf8(output.stdout).context("cargo's messages are not text")?;
    let artifacts: Vec<Value> = messages.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    Ok(Built {
        plugin: find(&artifacts, "my_secret_manager", |file| file.to_string_lossy().ends_with(DLL_SUFFIX))
            .context("cargo made no library of my-secret-manager")?,
        keyway: find(&artifacts, "keyway", |file| file.ends_with(format!("keyway{EXE_SUFFIX}")))
            .context("cargo made no program of keyway")?,
    })
}

/// The file of a target that fits, among cargo's messages.
fn find(messages: &[Value], target: &str, fits: impl Fn(&Path) -> bool) -> Option<PathBuf> {
    let artifacts = messages.iter().filter(|message| message["target"]["name"] == target);
    artifacts
        .filter_map(|message| message["filenames"].as_array())
        .flatten()
        .filter_map(|file| file.as_str().map(PathBuf::from))
        .find(|file| fits(file))
}
