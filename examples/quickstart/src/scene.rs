//! The folder with the configuration and the plugin beside each other, and the upstream.

use std::{
    ffi::OsString,
    fs,
    path::{Path, PathBuf},
    process::Stdio,
};

use anyhow::{Context as _, Result, bail, ensure};
use mock_openai::{MockOpenAi, Options};
use tempfile::TempDir;
use tokio::{net::TcpListener, process::Command};

use crate::build::Built;

const MASTER_KEY: &str = "LITELLM_MASTER_KEY";
const DEMO_MASTER_KEY: &str = "sk-1234";

/// What the gateway is started on. The folder is removed when this goes.
pub(crate) struct Scene {
    folder: TempDir,
    pub(crate) upstream: MockOpenAi,
    pub(crate) master_key: String,
    master_key_is_ours: bool,
}

impl Scene {
    pub(crate) async fn set_up(built: &Built) -> Result<Self> {
        let folder = tempfile::Builder::new()
            .prefix("keyway-quickstart-")
            .tempdir()
            .context("cannot make a temporary folder")?;
        let config = Path::new(env!("CARGO_MANIFEST_DIR")).join("config.yaml");
        for file in [&config, &built.plugin] {
            let name = file.file_name().context("cannot copy a file without a name")?;
            fs::copy(file, folder.path().join(name))
                .with_context(|| format!("cannot copy {} to {}", file.display(), folder.path().display()))?;
        }
        let listener =
            TcpListener::bind("127.0.0.1:0").await.context("cannot find a free port for the upstream")?;
        let upstream =
            mock_openai::serve(listener, Options::default()).context("cannot start the upstream")?;
        let (master_key, master_key_is_ours) = master_key()?;
        Ok(Self { folder, upstream, master_key, master_key_is_ours })
    }

    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The names in the folder.
    pub(crate) fn files(&self) -> Vec<String> {
        let entries = fs::read_dir(self.folder()).into_iter().flatten().flatten();
        let mut names: Vec<String> =
            entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
        names.sort();
        names
    }

    pub(crate) fn config(&self) -> PathBuf {
        self.folder().join("config.yaml")
    }

    /// Where the master key is from. Only the demonstration's own is ever shown.
    pub(crate) fn master_key_origin(&self) -> String {
        match self.master_key_is_ours {
            true => format!("{DEMO_MASTER_KEY}, for this demonstration, since {MASTER_KEY} is not set"),
            false => format!("the value of {MASTER_KEY}"),
        }
    }

    /// How a person writes the master key in a shell.
    pub(crate) fn master_key_in_shell(&self) -> String {
        if self.master_key_is_ours { DEMO_MASTER_KEY.to_owned() } else { format!("${MASTER_KEY}") }
    }

    /// A command with the variables that the configuration refers to.
    pub(crate) fn command(&self, keyway: &Path) -> Command {
        let mut command = Command::new(keyway);
        command
            .env(MASTER_KEY, &self.master_key)
            .env("QUICKSTART_API_BASE", self.upstream.base())
            .stdin(Stdio::null())
            .kill_on_drop(true);
        command
    }

    /// What the plugin holds, by way of the command line.
    pub(crate) async fn ask_plugin(&self, keyway: &Path) -> Result<String> {
        let mut command = self.command(keyway);
        command.args(["secret", "get", "OPENAI_API_KEY", "--config"]).arg(self.config());
        let output = command.output().await.context("cannot run keyway")?;
        if !output.status.success() {
            bail!("keyway cannot read the secret:\n{}", String::from_utf8_lossy(&output.stderr).trim_end());
        }
        let value = String::from_utf8(output.stdout).context("the plugin's key is not text")?;
        ensure!(!value.is_empty(), "the plugin's key is empty");
        Ok(value)
    }

    /// Whether exactly one request came, and with the plugin's key.
    pub(crate) fn check_upstream(&self, held: &str) -> Result<()> {
        let requests = self.upstream.requests();
        let [request] = requests.as_slice() else {
            bail!("the upstream received {} requests instead of one", requests.len());
        };
        ensure!(
            request.authorization() == Some(&format!("Bearer {held}")),
            "the upstream received another credential than the one that the plugin holds"
        );
        ensure!(
            !request.headers.values().any(|value| contains(value.as_bytes(), self.master_key.as_bytes())),
            "the upstream received the master key of the gateway"
        );
        Ok(())
    }
}

fn contains(text: &[u8], part: &[u8]) -> bool {
    text.windows(part.len()).any(|window| window == part)
}

/// The master key and whether it is the demonstration's own.
fn master_key() -> Result<(String, bool)> {
    #[expect(
        clippy::disallowed_methods,
        reason = "this program is no part of the host and reads one variable"
    )]
    let value: OsString = std::env::var_os(MASTER_KEY).unwrap_or_default();
    match value.into_string() {
        Ok(value) if value.is_empty() => Ok((DEMO_MASTER_KEY.to_owned(), true)),
        Ok(value) => Ok((value, false)),
        Err(_) => bail!("the value of {MASTER_KEY} is not text; set it to a key that begins with `sk-`"),
    }
}
