//! A random secret goes through everything the host does with plugins and configurations, with the log at TRACE; then all
//! that was printed is searched for it.

#![expect(clippy::unwrap_used, reason = "a helper that fails is a test that fails")]

use std::{
    fmt::Debug,
    io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use keyway::{
    config::{self, Env},
    loader::{self, PluginSpec},
    service::{Outcome, Policy, Resolver, SecretHandle},
};
use keyway_plugin_api::{
    DeleteRequest, ListRequest, ReadRequest, RotateRequest, Secret, SecretManager, WriteRequest,
    request::MAX_VALUE_LEN,
};
use keyway_tests::{build, canary::Canary, plugin};
use serde_json::{Value, json};
use tracing_subscriber::fmt::{MakeWriter, format::FmtSpan};

/// Everything that anybody printed.
#[derive(Clone, Default)]
struct Printed(Arc<Mutex<Vec<u8>>>);

impl Printed {
    /// What a value, an error with its causes included, shows of itself.
    fn show(&self, value: &dyn Debug) {
        let text = format!("{value:?}\n{value:#?}\n");
        self.0.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(text.as_bytes());
    }

    fn outcome<T: Debug, E: std::error::Error + Send + Sync + 'static>(&self, result: Result<T, E>) {
        match result {
            Ok(value) => self.show(&value),
            Err(error) => {
                self.show(&error);
                let error = anyhow::Error::new(error);
                self.show(&error);
                self.show(&format_args!("{error} {error:#}"));
            }
        }
    }
}

