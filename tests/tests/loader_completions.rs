//! Plugins that complete wrongly, or with what no host should trust.

use std::time::{Duration, UNIX_EPOCH};

use keyway::loader::{Faults, unowned_completions};
use keyway_plugin_api::{
    DeleteRequest, ErrorKind, ListRequest, RotateRequest, SecretManager, WriteRequest, request::MAX_VALUE_LEN,
};
use keyway_tests::misbehaving::{VALUE, instance, read};

#[tokio::test]
async fn the_first_of_two_completions_wins_and_the_second_is_counted() {
    let manager = instance("twice", "Misbehaving").await.unwrap();
    assert_eq!(read(&*manager, "twice").await.unwrap().expose_bytes(), VALUE);
    assert_eq!(manager.faults(), Faults { stray: 1, ..Faults::default() });
    assert_eq!(read(&*manager, "plain").await.unwrap().expose_bytes(), VALUE);
}

#[tokio::test]
async fn of_completions_from_many_threads_one_wins() {
    let manager = instance("threads", "Misbehaving").await.unwrap();
    for _ in 0..20 {
        assert_eq!(read(&*manager, "threads/8").await.unwrap().expose_bytes(), VALUE);
    }
    assert_eq!(manager.faults(), Faults { stray: 20 * 7, ..Faults::default() });
}

#[tokio::test(flavor = "multi_thread")]
async fn a_completion_may_come_from_another_thread() {
    let manager = instance("another thread", "Misbehaving").await.unwrap();
    let mut reads = tokio::task::JoinSet::new();
    for _ in 0..100 {
        let manager = manager.clone();
        reads.spawn(
            async move { read(&*manager, "thread").await.map(|secret| secret.expose_bytes().to_vec()) },
        );
    }
    while let Some(value) = reads.join_next().await {
        assert_eq!(value.unwrap().unwrap(), VALUE);
    }
    assert_eq!(manager.faults(), Faults::default());
}

#[tokio::test]
async fn a_forged_completion_reaches_nobody_and_is_counted() {
    let before = unowned_completions();
    let manager = instance("forged", "Misbehaving").await.unwrap();
    assert_eq!(read(&*manager, "forged").await.unwrap().expose_bytes(), VALUE);
    assert_eq!(manager.faults(), Faults { stray: 0, ..Faults::default() });
    assert!(unowned_completions() >= before + 4);
}

#[tokio::test]
async fn a_result_that_is_none_is_an_internal_error() {
    let manager = instance("results", "Misbehaving").await.unwrap();
    for (name, text) in [
        ("result/null", "NULL instead of a result"),
        ("result/short", "too short"),
        ("result/null value", "NULL that is not empty"),
    ] {
        let error = read(&*manager, name).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Internal, "{name}");
        assert!(error.message().contains(text), "{error}");
    }
    let error = read(&*manager, "result/flags").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    assert!(error.message().contains("0x4"), "{error}");
}

#[tokio::test]
async fn each_code_is_its_kind_and_an_unknown_one_is_internal() {
    let manager = instance("codes", "Misbehaving").await.unwrap();
    for kind in ErrorKind::ALL {
        let error = read(&*manager, &format!("code/{}", kind.code())).await.unwrap_err();
        assert_eq!((error.kind(), error.message()), (kind, "as asked"));
    }
    for code in [14, 999, u32::MAX] {
        let error = read(&*manager, &format!("code/{code}")).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Internal);
    }
}

#[tokio::test]
async fn errors_of_every_operation_keep_what_the_plugin_said() {
    let manager = instance("errors", "Misbehaving").await.unwrap();
    let errors = [
        read(&*manager, "throttled").await.unwrap_err(),
        manager.async_write_secret(&WriteRequest::new("throttled", "value").unwrap()).await.unwrap_err(),
        manager.async_delete_secret(&DeleteRequest::new("throttled").unwrap()).await.unwrap_err(),
        manager
            .async_rotate_secret(RotateRequest::in_place("throttled", "value").unwrap())
            .await
            .unwrap_err(),
        manager.health_check().await.unwrap_err(),
    ];
    for error in errors {
        assert_eq!(error.kind(), ErrorKind::Throttled);
        assert_eq!(error.message(), "too many calls");
        assert_eq!(error.retry_after(), Some(Duration::from_millis(2500)));
        assert_eq!(error.vendor_code(), Some("SlowDown"));
    }
}

#[tokio::test]
async fn what_a_store_says_about_a_value_crosses_intact() {
    let manager = instance("metadata", "Misbehaving").await.unwrap();
    let secret = read(&*manager, "metadata").await.unwrap();
    let metadata = secret.metadata();
    assert_eq!(secret.expose_bytes(), VALUE);
    assert_eq!(metadata.version.as_deref(), Some("7"));
    assert_eq!(metadata.ttl, Some(Duration::from_millis(1500)));
    assert_eq!(metadata.expires_at, Some(UNIX_EPOCH + Duration::from_millis(1_893_456_000_123)));
    assert_eq!(metadata.lease_id.as_deref(), Some("lease-1"));
    assert!(metadata.binary);
    let request = WriteRequest::new("metadata", "value").unwrap();
    assert_eq!(manager.async_write_secret(&request).await.unwrap().version.as_deref(), Some("7"));
    assert!(!read(&*manager, "plain").await.unwrap().metadata().binary);
}

