//! Starts while secrets are missing, in the three modes.

use std::time::{Duration, Instant};

use mock_openai::Options;
use rustix::process::Signal;

use crate::support::{
    NEW, SERVE, Settings, Store, chat, client, post_reload, refusal, request, until, until_state, upstream,
};

fn settings(startup: &'static str) -> Settings {
    Settings { startup, models: &[("gpt-4", "OPENAI_API_KEY"), ("late", "LATE_KEY")], ..Settings::default() }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_secret_ends_the_start_by_default() {
    let upstream = upstream(Options::default()).await;
    let store = Store::new(&upstream, settings("{}"));
    let ran = store.folder.run(&SERVE).unwrap();
    ran.expect(1, &["os.environ/LATE_KEY", "model_list[1].litellm_params.api_key", "NOT_FOUND"]).unwrap();
    assert_eq!((store.happened("create a"), store.happened("shutdown a")), (1, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_start_that_waits_says_for_what_and_serves_as_soon_as_it_is_there() {
    let upstream = upstream(Options::default()).await;
    let store = Store::new(&upstream, settings("{on_missing: wait, deadline: 60s}"));
    store.fail("CREATE", "UNAVAILABLE");
    let starting = store.keyway().begin().unwrap();
    starting.said("the start waits for what is missing", 1).unwrap();
    starting.signal(Signal::HUP).unwrap();
    store.work_again("CREATE");
    let log = starting.said("missing=\"os.environ/LATE_KEY (NOT_FOUND)\"", 1).unwrap();
    assert!(!log.contains("serving"), "{log}");
    store.fail("LATE_KEY", "UNAVAILABLE");
    starting.said("missing=\"os.environ/LATE_KEY (UNAVAILABLE)\"", 1).unwrap();
    store.set("LATE_KEY", NEW);
    store.work_again("LATE_KEY");
    let serving = starting.serving().unwrap();
    assert_eq!(request(&serving, "late", false).send().await.unwrap().status(), 200);
    assert_eq!(store.happened("read OPENAI_API_KEY a"), 1, "what is there is not asked for again");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_start_that_waited_in_vain_says_for_what() {
    let upstream = upstream(Options::default()).await;
    let store = Store::new(&upstream, settings("{on_missing: wait, deadline: 1s}"));
    let ran = store.folder.run(&SERVE).unwrap();
    ran.expect(1, &["waited 1 s", "keyway.startup.deadline", "cannot resolve os.environ/LATE_KEY"]).unwrap();
    assert_eq!(store.happened("shutdown a"), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_read_that_hangs_is_cut_off_when_the_start_may_not_wait_longer() {
    let upstream = upstream(Options::default()).await;
    let waiting = settings("{on_missing: wait, deadline: 2s}");
    let store = Store::new(&upstream, waiting);
    store.replace(
        "config.yaml",
        &store.config(waiting).replace("      config:", "      timeout: 100s\n      config:"),
    );
    store.fail("LATE_KEY", "HANG");
    let began = Instant::now();
    let ran = store.folder.run(&SERVE).unwrap();
    ran.expect(1, &["waited 2", "keyway.startup.deadline", "os.environ/LATE_KEY", "TIMEOUT"]).unwrap();
    assert!(began.elapsed() < Duration::from_secs(60));
    assert_eq!(store.happened("shutdown a"), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reload_whose_plugin_hangs_is_cut_off_and_the_plugin_is_shut_down_when_it_comes() {
    let upstream = upstream(Options::default()).await;
    let store = Store::new(&upstream, Settings::default());
    let serving = store.serve();
    let waiting = Settings { name: "b", startup: "{on_missing: wait, deadline: 1s}", ..Settings::default() };
    store.fail("CREATE", "HANG");
    store.replace(
        "config.yaml",
        &store.config(waiting).replace("      config:", "      timeout: 100s\n      config:"),
    );
    let (answered, body) = post_reload(&serving).await;
    assert_eq!(answered, 422, "{body}");
    let reason = body["reason"].as_str().unwrap();
    assert!(reason.contains("waited 1") && reason.contains("folder was still being loaded"), "{reason}");
    store.work_again("CREATE");
    until("the late instance is shut down", async || {
        store.happened("create b") > 0 && store.happened("shutdown b") == store.happened("create b")
    })
    .await;
    assert_eq!(chat(&serving).await.status(), 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_degraded_start_refuses_what_lacks_its_secret_until_it_is_there() {
    let upstream = upstream(Options::default()).await;
    let store = Store::new(&upstream, settings("{on_missing: degraded}"));
    let serving = store.serve();
    serving.said("serving without some secrets", 1).unwrap();
    assert_eq!(chat(&serving).await.status(), 200);
    let (status, kind, message) = refusal(request(&serving, "late", false).send().await.unwrap()).await;
    assert_eq!((status, kind.as_str()), (503, "secret_unavailable"));
    assert!(message.contains("os.environ/LATE_KEY"), "{message}");
    store.set("LATE_KEY", NEW);
    until_state(&serving, "LATE_KEY", "fresh").await;
    assert_eq!(request(&serving, "late", false).send().await.unwrap().status(), 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_degraded_start_serves_without_its_manager_until_that_can_be_started() {
    let upstream = upstream(Options::default()).await;
    let store = Store::new(&upstream, Settings { startup: "{on_missing: degraded}", ..Settings::default() });
    store.fail("CREATE", "THROTTLED");
    let serving = store.serve();
    serving.said("no instance of the manager could be made", 2).unwrap();
    let (status, kind, _) = refusal(chat(&serving).await).await;
    assert_eq!((status, kind.as_str()), (503, "secret_unavailable"));
    store.work_again("CREATE");
    until("chats are answered", async || chat(&serving).await.status() == 200).await;
    until_state(&serving, "OPENAI_API_KEY", "fresh").await;
    serving.terminate().unwrap();
    serving.wait().unwrap();
    assert_eq!((store.happened("create a"), store.happened("shutdown a")), (1, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_config_that_a_plugin_refuses_ends_the_start_in_every_mode() {
    let upstream = upstream(Options::default()).await;
    for startup in ["{}", "{on_missing: wait, deadline: 60s}", "{on_missing: degraded}"] {
        let store = Store::new(&upstream, Settings { startup, ..Settings::default() });
        store.fail("CREATE", "INVALID_CONFIG");
        store.folder.run(&SERVE).unwrap().expect(2, &["keyway.managers.folder", "INVALID_CONFIG"]).unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_check_tells_of_a_manager_that_a_degraded_start_would_do_without() {
    let upstream = upstream(Options::default()).await;
    let store = Store::new(&upstream, Settings { startup: "{on_missing: degraded}", ..Settings::default() });
    store.fail("CREATE", "UNAVAILABLE");
    let ran = store.folder.run(&["config", "check", "config.yaml"]).unwrap();
    ran.expect(1, &["could not be started as folder", "UNAVAILABLE"]).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_configuration_that_is_changed_while_the_start_waits_is_used_after_it() {
    let upstream = upstream(Options::default()).await;
    let store = Store::new(&upstream, settings("{on_missing: wait, deadline: 60s}"));
    let starting = store.keyway().begin().unwrap();
    starting.said("the start waits for what is missing", 1).unwrap();
    store.configure(Settings {
        models: &[("gpt-4", "OPENAI_API_KEY"), ("late", "LATE_KEY"), ("third", "OPENAI_API_KEY")],
        ..settings("{}")
    });
    store.set("LATE_KEY", NEW);
    let serving = starting.serving().unwrap();
    until("the changed configuration is used", async || {
        request(&serving, "third", false).send().await.unwrap().status() == 200
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_manager_that_is_not_healthy_ends_the_start_with_its_class() {
    let upstream = upstream(Options::default()).await;
    let store = Store::new(&upstream, Settings::default());
    store.fail("HEALTH", "UNAVAILABLE");
    let ran = store.folder.run(&SERVE).unwrap();
    ran.expect(1, &["manager folder", "not healthy", "`keyway.startup.on_missing`", "UNAVAILABLE"]).unwrap();
    assert_eq!(store.happened("shutdown a"), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_start_that_waits_waits_for_the_managers_health_too() {
    let upstream = upstream(Options::default()).await;
    let store = Store::new(
        &upstream,
        Settings { startup: "{on_missing: wait, deadline: 60s}", ..Settings::default() },
    );
    store.fail("HEALTH", "THROTTLED");
    let starting = store.keyway().begin().unwrap();
    let log = starting.said("missing=\"the manager folder (THROTTLED)\"", 1).unwrap();
    assert!(!log.contains("serving"), "{log}");
    store.work_again("HEALTH");
    assert_eq!(chat(&starting.serving().unwrap()).await.status(), 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_degraded_start_serves_with_an_unhealthy_manager_and_a_reload_does_not_give_up_a_healthy_one() {
    let upstream = upstream(Options::default()).await;
    let degraded = Settings { startup: "{on_missing: degraded}", ..Settings::default() };
    let store = Store::new(&upstream, degraded);
    store.fail("HEALTH", "UNAVAILABLE");
    let serving = store.serve();
    serving.said("serving although the secret manager is not healthy", 1).unwrap();
    assert_eq!(chat(&serving).await.status(), 200);
    assert_eq!(post_reload(&serving).await.0, 200, "the running one is no better");
    store.work_again("HEALTH");

    // The next configuration has a store of its own, which is not healthy.
    let other = Store::new(&upstream, degraded);
    other.fail("HEALTH", "UNAVAILABLE");
    store.replace("config.yaml", &other.config(degraded));
    serving.said("the configuration is not reloaded", 1).unwrap();
    let (status, answer) = post_reload(&serving).await;
    assert_eq!(status, 422);
    assert!(answer["reason"].as_str().unwrap().contains("not healthy"), "{answer}");
    let metrics = client().get(serving.url("/metrics")).send().await.unwrap();
    assert!(metrics.headers()["content-type"].to_str().unwrap().starts_with("application/openmetrics-text"));
    let text = metrics.text().await.unwrap();
    for line in [
        "keyway_config_reloads_total{outcome=\"done\"} 1",
        "keyway_references{state=\"fresh\"} 2",
        "keyway_references{state=\"missing\"} 0",
    ] {
        assert!(text.contains(line), "{line} is missing in\n{text}");
    }
    let refused =
        text.lines().find(|line| line.starts_with("keyway_config_reloads_total{outcome=\"refused\"}"));
    assert!(!refused.unwrap().ends_with(" 0"), "{text}");
}
