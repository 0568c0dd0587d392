//! The exec plugin, loaded as an operator loads it: its programs run on the plugin's own runtime.

use std::fs;

use keyway::{registry, service::Metrics};
use keyway_plugin_api::{DeleteRequest, ErrorKind, WriteRequest};
use keyway_tests::{
    canary::Canary,
    cli::{Folder, Ran},
};

use crate::support::{Place, example, read};

const HELPER: &str = r#"
cd "$PASSWORD_STORE_DIR" || exit 2
case "$1" in
get) f=$(cat | tr / _); [ -f "$f" ] || { echo 'credentials not found in native keychain'; exit 1; }; cat "$f";;
store) json=$(cat); f=$(printf %s "$json" | sed 's/.*"ServerURL":"\([^"]*\)".*/\1/' | tr / _); printf %s "$json" > "$f";;
erase) f=$(cat | tr / _); rm "$f" 2>/dev/null || { echo 'credentials not found in native keychain'; exit 1; };;
*) exit 3;;
esac
"#;

const PROVIDER: &str = r#"
[ "$1" = --quiet ] || exit 2
case "$2" in
OPENAI_API_KEY) echo sk-test-not-a-key;;
gone) exit 44;;
*) echo 'the store is sealed' >&2; exit 1;;
esac
"#;

#[tokio::test(flavor = "multi_thread")]
async fn the_example_of_the_readme_works() {
    let place = Place::with_plugins(&["keyway-plugin-exec"]).unwrap();
    fs::create_dir(place.path("store")).unwrap();
    let (helper, provider) =
        (place.script("helper", HELPER).unwrap(), place.script("provider", PROVIDER).unwrap());
    let text = example("exec")
        .unwrap()
        .replace("/usr/local/bin/docker-credential-pass", helper.to_str().unwrap())
        .replace("/usr/local/lib/summon/provider", provider.to_str().unwrap())
        .replace("/etc/keyway/store", "@DIR@/store");

    let managers = registry::load(&place.parse(&text).unwrap(), &Metrics::new()).await.unwrap().unwrap();
    assert_eq!(managers.reports[0].layout.to_string(), "verified (fingerprint, abi_stable)");
    let manager = &*managers.bare;
    manager.health_check().await.unwrap();
    assert_eq!(read(manager, "litellm/alias").await, Err(ErrorKind::NotFound));
    manager.async_write_secret(&WriteRequest::new("litellm/alias", "sk-test-stored").unwrap()).await.unwrap();
    assert_eq!(read(manager, "litellm/alias").await.unwrap(), "sk-test-stored");
    let delete = DeleteRequest::new("litellm/alias").unwrap();
    manager.async_delete_secret(&delete).await.unwrap();
    assert_eq!(read(manager, "litellm/alias").await, Err(ErrorKind::NotFound));
    fs::remove_dir_all(place.path("store")).unwrap();
    assert_eq!(read(manager, "litellm/alias").await, Err(ErrorKind::Unavailable));
    managers.shutdown().await;

    let text = text.replace("custom_secret_manager: helper", "custom_secret_manager: provider");
    let managers = registry::load(&place.parse(&text).unwrap(), &Metrics::new()).await.unwrap().unwrap();
    let manager = &*managers.bare;
    assert_eq!(read(manager, "OPENAI_API_KEY").await.unwrap(), "sk-test-not-a-key");
    assert_eq!(read(manager, "gone").await, Err(ErrorKind::NotFound));
    assert_eq!(read(manager, "sealed").await, Err(ErrorKind::Unavailable));
    assert_eq!(read(manager, "--help").await, Err(ErrorKind::InvalidName));
    managers.shutdown().await;
}

/// Runs `keyway secret` with everything logged; the manager is this script.
fn secret(arguments: &[&str], script: &str, config: &str, input: &str) -> anyhow::Result<Ran> {
    let folder = Folder::new()?;
    folder.plugin("keyway-plugin-exec")?;
    folder.write("provider", script)?;
    let config = format!(
        "general_settings:\n  key_management_system: custom\n  key_management_settings: {{custom_secret_manager: p, access_mode: read_and_write}}\n\
         keyway:\n  managers:\n    p: {{plugin: keyway_exec.ExecSecretManager, config: {{command: [/bin/sh, {:?}], {config}}}}}\n",
        folder.path().join("provider")
    );
    folder.write("config.yaml", config)?;
    let keyway = folder.keyway(&["secret"])?.args(arguments).args(&["--config", "config.yaml"]);
    keyway.env("KEYWAY_LOG", "trace").input(input).run()
}

#[test]
fn what_a_program_says_is_not_logged_since_it_may_be_the_value() {
    let canary = Canary::random();
    let value = format!("\"{}\"\\\n", canary.value());
    let long = format!("{}{}", "x".repeat(2040), canary.value());
    let json = serde_json::json!({"Secret": value}).to_string();
    let echoes_input = "cat >&2";
    let fails = format!("echo 'no entry but {}' >&2; exit 3", canary.value());
    let prints_json = format!("cat >&2 <<'E'\n{json}\nE\ncat <<'E'\n{json}\nE\n");
    let prints_raw = format!("cat >&2 <<'E'\n{value}E\ncat <<'E'\n{json}\nE\n");
    let prints_long = format!("echo {long} >&2; echo {long}");
    for (arguments, script, config) in [
        (["set", "A"], echoes_input, "protocol: docker"),
        (["get", "A"], &prints_json, "protocol: docker"),
        (["get", "A"], &prints_raw, "protocol: docker"),
        (["get", "A"], &fails, "protocol: summon"),
        (["get", "A"], &prints_long, "protocol: summon"),
    ] {
        let ran = secret(&arguments, script, config, &value).unwrap();
        assert!(ran.stderr.contains("the program wrote to standard error"), "{}", ran.stderr);
        assert_eq!(canary.found_in(&ran.stderr), None, "{script}");
        // Where a value is cut, its beginning is no canary.
        assert!(!ran.stderr.contains(&canary.value()[..6]) && !ran.stderr.contains("xxxx"), "{script}");
    }
    let asked_for =
        secret(&["get", "A"], "echo 'the vault is sealed' >&2; exit 3", "log_stderr: true", "").unwrap();
    asked_for.expect(1, &["the vault is sealed", "its own words are in the log"]).unwrap();
}
