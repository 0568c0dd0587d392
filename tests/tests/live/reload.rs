//! What makes a running host use another configuration, and what it refuses to use.

use std::{
    fs::{self, OpenOptions},
    io::Write as _,
    os::unix::fs::symlink,
    time::Duration,
};

use keyway_tests::cli::Serving;
use mock_openai::{MockOpenAi, Options};

use crate::support::{
    NEW, OLD, Settings, Store, chat, client, post_reload, reference, refusal, request, status, until,
    until_generation, until_state, upstream, upstream_for,
};

const TWO: Settings = Settings {
    name: "b",
    ttl_ms: 0,
    startup: "{}",
    models: &[("gpt-4", "OPENAI_API_KEY"), ("second", "OPENAI_API_KEY")],
};

async fn start() -> (Store, Serving, MockOpenAi) {
    let upstream = upstream(Options::default()).await;
    let store = Store::new(&upstream, Settings::default());
    let serving = store.serve();
    assert_eq!(request(&serving, "second", false).send().await.unwrap().status(), 400);
    (store, serving, upstream)
}

async fn serves_both(serving: &Serving) {
    for model in ["gpt-4", "second"] {
        assert_eq!(request(serving, model, false).send().await.unwrap().status(), 200, "{model}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_is_renamed_into_place_is_used_and_the_plugin_before_is_shut_down() {
    let (store, serving, _upstream) = start().await;
    store.configure(TWO);
    until_generation(&serving, 2).await;
    serves_both(&serving).await;
    let last = status(&serving).await["last_reload"].clone();
    assert_eq!((&last["trigger"], &last["ok"]), (&"file".into(), &true.into()));
    until("the old instance is shut down", async || store.happened("shutdown a") == 1).await;
    assert_eq!((store.happened("create b"), store.happened("shutdown b")), (1, 0));
    serving.terminate().unwrap();
    serving.wait().unwrap().expect(0, &["the configuration was reloaded", "stopped"]).unwrap();
    assert_eq!(store.happened("shutdown b"), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_plugin_file_is_used_by_the_next_reload() {
    let (store, serving, _upstream) = start().await;
    let hash = async || {
        let text = status(&serving).await.to_string();
        text.split_once("\"sha256\":\"").unwrap().1[..64].to_owned()
    };
    let before = hash().await;
    let mut files = fs::read_dir(store.folder.path()).unwrap().map(|entry| entry.unwrap().path());
    let library = files.find(|path| path.to_string_lossy().ends_with(std::env::consts::DLL_SUFFIX)).unwrap();
    // What follows the sections of a library is not loaded, and makes it another file.
    let mut content = fs::read(&library).unwrap();
    content.extend_from_slice(b"the next release");
    let next = store.folder.write("next", content).unwrap();
    fs::rename(next, &library).unwrap();
    assert_eq!(hash().await, before);
    assert_eq!(post_reload(&serving).await.0, 200);
    assert_ne!(hash().await, before);
    assert_eq!(store.happened("create a"), 2);
    assert_eq!(chat(&serving).await.status(), 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mounted_folder_whose_link_is_swapped_is_followed() {
    let upstream = upstream(Options::default()).await;
    let store = Store::new(&upstream, Settings::default());
    let path = |name: &str| store.folder.path().join(name);
    for (version, settings) in [("..1", Settings::default()), ("..2", TWO)] {
        fs::create_dir(path(version)).unwrap();
        fs::write(path(version).join("config.yaml"), store.config(settings)).unwrap();
    }
    fs::remove_file(path("config.yaml")).unwrap();
    symlink("..1", path("..data")).unwrap();
    symlink("..data/config.yaml", path("config.yaml")).unwrap();
    let serving = store.serve();
    symlink("..2", path("..next")).unwrap();
    fs::rename(path("..next"), path("..data")).unwrap();
    until_generation(&serving, 2).await;
    serves_both(&serving).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_is_written_slowly_is_used_when_it_is_whole() {
    let (store, serving, _upstream) = start().await;
    let text = store.config(TWO);
    let path = store.folder.path().join("config.yaml");
    let mut file = OpenOptions::new().write(true).truncate(true).open(path).unwrap();
    // The first piece is no YAML, the second one a configuration without models.
    let ends = [text.find("folder}").unwrap(), text.find("model_list:").unwrap() + 12, text.len()];
    let mut written = 0;
    for end in ends {
        file.write_all(&text.as_bytes()[written..end]).unwrap();
        written = end;
        // The writer is slow; nothing is waited for.
        tokio::time::sleep(Duration::from_millis(1600)).await;
        assert_eq!(chat(&serving).await.status(), 200);
    }
    until_generation(&serving, 2).await;
    serves_both(&serving).await;
    assert_eq!(store.happened("create b"), 1);
    serving.terminate().unwrap();
    let ran = serving.wait().unwrap();
    assert!(!ran.stderr.contains("the configuration is not reloaded"), "{}", ran.stderr);
}

#[tokio::test(flavor = "multi_thread")]
async fn sighup_and_the_admin_route_reload_and_the_watcher_does_not_do_it_again() {
    let (store, serving, _upstream) = start().await;
    serving.hang_up().unwrap();
    until_generation(&serving, 2).await;
    assert_eq!(status(&serving).await["last_reload"]["trigger"], "SIGHUP");
    store.configure(TWO);
    let (answered, body) = post_reload(&serving).await;
    assert_eq!((answered.as_u16(), &body["status"]), (200, &"reloaded".into()));
    serves_both(&serving).await;
    let number = status(&serving).await["generation"].as_u64().unwrap();
    assert!((3..=4).contains(&number), "{number}");
    let (answered, _) = post_reload(&serving).await;
    assert_eq!(answered, 200);
    assert_eq!(status(&serving).await["generation"], number + 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_reloads_or_sees_the_status_without_the_master_key() {
    let (_store, serving, _upstream) = start().await;
    for key in [None, Some("sk-test-another")] {
        let with_key = |request: reqwest::RequestBuilder| match key {
            Some(key) => request.bearer_auth(key),
            None => request,
        };
        let reload = with_key(client().post(serving.url("/keyway/reload"))).send().await.unwrap();
        assert_eq!(reload.status(), 401);
        let status = with_key(client().get(serving.url("/keyway/status"))).send().await.unwrap();
        assert_eq!(status.status(), 401);
    }
    assert_eq!(status(&serving).await["generation"], 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slip_that_is_waited_for_does_not_hold_up_its_correction() {
    let (store, serving, _upstream) = start().await;
    let waiting = Settings { startup: "{on_missing: wait, deadline: 1h}", ..TWO };
    let slip = Settings { models: &[("gpt-4", "OPENAI_API_KEI")], ..waiting };
    store.configure(slip);
    serving.said("the start waits for what is missing", 1).unwrap();
    store.configure(waiting);
    serving.said("has changed while what it held before waited", 1).unwrap();
    until_generation(&serving, 2).await;
    assert_eq!(request(&serving, "second", false).send().await.unwrap().status(), 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_file_leaves_the_running_configuration_and_says_file_line_and_reason_everywhere() {
    let (store, serving, _upstream) = start().await;
    store.replace("config.yaml", &store.config(TWO).replace("startup: {}", "startup: {on_missing: never}"));
    serving.said("the configuration is not reloaded", 1).unwrap();
    let (answered, body) = post_reload(&serving).await;
    assert_eq!((answered.as_u16(), &body["status"]), (422, &"refused".into()));
    let status = status(&serving).await;
    assert_eq!((&status["generation"], &status["last_reload"]["ok"]), (&1.into(), &false.into()));
    let log = serving.said("the configuration is not reloaded", 2).unwrap();
    let everywhere =
        [body["reason"].as_str().unwrap(), status["last_reload"]["reason"].as_str().unwrap(), &log];
    for text in everywhere {
        for part in ["config.yaml:6:", "keyway.startup.on_missing", "`never`"] {
            assert!(text.contains(part), "{part} is not in {text}");
        }
    }
    assert_eq!(chat(&serving).await.status(), 200);
    store.configure(TWO);
    until_generation(&serving, 2).await;
    serves_both(&serving).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_configuration_that_cannot_be_brought_up_whole_is_refused_and_leaves_nothing_behind() {
    let (store, serving, _upstream) = start().await;
    let refused = async |reason: &str| {
        let (answered, body) = post_reload(&serving).await;
        assert_eq!(answered, 422, "{body}");
        assert!(body["reason"].as_str().unwrap().contains(reason), "{body}");
        assert_eq!(chat(&serving).await.status(), 200);
        until("the refused instance is shut down", async || {
            store.happened("create b") == store.happened("shutdown b")
        })
        .await;
    };
    store.configure(Settings { models: &[("gpt-4", "OPENAI_API_KEY"), ("second", "NOWHERE")], ..TWO });
    refused("os.environ/NOWHERE").await;
    store.fail("HEALTH", "UNAVAILABLE");
    store.configure(TWO);
    refused("not healthy").await;
    store.work_again("HEALTH");
    store.fail("CREATE", "INVALID_CONFIG");
    refused("INVALID_CONFIG").await;
    store.work_again("CREATE");
    store.fail("OPENAI_API_KEY", "UNAVAILABLE");
    store.configure(Settings { startup: "{on_missing: degraded}", ..TWO });
    refused("os.environ/OPENAI_API_KEY").await;
    store.work_again("OPENAI_API_KEY");
    assert_eq!(status(&serving).await["generation"], 1);
    assert_eq!(store.happened("shutdown a"), 0);
    assert_eq!(post_reload(&serving).await.0, 200);
    serves_both(&serving).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_caller_who_leaves_does_not_break_a_reload_off() {
    let upstream = upstream(Options::default()).await;
    let store = Store::new(&upstream, Settings::default());
    let serving = store.serve();
    let waiting = Settings {
        startup: "{on_missing: wait, deadline: 60s}",
        models: &[("gpt-4", "OPENAI_API_KEY"), ("second", "LATE_KEY")],
        ..TWO
    };
    store.configure(waiting);
    let call = client().post(serving.url("/keyway/reload")).bearer_auth(keyway_tests::cli::MASTER_KEY);
    let call = tokio::spawn(call.send());
    serving.said("the start waits for what is missing", 1).unwrap();
    call.abort();
    assert!(call.await.is_err());
    assert_eq!(refusal(request(&serving, "second", false).send().await.unwrap()).await.0, 400);
    store.set("LATE_KEY", crate::support::NEW);
    until_generation(&serving, 2).await;
    serves_both(&serving).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_value_before_a_rotation_and_the_limit_of_reads_outlive_a_reload() {
    let upstream = upstream_for(OLD).await;
    let store = Store::new(&upstream, Settings { ttl_ms: 1000, ..Settings::default() });
    let serving = store.serve();
    store.set("OPENAI_API_KEY", NEW);
    until("the value has changed", async || reference(&serving, "OPENAI_API_KEY").await["generation"] == 2)
        .await;
    assert_eq!(chat(&serving).await.status(), 200);
    assert_eq!(post_reload(&serving).await.0, 200);
    assert_eq!(reference(&serving, "OPENAI_API_KEY").await["generation"], 2);
    assert_eq!(chat(&serving).await.status(), 200);
    store.configure(Settings { name: "b", ttl_ms: 1000, ..Settings::default() });
    assert_eq!(post_reload(&serving).await.0, 200);
    assert_eq!(refusal(chat(&serving).await).await.1, "upstream_auth_error", "another manager's is another");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reload_in_an_outage_keeps_the_managers_value_before_the_environments() {
    let upstream = upstream_for(NEW).await;
    let store = Store::new(&upstream, Settings::default());
    store.set("OPENAI_API_KEY", NEW);
    let config = store.config(Settings::default()).replace("startup: {}", "on_error: environment");
    store.replace("config.yaml", &config);
    let serving = store.keyway().env("OPENAI_API_KEY", OLD).serve().unwrap();
    assert_eq!(chat(&serving).await.status(), 200);
    store.fail("OPENAI_API_KEY", "UNAVAILABLE");
    assert_eq!(post_reload(&serving).await.0, 200);
    let kept = reference(&serving, "OPENAI_API_KEY").await;
    assert_eq!((&kept["state"], &kept["source"]), (&"stale".into(), &"manager folder".into()));
    assert_eq!(chat(&serving).await.status(), 200);
    store.work_again("OPENAI_API_KEY");
    until_state(&serving, "OPENAI_API_KEY", "fresh").await;
}
