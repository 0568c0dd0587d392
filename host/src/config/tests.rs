//! What bad input gets, and what settings mean.

use std::{path::Path, time::Duration};

use super::*;

const CUSTOM: &str = "general_settings:\n  key_management_system: custom\n  key_management_settings:\n    custom_secret_manager: a.B\n";

fn env() -> Env {
    Env::from_vars([("TOKEN", "sk-test-not-a-key"), ("SLOW", "30"), ("BASE", "https://example.test")])
}

fn load(text: &str) -> Config {
    parse(text, Path::new("config.yaml"), env()).unwrap()
}

fn error(text: &str) -> String {
    parse(text, Path::new("config.yaml"), env()).unwrap_err().to_string()
}

fn custom(more: &str) -> String {
    format!("{CUSTOM}{more}")
}

fn model(params: &str) -> String {
    format!("model_list:\n- model_name: m\n  litellm_params:\n    model: openai/m\n{params}")
}

#[test]
fn a_file_that_cannot_be_read_says_which_and_what_to_check() {
    let folder = tempfile::tempdir().unwrap();
    let missing = folder.path().join("config.yaml");
    let error = super::load(&missing).unwrap_err();
    assert!(error.to_string().contains("config.yaml; check the path"), "{error}");
    assert!(std::error::Error::source(&error).is_some());

    fs::write(&missing, b"a: b\nc: \xff\n").unwrap();
    assert!(super::load(&missing).unwrap_err().to_string().contains("config.yaml:2: "));

    fs::write(&missing, "# nothing\n\n").unwrap();
    assert!(super::load(&missing).unwrap_err().to_string().contains("is empty"));

    fs::write(&missing, "model_list: []\n").unwrap();
    assert_eq!(super::load(&missing).unwrap().dir, folder.path());
}

#[test]
fn yaml_that_does_not_parse_has_line_and_column() {
    let error = error("model_list:\n  - model_name: gpt-4\n   litellm_params: {}\n");
    assert!(error.starts_with("config.yaml:3:4: this is not valid YAML: "), "{error}");
}

#[test]
fn a_wrong_type_names_setting_expected_and_found() {
    assert_eq!(error("model_list: 5\n"), "config.yaml:1:13: model_list: expected a list, found a number");
    assert_eq!(error("- a\n"), "config.yaml:1:3: expected a mapping of sections, found a list");
    assert_eq!(
        error("general_settings:\n  master_key: 1234\n"),
        "config.yaml:2:15: general_settings.master_key: expected text, found a number; put it in quotes"
    );
    assert_eq!(
        error(&model("    rpm: [1]\n")),
        "config.yaml:5:11: model_list[0].litellm_params.rpm: expected a number of zero or more, found a list"
    );
    assert_eq!(
        error(&model("    num_retries: 1.5\n")),
        "config.yaml:5:18: model_list[0].litellm_params.num_retries: expected a whole number"
    );
    assert!(
        error(&custom("    tags: production\n"))
            .contains("key_management_settings.tags: expected a mapping or a list")
    );
}

#[test]
fn a_missing_or_duplicate_key_is_named() {
    let missing = error("model_list:\n- model_name: m\n  litellm_params: {api_key: x}\n");
    assert!(missing.contains("model_list[0].litellm_params: the key `model` is missing"), "{missing}");
    assert!(
        error("model_list: []\nmodel_list: []\n")
            .contains("config.yaml:2:1: the key `model_list` stands twice")
    );
}

#[test]
fn an_unknown_key_of_ours_is_refused_with_the_nearest() {
    let text = error("keyway:\n  managers:\n    m:\n      plugins: x\n");
    assert!(
        text.starts_with("config.yaml:4:7: keyway.managers.m: unknown key `plugins`; did you mean `plugin`?"),
        "{text}"
    );
    assert!(error("keyway: {on_eror: fail}\n").contains("did you mean `on_error`?"));
    assert!(error("keyway: {on_error: ignore}\n").contains("`ignore` is not one of `fail`, `environment`"));
}

