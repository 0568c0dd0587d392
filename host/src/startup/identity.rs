//! Whether two configurations ask the same manager for their secrets.

use std::io;

use serde::Serialize;
use sha2::{Digest as _, Sha256};

use crate::config::{Config, ManagerSettings, ManagerSource};

/// Equal for two configurations whose names mean the same secrets: those of one manager with the same settings.
///
/// It is a hash, since the settings may hold secrets that must not stay in memory.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Identity([u8; 32]);

struct Hashing(Sha256);

impl Identity {
    pub(super) fn of(config: &Config) -> Self {
        let mut hashing = Hashing(Sha256::new());
        if let Some(settings) = &config.key_management {
            settings.needed.iter().for_each(|manager| hashing.manager(manager));
            hashing.manager(&settings.manager);
            hashing.add(&settings.optional_params.as_json());
        }
        Identity(hashing.0.finalize().into())
    }
}

impl Hashing {
    fn manager(&mut self, manager: &ManagerSettings) {
        match &manager.source {
            ManagerSource::Plugin(plugin) => {
                self.add(&(&manager.name, "plugin", &plugin.reference, &plugin.config, &plugin.secrets_from));
            }
            ManagerSource::Chain { members, .. } => self.add(&(&manager.name, "chain", members)),
            ManagerSource::Replicas { members } => self.add(&(&manager.name, "replicas", members)),
        }
    }

    /// As JSON, which says itself where it ends.
    fn add(&mut self, part: &impl Serialize) {
        // Neither of the two can fail.
        let _ = serde_json::to_writer(self, part);
    }
}

impl io::Write for Hashing {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config::{Env, parse};

    fn identity(management: &str, managers: &str) -> Identity {
        let text = format!(
            "general_settings: {{key_management_system: custom, key_management_settings: {{{management}}}}}\n\
             keyway: {{managers: {{{managers}}}}}\n"
        );
        let none: [(&str, &str); 0] = [];
        Identity::of(&parse(&text, Path::new("config.yaml"), Env::from_vars(none)).unwrap())
    }

    #[test]
    fn another_time_limit_is_no_other_manager_and_other_settings_are() {
        let one = identity("custom_secret_manager: a", "a: {plugin: p.Q, config: {url: x}}");
        let same = identity("custom_secret_manager: a", "a: {plugin: p.Q, config: {url: x}, timeout: 9s}");
        assert!(one == same);
        for (management, managers) in [
            ("custom_secret_manager: a", "a: {plugin: p.Q, config: {url: y}}"),
            ("custom_secret_manager: a", "a: {plugin: p.R, config: {url: x}}"),
            ("custom_secret_manager: b", "b: {plugin: p.Q, config: {url: x}}"),
            ("custom_secret_manager: a, primary_secret_name: s", "a: {plugin: p.Q, config: {url: x}}"),
        ] {
            assert!(one != identity(management, managers), "{management} {managers}");
        }
    }
}
