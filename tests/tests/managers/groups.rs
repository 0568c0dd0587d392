//! Managers from configurations: chains, replica sets and managers that have each other's settings, with real plugins.

use std::fs;

use keyway::{
    config::Config,
    registry,
    service::{Caller, Metrics, with_caller},
};
use keyway_plugin_api::{Capabilities, DeleteRequest, ErrorKind, ListRequest, WriteRequest};

use crate::support::{Place, read};

const TWO_FOLDERS: &str = "
    us: {plugin: keyway_file.FileSecretManager, config: {directory: @DIR@/us}}
    eu: {plugin: keyway_file.FileSecretManager, config: {directory: @DIR@/eu}}
";

fn two_folders(selected: &str, more: &str) -> anyhow::Result<(Place, Config)> {
    let place = Place::with_plugins(&["keyway-plugin-file"])?;
    fs::create_dir(place.path("us"))?;
    fs::create_dir(place.path("eu"))?;
    let config = place.config(selected, &format!("{TWO_FOLDERS}{more}"))?;
    Ok((place, config))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_chain_reads_the_first_that_has_it_and_loads_shared_members_once() {
    let more = "    both: {replicas: [us, eu]}\n    all: {chain: [us, both], on_error: next}\n";
    let (place, config) = two_folders("all", more).unwrap();
    let managers = registry::load(&config, &Metrics::new()).await.unwrap().unwrap();
    assert_eq!(managers.name, "all");
    let names: Vec<&str> = managers.reports.iter().map(|report| report.name.as_str()).collect();
    assert_eq!(names, ["us", "eu"]);
    fs::write(place.path("us/key"), "from us\n").unwrap();
    assert_eq!(read(&*managers.bare, "key").await.unwrap(), "from us");
    assert_eq!(read(&*managers.bare, "none").await, Err(ErrorKind::NotFound));
    // The mount is gone: that is no "not found", whatever the others say.
    fs::rename(place.path("us"), place.path("gone")).unwrap();
    assert_eq!(read(&*managers.bare, "key").await, Err(ErrorKind::Unavailable));
    managers.shutdown().await;
    assert_eq!(read(&*managers.bare, "key").await, Err(ErrorKind::Unavailable));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_set_writes_to_all_and_repairs_what_one_missed() {
    let (place, config) = two_folders("both", "    both: {replicas: [us, eu]}\n").unwrap();
    let metrics = Metrics::new();
    let managers = registry::load(&config, &metrics).await.unwrap().unwrap();
    let manager = &*managers.bare;
    assert!(manager.capabilities().contains(Capabilities::READ_WRITE | Capabilities::LIST));
    manager.async_write_secret(&WriteRequest::new("key", "one").unwrap()).await.unwrap();
    let on_disk = |file: &str| fs::read_to_string(place.path(file)).unwrap();
    assert_eq!((on_disk("us/key").as_str(), on_disk("eu/key").as_str()), ("one", "one"));

    fs::rename(place.path("us"), place.path("gone")).unwrap();
    manager.async_write_secret(&WriteRequest::new("key", "two").unwrap()).await.unwrap();
    let (name, set) = &managers.replica_sets[0];
    assert_eq!((name.as_str(), set.status()[0].repairs.len(), set.status()[1].repairs.len()), ("both", 1, 0));
    assert_eq!(read(manager, "key").await.unwrap(), "two");

    let waiting = "keyway_replica_repairs_waiting{manager=\"both\",member=\"us\"} 1.0";
    assert!(metrics.render().contains(waiting), "{}", metrics.render());

    fs::rename(place.path("gone"), place.path("us")).unwrap();
    let repaired = async {
        while !set.status()[0].repairs.is_empty() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(60), repaired).await.unwrap();
    assert_eq!(on_disk("us/key"), "two");
    assert_eq!(manager.async_list_secrets(&ListRequest::default()).await.unwrap(), ["key"]);
    manager.async_delete_secret(&DeleteRequest::new("key").unwrap()).await.unwrap();
    assert!(!place.path("us/key").exists() && !place.path("eu/key").exists());
    managers.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn each_plugin_of_a_group_is_counted_and_logged_under_its_own_name_and_a_lone_one_once() {
    let more = "    both: {replicas: [us, eu]}\n  audit: {path: audit.log}\n";
    for (selected, calls) in [("both", vec!["both", "eu", "us"]), ("us", vec!["us"])] {
        let selected = format!("{selected}\n    access_mode: read_and_write");
        let (place, config) = two_folders(&selected, more).unwrap();
        let metrics = Metrics::new();
        let managers = registry::load(&config, &metrics).await.unwrap().unwrap();
        let write = WriteRequest::new("key", "example-canary").unwrap();
        let manager = managers.stack.manager();
        with_caller(Caller::Cli, manager.async_write_secret(&write)).await.unwrap();
        managers.shutdown().await;
        let log = fs::read_to_string(place.path("audit.log")).unwrap();
        let lines = log.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
        let called = lines.filter(|line| line["event"] == "manager_call" && line["caller"] == "cli");
        let mut names: Vec<String> =
            called.map(|line| line["manager"].as_str().unwrap().to_owned()).collect();
        names.sort_unstable();
        assert_eq!(names, calls, "{log}");
        let text = metrics.render();
        for manager in calls {
            let line = format!(
                "keyway_manager_calls_total{{manager=\"{manager}\",operation=\"write\",class=\"OK\"}} 1"
            );
            assert!(text.contains(&line), "{line} is missing in\n{text}");
        }
        assert!(!log.contains("canary"));
    }
}

const TOKEN_FROM_FILES: &str = "
    files: {plugin: keyway_file.FileSecretManager, config: {directory: @DIR@/files}}
    vault: {plugin: keyway_exec.ExecSecretManager, secrets_from: files, config: {command: [/bin/sh, -c, 'echo $TOKEN $OTHER'], env: {TOKEN: os.environ/VAULT_TOKEN, OTHER: os.environ/OTHER_TOKEN}}}
";

#[tokio::test(flavor = "multi_thread")]
async fn a_managers_own_settings_come_from_another_manager_and_then_from_the_environment() {
    let place = Place::with_plugins(&["keyway-plugin-file", "keyway-plugin-exec"]).unwrap();
    fs::create_dir(place.path("files")).unwrap();
    let config = place.config("vault", TOKEN_FROM_FILES).unwrap();

    let error =
        format!("{:#}", anyhow::Error::new(registry::load(&config, &Metrics::new()).await.err().unwrap()));
    assert!(
        error.contains(
            "in the config of the manager vault: the manager files (secrets_from) does not have it"
        ),
        "{error}"
    );
    assert!(error.contains("VAULT_TOKEN") && error.contains("is not set"), "{error}");

    fs::write(place.path("files/VAULT_TOKEN"), "token-from-a-file\n").unwrap();
    let managers = registry::load(&config, &Metrics::new()).await.unwrap().unwrap();
    assert_eq!(read(&*managers.bare, "key").await.unwrap(), "token-from-a-file from-the-environment");
    managers.shutdown().await;

    fs::rename(place.path("files"), place.path("gone")).unwrap();
    let error = registry::load(&config, &Metrics::new()).await.err().unwrap();
    assert!(matches!(error, registry::RegistryError::Settings { .. }), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_manager_whose_settings_are_out_of_reach_comes_later_where_that_is_allowed() {
    let place = Place::with_plugins(&["keyway-plugin-file", "keyway-plugin-exec"]).unwrap();
    let config = place.config("vault", TOKEN_FROM_FILES).unwrap();
    let managers = registry::load_degraded(&config, &Metrics::new()).await.unwrap().unwrap();
    assert_eq!(read(&*managers.bare, "key").await, Err(ErrorKind::Unavailable));
    assert_eq!(managers.reports.len(), 2);
    fs::create_dir(place.path("files")).unwrap();
    fs::write(place.path("files/VAULT_TOKEN"), "token-from-a-file\n").unwrap();
    let there = async {
        while read(&*managers.bare, "key").await.is_err() {
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(60), there).await.unwrap();
    assert_eq!(read(&*managers.bare, "key").await.unwrap(), "token-from-a-file from-the-environment");
    managers.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_member_that_cannot_be_loaded_ends_the_others() {
    let (place, _) = two_folders("us", "").unwrap();
    let broken = "\n    bad: {plugin: keyway_file.FileSecretManager, config: {directory: relative}}\n    all: {chain: [us, bad]}\n";
    let config = place.config("all", &format!("{TWO_FOLDERS}{broken}")).unwrap();
    let metrics = Metrics::new();
    let error = registry::load(&config, &metrics).await.err().unwrap();
    let error = format!("{:#}", anyhow::Error::new(error));
    assert!(error.contains("config.directory: relative is a relative path"), "{error}");
    // What is watched of a plugin ends with its instance.
    assert!(!metrics.render().contains("zombie_operations{manager=\"us\""), "{}", metrics.render());
}