#[test]
fn an_unknown_key_management_setting_warns_and_is_refused_when_strict() {
    let text = custom("    hosted_key: [A]\n    acme_region: eu\n");
    let config = load(&text);
    let warnings: Vec<String> = config.warnings.iter().map(ToString::to_string).collect();
    assert!(
        warnings[0]
            .starts_with("config.yaml:5:5: general_settings.key_management_settings.hosted_key: unknown key")
    );
    assert!(warnings[0].ends_with("did you mean `hosted_keys`?"), "{}", warnings[0]);
    assert_eq!(warnings.len(), 2);
    let params: serde_json::Value = config.key_management.unwrap().optional_params.parse().unwrap();
    assert_eq!(params["acme_region"], "eu");

    let strict = error(&format!("{text}keyway: {{strict_config: true}}\n"));
    assert!(
        strict
            .contains("config.yaml:5:5: general_settings.key_management_settings: unknown key `hosted_key`")
    );
}

#[test]
fn other_systems_and_slips_say_what_to_write() {
    let system = |name: &str| error(&custom("").replace("system: custom", &format!("system: {name}")));
    assert!(system("hashicorp_vault").contains("no plugin for HashiCorp Vault is bundled with this version"));
    assert!(system("Custom").contains("case matters; write `custom`"));
    assert!(system("costum").contains("did you mean `custom`?"));
    assert!(system("vaultron").contains("`vaultron` is not known; write `custom`"));
}

#[test]
fn half_of_key_management_is_refused_with_the_other_half() {
    let no_system = error("general_settings:\n  key_management_settings: {custom_secret_manager: a.B}\n");
    assert!(no_system.contains("add `key_management_system: custom`"), "{no_system}");
    for text in [
        "general_settings: {key_management_system: custom}\n",
        "general_settings: {key_management_system: custom, key_management_settings: {}}\n",
        "general_settings: {key_management_system: custom, key_management_settings: {custom_secret_manager: ''}}\n",
    ] {
        assert!(
            error(text).contains("needs `general_settings.key_management_settings.custom_secret_manager`")
        );
    }
}

#[test]
fn storing_virtual_keys_read_only_is_refused_with_the_fix() {
    let text = error(&custom("    store_virtual_keys: yes\n"));
    assert!(text.starts_with("config.yaml:5:25: "), "{text}");
    assert!(text.contains("set `access_mode: read_and_write`"));
}

#[test]
fn names_and_prefixes_are_brought_into_one_form() {
    let text = custom(
        "    hosted_keys: [os.environ/A, B]\n    prefix_for_stored_virtual_keys: team\n    primary_secret_name: all\n",
    );
    let settings = load(&text).key_management.unwrap();
    assert_eq!(settings.hosted_keys, Some(vec!["A".to_owned(), "B".to_owned()]));
    assert_eq!(settings.prefix_for_stored_virtual_keys, "team/");
    assert_eq!(settings.primary_secret_name.as_deref(), Some("all"));
    assert_eq!(load(&custom("    hosted_keys: []\n")).key_management.unwrap().hosted_keys, Some(vec![]));
}

#[test]
fn a_manager_by_name_has_its_plugin_and_its_config_from_the_environment_only() {
    let text = custom("").replace("a.B", "vault")
        + "keyway:\n  managers:\n    vault: {plugin: ./libvault.so, config: {auth: {token: os.environ/TOKEN}}}\n    idle: {config: {t: os.environ/NOWHERE}}\n";
    let config = load(&text);
    assert!(config.references.is_empty());
    assert!(!format!("{config:?}").contains("sk-test-not-a-key"));
    let manager = config.key_management.unwrap().manager;
    let plugin = manager.plugin().unwrap();
    assert_eq!((manager.name.as_str(), plugin.reference.as_str()), ("vault", "./libvault.so"));
    assert_eq!(manager.setting, "keyway.managers.vault.plugin");
    assert_eq!(plugin.config["auth"]["token"], "sk-test-not-a-key");

    let unresolved = error(&text.replace("TOKEN", "NOWHERE"));
    assert!(
        unresolved.contains("keyway.managers.vault.config.auth.token: os.environ/NOWHERE cannot be resolved")
    );
    assert!(unresolved.contains("NOWHERE is not set"));
    assert!(error(&text.replace(": vault\n", ": vaul\n")).contains("did you mean `vault`?"));
}

#[test]
fn what_does_not_exist_yet_is_refused_clearly() {
    assert!(error("keyway: {managers: {m: {isolation: process}}}\n").contains("use `in_process`"));
    assert!(error("keyway: {trust: {require: signature}}\n").contains("does not check signatures yet"));
    assert!(error("include: [other.yaml]\n").contains("`include` is not supported"));
    assert!(error("keyway: {managers: {m: {sha256: [abc]}}}\n").contains("expected 64 hexadecimal digits"));
}

