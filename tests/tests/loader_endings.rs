//! The end of an instance: in order, once, and without waiting for ever.

#![expect(clippy::unwrap_used, reason = "a helper that fails is a test that fails")]

use std::{sync::Arc, time::Duration};

use keyway::loader::LoadedPlugin;
use keyway_plugin_api::{Error, ErrorKind, ReadRequest, Secret, SecretManager};
use keyway_tests::{
    misbehaving::{Control, VALUE, instance, read, spec},
    plugin,
};
use tokio::task::JoinHandle;

const SHORT: Duration = Duration::from_millis(30);

async fn read_within(manager: &LoadedPlugin, name: &str, timeout: Duration) -> Result<Secret, Error> {
    let mut request = ReadRequest::new(name).unwrap();
    request.timeout = timeout;
    manager.async_read_secret(&request).await
}

/// A read in a task of its own.
fn spawn_read(manager: &Arc<LoadedPlugin>, name: &'static str) -> JoinHandle<Result<Vec<u8>, Error>> {
    let manager = Arc::clone(manager);
    tokio::spawn(async move {
        let secret = read_within(&manager, name, Duration::from_secs(60)).await?;
        Ok(secret.expose_bytes().to_vec())
    })
}

#[tokio::test]
async fn an_instance_ends_in_order_and_once() {
    let control = Control::new("order control").await.unwrap();
    let manager = instance("order", "Misbehaving").await.unwrap();
    assert_eq!(read(&*manager, "plain").await.unwrap().expose_bytes(), VALUE);
    let held = spawn_read(&manager, "cancellable");
    control.entered("order", 2).await.unwrap();
    tokio::join!(manager.shutdown(), manager.shutdown());
    assert_eq!(held.await.unwrap().unwrap_err().kind(), ErrorKind::Unavailable);
    assert_eq!(read(&*manager, "late").await.unwrap_err().kind(), ErrorKind::Unavailable);
    let journal = control.journal("order").await.unwrap();
    assert_eq!(journal, "create;read plain;read cancellable;cancel;shutdown;destroy;");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_end_waits_for_what_is_under_way() {
    let control = Control::new("drain control").await.unwrap();
    let manager = instance("drain", "Misbehaving").await.unwrap();
    let held = spawn_read(&manager, "never");
    control.entered("drain", 1).await.unwrap();
    let ending = tokio::spawn({
        let manager = Arc::clone(&manager);
        async move { manager.shutdown().await }
    });
    control.cancelled("drain", 1).await.unwrap();
    assert_eq!(control.journal("drain").await.unwrap(), "create;read never;cancel;");
    control.open("drain").await.unwrap();
    ending.await.unwrap();
    assert_eq!(held.await.unwrap().unwrap_err().kind(), ErrorKind::Unavailable);
    assert_eq!(control.journal("drain").await.unwrap(), "create;read never;cancel;shutdown;destroy;");
}

#[tokio::test]
async fn the_end_does_not_wait_for_ever() {
    let control = Control::new("hung control").await.unwrap();
    let manager = instance("hung", "Misbehaving").await.unwrap();
    assert_eq!(read_within(&manager, "never", SHORT).await.unwrap_err().kind(), ErrorKind::Timeout);
    tokio::time::timeout(Duration::from_secs(20), manager.shutdown()).await.unwrap();
    assert_eq!(control.journal("hung").await.unwrap(), "create;read never;cancel;shutdown;destroy;");
    // Its operation cannot be completed any more: the place where it waited is free, and a completion finds nobody.
    assert_eq!(manager.faults().zombies, 0);
    control.open("hung").await.unwrap();
    assert_eq!(manager.faults().late, 0);
}

/// Another call of a serial type must not begin while one is inside, so that it is not told of its end before that one is
/// out again.
#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_does_not_return_does_not_hold_up_the_end_of_a_serial_instance() {
    let control = Control::new("stuck control").await.unwrap();
    let manager = instance("stuck", "SerialBlocking").await.unwrap();
    assert_eq!(read_within(&manager, "block", SHORT).await.unwrap_err().kind(), ErrorKind::Timeout);
    tokio::time::timeout(Duration::from_secs(20), manager.shutdown()).await.unwrap();
    drop(manager);
    assert_eq!(control.journal("stuck").await.unwrap(), "create;cancel;");
    control.open("stuck").await.unwrap();
    control.ended("stuck", 2).await.unwrap();
    assert_eq!(control.journal("stuck").await.unwrap(), "create;cancel;shutdown;destroy;");
}

