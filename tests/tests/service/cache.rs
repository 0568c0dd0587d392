//! Hits, refreshes, single flight, absence, versions and bounds.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use futures_util::future::join_all;
use keyway::{
    config::CacheSettings,
    service::{Cache, CacheState, metrics::CacheMetrics},
};
use keyway_plugin_api::{ErrorKind, ReadRequest, SecretManager as _, SecretMetadata, WriteRequest};
use keyway_tests::scripted::Scripted;

use crate::support::{TIMEOUT, cache_of, pass, read, request, seconds, settings, settle, value};

#[tokio::test(start_paused = true)]
async fn a_value_is_fetched_once_within_its_time_to_live() {
    let manager = Scripted::with("a", "one");
    let cache = cache_of(&manager);
    for _ in 0..10 {
        assert_eq!(value(&cache, "a").await.unwrap(), "one");
        pass(seconds(7)).await;
    }
    assert_eq!(manager.calls(), 1);
    let cached = read(&cache, "a").await.unwrap();
    assert_eq!((cached.state, cached.generation, cached.age), (CacheState::Fresh, 1, seconds(70)));
}

#[tokio::test(start_paused = true)]
async fn a_value_near_its_end_is_refreshed_behind_the_reader() {
    let manager = Scripted::with("a", "one");
    let cache = cache_of(&manager);
    read(&cache, "a").await.unwrap();
    manager.set("a", "two");
    pass(seconds(90)).await;
    let cached = read(&cache, "a").await.unwrap();
    assert_eq!(cached.value.expose_bytes(), b"one");
    assert_eq!(cached.state, CacheState::Refreshing);
    settle().await;
    let cached = read(&cache, "a").await.unwrap();
    assert_eq!(cached.value.expose_bytes(), b"two");
    assert_eq!((cached.state, cached.generation, manager.calls()), (CacheState::Fresh, 2, 2));
}

#[tokio::test(start_paused = true)]
async fn refreshes_of_many_entries_do_not_fall_together() {
    let manager = Scripted::with("a", "one");
    let cache = cache_of(&manager);
    for index in 0..200 {
        manager.set(&index.to_string(), "x");
        read(&cache, &index.to_string()).await.unwrap();
    }
    pass(seconds(80)).await;
    for index in 0..200 {
        read(&cache, &index.to_string()).await.unwrap();
    }
    settle().await;
    let refreshed = manager.calls() - 200;
    assert!((50..150).contains(&refreshed), "{refreshed} of 200 were refreshed at 80 % of the time to live");
}

#[tokio::test(start_paused = true)]
async fn the_generation_increases_when_the_value_changes_and_only_then() {
    let manager = Scripted::with("a", "one");
    let cache = cache_of(&manager);
    assert_eq!(cache.refresh(&request("a")).await.unwrap().generation, 1);
    assert_eq!(cache.refresh(&request("a")).await.unwrap().generation, 1);
    manager.set("a", "two");
    assert_eq!(cache.refresh(&request("a")).await.unwrap().generation, 2);
    assert_eq!(read(&cache, "a").await.unwrap().generation, 2);
}

#[tokio::test(start_paused = true)]
async fn a_refresh_is_not_answered_by_a_call_that_began_before_it() {
    let manager = Scripted::with("a", "one");
    manager.delay(seconds(1));
    let cache = cache_of(&manager);
    let earlier = tokio::spawn({
        let cache = cache.clone();
        async move { value(&cache, "a").await }
    });
    settle().await;
    assert_eq!(manager.calls(), 1);
    let request = request("a");
    let refreshes = join_all((0..100).map(|_| cache.refresh(&request))).await;
    assert!(refreshes.iter().all(Result::is_ok));
    assert_eq!(earlier.await.unwrap().unwrap(), "one");
    assert_eq!(manager.calls(), 2, "those who come together share one call");
}

