//! Plugins in Rust that panic: the instance is lost, the host and the other instances are not.

#![expect(clippy::unwrap_used, reason = "a helper that fails is a test that fails")]

use std::{sync::Arc, time::Duration};

use keyway::loader::LoadedPlugin;
use keyway_plugin_api::{
    DeleteRequest, Error, ErrorKind, ListRequest, ReadRequest, RotateRequest, SecretManager, WriteRequest,
    abi,
};
use keyway_tests::{
    build,
    misbehaving::{VALUE, read},
    plugin,
};

async fn instance(type_name: &str, place: &str) -> Arc<LoadedPlugin> {
    let library = build::cargo_library("keyway-tests-panicking").unwrap();
    let mut spec = plugin::spec_of("panicking", &library, type_name);
    spec.config = serde_json::json!({"place": place});
    plugin::load(spec).await.unwrap().0
}

/// Runs one operation on a name.
async fn operate(manager: &LoadedPlugin, operation: &str, name: &str) -> Result<(), Error> {
    match operation {
        "read" => manager.async_read_secret(&ReadRequest::new(name)?).await.map(drop),
        "write" => manager.async_write_secret(&WriteRequest::new(name, "value")?).await.map(drop),
        "delete" => manager.async_delete_secret(&DeleteRequest::new(name)?).await,
        "rotate" => manager.async_rotate_secret(RotateRequest::in_place(name, "value")?).await.map(drop),
        _ => {
            let request = ListRequest { prefix: name.to_owned(), ..ListRequest::default() };
            manager.async_list_secrets(&request).await.map(drop)
        }
    }
}

