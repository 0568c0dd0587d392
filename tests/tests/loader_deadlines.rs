//! Operations that take too long, that nobody waits for any more, or that must not overlap.

#![expect(clippy::unwrap_used, reason = "a helper that fails is a test that fails")]

use std::{sync::Arc, time::Duration};

use keyway::loader::{Faults, LoadedPlugin};
use keyway_plugin_api::{Error, ErrorKind, ReadRequest, Secret, SecretManager};
use keyway_tests::{
    misbehaving::{Control, VALUE, instance, read, spec},
    plugin,
};
use tokio::task::{JoinHandle, JoinSet};

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
async fn the_plugin_is_told_the_time_that_is_left() {
    let manager = instance("told", "Misbehaving").await.unwrap();
    let told = read_within(&manager, "timeout", Duration::from_millis(1234)).await.unwrap();
    assert_eq!(told.expose_bytes(), b"1234");
}

#[tokio::test]
async fn at_the_deadline_the_caller_has_its_timeout_and_the_slot_waits_for_the_completion() {
    let control = Control::new("deadline control").await.unwrap();
    let manager = instance("deadline", "Misbehaving").await.unwrap();
    let error = read_within(&manager, "never", SHORT).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Timeout);
    control.cancelled("deadline", 1).await.unwrap();
    assert_eq!(manager.faults(), Faults { zombies: 1, ..Faults::default() });
    control.open("deadline").await.unwrap();
    assert_eq!(manager.faults(), Faults { late: 1, ..Faults::default() });
    assert_eq!(control.journal("deadline").await.unwrap(), "create;read never;cancel;");
}

#[tokio::test]
async fn a_cancelled_operation_may_complete_within_its_cancel() {
    let manager = instance("cancellable", "Misbehaving").await.unwrap();
    let error = read_within(&manager, "cancellable", SHORT).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Timeout);
    assert_eq!(manager.faults(), Faults { late: 1, ..Faults::default() });
}

#[tokio::test(flavor = "multi_thread")]
async fn a_caller_that_goes_away_cancels_its_operation() {
    let control = Control::new("gone control").await.unwrap();
    let manager = instance("gone", "Misbehaving").await.unwrap();
    let caller = spawn_read(&manager, "never");
    control.entered("gone", 1).await.unwrap();
    caller.abort();
    assert!(caller.await.unwrap_err().is_cancelled());
    control.cancelled("gone", 1).await.unwrap();
    assert_eq!(manager.faults().zombies, 1);
    control.open("gone").await.unwrap();
    assert_eq!(manager.faults(), Faults { late: 1, ..Faults::default() });
}

#[tokio::test]
async fn too_many_operations_without_completion_quarantine_an_instance_until_they_complete() {
    let control = Control::new("quarantine control").await.unwrap();
    let mut wanted = spec("quarantine", "Misbehaving").unwrap();
    wanted.max_in_flight = 8;
    let (manager, _) = plugin::load(wanted).await.unwrap();
    let neighbour = instance("quarantine neighbour", "Misbehaving").await.unwrap();
    for _ in 0..4 {
        assert_eq!(read_within(&manager, "never", SHORT).await.unwrap_err().kind(), ErrorKind::Timeout);
    }
    let error = read(&*manager, "plain").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(error.message().contains("quarantined"), "{error}");
    assert_eq!(read(&*neighbour, "plain").await.unwrap().expose_bytes(), VALUE);
    control.open("quarantine").await.unwrap();
    assert_eq!(read(&*manager, "plain").await.unwrap().expose_bytes(), VALUE);
    assert_eq!(manager.faults(), Faults { late: 4, ..Faults::default() });
}

#[tokio::test]
async fn operations_beyond_the_limit_wait_inside_their_deadline() {
    let control = Control::new("limit control").await.unwrap();
    let mut wanted = spec("limit", "Misbehaving").unwrap();
    wanted.max_in_flight = 3;
    let (manager, _) = plugin::load(wanted).await.unwrap();
    let first = [(); 3].map(|()| spawn_read(&manager, "never"));
    control.entered("limit", 3).await.unwrap();
    let error = read_within(&manager, "plain", SHORT).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Timeout);
    assert!(error.message().contains("other operations under way"), "{error}");
    let waiting = spawn_read(&manager, "plain");
    control.open("limit").await.unwrap();
    for held in first {
        assert_eq!(held.await.unwrap().unwrap(), b"held");
    }
    assert_eq!(waiting.await.unwrap().unwrap(), VALUE);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_serial_type_sees_one_operation_at_a_time() {
    let control = Control::new("serial control").await.unwrap();
    for (name, type_name, reads) in
        [("serial", "Serial", "thread"), ("serial blocking", "SerialBlocking", "plain")]
    {
        let manager = instance(name, type_name).await.unwrap();
        let mut callers = JoinSet::new();
        for _ in 0..50 {
            callers.spawn(spawn_read(&manager, reads));
        }
        while let Some(value) = callers.join_next().await {
            assert_eq!(value.unwrap().unwrap().unwrap(), VALUE);
        }
        assert_eq!(control.peak(name).await.unwrap(), 1, "{type_name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn blocking_reads_run_on_a_bounded_pool() {
    let control = Control::new("pool control").await.unwrap();
    let manager = instance("pool", "Blocking").await.unwrap();
    let callers: Vec<_> = (0..20).map(|_| spawn_read(&manager, "block")).collect();
    control.entered("pool", 8).await.unwrap();
    let error = read_within(&manager, "plain", SHORT).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Timeout);
    assert_eq!(control.peak("pool").await.unwrap(), 8);
    control.open("pool").await.unwrap();
    for caller in callers {
        assert_eq!(caller.await.unwrap().unwrap(), VALUE);
    }
    assert_eq!(control.peak("pool").await.unwrap(), 8);
    assert_eq!(manager.faults(), Faults::default());
}

#[tokio::test]
async fn a_blocking_read_that_completes_nothing_is_an_internal_error() {
    let manager = instance("silent", "Blocking").await.unwrap();
    let error = read(&*manager, "silent").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Internal);
    assert!(error.message().contains("without completing"), "{error}");
    assert_eq!(manager.faults(), Faults { missing: 1, ..Faults::default() });
    assert_eq!(read(&*manager, "plain").await.unwrap().expose_bytes(), VALUE);
}

