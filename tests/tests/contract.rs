//! The contract, kept by every manager of the repository: natively, and through the table of a plugin.

#![expect(clippy::unwrap_used, reason = "a helper that fails is a test that fails")]

use std::{path::Path, sync::Arc};

use keyway_memory::{Config, InMemorySecretManager};
use keyway_plugin_api::{Capabilities, ManagerType, SecretManager};
use keyway_tests::{
    build,
    contract::{self, Subject},
    plugin,
};

const KNOWN: (&str, &str) = ("OPENAI_API_KEY", "example-openai-key-from-the-plugin");

async fn loaded(library: &Path) -> Subject {
    let (manager, _) = plugin::load(plugin::spec("contract", library)).await.unwrap();
    Subject { manager, through_table: true, known: Some(KNOWN) }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_memory_plugin_keeps_the_contract_natively() {
    let config = Config { secrets: [KNOWN].map(|(name, value)| (name.to_owned(), value.to_owned())).into() };
    let manager = Arc::new(InMemorySecretManager::create(config).unwrap());
    let subject = Subject { manager, through_table: false, known: Some(KNOWN) };
    assert_eq!(contract::run(&subject).await.unwrap().len(), 20);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_memory_plugin_keeps_the_contract_through_its_table() {
    let library = build::cargo_library("keyway-plugin-memory").unwrap();
    let mut spec = plugin::spec("contract", &library);
    spec.config = serde_json::json!({"secrets": {KNOWN.0: KNOWN.1}});
    let (manager, report) = plugin::load(spec).await.unwrap();
    assert_eq!(report.layout.to_string(), "verified (fingerprint, abi_stable)");
    assert_eq!(manager.capabilities(), InMemorySecretManager::CAPABILITIES);
    let subject = Subject { manager, through_table: true, known: Some(KNOWN) };
    assert_eq!(contract::run(&subject).await.unwrap().len(), 22);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_file_plugin_keeps_the_contract_through_its_table() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join(KNOWN.0), KNOWN.1).unwrap();
    let mut spec = plugin::spec("contract", &build::cargo_library("keyway-plugin-file").unwrap());
    spec.config = serde_json::json!({"directory": folder.path()});
    let (manager, _) = plugin::load(spec).await.unwrap();
    let subject = Subject { manager, through_table: true, known: Some(KNOWN) };
    assert_eq!(contract::run(&subject).await.unwrap().len(), 22);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_example_in_c_keeps_the_contract_of_a_reader() {
    let subject = loaded(build::c_example().unwrap()).await;
    assert_eq!(subject.manager.capabilities(), Capabilities::READ | Capabilities::SYNC_READ);
    assert_eq!(contract::run(&subject).await.unwrap().len(), 8);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_tutorial_in_rust_keeps_the_contract_of_a_reader() {
    let subject = loaded(&build::cargo_library("my-secret-manager").unwrap()).await;
    assert_eq!(subject.manager.capabilities(), Capabilities::READ);
    assert_eq!(contract::run(&subject).await.unwrap().len(), 8);
}

#[tokio::test]
async fn the_contract_holds_on_a_runtime_of_one_thread() {
    let library = build::cargo_library("keyway-plugin-memory").unwrap();
    let (manager, _) = plugin::load(plugin::spec("contract", &library)).await.unwrap();
    let subject = Subject { manager, through_table: true, known: None };
    assert_eq!(contract::run(&subject).await.unwrap().len(), 19);
}

/// A manager that says NOT_FOUND whatever it is asked: the contract must not be kept by everybody.
struct Amnesiac;

#[keyway_plugin_api::async_trait]
impl SecretManager for Amnesiac {
    async fn async_read_secret(
        &self,
        request: &keyway_plugin_api::ReadRequest,
    ) -> keyway_plugin_api::Result<keyway_plugin_api::Secret> {
        Err(keyway_plugin_api::Error::not_found(&request.name))
    }

    async fn async_write_secret(
        &self,
        _request: &keyway_plugin_api::WriteRequest,
    ) -> keyway_plugin_api::Result<keyway_plugin_api::WriteReceipt> {
        Ok(keyway_plugin_api::WriteReceipt::default())
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities::READ_WRITE
    }
}

#[tokio::test]
async fn a_manager_that_forgets_breaks_the_contract() {
    let subject = Subject { manager: Arc::new(Amnesiac), through_table: false, known: None };
    let broken = contract::run(&subject).await.unwrap_err().to_string();
    for claim in
        ["what_was_written_is_read", "a_rotation_to_another_name_moves", "any_bytes_come_back_intact"]
    {
        assert!(broken.contains(claim), "{broken}");
    }
}