fn assert_contained(error: &Error) {
    assert_eq!(error.kind(), ErrorKind::Internal);
    assert!(error.message().contains("panicked"), "{error}");
    assert_eq!(error.vendor_code(), Some(abi::INSTANCE_LOST));
    assert!(!error.to_string().contains("sk-test-not-a-key-in-a-panic"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_panic_in_any_operation_is_contained_and_ends_the_use_of_its_instance_only() {
    let neighbour = instance("Panicking", "nowhere").await;
    for operation in ["read", "write", "delete", "rotate", "list"] {
        for name in ["panic", "panic later"] {
            let manager = instance("Panicking", "nowhere").await;
            operate(&manager, operation, "harmless").await.unwrap();
            operate(&manager, operation, "harmless later").await.unwrap();
            assert_contained(&operate(&manager, operation, name).await.unwrap_err());
            let poisoned = operate(&manager, "read", "harmless").await.unwrap_err();
            assert_contained(&poisoned);
            assert!(poisoned.message().contains("earlier"), "{poisoned}");
            operate(&neighbour, operation, "harmless").await.unwrap();
            manager.shutdown().await;
        }
    }
}

#[tokio::test]
async fn a_panic_whose_payload_panics_is_contained() {
    for (type_name, name) in [
        ("Panicking", "panic with a bomb"),
        ("Panicking", "panic with a bomb later"),
        ("PanickingSync", "panic with a bomb"),
    ] {
        let manager = instance(type_name, "nowhere").await;
        assert_contained(&operate(&manager, "read", name).await.unwrap_err());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operation_whose_destructor_panics_completes_when_it_is_given_up() {
    let manager = instance("Panicking", "nowhere").await;
    let mut request = ReadRequest::new("hold a bomb").unwrap();
    request.timeout = Duration::from_millis(30);
    assert_eq!(manager.async_read_secret(&request).await.unwrap_err().kind(), ErrorKind::Timeout);
    let completed = async {
        while manager.faults().zombies > 0 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), completed).await.unwrap();
    assert_eq!(manager.faults().late, 1);
    assert_eq!(read(&*manager, "harmless").await.unwrap().expose_bytes(), VALUE);
}

#[tokio::test]
async fn a_panic_in_a_blocking_read_is_contained() {
    let manager = instance("PanickingSync", "nowhere").await;
    assert_eq!(read(&*manager, "harmless").await.unwrap().expose_bytes(), VALUE);
    assert_contained(&read(&*manager, "panic").await.unwrap_err());
    assert_contained(&read(&*manager, "harmless").await.unwrap_err());
    let another = instance("PanickingSync", "nowhere").await;
    assert_eq!(read(&*another, "harmless").await.unwrap().expose_bytes(), VALUE);
}

#[tokio::test]
async fn a_panic_in_the_health_check_is_contained() {
    instance("Panicking", "nowhere").await.health_check().await.unwrap();
    let manager = instance("Panicking", "health").await;
    assert_contained(&manager.health_check().await.unwrap_err());
    assert_contained(&read(&*manager, "harmless").await.unwrap_err());
}

#[tokio::test]
async fn a_panic_at_the_end_of_an_instance_is_contained() {
    for place in ["shutdown", "drop"] {
        let manager = instance("Panicking", place).await;
        assert_eq!(read(&*manager, "harmless").await.unwrap().expose_bytes(), VALUE);
        manager.shutdown().await;
        drop(manager);
        drop(instance("Panicking", place).await);
    }
    let another = instance("Panicking", "nowhere").await;
    assert_eq!(read(&*another, "harmless").await.unwrap().expose_bytes(), VALUE);
}

#[tokio::test]
async fn a_panic_while_an_instance_is_made_is_a_reason_and_the_library_stays_usable() {
    let library = build::cargo_library("keyway-tests-panicking").unwrap();
    let mut spec = plugin::spec_of("panicking", &library, "Panicking");
    spec.config = serde_json::json!({"place": "create"});
    let text = plugin::refusal(spec).await.unwrap();
    assert!(text.contains("panicked while it made an instance") && text.contains("INTERNAL"), "{text}");
    let another = instance("Panicking", "nowhere").await;
    assert_eq!(read(&*another, "harmless").await.unwrap().expose_bytes(), VALUE);
}

#[tokio::test]
async fn a_configuration_that_does_not_fit_is_named_by_its_setting_and_never_quoted() {
    let library = build::cargo_library("keyway-tests-panicking").unwrap();
    let cases = [
        (serde_json::json!({"port": "canary-value"}), "config.port: invalid type: string, expected u16"),
        (serde_json::json!({"port": 70000}), "config.port: invalid value: integer, expected u16"),
        (serde_json::json!({"place": "canary-value"}), "config.place"),
        (serde_json::json!({"prot": "canary-value"}), "unknown field `prot`, expected `place` or `port`"),
        (serde_json::json!(["canary-value"]), "config"),
    ];
    for (config, expected) in cases {
        let mut spec = plugin::spec_of("panicking", &library, "Panicking");
        spec.config = config;
        let text = plugin::refusal(spec).await.unwrap();
        assert!(text.contains(expected) && text.contains("INVALID_CONFIG"), "{text}");
        assert!(!text.contains("canary-value") && !text.contains("70000"), "{text}");
    }
}

#[tokio::test]
async fn the_reason_of_a_plugin_that_makes_no_instance_is_passed_on() {
    use keyway_tests::misbehaving::spec;
    let cases = [
        ("refuse", "the vault knows nobody of this name (UNAUTHENTICATED)"),
        ("without a reason", "gave no reason"),
    ];
    for (mode, expected) in cases {
        let mut spec = spec(&format!("create {mode}"), "Misbehaving").unwrap();
        spec.config = serde_json::json!({"create": mode});
        let text = plugin::refusal(spec).await.unwrap();
        assert!(text.contains(expected), "{text}");
    }
}

#[tokio::test]
async fn an_exception_in_c_plus_plus_is_contained_by_the_guard() {
    let source = build::repository().join("tests/plugins/throwing.cpp");
    let Some(library) = build::cpp_library(&source, "throwing", &["-O1"]).unwrap() else { return };
    let (manager, _) = plugin::load(plugin::spec("throwing", &library)).await.unwrap();
    assert_eq!(read(&*manager, "plain").await.unwrap().expose_bytes(), VALUE);
    for name in ["throw", "throw a number"] {
        let error = read(&*manager, name).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Internal);
        assert_eq!(error.message(), "the plugin threw an exception");
    }
    assert_eq!(read(&*manager, "plain").await.unwrap().expose_bytes(), VALUE);
    let mut spec = plugin::spec("throwing", &library);
    spec.config = serde_json::json!({"create": "throw"});
    let text = plugin::refusal(spec).await.unwrap();
    assert!(text.contains("threw an exception while it made an instance"), "{text}");
}