/// The only thread of the runtime, which would have to drive the timer, is the one that waits.
#[tokio::test]
async fn a_blocking_caller_has_its_deadline_on_a_runtime_of_one_thread() {
    let control = Control::new("caller control").await.unwrap();
    for (name, type_name, hangs) in
        [("caller", "Misbehaving", "never"), ("caller blocking", "Blocking", "block")]
    {
        let manager = instance(name, type_name).await.unwrap();
        let mut request = ReadRequest::new(hangs).unwrap();
        request.timeout = SHORT;
        assert_eq!(manager.sync_read_secret(&request).unwrap_err().kind(), ErrorKind::Timeout);
        let plain = ReadRequest::new("plain").unwrap();
        assert_eq!(manager.sync_read_secret(&plain).unwrap().expose_bytes(), VALUE);
        control.open(name).await.unwrap();
    }
}

#[tokio::test]
async fn callers_that_went_away_early_quarantine_nobody() {
    let control = Control::new("early control").await.unwrap();
    let mut wanted = spec("early", "Misbehaving").unwrap();
    wanted.max_in_flight = 4;
    let (manager, _) = plugin::load(wanted).await.unwrap();
    let callers = [(); 3].map(|()| spawn_read(&manager, "never"));
    control.entered("early", 3).await.unwrap();
    for caller in callers {
        caller.abort();
        assert!(caller.await.unwrap_err().is_cancelled());
    }
    assert_eq!(manager.faults().zombies, 3);
    assert_eq!(read(&*manager, "plain").await.unwrap().expose_bytes(), VALUE);
    control.open("early").await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn blocking_reads_that_hang_quarantine_an_instance_before_its_threads_are_gone() {
    let control = Control::new("hanging control").await.unwrap();
    let manager = instance("hanging", "Blocking").await.unwrap();
    for _ in 0..4 {
        assert_eq!(read_within(&manager, "block", SHORT).await.unwrap_err().kind(), ErrorKind::Timeout);
    }
    let error = read(&*manager, "plain").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(error.message().contains("quarantined"), "{error}");
    control.open("hanging").await.unwrap();
    let recovered = async {
        while manager.faults().zombies > 0 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), recovered).await.unwrap();
    assert_eq!(read(&*manager, "plain").await.unwrap().expose_bytes(), VALUE);
    assert_eq!(manager.faults(), Faults { late: 4, ..Faults::default() });
}

#[tokio::test]
async fn a_serial_instance_queues_behind_an_operation_that_hangs() {
    let control = Control::new("queue control").await.unwrap();
    let manager = instance("queue", "Serial").await.unwrap();
    assert_eq!(read_within(&manager, "never", SHORT).await.unwrap_err().kind(), ErrorKind::Timeout);
    let error = read_within(&manager, "plain", SHORT).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Timeout);
    let waiting = spawn_read(&manager, "plain");
    control.open("queue").await.unwrap();
    assert_eq!(waiting.await.unwrap().unwrap(), VALUE);
}

/// The call is complete and still inside: the next one waits for its return, in its own time and on nobody's thread.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_serial_call_that_has_not_returned_lets_the_next_one_have_its_deadline() {
    let control = Control::new("linger control").await.unwrap();
    let manager = instance("linger", "Serial").await.unwrap();
    let first = spawn_read(&manager, "linger");
    control.entered("linger", 1).await.unwrap();
    let error = read_within(&manager, "plain", SHORT).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Timeout);
    assert!(error.message().contains("other operations under way"), "{error}");
    control.open("linger").await.unwrap();
    assert_eq!(first.await.unwrap().unwrap(), VALUE);
    assert_eq!(read(&*manager, "plain").await.unwrap().expose_bytes(), VALUE);
}

#[tokio::test]
async fn a_call_that_stays_too_long_is_counted_and_its_answer_stands() {
    let manager = instance("stays", "Misbehaving").await.unwrap();
    assert_eq!(read_within(&manager, "stay", SHORT).await.unwrap().expose_bytes(), VALUE);
    assert_eq!(manager.faults(), Faults { overstayed: 1, ..Faults::default() });
    assert_eq!(read(&*manager, "stay").await.unwrap().expose_bytes(), VALUE);
    assert_eq!(manager.faults().overstayed, 1);
}
