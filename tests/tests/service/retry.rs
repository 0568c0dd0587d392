//! Which failures are tried again, and when.

use std::{sync::Arc, time::Duration};

use keyway::service::retry::Retry;
use keyway_plugin_api::{
    DeleteRequest, ErrorKind, ReadRequest, RotateRequest, SecretManager as _, WriteRequest,
};
use keyway_tests::scripted::Scripted;
use tokio::time::Instant;

use crate::support::{request, seconds};

const OUTAGES: [ErrorKind; 3] = [ErrorKind::Unavailable, ErrorKind::Timeout, ErrorKind::Internal];

fn retry(manager: &Arc<Scripted>) -> Retry {
    Retry::new(manager.clone(), 3)
}

#[tokio::test(start_paused = true)]
async fn a_read_survives_a_short_outage() {
    for kind in OUTAGES {
        let manager = Scripted::with("a", "one");
        manager.fail_next([kind, kind, kind]);
        let value = retry(&manager).async_read_secret(&request("a")).await.unwrap();
        assert_eq!((value.expose_bytes(), manager.calls()), (&b"one"[..], 4));
    }
}

#[tokio::test(start_paused = true)]
async fn after_the_last_try_the_error_is_the_managers() {
    let manager = Scripted::with("a", "one");
    manager.fail(ErrorKind::Unavailable);
    let error = retry(&manager).async_read_secret(&request("a")).await.unwrap_err();
    assert_eq!((error.message(), manager.calls()), ("the script says so", 4));
}

#[tokio::test(start_paused = true)]
async fn no_try_begins_after_the_deadline() {
    let manager = Scripted::with("a", "one");
    manager.fail(ErrorKind::Unavailable);
    manager.delay(seconds(2));
    let start = Instant::now();
    let request = ReadRequest { timeout: seconds(3), ..request("a") };
    retry(&manager).async_read_secret(&request).await.unwrap_err();
    assert_eq!(manager.calls(), 2);
    assert!(start.elapsed() < seconds(5));
}

#[tokio::test(start_paused = true)]
async fn what_cannot_help_is_not_tried() {
    let hopeless = ErrorKind::ALL.into_iter().filter(|kind| {
        !OUTAGES.contains(kind) && !matches!(kind, ErrorKind::Throttled | ErrorKind::Unauthenticated)
    });
    for kind in hopeless {
        let manager = Scripted::with("a", "one");
        manager.fail(kind);
        let error = retry(&manager).async_read_secret(&request("a")).await.unwrap_err();
        assert_eq!((error.kind(), manager.calls()), (kind, 1));
    }
}

#[tokio::test(start_paused = true)]
async fn throttling_waits_as_long_as_it_is_told_inside_the_deadline() {
    let manager = Scripted::with("a", "one");
    manager.retry_after(seconds(2));
    manager.fail_next([ErrorKind::Throttled]);
    let start = Instant::now();
    retry(&manager).async_read_secret(&request("a")).await.unwrap();
    assert!((seconds(2)..seconds(3)).contains(&start.elapsed()), "{:?}", start.elapsed());

    manager.retry_after(seconds(10));
    manager.fail_next([ErrorKind::Throttled]);
    let start = Instant::now();
    retry(&manager).async_read_secret(&request("a")).await.unwrap_err();
    assert_eq!(start.elapsed(), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn authentication_is_tried_once_more() {
    let manager = Scripted::with("a", "one");
    manager.fail_next([ErrorKind::Unauthenticated]);
    retry(&manager).async_read_secret(&request("a")).await.unwrap();
    assert_eq!(manager.calls(), 2);
    manager.fail(ErrorKind::Unauthenticated);
    retry(&manager).async_read_secret(&request("a")).await.unwrap_err();
    assert_eq!(manager.calls(), 4);
}

#[tokio::test(start_paused = true)]
async fn a_change_that_may_have_been_applied_is_not_tried_again() {
    for kind in OUTAGES {
        let manager = Scripted::with("a", "one");
        let retry = retry(&manager);
        manager.fail_next([kind, kind]);
        retry.async_write_secret(&WriteRequest::new("a", "two").unwrap()).await.unwrap_err();
        retry.async_delete_secret(&DeleteRequest::new("a").unwrap()).await.unwrap_err();
        assert_eq!(manager.calls(), 2);
    }
}

#[tokio::test(start_paused = true)]
async fn a_change_that_was_throttled_is_tried_again_and_a_rotation_is_not() {
    let manager = Scripted::with("a", "one");
    let retry = retry(&manager);
    manager.fail_next([ErrorKind::Throttled]);
    retry.async_write_secret(&WriteRequest::new("a", "two").unwrap()).await.unwrap();
    assert_eq!(manager.calls(), 2);
    manager.fail_next([ErrorKind::Throttled]);
    retry.async_rotate_secret(RotateRequest::in_place("a", "three").unwrap()).await.unwrap_err();
    assert_eq!(manager.calls(), 3);
}