#[tokio::test(start_paused = true)]
async fn a_thousand_waiters_make_one_call() {
    let manager = Scripted::with("a", "one");
    manager.delay(seconds(1));
    let cache = cache_of(&manager);
    let answers = join_all((0..1000).map(|_| value(&cache, "a"))).await;
    assert!(answers.iter().all(|answer| answer.as_deref() == Ok("one")));
    assert_eq!(manager.calls(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_waiter_that_gives_up_does_not_end_the_call() {
    let manager = Scripted::with("a", "one");
    manager.delay(seconds(3));
    let cache = cache_of(&manager);
    let impatient = ReadRequest { timeout: seconds(1), ..request("a") };
    let error = cache.read_cached(&impatient).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Timeout);
    // A reader that is dropped does not end it either.
    assert!(tokio::time::timeout(seconds(1), read(&cache, "a")).await.is_err());
    assert_eq!((manager.calls(), manager.ended()), (1, 0));
    assert_eq!(value(&cache, "a").await.unwrap(), "one");
    assert_eq!((manager.calls(), manager.ended()), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn absence_is_remembered_for_a_short_time() {
    let manager = Scripted::with("a", "one");
    let cache = cache_of(&manager);
    for _ in 0..5 {
        assert_eq!(value(&cache, "b").await, Err(ErrorKind::NotFound));
    }
    assert_eq!(manager.calls(), 1);
    manager.set("b", "new");
    pass(seconds(10)).await;
    assert_eq!(value(&cache, "b").await.unwrap(), "new");
}

#[tokio::test(start_paused = true)]
async fn a_shorter_hint_of_the_manager_wins_and_a_longer_one_does_not() {
    for (hint, kept) in [(5, 5), (5000, 100)] {
        let manager = Scripted::with("a", "one");
        manager.describe(SecretMetadata { ttl: Some(seconds(hint)), ..SecretMetadata::default() });
        let settings = CacheSettings { refresh_ahead: 1.0, ..settings() };
        let cache = Cache::new(manager.clone(), settings, TIMEOUT, CacheMetrics::default());
        read(&cache, "a").await.unwrap();
        pass(seconds(kept - 1)).await;
        read(&cache, "a").await.unwrap();
        assert_eq!(manager.calls(), 1, "{hint}");
        pass(seconds(1)).await;
        read(&cache, "a").await.unwrap();
        assert_eq!(manager.calls(), 2, "{hint}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_expired_value_is_of_no_use_in_an_outage_either() {
    let manager = Scripted::with("a", "one");
    let end = SystemTime::now() + seconds(20);
    manager.describe(SecretMetadata { expires_at: Some(end), ..SecretMetadata::default() });
    let cache = cache_of(&manager);
    read(&cache, "a").await.unwrap();
    manager.fail(ErrorKind::Unavailable);
    pass(seconds(15)).await;
    assert_eq!(value(&cache, "a").await.unwrap(), "one");
    pass(seconds(15)).await;
    assert_eq!(value(&cache, "a").await, Err(ErrorKind::Unavailable));
}

#[tokio::test(start_paused = true)]
async fn versions_are_entries_of_their_own() {
    let manager = Scripted::with("a", "one");
    let cache = cache_of(&manager);
    let versioned = ReadRequest { version: Some("7".to_owned()), ..request("a") };
    read(&cache, "a").await.unwrap();
    cache.read_cached(&versioned).await.unwrap();
    assert_eq!((manager.calls(), cache.status().len()), (2, 2));
    cache.invalidate(&versioned.name);
    cache.read_cached(&versioned).await.unwrap();
    read(&cache, "a").await.unwrap();
    assert_eq!(manager.calls(), 4);
}

#[tokio::test(start_paused = true)]
async fn status_tells_the_states_apart() {
    let manager = Scripted::with("fresh", "one");
    manager.set("stale", "one");
    let cache = cache_of(&manager);
    read(&cache, "stale").await.unwrap();
    pass(seconds(150)).await;
    manager.fail(ErrorKind::Throttled);
    read(&cache, "stale").await.unwrap();
    manager.fail(None);
    read(&cache, "fresh").await.unwrap();
    read(&cache, "missing").await.unwrap_err();
    let states: Vec<_> = cache
        .status()
        .into_iter()
        .map(|entry| (entry.name, entry.state, entry.age.unwrap().as_secs(), entry.last_error))
        .collect();
    assert_eq!(
        states,
        [
            ("fresh".to_owned(), CacheState::Fresh, 0, None),
            ("missing".to_owned(), CacheState::Negative, 0, Some(ErrorKind::NotFound)),
            ("stale".to_owned(), CacheState::Stale, 150, Some(ErrorKind::Throttled)),
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn entries_beyond_the_bound_go_and_are_fetched_again() {
    let manager = Scripted::with("a", "one");
    let settings = CacheSettings { max_entries: 10, ..settings() };
    let cache = Cache::new(manager.clone(), settings, TIMEOUT, CacheMetrics::default());
    for index in 0..500 {
        manager.set(&index.to_string(), "x");
        read(&cache, &index.to_string()).await.unwrap();
    }
    for index in 0..500 {
        assert_eq!(value(&cache, &index.to_string()).await.unwrap(), "x");
    }
    assert!(manager.calls() > 900, "{} calls", manager.calls());
    cache.shutdown().await;
    assert!(cache.status().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_blocking_reader_gets_the_same_answers() {
    let manager = Scripted::with("a", "one");
    manager.delay(Duration::from_millis(1));
    let cache = cache_of(&manager);
    let reader = cache.clone();
    let read = move || reader.sync_read_secret(&request("a")).map(|value| value.len());
    assert_eq!(tokio::task::spawn_blocking(read).await.unwrap().unwrap(), 3);
    assert_eq!(value(&cache, "a").await.unwrap(), "one");
    assert_eq!(manager.calls(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_value_that_nobody_reads_leaves_memory_when_its_time_is_over() {
    let manager = Scripted::with("a", "one");
    let cache = cache_of(&manager);
    let one = Arc::downgrade(&read(&cache, "a").await.unwrap().value);
    cache.async_write_secret(&WriteRequest::new("a", "two").unwrap()).await.unwrap();
    let two = Arc::downgrade(&read(&cache, "a").await.unwrap().value);
    let calls = manager.calls();
    for (time, expected) in
        [(59, [true, true]), (32, [false, true]), (900, [false, true]), (40, [false, false])]
    {
        // A step at a time, as the clock of a host goes.
        for _ in 0..time {
            pass(seconds(1)).await;
            settle().await;
        }
        let in_memory = [&one, &two].map(|value| value.upgrade().is_some());
        assert_eq!(in_memory, expected, "after {time} s more");
    }
    assert_eq!(manager.calls(), calls, "a value that nobody reads is not refreshed");
    assert_eq!(value(&cache, "a").await.as_deref(), Ok("two"));
}
