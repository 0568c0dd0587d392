//! The deadline, the number of calls under way and the budget.

use std::{sync::Arc, time::Duration};

use futures_util::future::join_all;
use keyway::service::{Cache, CacheState, limit::Limit, metrics::CacheMetrics};
use keyway_plugin_api::{ErrorKind, ReadRequest, SecretManager as _};
use keyway_tests::scripted::Scripted;
use tokio::time::Instant;

use crate::support::{TIMEOUT, pass, read, request, seconds, settings};

fn limit(manager: &Arc<Scripted>, in_flight: usize, budget: Option<u32>) -> Limit {
    Limit::new("vault", manager.clone(), seconds(5), in_flight, budget)
}

#[tokio::test(start_paused = true)]
async fn the_caller_is_answered_at_the_deadline_whatever_the_manager_does() {
    let manager = Scripted::with("a", "one");
    manager.delay(seconds(3600));
    for (asked, given) in [(2, 2), (60, 5)] {
        let start = Instant::now();
        let request = ReadRequest { timeout: seconds(asked), ..request("a") };
        let error = limit(&manager, 8, None).async_read_secret(&request).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Timeout);
        assert_eq!(start.elapsed().as_secs(), given);
    }
}

#[tokio::test(start_paused = true)]
async fn a_time_that_people_read_is_not_told_in_nanoseconds() {
    let manager = Scripted::with("a", "one");
    manager.delay(seconds(3600));
    let cache = Cache::new(manager.clone(), settings(), TIMEOUT, CacheMetrics::default());
    let request = ReadRequest { timeout: Duration::from_nanos(4_999_896_947), ..request("a") };
    let limited = limit(&manager, 8, None).async_read_secret(&request).await.unwrap_err();
    let cached = cache.read_cached(&request).await.err().unwrap();
    for error in [limited, cached] {
        assert!(error.message().contains("within 5s"), "{error}");
    }
}

#[tokio::test(start_paused = true)]
async fn no_more_calls_are_under_way_than_allowed() {
    let manager = Scripted::with("a", "one");
    manager.delay(seconds(1));
    let limit = limit(&manager, 2, None);
    let start = Instant::now();
    let request = request("a");
    let answers = join_all((0..8).map(|_| limit.async_read_secret(&request))).await;
    assert!(answers.iter().all(Result::is_ok));
    assert_eq!(start.elapsed().as_secs(), 4);
}

#[tokio::test(start_paused = true)]
async fn a_call_that_never_began_says_so() {
    let manager = Scripted::with("a", "one");
    manager.delay(seconds(3600));
    let limit = limit(&manager, 1, None);
    let (long, short) = (request("a"), ReadRequest { timeout: seconds(1), ..request("a") });
    let (_, waited) = tokio::join!(limit.async_read_secret(&long), limit.async_read_secret(&short));
    let error = waited.unwrap_err();
    assert_eq!((error.kind(), manager.calls()), (ErrorKind::Timeout, 1));
    assert!(error.message().contains("`max_in_flight` other calls under way"), "{error}");
}

#[tokio::test(start_paused = true)]
async fn over_the_budget_is_throttled_until_there_is_more() {
    let manager = Scripted::with("a", "one");
    let limit = limit(&manager, 8, Some(60));
    for _ in 0..60 {
        limit.async_read_secret(&request("a")).await.unwrap();
    }
    let error = limit.async_read_secret(&request("a")).await.unwrap_err();
    assert_eq!((error.kind(), manager.calls()), (ErrorKind::Throttled, 60));
    let wait = error.retry_after().unwrap();
    assert!(wait <= Duration::from_millis(1001), "{wait:?}");
    pass(wait).await;
    limit.async_read_secret(&request("a")).await.unwrap();
    limit.async_read_secret(&request("a")).await.unwrap_err();
}

#[tokio::test(start_paused = true)]
async fn behind_a_cache_an_exhausted_budget_serves_stale() {
    let manager = Scripted::with("a", "one");
    let limit = Arc::new(limit(&manager, 8, Some(1)));
    let cache = Cache::new(limit.clone(), settings(), TIMEOUT, CacheMetrics::default());
    read(&cache, "a").await.unwrap();
    pass(seconds(150)).await;
    limit.async_read_secret(&request("a")).await.unwrap();
    assert_eq!(read(&cache, "a").await.unwrap().state, CacheState::Stale);
}

#[tokio::test(start_paused = true)]
async fn a_health_check_is_answered_while_every_permit_is_taken() {
    let manager = Scripted::with("a", "one");
    manager.delay(seconds(4));
    let limit = limit(&manager, 1, Some(1));
    let request = request("a");
    let (read, health) = tokio::join!(limit.async_read_secret(&request), async {
        let start = Instant::now();
        limit.health_check().await.map(|()| start.elapsed())
    });
    read.unwrap();
    assert_eq!(health.unwrap(), Duration::ZERO);
}
