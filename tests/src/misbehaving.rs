//! The misbehaving plugin, and questions to one of its instances about another.

use std::sync::Arc;

use anyhow::{Context, Result};
use keyway::loader::{LoadedPlugin, PluginSpec};
use keyway_plugin_api::{Error, ReadRequest, Secret, SecretManager};

use crate::{build, plugin};

/// What the plugin answers when nothing else is asked of it.
pub const VALUE: &[u8] = b"sk-test-not-a-key";

/// How to load the instance `name` of one of its types; names are unique in the process.
///
/// # Errors
/// When it cannot be built.
pub fn spec(name: &str, type_name: &str) -> Result<PluginSpec> {
    Ok(plugin::spec_of(name, build::misbehaving()?, type_name))
}

/// An instance of one of its types.
///
/// # Errors
/// When it cannot be built or loaded.
pub async fn instance(name: &str, type_name: &str) -> Result<Arc<LoadedPlugin>> {
    Ok(plugin::load(spec(name, type_name)?).await?.0)
}

/// Reads a secret, whose name is what the plugin is told to do.
///
/// # Errors
/// What the manager answers.
pub async fn read(manager: &dyn SecretManager, name: &str) -> Result<Secret, Error> {
    manager.async_read_secret(&ReadRequest::new(name)?).await
}

/// An instance that is asked about others and lets them go on.
pub struct Control(Arc<LoadedPlugin>);

impl Control {
    /// Makes one of a name of its own.
    ///
    /// # Errors
    /// As [`instance`].
    pub async fn new(name: &str) -> Result<Self> {
        instance(name, "Misbehaving").await.map(Control)
    }

    /// Lets everything go on that waits in an instance.
    ///
    /// # Errors
    /// When the plugin does not answer.
    pub async fn open(&self, name: &str) -> Result<()> {
        self.ask(&format!("open/{name}")).await.map(drop)
    }

    /// Waits until so many operations have entered an instance.
    ///
    /// # Errors
    /// When that does not happen.
    pub async fn entered(&self, name: &str, count: usize) -> Result<()> {
        self.ask(&format!("wait/entered/{name}/{count}")).await.map(drop)
    }

    /// Waits until so many operations of an instance were cancelled.
    ///
    /// # Errors
    /// When that does not happen.
    pub async fn cancelled(&self, name: &str, count: usize) -> Result<()> {
        self.ask(&format!("wait/cancelled/{name}/{count}")).await.map(drop)
    }

    /// Waits until an instance was shut down and destroyed, or so many of these have happened.
    ///
    /// # Errors
    /// When that does not happen.
    pub async fn ended(&self, name: &str, count: usize) -> Result<()> {
        self.ask(&format!("wait/ended/{name}/{count}")).await.map(drop)
    }

    /// The most operations that were inside an instance at once.
    ///
    /// # Errors
    /// When the plugin does not answer.
    pub async fn peak(&self, name: &str) -> Result<usize> {
        Ok(self.ask(&format!("peak/{name}")).await?.parse()?)
    }

    /// What was called on an instance, in order.
    ///
    /// # Errors
    /// When the plugin does not answer.
    pub async fn journal(&self, name: &str) -> Result<String> {
        self.ask(&format!("journal/{name}")).await
    }

    async fn ask(&self, question: &str) -> Result<String> {
        let mut request = ReadRequest::new(question)?;
        request.timeout = std::time::Duration::from_secs(60);
        let answer = self.0.async_read_secret(&request).await;
        Ok(answer.with_context(|| question.to_owned())?.expose_str()?.to_owned())
    }
}
