//! A manager that keeps failing is left alone, and one call at a time finds out whether it works again.

use std::sync::Arc;

use keyway::service::{
    breaker::{Breaker, BreakerState},
    retry::Retry,
};
use keyway_plugin_api::{ErrorKind, SecretManager as _};
use keyway_tests::scripted::Scripted;

use crate::support::{pass, request, seconds, settle};

fn breaker(manager: &Arc<Scripted>) -> Arc<Breaker> {
    Arc::new(Breaker::new("vault", manager.clone(), 3, seconds(5)))
}

async fn read(breaker: &Breaker) -> Result<(), ErrorKind> {
    breaker.async_read_secret(&request("a")).await.map(drop).map_err(|error| error.kind())
}

async fn opened(manager: &Arc<Scripted>) -> Arc<Breaker> {
    let breaker = breaker(manager);
    manager.fail(ErrorKind::Unavailable);
    for _ in 0..3 {
        read(&breaker).await.unwrap_err();
    }
    breaker
}

#[tokio::test(start_paused = true)]
async fn failures_in_a_row_open_it_and_it_answers_at_once_with_how_long() {
    let manager = Scripted::with("a", "one");
    let breaker = opened(&manager).await;
    assert_eq!(breaker.state(), BreakerState::Open);
    pass(seconds(2)).await;
    let error = breaker.async_read_secret(&request("a")).await.unwrap_err();
    assert_eq!((error.kind(), error.retry_after()), (ErrorKind::Unavailable, Some(seconds(3))));
    assert_eq!(
        error.message(),
        "vault kept failing, at last with: the script says so (UNAVAILABLE); it is left alone for another 3s"
    );
    assert_eq!(manager.calls(), 3);
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_shows_life_starts_the_count_again() {
    let manager = Scripted::with("a", "one");
    let breaker = breaker(&manager);
    for life in [ErrorKind::NotFound, ErrorKind::Throttled, ErrorKind::Denied] {
        manager.fail_next([ErrorKind::Timeout, ErrorKind::Internal, life]);
        for _ in 0..3 {
            read(&breaker).await.unwrap_err();
        }
    }
    assert_eq!(breaker.state(), BreakerState::Closed);
}

#[tokio::test(start_paused = true)]
async fn one_probe_goes_through_and_decides() {
    let manager = Scripted::with("a", "one");
    let breaker = opened(&manager).await;
    manager.delay(seconds(1));
    for works in [false, true] {
        manager.fail((!works).then_some(ErrorKind::Unavailable));
        pass(seconds(5)).await;
        let calls = manager.calls();
        let probe = tokio::spawn({
            let breaker = breaker.clone();
            async move { read(&breaker).await }
        });
        settle().await;
        assert_eq!(breaker.state(), BreakerState::Probing);
        assert_eq!(read(&breaker).await, Err(ErrorKind::Unavailable));
        assert_eq!(manager.calls(), calls + 1);
        assert_eq!(probe.await.unwrap().is_ok(), works);
        let expected = if works { BreakerState::Closed } else { BreakerState::Open };
        assert_eq!(breaker.state(), expected);
    }
    assert_eq!(read(&breaker).await, Ok(()));
}

#[tokio::test(start_paused = true)]
async fn a_probe_that_is_given_up_leaves_the_next_call_to_probe() {
    let manager = Scripted::with("a", "one");
    let breaker = opened(&manager).await;
    pass(seconds(5)).await;
    manager.delay(seconds(60));
    assert!(tokio::time::timeout(seconds(1), read(&breaker)).await.is_err());
    assert_eq!(breaker.state(), BreakerState::Open);
    manager.fail(None);
    manager.delay(seconds(0));
    assert_eq!(read(&breaker).await, Ok(()));
}

#[tokio::test(start_paused = true)]
async fn an_open_breaker_is_not_tried_again() {
    let manager = Scripted::with("a", "one");
    let breaker = opened(&manager).await;
    let start = tokio::time::Instant::now();
    let retry = Retry::new(breaker, 3);
    retry.async_read_secret(&request("a")).await.unwrap_err();
    assert_eq!((start.elapsed(), manager.calls()), (seconds(0), 3));
}