#[tokio::test]
async fn a_plugin_that_hangs_at_its_end_holds_up_nobody() {
    let control = Control::new("hangs control").await.unwrap();
    for (place, before) in [("shutdown", "create;shutdown;"), ("destroy", "create;shutdown;destroy;")] {
        let name = format!("hangs in {place}");
        let mut hanging = spec(&name, "Misbehaving").unwrap();
        hanging.config = serde_json::json!({"mode": format!("hang in {place}")});
        let (manager, _) = plugin::load(hanging).await.unwrap();
        tokio::time::timeout(Duration::from_secs(20), manager.shutdown()).await.unwrap();
        assert_eq!(control.journal(&name).await.unwrap(), before);
        assert_eq!(read(&*manager, "plain").await.unwrap_err().kind(), ErrorKind::Unavailable);
        drop(manager);
        control.open(&name).await.unwrap();
        control.ended(&name, 2).await.unwrap();
        assert_eq!(control.journal(&name).await.unwrap(), "create;shutdown;destroy;");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_end_goes_on_when_its_caller_gives_up_and_others_wait_for_it() {
    let control = Control::new("gives up control").await.unwrap();
    let manager = instance("gives up", "Misbehaving").await.unwrap();
    let held = spawn_read(&manager, "never");
    control.entered("gives up", 1).await.unwrap();
    let end = |manager: Arc<LoadedPlugin>| tokio::spawn(async move { manager.shutdown().await });
    let impatient = end(Arc::clone(&manager));
    control.cancelled("gives up", 1).await.unwrap();
    impatient.abort();
    assert!(impatient.await.unwrap_err().is_cancelled());
    let patient = end(Arc::clone(&manager));
    assert_eq!(held.await.unwrap().unwrap_err().kind(), ErrorKind::Unavailable);
    assert!(!patient.is_finished());
    control.open("gives up").await.unwrap();
    patient.await.unwrap();
    let journal = control.journal("gives up").await.unwrap();
    assert_eq!(journal, "create;read never;cancel;shutdown;destroy;");
}

/// A future that is kept and not polled cannot give its operation up itself.
#[tokio::test]
async fn the_end_cancels_what_its_caller_does_not() {
    let control = Control::new("kept control").await.unwrap();
    let manager = instance("kept", "Misbehaving").await.unwrap();
    let mut kept = std::pin::pin!(read_within(&manager, "cancellable", Duration::from_secs(60)));
    let polled =
        std::future::poll_fn(|context| std::task::Poll::Ready(kept.as_mut().poll(context).is_pending()));
    assert!(polled.await);
    manager.shutdown().await;
    assert_eq!(kept.await.unwrap_err().kind(), ErrorKind::Unavailable);
    assert_eq!(control.journal("kept").await.unwrap(), "create;read cancellable;cancel;shutdown;destroy;");
}

#[tokio::test]
async fn an_instance_that_is_only_dropped_is_told_and_destroyed() {
    let control = Control::new("dropped control").await.unwrap();
    drop(instance("dropped", "Misbehaving").await.unwrap());
    control.ended("dropped", 2).await.unwrap();
    assert_eq!(control.journal("dropped").await.unwrap(), "create;shutdown;destroy;");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_instance_that_is_ready_too_late_is_shut_down_and_destroyed() {
    let control = Control::new("slow control").await.unwrap();
    let mut slow = spec("slow", "Misbehaving").unwrap();
    slow.config = serde_json::json!({"create": "slow"});
    slow.timeout = SHORT;
    let error = plugin::refusal(slow).await.unwrap();
    assert!(error.contains("not ready within 30ms") && error.contains("TIMEOUT"), "{error}");
    control.open("slow").await.unwrap();
    control.ended("slow", 2).await.unwrap();
    assert_eq!(control.journal("slow").await.unwrap(), "create;shutdown;destroy;");
}
