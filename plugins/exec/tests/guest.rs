//! The plugin is a guest in the host's process. A process of its own, since other tests end their runtimes early.
#![cfg(target_os = "linux")]

use std::{fs, io, time::Duration};

use keyway_exec::{Config, ExecSecretManager, Protocol};
use keyway_plugin_api::{ErrorKind, ManagerType, ReadRequest, SecretManager};

const SIGCHLD: u64 = 1 << (17 - 1);

/// The numbers of the processes that this one has started and not reaped.
fn children() -> io::Result<String> {
    let mut numbers = String::new();
    for thread in fs::read_dir("/proc/self/task")? {
        numbers += &fs::read_to_string(thread?.path().join("children"))?;
    }
    Ok(numbers)
}

#[tokio::test]
async fn killed_programs_are_reaped_and_no_signal_handler_is_put_up_for_it() {
    let mut config = Config::new(["/bin/sh", "-c", "exec sleep 600"], Protocol::Summon);
    config.timeout = Duration::from_millis(50);
    let manager = ExecSecretManager::create(config).unwrap();
    let request = ReadRequest::new("a").unwrap();
    let late = manager.async_read_secret(&request).await.unwrap_err();
    assert_eq!(late.kind(), ErrorKind::Timeout);
    let given_up = tokio::time::timeout(Duration::from_millis(5), manager.async_read_secret(&request)).await;
    assert!(given_up.is_err());
    let reaped = async {
        while !children().unwrap().is_empty() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), reaped).await.unwrap();
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let caught = status.lines().find_map(|line| line.strip_prefix("SigCgt:")).unwrap();
    assert_eq!(u64::from_str_radix(caught.trim(), 16).unwrap() & SIGCHLD, 0);
}