#[test]
fn our_settings_have_defaults_and_folders_begin_at_the_file() {
    let text = "keyway: {plugin_dirs: [plugins, /opt/p], max_body: 10MiB, on_error: environment, trust: {require: pin}}\n";
    let keyway = parse(text, Path::new("/etc/k/c.yaml"), env()).unwrap().keyway;
    assert_eq!(keyway.plugin_dirs, [Path::new("/etc/k/plugins"), Path::new("/opt/p")]);
    assert_eq!((keyway.max_body, keyway.trust), (10 << 20, TrustRequirement::Pin));
    assert_eq!(keyway.on_error, OnError::Environment);
    let keyway = load("model_list: []\n").keyway;
    assert_eq!((keyway.max_body, keyway.trust), (DEFAULT_MAX_BODY, TrustRequirement::Ownership));
}

#[test]
fn a_model_has_typed_limits_and_keeps_its_other_params_in_order() {
    let text = model(
        "    api_key: literal\n    api_base: os.environ/BASE\n    timeout: os.environ/SLOW\n    weight: 2\n    rpm: '60'\n    zeta: 1\n    api_version: os.environ/VERSION\n    extra_headers: {x-key: os.environ/HEADER}\n",
    );
    let config = load(&text);
    let model = &config.models[0];
    assert_eq!(
        (model.timeout, model.weight, model.rpm),
        (Some(Duration::from_secs(30)), Some(2.0), Some(60))
    );
    assert_eq!(model.api_key.as_ref().unwrap().literal().unwrap().expose_bytes(), b"literal");
    assert_eq!(model.api_base.as_ref().and_then(Setting::reference), Some("os.environ/BASE"));
    let keys: Vec<&str> = model.params.iter().map(|(key, _)| key.as_str()).collect();
    assert_eq!(keys, ["zeta", "api_version", "extra_headers"]);
    assert_eq!(model.params[1].1, Param::Reference("os.environ/VERSION".to_owned()));
    let names: Vec<&str> = config.references.iter().map(Reference::name).collect();
    assert_eq!(names, ["BASE", "VERSION", "HEADER"]);
    assert!(
        error(&text.replace("SLOW", "NOWHERE")).contains("litellm_params.timeout: os.environ/NOWHERE cannot")
    );
}

#[test]
fn router_settings_win_over_litellm_settings_and_strangers_are_tolerated() {
    let router = load(
        "litellm_settings: {num_retries: 5, request_timeout: 10, drop_params: true, callbacks: [x], fallbacks: [{a: [b]}]}\nrouter_settings: {num_retries: 1, cooldown_time: 5, model_group_alias: {x: y, z: {model: w, hidden: true}}, default_fallbacks: [d], routing_strategy: s}\n",
    )
    .router;
    assert_eq!((router.num_retries, router.timeout), (Some(1), Some(Duration::from_secs(10))));
    let default = &router.fallbacks[0];
    assert_eq!((default.model.as_str(), &*default.then), ("*", &["d".to_owned()][..]));
    assert_eq!((default.setting.as_str(), router.fallbacks.len()), ("router_settings.default_fallbacks", 1));
    let aliases = router.model_group_alias.iter();
    let aliases: Vec<_> =
        aliases.map(|other| (other.alias.as_str(), other.model.as_str(), other.hidden)).collect();
    assert_eq!(aliases, [("x", "y", false), ("z", "w", true)]);
    let text = error("router_settings:\n  model_group_alias:\n    x: 5\n");
    assert!(
        text.starts_with("config.yaml:3:8: router_settings.model_group_alias.x: expected the name"),
        "{text}"
    );
}

#[test]
fn environment_variables_are_what_the_environment_falls_back_to() {
    let env = load(
        "environment_variables: {TOKEN: other, NEW: 5, COPY: os.environ/TOKEN, GONE: os.environ/NOWHERE}\n",
    )
    .env;
    assert_eq!(env.get("TOKEN").unwrap().expose_bytes(), b"sk-test-not-a-key");
    assert_eq!(env.get("NEW").unwrap().expose_bytes(), b"5");
    assert_eq!(env.get("COPY").unwrap().expose_bytes(), b"sk-test-not-a-key");
    assert_eq!(env.get("GONE").unwrap_err(), Absent::NotSet);
}