impl io::Write for Printed {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Printed {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

/// Every operation, those that fail included.
async fn operate(printed: &Printed, manager: &dyn SecretManager, name: &str, canary: &str) {
    let mut write = WriteRequest::new(name, canary).unwrap();
    write.description = Some("a text for people".to_owned());
    printed.show(&write);
    printed.outcome(manager.async_write_secret(&write).await);
    let read = ReadRequest::new(name).unwrap();
    printed.outcome(manager.async_read_secret(&read).await);
    printed.outcome(manager.sync_read_secret(&read));
    let mut version = read.clone();
    version.version = Some("no such version".to_owned());
    printed.outcome(manager.async_read_secret(&version).await);
    let rotate = RotateRequest::in_place(name, canary).unwrap();
    printed.show(&rotate);
    printed.outcome(manager.async_rotate_secret(rotate).await);
    let mut large = canary.as_bytes().to_vec();
    large.resize(MAX_VALUE_LEN + 1, b'x');
    printed.outcome(manager.async_write_secret(&WriteRequest::new(name, Secret::new(large)).unwrap()).await);
    let too_late = WriteRequest { timeout: Duration::ZERO, ..WriteRequest::new(name, canary).unwrap() };
    printed.outcome(manager.async_write_secret(&too_late).await);
    printed.outcome(manager.async_list_secrets(&ListRequest::default()).await);
    printed.outcome(manager.health_check().await);
    printed.outcome(manager.async_delete_secret(&DeleteRequest::new(name).unwrap()).await);
    printed.outcome(manager.async_read_secret(&read).await);
}

async fn load(
    printed: &Printed,
    library: &Path,
    type_name: &str,
    config: Value,
) -> Option<Arc<dyn SecretManager>> {
    let mut spec: PluginSpec = plugin::spec_of("vault", library, type_name);
    spec.config = config;
    printed.show(&spec);
    match loader::load(spec).await {
        Ok((manager, report)) => {
            printed.show(&report);
            printed.show(&manager.faults());
            Some(manager)
        }
        Err(error) => {
            printed.outcome::<(), _>(Err(error));
            None
        }
    }
}

/// A configuration with the canary wherever a secret may stand literally.
fn literal_config(canary: &str) -> String {
    let quoted = json!(canary).to_string();
    format!(
        "general_settings:\n  master_key: {quoted}\n  key_management_system: custom\n  \
         key_management_settings: {{custom_secret_manager: vault}}\n\
         model_list:\n- model_name: m\n  litellm_params: {{model: openai/gpt-4o, api_key: {quoted}}}\n\
         - model_name: n\n  litellm_params: {{model: openai/gpt-4o, api_key: os.environ/A}}\n\
         environment_variables: {{TOKEN: {quoted}}}\n\
         keyway:\n  managers:\n    vault: {{plugin: ./libvault.so, config: {{token: {quoted}}}}}\n"
    )
}

/// Configurations that are wrong at a place where a secret stands.
fn wrong_configs(canary: &str) -> Vec<String> {
    let quoted = json!(canary).to_string();
    vec![
        format!("general_settings: {{master_key: [{quoted}]}}\n"),
        format!("general_settings: {{master_key: {{a: {quoted}}}}}\n"),
        format!("model_list:\n- model_name: m\n  litellm_params: {{model: openai/a, api_key: [{quoted}]}}\n"),
        format!("keyway: {{managers: {{vault: {{plugin: ./a.so, config: {quoted}}}}}}}\n"),
        format!("environment_variables: [{quoted}]\n"),
        format!("environment_variables: {{A: {{b: {quoted}}}}}\n"),
        format!("general_settings: {{master_key: {quoted}\nmodel_list: []\n"),
        format!("general_settings:\n  master_key: {quoted}\n master_key: {quoted}\n"),
    ]
}

async fn configurations(printed: &Printed, manager: Arc<dyn SecretManager>, canary: &str) {
    let env = || Env::from_vars([("A", canary), ("B", canary)]);
    let path = PathBuf::from("/etc/keyway/config.yaml");
    let good = config::parse(&literal_config(canary), &path, env()).unwrap();
    printed.show(&good);
    for text in wrong_configs(canary) {
        printed.outcome(config::parse(&text, &path, env()));
    }
    let handle = SecretHandle::literal("general_settings.master_key", canary.into());
    printed.show(&handle);
    printed.show(&handle.current());
    for manager in [Some(("vault".to_owned(), manager)), None] {
        let policy = Policy::new(&good);
        printed.show(&policy);
        for Outcome { reference, result } in
            Resolver::new(manager, policy, env()).resolve_all(&good.references).await
        {
            printed.show(&reference);
            printed.outcome(result);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_is_in_nothing_that_is_printed() {
    let printed = Printed::default();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::TRACE)
        .with_ansi(false)
        .with_span_events(FmtSpan::FULL)
        .with_writer(printed.clone())
        .finish();
    tracing::subscriber::set_global_default(subscriber).unwrap();
    let canary = Canary::random();
    let value = canary.value();

    let memory = build::cargo_library("keyway-plugin-memory").unwrap();
    let manager =
        load(&printed, &memory, "InMemorySecretManager", json!({"secrets": {"A": value}})).await.unwrap();
    operate(&printed, &*manager, "B", value).await;
    configurations(&printed, Arc::clone(&manager), value).await;
    for wrong in [
        json!({"secrets": value}),
        json!({"secrets": {"A": [value]}}),
        json!({"secrets": [value]}),
        json!(value),
    ] {
        assert!(load(&printed, &memory, "InMemorySecretManager", wrong).await.is_none());
    }

    let panicking = build::cargo_library("keyway-tests-panicking").unwrap();
    for wrong in [json!({"port": value}), json!({"place": value}), json!({"place": "create"})] {
        assert!(load(&printed, &panicking, "Panicking", wrong).await.is_none());
    }
    for name in ["plain", "panic", "panic later"] {
        let manager = load(&printed, &panicking, "Panicking", json!({})).await.unwrap();
        operate(&printed, &*manager, name, value).await;
        manager.shutdown().await;
    }

    let misbehaving = build::misbehaving().unwrap();
    let manager = load(&printed, misbehaving, "Misbehaving", json!({"token": value})).await.unwrap();
    for name in ["plain", "config", "twice", "result/null", "text/message", "throttled", "log", "cancellable"]
    {
        let mut read = ReadRequest::new(name).unwrap();
        read.timeout = Duration::from_millis(50);
        printed.outcome(manager.async_read_secret(&read).await);
        let mut write = WriteRequest::new(name, value).unwrap();
        write.timeout = Duration::from_millis(50);
        printed.outcome(manager.async_write_secret(&write).await);
    }
    manager.shutdown().await;

    let text = String::from_utf8(printed.0.lock().unwrap().clone()).unwrap();
    if let Some(form) = canary.found_in(&text) {
        let line = text.lines().find(|line| canary.found_in(line).is_some()).unwrap_or("over several lines");
        panic!("the secret was printed ({form}): {line}");
    }
    // What must have been printed, so that the search was one.
    for expected in [
        "plugin file is not pinned",
        "line of a trace",
        "the plugin panicked at",
        "Secret(",
        "PluginSpec",
        "config.port: invalid type",
        "InMemorySecretManager",
    ] {
        assert!(text.contains(expected), "{expected} was not printed");
    }
}
