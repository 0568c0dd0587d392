//! The configurations that LiteLLM's documentation publishes load verbatim and mean what it says.

use std::path::Path;

use super::*;

const PUBLISHED: &str = "\
general_settings:
  master_key: os.environ/LITELLM_MASTER_KEY
  key_management_system: custom
  key_management_settings:
    custom_secret_manager: my_secret_manager.InMemorySecretManager

model_list:
  - model_name: gpt-4
    litellm_params:
      model: openai/gpt-4
      api_key: os.environ/OPENAI_API_KEY  # read from the custom secret manager
";

const SECOND_MODEL: &str = "  - model_name: claude-3-5-sonnet
    litellm_params:
      model: anthropic/claude-3-5-sonnet-20241022
      api_key: os.environ/ANTHROPIC_API_KEY
";

fn load(text: &str) -> Config {
    parse(text, Path::new("/etc/keyway/config.yaml"), Env::from_vars([("UNUSED", "")])).unwrap()
}

fn with_settings(block: &str) -> Config {
    load(&format!("general_settings:\n  key_management_system: custom\n  key_management_settings:\n{block}"))
}

fn key_management(config: Config) -> KeyManagement {
    config.key_management.unwrap()
}

#[test]
fn the_published_file_loads_verbatim() {
    let config = load(PUBLISHED);
    assert!(config.warnings.is_empty(), "{:?}", config.warnings);
    assert_eq!(config.dir, Path::new("/etc/keyway"));
    assert_eq!(
        config.master_key.as_ref().and_then(Setting::reference),
        Some("os.environ/LITELLM_MASTER_KEY")
    );
    let [model] = config.models.as_slice() else { panic!("one model") };
    assert_eq!((model.model_name.as_str(), model.model.as_str()), ("gpt-4", "openai/gpt-4"));
    assert_eq!(model.api_key.as_ref().and_then(Setting::reference), Some("os.environ/OPENAI_API_KEY"));
    assert!(model.params.is_empty());
    let settings = key_management(config);
    assert_eq!(settings.manager.plugin().unwrap().reference, "my_secret_manager.InMemorySecretManager");
    assert_eq!(settings.manager.plugin().unwrap().config, serde_json::json!({}));
    assert_eq!(settings.manager.timeout.as_secs(), 5);
    assert_eq!((settings.access_mode, settings.hosted_keys), (AccessMode::ReadOnly, None));
}

#[test]
fn its_references_stand_where_an_editor_finds_them() {
    let places: Vec<String> = load(PUBLISHED)
        .references
        .iter()
        .map(|reference| format!("{} {}", reference.name(), reference.places()[0]))
        .collect();
    assert_eq!(
        places,
        [
            "LITELLM_MASTER_KEY /etc/keyway/config.yaml:2:15 (general_settings.master_key)",
            "OPENAI_API_KEY /etc/keyway/config.yaml:11:16 (model_list[0].litellm_params.api_key)",
        ]
    );
}

#[test]
fn the_longer_example_has_both_models() {
    let config = load(&format!("{PUBLISHED}{SECOND_MODEL}"));
    let models: Vec<&str> = config.models.iter().map(|model| model.model.as_str()).collect();
    assert_eq!(models, ["openai/gpt-4", "anthropic/claude-3-5-sonnet-20241022"]);
    assert_eq!(config.references.len(), 3);
}

#[test]
fn read_keys_only_allows_exactly_those_names() {
    let settings = key_management(with_settings(
        "    custom_secret_manager: my_secret_manager.InMemorySecretManager\n    hosted_keys: [\"OPENAI_API_KEY\", \"ANTHROPIC_API_KEY\"]\n",
    ));
    let names = settings.hosted_keys.unwrap();
    assert_eq!(names, ["OPENAI_API_KEY", "ANTHROPIC_API_KEY"]);
    assert!(!settings.store_virtual_keys);
}

