//! From a reference in the configuration to a running instance: every step, in order.

use std::{fmt, io, path::PathBuf, sync::Arc, thread, time::Duration};

use keyway_plugin_api::{Capabilities, SecretManager};
use serde_json::Value;
use tokio::sync::oneshot;
use zeroize::{Zeroize, Zeroizing};

use super::{
    LoadedPlugin, OpenError, Verified,
    client::Limits,
    handshake::{ManagerType, Plugin},
    locate::{self, LocateError, PluginReference, ReferenceError},
    open::{self as library, Turn},
    verify::{self, FileHash, TrustPolicy, VerifiedFile, VerifyError},
};

/// What is needed to load one manager.
pub struct PluginSpec {
    /// The manager's name in the configuration.
    pub name: String,
    /// What names the plugin: `module.Type`, or a path with an optional `:Type`.
    pub reference: String,
    /// The setting that holds the reference, for texts of errors.
    pub setting: String,
    /// The folder of the configuration.
    pub config_dir: PathBuf,
    /// Where to look beside it, in order.
    pub plugin_dirs: Vec<PathBuf>,
    /// The JSON object that [`load`] gives to the plugin; [`open`] does not look at it.
    pub config: Value,
    /// What the file must show before it is loaded.
    pub trust: TrustPolicy,
    /// How long opening the library (two seconds at least), and after that making the instance, may take.
    pub timeout: Duration,
    /// How many operations may be under way at once.
    pub max_in_flight: usize,
}

/// The plugin's configuration may hold secrets, so that it is left out.
impl fmt::Debug for PluginSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PluginSpec")
            .field("name", &self.name)
            .field("reference", &self.reference)
            .field("setting", &self.setting)
            .field("config_dir", &self.config_dir)
            .field("plugin_dirs", &self.plugin_dirs)
            .field("trust", &self.trust)
            .field("timeout", &self.timeout)
            .field("max_in_flight", &self.max_in_flight)
            .finish_non_exhaustive()
    }
}

/// What was loaded, and how it was verified.
#[derive(Clone, Debug)]
pub struct LoadReport {
    /// The manager's name in the configuration.
    pub name: String,
    /// The file that was found.
    pub path: PathBuf,
    /// Where the bytes that run are: in sealed memory, or in a private copy.
    pub copy: &'static str,
    /// The hash of those bytes.
    pub sha256: FileHash,
    /// Whether that hash is pinned.
    pub pinned: bool,
    /// The plugin's own name.
    pub plugin: String,
    /// The plugin's own version.
    pub version: String,
    /// Who made it.
    pub vendor: String,
    /// The version of the plugin interface that it was compiled against.
    pub abi: (u32, u32),
    /// By what its layout was verified.
    pub layout: Verified,
    /// The manager type that was taken.
    pub type_name: String,
    /// What the type says about itself.
    pub description: String,
    /// The JSON Schema of its configuration, when it has one.
    pub config_schema: Option<String>,
    /// What the instance can do.
    pub capabilities: Capabilities,
    /// What the operator should know.
    pub warnings: Vec<String>,
}

/// Why a plugin could not be loaded.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The reference names nothing.
    #[error("{setting} does not name a plugin")]
    Reference {
        /// The setting that holds it.
        setting: String,
        /// Why.
        #[source]
        source: ReferenceError,
    },
    /// No file was found.
    #[error(transparent)]
    Locate(#[from] LocateError),
    /// The file was refused before anything of it ran.
    #[error("the plugin that {setting} names ({reference}) is refused")]
    Verify {
        /// The setting that holds the reference.
        setting: String,
        /// Its value.
        reference: String,
        /// Why.
        #[source]
        source: Box<VerifyError>,
    },
    /// The library was refused, or made no instance.
    #[error("the plugin that {setting} names ({reference}) cannot be used")]
    Open {
        /// The setting that holds the reference.
        setting: String,
        /// Its value.
        reference: String,
        /// Why.
        #[source]
        source: Arc<OpenError>,
    },
}

/// Finds, verifies and opens a plugin and makes an instance; must be called inside a tokio runtime.
///
/// Nothing of the plugin runs before its file was verified, and what runs is a private copy of the bytes that were.
///
/// # Errors
/// [`LoadError`], whose chain names the setting, its value, each place looked in and the reason.
pub async fn load(mut spec: PluginSpec) -> Result<(Arc<LoadedPlugin>, LoadReport), LoadError> {
    // Wiped when it has been passed on, or will not be; what `config` was copied from is its owner's affair.
    let config_json = config_json(&mut spec.config);
    let (plugin, report) = open(spec).await?;
    let instance = plugin.create(config_json).await?;
    let capabilities = instance.capabilities();
    Ok((instance, LoadReport { capabilities, ..report }))
}

/// A plugin that was verified and opened: makes instances of one manager type, all of them from the same bytes.
pub struct OpenPlugin {
    plugin: &'static Plugin,
    manager_type: &'static ManagerType,
    name: String,
    setting: String,
    reference: String,
    limits: Limits,
}

