//! The contract, kept by the file plugin natively. A test of its own: two plugins in one program would have one symbol.

#![cfg(unix)]

use std::{fs, sync::Arc};

use keyway_file::{Config, FileSecretManager};
use keyway_plugin_api::ManagerType as _;
use keyway_tests::contract::{self, Subject};

const KNOWN: (&str, &str) = ("OPENAI_API_KEY", "sk-test-not-a-key");

#[tokio::test(flavor = "multi_thread")]
async fn the_file_plugin_keeps_the_contract_natively() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join(KNOWN.0), KNOWN.1).unwrap();
    let config = Config { directory: Some(folder.path().to_owned()), ..Config::default() };
    let manager = Arc::new(FileSecretManager::create(config).unwrap());
    let subject = Subject { manager, through_table: false, known: Some(KNOWN) };
    assert_eq!(contract::run(&subject).await.unwrap().len(), 20);
}
