//! The audit log: one line each, never a value, and nothing without it where it is required.

use std::{fs, path::Path, sync::Arc};

use keyway::{
    config::AuditSettings,
    service::{
        AuditLog, Caller,
        audit::{Audited, Happening},
        metrics::Counter,
        with_caller,
    },
};
use keyway_plugin_api::{ErrorKind, SecretManager as _, WriteRequest};
use keyway_tests::scripted::Scripted;
use serde_json::Value;

use crate::support::{cache_of, request};

fn open(path: &Path, required: bool) -> AuditLog {
    AuditLog::open(&AuditSettings { path: path.to_owned(), required }, Counter::default()).unwrap()
}

fn audited(manager: &Arc<Scripted>, log: &AuditLog) -> Audited {
    Audited::new("vault", Arc::new(cache_of(manager)), log.clone(), Happening::HandedOut)
}

fn lines(path: &Path) -> Vec<Value> {
    let text = fs::read_to_string(path).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[tokio::test]
async fn a_line_says_who_asked_for_what_and_what_came_of_it() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("audit.log");
    let log = open(&path, false);
    let manager = Scripted::with("a", "canary-value");
    let audited = audited(&manager, &log);
    let caller = Caller::Key("team-a".into());
    with_caller(caller, audited.async_read_secret(&request("a"))).await.unwrap();
    audited.async_read_secret(&request("missing")).await.unwrap_err();
    log.flush().await;
    let lines = lines(&path);
    assert_eq!(lines.len(), 2);
    for (key, value) in [
        ("event", "handed_out"),
        ("caller", "key:team-a"),
        ("operation", "read"),
        ("manager", "vault"),
        ("name", "a"),
        ("outcome", "OK"),
        ("cache", "fresh"),
    ] {
        assert_eq!(lines[0][key], value, "{key}");
    }
    assert_eq!(lines[0]["generation"], 1);
    assert!(lines[0]["latency_us"].is_u64());
    assert!(lines[0]["time"].as_str().unwrap().ends_with('Z'));
    assert_eq!((&lines[1]["outcome"], &lines[1]["cache"]), (&"NOT_FOUND".into(), &"negative".into()));
    assert_eq!(lines[1]["caller"], "unknown");
    assert!(!fs::read_to_string(&path).unwrap().contains("canary"));
}

#[cfg(unix)]
#[tokio::test]
async fn the_file_is_its_owners_alone_and_is_appended_to() {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("audit.log");
    let manager = Scripted::with("a", "one");
    for _ in 0..2 {
        let log = open(&path, false);
        audited(&manager, &log).async_read_secret(&request("a")).await.unwrap();
        log.flush().await;
    }
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(lines(&path).len(), 2);
}

#[tokio::test]
async fn after_a_rotation_of_the_file_a_new_one_is_written() {
    let folder = tempfile::tempdir().unwrap();
    let (path, old) = (folder.path().join("audit.log"), folder.path().join("audit.log.1"));
    let log = open(&path, true);
    let manager = Scripted::with("a", "one");
    let audited = audited(&manager, &log);
    audited.async_read_secret(&request("a")).await.unwrap();
    fs::rename(&path, &old).unwrap();
    audited.async_read_secret(&request("a")).await.unwrap();
    log.reopen();
    audited.async_read_secret(&request("a")).await.unwrap();
    assert_eq!((lines(&old).len(), lines(&path).len()), (2, 1));
}

#[tokio::test]
async fn a_log_that_cannot_be_opened_is_an_error_that_names_it() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("missing").join("audit.log");
    let error =
        AuditLog::open(&AuditSettings { path, required: false }, Counter::default()).map(drop).unwrap_err();
    assert!(error.to_string().contains("missing/audit.log (`keyway.audit.path`)"), "{error}");
}

/// `/dev/full` takes a file's place whose disk is full.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn without_room_a_required_log_hands_nothing_out_and_changes_nothing() {
    let log = open(Path::new("/dev/full"), true);
    let manager = Scripted::with("a", "one");
    let audited = audited(&manager, &log);
    let error = audited.async_read_secret(&request("a")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(error.message().contains("keyway.audit.required"), "{error}");
    let calls = manager.calls();
    let write = WriteRequest::new("a", "two").unwrap();
    assert_eq!(audited.async_write_secret(&write).await.unwrap_err().kind(), ErrorKind::Unavailable);
    assert_eq!(manager.calls(), calls, "the write must not reach the manager");
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn without_room_a_log_that_is_not_required_counts_what_it_lost() {
    let (settings, lost) = (AuditSettings { path: "/dev/full".into(), required: false }, Counter::default());
    let log = AuditLog::open(&settings, lost.clone()).unwrap();
    let manager = Scripted::with("a", "one");
    audited(&manager, &log).async_read_secret(&request("a")).await.unwrap();
    log.flush().await;
    assert!(lost.get() >= 1);
}

#[tokio::test]
async fn a_required_log_has_a_line_before_a_change_and_one_after() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("audit.log");
    let log = open(&path, true);
    let manager = Scripted::with("a", "one");
    audited(&manager, &log).async_write_secret(&WriteRequest::new("a", "two").unwrap()).await.unwrap();
    let lines = lines(&path);
    let events: Vec<_> = lines.iter().map(|line| line["event"].as_str().unwrap()).collect();
    assert_eq!(events, ["begun", "handed_out"]);
}

/// A limit on the size of files takes the place of a disk that is full; what fits of a line is written then.
#[cfg(target_os = "linux")]
#[test]
fn a_line_that_does_not_fit_leaves_nothing_of_itself() {
    use std::os::unix::fs::FileExt as _;

    use keyway_tests::{
        build::cargo_binary,
        cli::{Folder, Keyway},
    };
    let folder = Folder::new().unwrap();
    let plugin = folder.plugin("keyway-plugin-memory").unwrap();
    let path = folder.path().join("audit.log");
    let config = format!(
        "general_settings:\n  key_management_system: custom\n  key_management_settings: {{custom_secret_manager: m}}\n\
         keyway:\n  audit: {{path: {path:?}}}\n  managers:\n    m: {{plugin: keyway_memory.InMemorySecretManager, config: {{secrets: {{A: a}}}}}}\n"
    );
    folder.write("config.yaml", config).unwrap();
    // Longer than anything else that is written: the plugin is copied.
    let before = fs::metadata(plugin).unwrap().len() + 1000;
    let file = fs::File::create(&path).unwrap();
    file.write_all_at(b"\n", before - 1).unwrap();
    let get = |limit: u64| {
        let mut command = std::process::Command::new("/bin/sh");
        let script = "trap '' XFSZ; exec prlimit --fsize=$0 \"$@\"";
        command.args(["-c", script, &limit.to_string()]).arg(cargo_binary("keyway").unwrap());
        let keyway = Keyway::from_command(command, folder.path());
        keyway.args(&["secret", "get", "A", "--config", "config.yaml"]).run().unwrap()
    };
    get(before + 50).expect(0, &["the audit log cannot be written"]).unwrap();
    assert_eq!(fs::metadata(&path).unwrap().len(), before, "half a line was left");
    get(before + 10_000).expect(0, &[]).unwrap();
    let content = fs::read(&path).unwrap();
    let added = std::str::from_utf8(&content[usize::try_from(before).unwrap()..]).unwrap();
    let added: Vec<Value> = added.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(added.len(), 2);
}