#[tokio::test]
async fn text_that_is_not_text_is_made_printable() {
    let manager = instance("texts", "Misbehaving").await.unwrap();
    let error = read(&*manager, "text/message").await.unwrap_err();
    assert_eq!((error.kind(), error.message()), (ErrorKind::Unavailable, "a\u{fffd}\u{fffd} b c"));
    assert_eq!(error.vendor_code(), Some("\u{fffd}"));
    assert_eq!(read(&*manager, "text/endless").await.unwrap_err().message(), "m".repeat(4096));
    assert_eq!(read(&*manager, "text/null").await.unwrap_err().kind(), ErrorKind::Unavailable);
}

/// They are handed back to the store some day.
#[tokio::test]
async fn a_version_and_a_lease_are_kept_exactly_or_refused() {
    let manager = instance("exact", "Misbehaving").await.unwrap();
    let secret = read(&*manager, "text/exact").await.unwrap();
    assert_eq!(secret.metadata().version.as_deref(), Some("7\t\u{e4}"));
    assert_eq!(secret.metadata().lease_id.as_deref(), Some("l\0\n"));
    for (name, kind, text) in [
        ("text/version", ErrorKind::Internal, "a version that is not UTF-8"),
        ("text/lease", ErrorKind::Internal, "a lease id that is NULL"),
        ("text/endless version", ErrorKind::TooLarge, "the version has 1048576 bytes"),
    ] {
        let error = read(&*manager, name).await.unwrap_err();
        assert_eq!(error.kind(), kind, "{name}");
        assert!(error.message().contains(text), "{error}");
    }
}

#[tokio::test]
async fn values_cross_intact_up_to_the_limit_and_not_beyond() {
    let manager = instance("values", "Misbehaving").await.unwrap();
    assert_eq!(read(&*manager, "bytes").await.unwrap().expose_bytes(), b"a\0b\n\xff\r");
    for len in [0, 1, MAX_VALUE_LEN] {
        let secret = read(&*manager, &format!("size/{len}")).await.unwrap();
        assert_eq!(secret.len(), len);
        let intact = secret.expose_bytes().iter().enumerate().all(|(i, byte)| *byte == (i * 31 + 7) as u8);
        assert!(intact, "{len} bytes were changed");
    }
    let error = read(&*manager, &format!("size/{}", MAX_VALUE_LEN + 1)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TooLarge);
    assert!(error.message().contains("16777217"), "{error}");
}

#[tokio::test]
async fn names_of_a_list_that_are_forged_or_late_are_left_out() {
    let manager = instance("lists", "Misbehaving").await.unwrap();
    for prefix in ["", "late"] {
        let request = ListRequest { prefix: prefix.to_owned(), ..ListRequest::default() };
        assert_eq!(manager.async_list_secrets(&request).await.unwrap(), ["first", "last"]);
    }
}

#[tokio::test]
async fn a_list_with_a_name_that_is_none_fails_as_a_whole() {
    let manager = instance("bad lists", "Misbehaving").await.unwrap();
    for (prefix, text) in [
        ("bad/utf-8", "not UTF-8"),
        ("bad/long", "has 3000 bytes"),
        ("bad/null", "NULL"),
        ("bad/empty", "is empty"),
        ("bad/control", "control character"),
    ] {
        let request = ListRequest { prefix: prefix.to_owned(), ..ListRequest::default() };
        let error = manager.async_list_secrets(&request).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Internal, "{prefix}");
        assert!(error.message().contains(text), "{error}");
    }
    assert_eq!(manager.async_list_secrets(&ListRequest::default()).await.unwrap(), ["first", "last"]);
}

#[tokio::test]
async fn a_type_with_the_required_functions_only_is_completed_by_the_host() {
    let manager = instance("bare", "Bare").await.unwrap();
    assert_eq!(read(&*manager, "plain").await.unwrap().expose_bytes(), VALUE);
    let unsupported = [
        manager.async_write_secret(&WriteRequest::new("a", "value").unwrap()).await.unwrap_err(),
        manager.async_delete_secret(&DeleteRequest::new("a").unwrap()).await.unwrap_err(),
        manager.async_rotate_secret(RotateRequest::in_place("a", "value").unwrap()).await.unwrap_err(),
        manager.async_list_secrets(&ListRequest::default()).await.unwrap_err(),
    ];
    for error in unsupported {
        assert_eq!(error.kind(), ErrorKind::Unsupported);
        let said = error.message();
        assert!(said.contains("operations are not implemented by bare, so it did not "), "{said}");
    }
    manager.health_check().await.unwrap();
    manager.shutdown().await;
    assert_eq!(read(&*manager, "plain").await.unwrap_err().kind(), ErrorKind::Unavailable);
}