#[test]
fn store_virtual_keys_loads_and_says_that_the_key_api_is_missing() {
    let config = with_settings(
        "    custom_secret_manager: my_secret_manager.InMemorySecretManager
    access_mode: \"write_only\"
    store_virtual_keys: true
    prefix_for_stored_virtual_keys: \"litellm/\"
    description: \"LiteLLM virtual key\"
    tags: {Environment: \"Production\", Team: \"AI\"}
",
    );
    let [warning] = config.warnings.as_slice() else { panic!("one warning: {:?}", config.warnings) };
    assert!(warning.to_string().starts_with(
        "/etc/keyway/config.yaml:6:25: general_settings.key_management_settings.store_virtual_keys:"
    ));
    let settings = key_management(config);
    assert_eq!(settings.access_mode, AccessMode::WriteOnly);
    assert_eq!(settings.prefix_for_stored_virtual_keys, "litellm/");
    assert_eq!(settings.description.as_deref(), Some("LiteLLM virtual key"));
    assert_eq!(settings.tags, Some(serde_json::json!({"Environment": "Production", "Team": "AI"})));
    let params: serde_json::Value = settings.optional_params.parse().unwrap();
    assert_eq!(params["tags"]["Team"], "AI");
    assert_eq!(params["store_virtual_keys"], true);
    assert_eq!(params.as_object().unwrap().len(), 6);
}

#[test]
fn read_and_write_has_both() {
    let settings = key_management(with_settings(
        "    custom_secret_manager: my_secret_manager.InMemorySecretManager
    access_mode: \"read_and_write\"
    hosted_keys: [\"OPENAI_API_KEY\"]
    store_virtual_keys: true
    prefix_for_stored_virtual_keys: \"litellm/\"
",
    ));
    assert_eq!(settings.access_mode, AccessMode::ReadAndWrite);
    assert_eq!(settings.hosted_keys, Some(vec!["OPENAI_API_KEY".to_owned()]));
    assert!(settings.store_virtual_keys);
}

#[test]
fn settings_attach_to_the_published_lines_without_changing_them() {
    let pin = "ab".repeat(32);
    let config = load(&format!(
        "{PUBLISHED}
keyway:
  managers:
    my_secret_manager.InMemorySecretManager:
      config: {{secrets: {{OPENAI_API_KEY: sk-test-not-a-key}}}}
      timeout: 250ms
      sha256: sha256:{pin}
      isolation: in_process
"
    ));
    let manager = key_management(config).manager;
    assert_eq!(manager.plugin().unwrap().reference, "my_secret_manager.InMemorySecretManager");
    assert_eq!(manager.plugin().unwrap().config["secrets"]["OPENAI_API_KEY"], "sk-test-not-a-key");
    assert_eq!(manager.timeout.as_millis(), 250);
    assert_eq!(manager.plugin().unwrap().sha256, [[0xab; 32]]);
    assert_eq!(manager.setting, "keyway.managers.\"my_secret_manager.InMemorySecretManager\"");
}

#[test]
fn no_slip_in_the_published_file_panics_and_every_error_names_the_file() {
    let path = Path::new("config.yaml");
    let check = |text: &str| {
        if let Err(error) = parse(text, path, Env::from_vars([("UNUSED", "")])) {
            assert!(error.to_string().contains("config.yaml"), "{error}");
        }
    };
    for at in (0..PUBLISHED.len()).filter(|at| PUBLISHED.is_char_boundary(*at)) {
        check(&PUBLISHED[..at]);
        for slip in [
            "[", "]", "{", "}", ":", "&a ", "*a ", "!t ", "\"", "'", "|", ">", "- ", "#", "%", "\t", "\n",
            "<<: ", "\0",
        ] {
            check(&format!("{}{slip}{}", &PUBLISHED[..at], &PUBLISHED[at..]));
            check(&format!("{}{slip}{}", &PUBLISHED[..at], &PUBLISHED[at + 1..]));
        }
    }
}
