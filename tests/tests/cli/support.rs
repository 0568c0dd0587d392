//! Configurations that most tests begin with.

use keyway_tests::cli::{Folder, Ran};

/// The memory plugin's library beside a configuration that uses it; what follows is added to the settings.
pub(crate) fn memory(settings: &str) -> Folder {
    let folder = Folder::new().unwrap();
    folder.plugin("keyway-plugin-memory").unwrap();
    folder.write("config.yaml", memory_config(settings)).unwrap();
    folder
}

/// A configuration that uses the memory plugin under the name `memory`.
pub(crate) fn memory_config(settings: &str) -> String {
    format!(
        "\
general_settings:
  master_key: os.environ/LITELLM_MASTER_KEY
  key_management_system: custom
  key_management_settings:
    custom_secret_manager: memory
{settings}
keyway:
  managers:
    memory:
      plugin: keyway_memory.InMemorySecretManager
      config:
        secrets:
          OPENAI_API_KEY: example-key-of-the-store
          TWO_LINES: \"first\\nsecond\\n\"
model_list:
  - model_name: gpt-4
    litellm_params:
      model: openai/gpt-4
      api_key: os.environ/OPENAI_API_KEY
"
    )
}

/// Serves a configuration that must be refused.
pub(crate) fn refused(config: &str) -> Ran {
    let folder = Folder::new().unwrap();
    folder.write("config.yaml", config).unwrap();
    folder.run(&["--config", "config.yaml", "--port", "0"]).unwrap()
}