#[test]
fn slips_in_section_names_are_pointed_out() {
    let config = load(
        "router_setting: {}\ngeneral_settings: {master_keys: x, database_url: y}\nkeyway: {managers: {m: {}}}\n",
    );
    let warnings: Vec<String> = config.warnings.iter().map(ToString::to_string).collect();
    assert!(warnings[0].contains("did you mean `router_settings`?"), "{warnings:?}");
    assert!(warnings[1].contains("did you mean `master_key`?"));
    assert!(warnings[2].contains("no manager is used"));
    assert_eq!(warnings.len(), 3);
}

#[test]
fn only_what_works_is_advised() {
    let isolation = error("keyway: {managers: {m: {isolation: proces}}}\n");
    assert!(isolation.ends_with("isolation: `proces` is not one of `in_process`"), "{isolation}");
    let trust = error("keyway: {trust: {require: signatur}}\n");
    assert!(trust.ends_with("require: `signatur` is not one of `ownership`, `pin`"), "{trust}");
}

#[test]
fn a_pin_that_pins_nothing_is_refused_where_it_stands() {
    for (pin, place, fault) in [("sha256: []", "4:7", "is empty"), ("sha256:", "4:14", "expected text")] {
        let text = error(&format!("keyway:\n  managers:\n    m:\n      {pin}\n"));
        let said = format!("config.yaml:{place}: keyway.managers.m.sha256: {fault}");
        assert!(text.starts_with(&said) && text.contains("or remove the key"), "{text}");
    }
}

#[test]
fn a_list_of_files_to_include_is_refused_where_it_stands() {
    for text in ["model_list: []\ninclude: [other.yaml]\n", "model_list: []\ninclude:\n  - other.yaml\n"] {
        assert!(
            error(text).starts_with("config.yaml:2:1: include: `include` is not supported"),
            "{}",
            error(text)
        );
    }
}

#[test]
fn a_literal_key_that_no_header_can_hold_is_refused_where_it_stands_without_its_value() {
    let api_key = error(&model("    api_key: |\n      sk-canary\n"));
    assert!(api_key.contains(": model_list[0].litellm_params.api_key: holds a line break"), "{api_key}");
    assert!(api_key.starts_with("config.yaml:5:"), "{api_key}");
    let master_key = error("general_settings:\n  master_key: \"sk-canary\\x07\"\n");
    assert!(
        master_key.starts_with("config.yaml:2:15: general_settings.master_key: holds a control character")
    );
    assert!(!format!("{api_key}{master_key}").contains("canary"));
}

#[test]
fn a_reference_as_the_name_of_a_model_is_refused_where_it_stands() {
    let text = error("model_list:\n- model_name: os.environ/NAME\n  litellm_params: {model: openai/x}\n");
    assert!(
        text.starts_with("config.yaml:2:15: model_list[0].model_name: is the name that callers ask for"),
        "{text}"
    );
}

#[test]
fn white_space_at_the_end_of_a_name_is_pointed_out() {
    let config = load(&model("    api_key: 'os.environ/KEY '\n"));
    let warnings: Vec<String> = config.warnings.iter().map(ToString::to_string).collect();
    assert_eq!(warnings.len(), 1);
    assert!(
        warnings[0].starts_with("config.yaml:5:14: model_list[0].litellm_params.api_key: "),
        "{warnings:?}"
    );
    assert!(warnings[0].contains("\"os.environ/KEY \" is part of the name"), "{warnings:?}");
}

#[test]
fn slips_in_router_settings_are_pointed_out_and_settings_of_litellm_are_not() {
    let config = load(
        "router_settings: {num_retrys: 3, retry_after: 1, max_fallbacks: 2, retry_policy: {}, routing_strategy: s, content_policy_fallbacks: [], model_group_retry_policy: {}, redis_host: h, allowed_fails: 3}\n",
    );
    let warnings: Vec<String> = config.warnings.iter().map(ToString::to_string).collect();
    assert_eq!(warnings.len(), 1, "{warnings:?}");
    assert!(warnings[0].starts_with("config.yaml:1:19: router_settings.num_retrys: unknown key, which is ignored; did you mean `num_retries`?"), "{warnings:?}");
}