impl OpenPlugin {
    /// Makes an instance; must be called inside a tokio runtime.
    ///
    /// # Errors
    /// [`LoadError::Open`] with the plugin's reason.
    pub async fn instance(&self, mut config: Value) -> Result<Arc<LoadedPlugin>, LoadError> {
        self.create(config_json(&mut config)).await
    }

    /// What an instance can do, as far as the type says so.
    pub fn capabilities(&self) -> Capabilities {
        self.manager_type.capabilities()
    }

    async fn create(&self, config: Zeroizing<String>) -> Result<Arc<LoadedPlugin>, LoadError> {
        let instance =
            LoadedPlugin::create(self.plugin, self.manager_type, &self.name, config, self.limits).await;
        instance.map(Arc::new).map_err(|source| LoadError::Open {
            setting: self.setting.clone(),
            reference: self.reference.clone(),
            source: Arc::new(source),
        })
    }
}

/// Finds, verifies and opens a plugin; must be called inside a tokio runtime.
///
/// # Errors
/// As [`load`].
pub async fn open(spec: PluginSpec) -> Result<(OpenPlugin, LoadReport), LoadError> {
    let PluginSpec {
        name,
        reference,
        setting,
        config_dir,
        plugin_dirs,
        config: _,
        trust,
        timeout,
        max_in_flight,
    } = spec;
    let parsed: PluginReference =
        reference.parse().map_err(|source| LoadError::Reference { setting: setting.clone(), source })?;
    let located = locate::locate(&parsed, &setting, &config_dir, &plugin_dirs)?;
    let pinned = !trust.sha256.is_empty();
    let refused = |source| LoadError::Verify {
        setting: setting.clone(),
        reference: reference.clone(),
        source: Box::new(source),
    };
    let unusable =
        |source| LoadError::Open { setting: setting.clone(), reference: reference.clone(), source };
    let in_setting = |source| unusable(Arc::new(source));
    let limit = timeout.max(SHORTEST_OPENING);
    let path = located.path.clone();
    let turn = Turn::of(&path, limit).await.map_err(in_setting)?;
    let verified = tokio::task::spawn_blocking(move || verify::verify(&path, &trust)).await;
    let file = verified.map_err(|_| in_setting(OpenError::Ended))?.map_err(refused)?;
    let (sha256, copy, file_warnings) = (file.sha256, file.sealed.describe(), file.warnings.clone());
    let plugin = open_apart(file, turn, limit).await.map_err(unusable)?;

    let manager_type = plugin.manager_type(located.type_name.as_deref()).map_err(in_setting)?;
    let passed_over = located.passed_over.iter().map(|file| format!("passed over {file}"));
    let report = LoadReport {
        name: name.clone(),
        path: located.path,
        copy,
        sha256,
        pinned,
        plugin: plugin.id.clone(),
        version: plugin.version.clone(),
        vendor: plugin.vendor.clone(),
        abi: plugin.abi,
        layout: plugin.layout,
        type_name: manager_type.name.clone(),
        description: manager_type.description.clone(),
        config_schema: manager_type.config_schema.clone(),
        capabilities: manager_type.capabilities(),
        warnings: passed_over.chain(file_warnings).collect(),
    };
    let limits = Limits { timeout, max_in_flight };
    Ok((OpenPlugin { plugin, manager_type, name, setting, reference, limits }, report))
}

/// The configuration as one text that is wiped when it goes, and overwrites the values that it was made of.
fn config_json(config: &mut Value) -> Zeroizing<String> {
    // The length first: a text that grows leaves copies of itself behind.
    let mut length = Length(0);
    let _ = serde_json::to_writer(&mut length, config); // neither of the two can fail
    let mut json = Zeroizing::new(Vec::with_capacity(length.0));
    let _ = serde_json::to_writer(&mut *json, config);
    wipe(config);
    Zeroizing::new(String::from_utf8(std::mem::take(&mut *json)).unwrap_or_default())
}

struct Length(usize);

impl io::Write for Length {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0 += bytes.len();
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn wipe(value: &mut Value) {
    match value {
        Value::String(text) => text.zeroize(),
        Value::Array(items) => items.iter_mut().for_each(wipe),
        Value::Object(entries) => entries.values_mut().for_each(wipe),
        _ => {}
    }
}

/// Less time than this is never given to opening a library.
const SHORTEST_OPENING: Duration = Duration::from_secs(2);

/// Opens the library on a thread of its own, since one whose constructors hang never gives it back.
async fn open_apart(file: VerifiedFile, turn: Turn, limit: Duration) -> library::Answer {
    let (sender, receiver) = oneshot::channel();
    let path = file.path.clone();
    let begun = thread::Builder::new().name("keyway-open".to_owned()).spawn(move || {
        let _ = sender.send(library::open(file, turn));
    });
    if begun.is_err() {
        return Err(Arc::new(OpenError::Ended));
    }
    match tokio::time::timeout(limit, receiver).await {
        Ok(Ok(opened)) => opened,
        Ok(Err(_)) => Err(Arc::new(OpenError::Ended)),
        Err(_) => Err(Arc::new(OpenError::Hangs { path, waited: limit })),
    }
}
