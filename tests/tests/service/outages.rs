//! Errors decide: what is served while a manager cannot answer, and what never is.

use keyway::service::CacheState;
use keyway_plugin_api::{ErrorKind, ReadRequest};
use keyway_tests::scripted::Scripted;

use crate::support::{cache_of, pass, read, request, seconds, settle, value};

const OUTAGES: [ErrorKind; 4] =
    [ErrorKind::Throttled, ErrorKind::Unavailable, ErrorKind::Timeout, ErrorKind::Internal];

#[tokio::test(start_paused = true)]
async fn an_outage_serves_stale_until_the_bound_and_is_never_not_found() {
    for kind in OUTAGES {
        let manager = Scripted::with("a", "one");
        let cache = cache_of(&manager);
        read(&cache, "a").await.unwrap();
        manager.fail(kind);
        for _ in 0..9 {
            pass(seconds(110)).await;
            let cached = read(&cache, "a").await.unwrap();
            assert_eq!(
                (cached.value.expose_bytes(), cached.state),
                (&b"one"[..], CacheState::Stale),
                "{kind}"
            );
        }
        pass(seconds(20)).await;
        assert_eq!(value(&cache, "a").await, Err(kind));
        assert_eq!(value(&cache, "never read").await, Err(kind));
    }
}

#[tokio::test(start_paused = true)]
async fn the_stale_bound_counts_from_the_last_success() {
    let manager = Scripted::with("a", "one");
    let cache = cache_of(&manager);
    read(&cache, "a").await.unwrap();
    pass(seconds(900)).await;
    read(&cache, "a").await.unwrap();
    manager.fail(ErrorKind::Unavailable);
    pass(seconds(900)).await;
    assert_eq!(value(&cache, "a").await.unwrap(), "one");
}

#[tokio::test(start_paused = true)]
async fn what_is_revoked_or_gone_is_never_served_again() {
    for kind in [ErrorKind::Denied, ErrorKind::NotFound] {
        let manager = Scripted::with("a", "one");
        let cache = cache_of(&manager);
        read(&cache, "a").await.unwrap();
        manager.set("a", "two");
        cache.refresh(&request("a")).await.unwrap();
        assert!(cache.previous(&request("a")).is_some());

        manager.fail(kind);
        assert_eq!(cache.refresh(&request("a")).await.unwrap_err().kind(), kind);
        assert!(cache.previous(&request("a")).is_none(), "{kind}");
        manager.fail(ErrorKind::Unavailable);
        pass(seconds(11)).await;
        assert_eq!(value(&cache, "a").await, Err(ErrorKind::Unavailable), "{kind}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_refusal_that_says_nothing_about_the_value_is_an_error_and_keeps_it() {
    for kind in [
        ErrorKind::Unauthenticated,
        ErrorKind::InvalidName,
        ErrorKind::InvalidConfig,
        ErrorKind::TooLarge,
        ErrorKind::Conflict,
        ErrorKind::Unsupported,
    ] {
        let manager = Scripted::with("a", "one");
        let cache = cache_of(&manager);
        read(&cache, "a").await.unwrap();
        manager.fail(kind);
        pass(seconds(150)).await;
        assert_eq!(value(&cache, "a").await, Err(kind));
        manager.fail(ErrorKind::Unavailable);
        assert_eq!(value(&cache, "a").await.unwrap(), "one", "{kind}");
        pass(seconds(1000)).await;
        assert_eq!(value(&cache, "a").await, Err(ErrorKind::Unavailable), "{kind}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_failing_manager_is_asked_once_a_second_and_its_readers_do_not_wait() {
    let manager = Scripted::with("a", "one");
    let cache = cache_of(&manager);
    read(&cache, "a").await.unwrap();
    manager.fail(ErrorKind::Unavailable);
    pass(seconds(150)).await;
    for _ in 0..100 {
        assert_eq!(value(&cache, "a").await.unwrap(), "one");
    }
    assert_eq!(manager.calls(), 2);

    // Known to fail and slow: readers wait for a moment only, the call goes on, and its success counts.
    manager.fail(None);
    manager.set("a", "two");
    manager.delay(seconds(3));
    pass(seconds(2)).await;
    let start = tokio::time::Instant::now();
    assert_eq!(value(&cache, "a").await.unwrap(), "one");
    assert!(start.elapsed() < seconds(1), "{:?}", start.elapsed());
    pass(seconds(3)).await;
    settle().await;
    assert_eq!(value(&cache, "a").await.unwrap(), "two");
}

#[tokio::test(start_paused = true)]
async fn the_manager_is_left_alone_for_as_long_as_it_asks() {
    let manager = Scripted::with("a", "one");
    let cache = cache_of(&manager);
    read(&cache, "a").await.unwrap();
    manager.fail(ErrorKind::Throttled);
    manager.retry_after(seconds(30));
    pass(seconds(150)).await;
    for _ in 0..29 {
        assert_eq!(value(&cache, "a").await.unwrap(), "one");
        pass(seconds(1)).await;
    }
    assert_eq!(manager.calls(), 2);
    manager.fail(None);
    pass(seconds(2)).await;
    assert_eq!(read(&cache, "a").await.unwrap().state, CacheState::Fresh);
}

#[tokio::test(start_paused = true)]
async fn a_manager_that_hangs_costs_its_reader_the_deadline_once() {
    let manager = Scripted::with("a", "one");
    let cache = cache_of(&manager);
    read(&cache, "a").await.unwrap();
    manager.delay(seconds(3600));
    pass(seconds(150)).await;
    let patient = ReadRequest { timeout: seconds(2), ..request("a") };
    let cached = cache.read_cached(&patient).await.unwrap();
    assert_eq!((cached.value.expose_bytes(), cached.state), (&b"one"[..], CacheState::Stale));
}

#[tokio::test(start_paused = true)]
async fn a_manager_that_panics_is_an_outage() {
    struct Panics;
    #[async_trait::async_trait]
    impl keyway_plugin_api::SecretManager for Panics {
        async fn async_read_secret(
            &self,
            _: &ReadRequest,
        ) -> keyway_plugin_api::Result<keyway_plugin_api::Secret> {
            panic!("on purpose")
        }
    }
    let metrics = keyway::service::metrics::CacheMetrics::default();
    let panics = std::sync::Arc::new(Panics);
    let cache = keyway::service::Cache::new(panics, crate::support::settings(), seconds(5), metrics);
    assert_eq!(value(&cache, "a").await, Err(ErrorKind::Internal));
    assert_eq!(value(&cache, "a").await, Err(ErrorKind::Internal));
}
