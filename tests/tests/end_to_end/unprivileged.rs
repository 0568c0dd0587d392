//! The program as a user without rights: it makes itself undumpable, and loads a plugin through `/proc/self/fd`.

#![cfg(target_os = "linux")]

use std::{fs, os::unix::fs::chown, path::Path, process::Command};

use keyway_tests::{build::cargo_binary, cli::Keyway};
use mock_openai::Options;

use crate::support::{SERVE, chat, folder, upstream};

const NOBODY: u32 = 65534;

#[tokio::test(flavor = "multi_thread")]
async fn a_user_without_rights_loads_a_plugin_and_serves() {
    let Some(setpriv) =
        ["/usr/bin/setpriv", "/bin/setpriv"].into_iter().find(|path| Path::new(path).exists())
    else {
        println!("skipped: there is no setpriv to become another user with");
        return;
    };
    if !rustix::process::geteuid().is_root() {
        println!("skipped: these tests run as a user without rights already, so every other one shows it");
        return;
    }
    let upstream = upstream(Options::default()).await;
    let folder = folder();
    let program = folder.path().join("keyway");
    fs::copy(cargo_binary("keyway").unwrap(), &program).unwrap();
    chown(folder.path(), Some(NOBODY), Some(NOBODY)).unwrap();
    for entry in fs::read_dir(folder.path()).unwrap() {
        chown(entry.unwrap().path(), Some(NOBODY), Some(NOBODY)).unwrap();
    }
    let mut command = Command::new(setpriv);
    command
        .args([format!("--reuid={NOBODY}"), format!("--regid={NOBODY}")])
        .arg("--clear-groups")
        .arg(&program);
    let keyway = Keyway::from_command(command, folder.path()).args(&SERVE);
    let serving = keyway.env("QUICKSTART_API_BASE", upstream.base()).serve().unwrap();
    // An undumpable process belongs to root as far as /proc is concerned: its memory is closed to its own user.
    let memory = fs::metadata(format!("/proc/{}/mem", serving.id())).unwrap();
    assert_eq!(std::os::unix::fs::MetadataExt::uid(&memory), 0);
    assert_eq!(chat(&serving.url("/v1/chat/completions")).await.status(), 200);
    serving.terminate().unwrap();
    serving.wait().unwrap().expect(0, &["loaded_from=\"sealed memory\"", "stopped"]).unwrap();
}
