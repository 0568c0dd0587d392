//! What the audit log says of a gateway that serves.

use std::{fs, os::unix::fs::symlink};

use serde_json::Value;

use crate::support::{NEW, OLD, Settings, Store, chat, post_reload, refusal, until, upstream, upstream_for};

fn with_audit(store: &Store, audit: &str) {
    let config = store.config(Settings::default());
    store.replace("config.yaml", &config.replace("keyway:\n", &format!("keyway:\n  audit: {audit}\n")));
}

fn lines(store: &Store) -> Vec<Value> {
    let text = fs::read_to_string(store.folder.path().join("audit.log")).unwrap();
    assert!(!text.contains(OLD) && !text.contains(NEW), "a value is in the audit log");
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// The callers of an event, each once, in order.
fn callers(lines: &[Value], event: &str) -> Vec<String> {
    let mut callers: Vec<String> = Vec::new();
    for line in lines.iter().filter(|line| line["event"] == event) {
        let caller = line["caller"].as_str().unwrap().to_owned();
        if !callers.contains(&caller) {
            callers.push(caller);
        }
    }
    callers
}

#[tokio::test(flavor = "multi_thread")]
async fn every_call_and_every_use_is_a_line_that_names_its_caller() {
    let upstream = upstream_for(NEW).await;
    let store = Store::new(&upstream, Settings::default());
    with_audit(&store, "{path: audit.log, required: true}");
    let serving = store.serve();
    store.set("OPENAI_API_KEY", NEW);
    assert_eq!(chat(&serving).await.status(), 200, "refused with the old value, accepted with the new one");
    let lines = lines(&store);
    assert_eq!(callers(&lines, "manager_call"), ["startup", "gateway"]);
    assert_eq!(callers(&lines, "handed_out"), ["startup", "gateway"]);
    assert_eq!(callers(&lines, "used"), ["master_key"]);
    let used: Vec<_> = lines.iter().filter(|line| line["event"] == "used").collect();
    let told: Vec<_> = used.iter().map(|line| line["generation"].as_u64().unwrap()).collect();
    assert_eq!(told, [1, 2], "both values went to the upstream");
    assert!(used.iter().all(|line| {
        line["name"] == "os.environ/OPENAI_API_KEY" && line["manager"] == "folder" && line["outcome"] == "OK"
    }));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refresh_in_the_background_has_its_own_name() {
    let upstream = upstream(mock_openai::Options::default()).await;
    let store = Store::new(&upstream, Settings { ttl_ms: 1000, ..Settings::default() });
    let config = store.config(Settings { ttl_ms: 1000, ..Settings::default() });
    store.replace("config.yaml", &config.replace("keyway:\n", "keyway:\n  audit: {path: audit.log}\n"));
    let _serving = store.serve();
    until("a refresh is logged", async || {
        callers(&lines(&store), "manager_call").contains(&"refresh".into())
    })
    .await;
    assert!(!callers(&lines(&store), "handed_out").contains(&"unknown".into()));
}

/// `/dev/full` takes the file's place, as if the disk were full.
#[cfg(target_os = "linux")]
#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_logged_is_not_sent_when_the_log_is_required() {
    let upstream = upstream(mock_openai::Options::default()).await;
    let store = Store::new(&upstream, Settings::default());
    with_audit(&store, "{path: audit.log, required: true}");
    let serving = store.serve();
    assert_eq!(chat(&serving).await.status(), 200);
    let log = store.folder.path().join("audit.log");
    fs::rename(&log, log.with_extension("old")).unwrap();
    symlink("/dev/full", &log).unwrap();
    serving.hang_up().unwrap();
    until("nothing is sent any more", async || chat(&serving).await.status() == 503).await;
    let sent = upstream.requests().len();
    let (_, kind, message) = refusal(chat(&serving).await).await;
    assert_eq!(kind, "secret_unavailable");
    assert!(message.contains("os.environ/OPENAI_API_KEY is not handed out") && message.contains("audit log"));
    assert_eq!(upstream.requests().len(), sent);
    fs::remove_file(&log).unwrap();
    serving.hang_up().unwrap();
    until("requests are served again", async || chat(&serving).await.status() == 200).await;
    assert_eq!(post_reload(&serving).await.0, 200);
}
