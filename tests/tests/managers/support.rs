//! A folder with a configuration and the plugins that it names.

use std::{fs, os::unix::fs::PermissionsExt, path::PathBuf};

use anyhow::{Context, Result, ensure};
use keyway::config::{self, Config, Env};
use keyway_plugin_api::{ErrorKind, ReadRequest, SecretManager};
use keyway_tests::build;
use tempfile::TempDir;

/// The folder of a configuration.
pub(crate) struct Place(TempDir);

impl Place {
    /// A folder into which plugins were copied as an operator would.
    pub(crate) fn with_plugins(packages: &[&str]) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        for package in packages {
            let library = build::cargo_library(package)?;
            let copy = folder.path().join(library.file_name().context("no file name")?);
            fs::copy(library, &copy)?;
            fs::set_permissions(&copy, fs::Permissions::from_mode(0o644))?;
        }
        Ok(Place(folder))
    }

    pub(crate) fn path(&self, file: &str) -> PathBuf {
        self.0.path().join(file)
    }

    /// A configuration with these managers, of which one is selected; `@DIR@` is this folder.
    pub(crate) fn config(&self, selected: &str, managers: &str) -> Result<Config> {
        self.parse(&format!(
            "general_settings:\n  key_management_system: custom\n  key_management_settings:\n    custom_secret_manager: {selected}\nkeyway:\n  managers:{managers}"
        ))
    }

    /// A configuration of this text; `@DIR@` is this folder.
    pub(crate) fn parse(&self, text: &str) -> Result<Config> {
        let text = text.replace("@DIR@", self.0.path().to_str().context("not UTF-8")?);
        let env = Env::from_vars([("OTHER_TOKEN", "from-the-environment")]);
        Ok(config::parse(&text, &self.path("config.yaml"), env)?)
    }

    /// An executable shell script.
    pub(crate) fn script(&self, name: &str, text: &str) -> Result<PathBuf> {
        let path = self.path(name);
        let source = self.path(&format!("{name}.source"));
        fs::write(&source, format!("#!/bin/sh\n{text}"))?;
        // Copied by another process: where a thread forks meanwhile, running a file that this one wrote could fail
        // with ETXTBSY.
        let copied = std::process::Command::new("cp").arg(&source).arg(&path).status()?;
        ensure!(copied.success(), "cp failed");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o700))?;
        Ok(path)
    }
}

/// The value of a secret as text, or why there is none.
pub(crate) async fn read(manager: &dyn SecretManager, name: &str) -> Result<String, ErrorKind> {
    let request = ReadRequest::new(name).map_err(|error| error.kind())?;
    let secret = manager.async_read_secret(&request).await.map_err(|error| error.kind())?;
    secret.expose_str().map(str::to_owned).map_err(|error| error.kind())
}

/// The first example in a plugin's README.
pub(crate) fn example(plugin: &str) -> Result<String> {
    let path = build::repository().join("plugins").join(plugin).join("README.md");
    let text = fs::read_to_string(path)?;
    let (_, rest) = text.split_once("```yaml\n").context("no example")?;
    Ok(rest.split_once("```").context("an example without an end")?.0.to_owned())
}
