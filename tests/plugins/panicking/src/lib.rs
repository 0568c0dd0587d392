//! A plugin that panics in whichever function it is told to, at once or after an await.
#![forbid(unsafe_code)]

use std::{future::poll_fn, task::Poll};

use keyway_plugin_api::{
    Capabilities, DeleteRequest, ListRequest, ManagerType, ReadRequest, Result, RotateRequest, Secret,
    SecretManager, WriteReceipt, WriteRequest, async_trait, export_plugin, schemars::JsonSchema,
    serde::Deserialize,
};

/// Where an instance panics.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(crate = "keyway_plugin_api::serde", rename_all = "lowercase")]
#[schemars(crate = "keyway_plugin_api::schemars")]
pub enum Place {
    /// Nowhere.
    #[default]
    Nowhere,
    /// While it is made.
    Create,
    /// In the health check.
    Health,
    /// In the shutdown.
    Shutdown,
    /// In its destructor.
    Drop,
}

/// The settings of an instance.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(crate = "keyway_plugin_api::serde", deny_unknown_fields)]
#[schemars(crate = "keyway_plugin_api::schemars")]
pub struct Config {
    /// Where it panics whatever the request says.
    #[serde(default)]
    pub place: Place,
    /// A setting of another type than text.
    #[serde(default)]
    pub port: u16,
}

/// Panics when a name or a prefix says `panic`, after an await when it says `panic later`.
pub struct Panicking(Place);

/// The same with a blocking read only.
pub struct PanickingSync;

/// Suspends once, so that what follows runs in the plugin's runtime.
async fn suspend() {
    let mut suspended = false;
    poll_fn(|context| {
        if std::mem::replace(&mut suspended, true) {
            return Poll::Ready(());
        }
        context.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

/// Panics when it goes.
struct Bomb;

impl Drop for Bomb {
    fn drop(&mut self) {
        assert!(std::thread::panicking(), "dropped: {SHOWN_NOWHERE}");
    }
}

fn obey(name: &str) {
    if name == "panic with a bomb" {
        std::panic::panic_any(Bomb);
    }
    assert!(name != "panic", "told to panic, with a text that no log may show: {SHOWN_NOWHERE}");
}

/// What the panics say.
const SHOWN_NOWHERE: &str = "sk-test-not-a-key-in-a-panic";

async fn obey_later(name: &str) {
    obey(name);
    if name == "hold a bomb" {
        let _bomb = Bomb;
        std::future::pending::<()>().await;
    }
    if name.ends_with(" later") {
        suspend().await;
        obey(name.trim_end_matches(" later"));
    }
}

impl Panicking {
    fn obey_config(&self, place: Place) {
        assert!(self.0 != place, "configured to panic: {SHOWN_NOWHERE}");
    }
}

impl Drop for Panicking {
    fn drop(&mut self) {
        self.obey_config(Place::Drop);
    }
}

impl ManagerType for Panicking {
    type Config = Config;

    const DESCRIPTION: &'static str = "Panics when it is told to";
    const CAPABILITIES: Capabilities = Capabilities::READ_WRITE
        .union(Capabilities::ROTATE)
        .union(Capabilities::LIST)
        .union(Capabilities::HEALTH);

    fn create(config: Config) -> Result<Self> {
        tracing::info!(place = ?config.place, "made an instance");
        let made = Self(config.place);
        made.obey_config(Place::Create);
        Ok(made)
    }
}

impl ManagerType for PanickingSync {
    type Config = Config;

    const CAPABILITIES: Capabilities = Capabilities::SYNC_READ;

    fn create(config: Config) -> Result<Self> {
        Panicking::create(config).map(|_| Self)
    }
}

#[async_trait]
impl SecretManager for Panicking {
    async fn async_read_secret(&self, request: &ReadRequest) -> Result<Secret> {
        obey_later(&request.name).await;
        Ok("sk-test-not-a-key".into())
    }

    async fn async_write_secret(&self, request: &WriteRequest) -> Result<WriteReceipt> {
        obey_later(&request.name).await;
        Ok(WriteReceipt::default())
    }

    async fn async_delete_secret(&self, request: &DeleteRequest) -> Result<()> {
        obey_later(&request.name).await;
        Ok(())
    }

    async fn async_rotate_secret(&self, request: RotateRequest) -> Result<WriteReceipt> {
        obey_later(&request.new_name).await;
        Ok(WriteReceipt::default())
    }

    async fn async_list_secrets(&self, request: &ListRequest) -> Result<Vec<String>> {
        obey_later(&request.prefix).await;
        Ok(Vec::new())
    }

    async fn health_check(&self) -> Result<()> {
        suspend().await;
        self.obey_config(Place::Health);
        Ok(())
    }

    async fn shutdown(&self) {
        self.obey_config(Place::Shutdown);
    }
}

#[async_trait]
impl SecretManager for PanickingSync {
    fn sync_read_secret(&self, request: &ReadRequest) -> Result<Secret> {
        obey(&request.name);
        Ok("sk-test-not-a-key".into())
    }
}

export_plugin!(Panicking, PanickingSync);
