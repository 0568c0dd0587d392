//! The contract, kept by the exec plugin natively. A test of its own: two plugins in one program would have one symbol.

#![cfg(unix)]

use std::sync::Arc;

use keyway_exec::{Config, ExecSecretManager, Protocol};
use keyway_plugin_api::{Capabilities, ManagerType as _, SecretManager as _};
use keyway_tests::contract::{self, Subject};

const KNOWN: (&str, &str) = ("OPENAI_API_KEY", "sk-test-not-a-key");

#[tokio::test(flavor = "multi_thread")]
async fn the_exec_plugin_keeps_the_contract_of_a_reader() {
    let script = format!("[ \"$1\" = {} ] || exit 44; echo {}", KNOWN.0, KNOWN.1);
    let mut config = Config::new(["/bin/sh", "-c", &script, "provider"], Protocol::Summon);
    config.not_found.exit_codes = vec![44];
    let manager = Arc::new(ExecSecretManager::create(config).unwrap());
    assert_eq!(manager.capabilities(), Capabilities::READ | Capabilities::HEALTH);
    let subject = Subject { manager, through_table: false, known: Some(KNOWN) };
    assert_eq!(contract::run(&subject).await.unwrap().len(), 7);
}
