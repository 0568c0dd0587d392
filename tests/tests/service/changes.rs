//! Writes, deletes and rotations go to the manager first, then through the cache.

use keyway_plugin_api::{DeleteRequest, ErrorKind, RotateRequest, SecretManager as _, WriteRequest};
use keyway_tests::scripted::Scripted;

use crate::support::{cache_of, pass, read, request, seconds, settle, value};

fn write(value: &str) -> WriteRequest {
    WriteRequest::new("a", value).unwrap()
}

fn delete() -> DeleteRequest {
    DeleteRequest::new("a").unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_written_value_is_read_without_a_call_and_the_one_before_stays_for_its_overlap() {
    let manager = Scripted::with("a", "one");
    let cache = cache_of(&manager);
    let first = read(&cache, "a").await.unwrap();
    cache.async_write_secret(&write("two")).await.unwrap();
    let second = read(&cache, "a").await.unwrap();
    assert_eq!(second.value.expose_bytes(), b"two");
    assert!(second.generation > first.generation);
    assert_eq!(manager.calls(), 2);
    assert_eq!(cache.previous(&request("a")).unwrap().expose_bytes(), b"one");
    pass(seconds(60)).await;
    assert!(cache.previous(&request("a")).is_none());
}

#[tokio::test(start_paused = true)]
async fn a_value_whose_time_is_over_does_not_come_back_as_the_one_before() {
    let manager = Scripted::with("a", "one");
    let cache = cache_of(&manager);
    read(&cache, "a").await.unwrap();
    pass(seconds(995)).await;
    settle().await;
    pass(seconds(6)).await;
    cache.async_write_secret(&write("two")).await.unwrap();
    assert!(cache.previous(&request("a")).is_none());
}

#[tokio::test(start_paused = true)]
async fn a_refused_change_leaves_everything_as_it_is() {
    let manager = Scripted::with("a", "one");
    let cache = cache_of(&manager);
    read(&cache, "a").await.unwrap();
    for kind in [ErrorKind::Denied, ErrorKind::Conflict, ErrorKind::Throttled, ErrorKind::TooLarge] {
        manager.fail_next([kind, kind]);
        assert_eq!(cache.async_write_secret(&write("two")).await.unwrap_err().kind(), kind);
        assert_eq!(cache.async_delete_secret(&delete()).await.unwrap_err().kind(), kind);
    }
    let calls = manager.calls();
    assert_eq!(value(&cache, "a").await.unwrap(), "one");
    assert_eq!(manager.calls(), calls);
}

#[tokio::test(start_paused = true)]
async fn a_change_whose_answer_is_lost_is_asked_about() {
    let manager = Scripted::with("a", "one");
    let cache = cache_of(&manager);
    read(&cache, "a").await.unwrap();
    manager.lose_answers(true);
    cache.async_write_secret(&write("two")).await.unwrap_err();
    assert_eq!(value(&cache, "a").await.unwrap(), "two");
    assert_eq!(cache.previous(&request("a")).unwrap().expose_bytes(), b"one");
    cache.async_delete_secret(&delete()).await.unwrap_err();
    assert_eq!(value(&cache, "a").await, Err(ErrorKind::NotFound));
}

#[tokio::test(start_paused = true)]
async fn a_change_that_was_lost_and_not_applied_is_no_new_generation() {
    let manager = Scripted::with("a", "one");
    let cache = cache_of(&manager);
    let before = read(&cache, "a").await.unwrap().generation;
    manager.fail_next([ErrorKind::Timeout]);
    cache.async_write_secret(&write("two")).await.unwrap_err();
    assert_eq!(read(&cache, "a").await.unwrap().generation, before);
    assert!(cache.previous(&request("a")).is_none());
}

#[tokio::test(start_paused = true)]
async fn a_change_that_its_caller_gives_up_is_asked_about() {
    let manager = Scripted::with("a", "one");
    let cache = cache_of(&manager);
    read(&cache, "a").await.unwrap();
    manager.delay(seconds(3));
    let request = write("two");
    assert!(tokio::time::timeout(seconds(1), cache.async_write_secret(&request)).await.is_err());
    manager.delay(seconds(0));
    read(&cache, "a").await.unwrap();
    assert_eq!(manager.calls(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_deleted_secret_is_gone_at_once_and_a_tombstone_answers() {
    let manager = Scripted::with("a", "one");
    let cache = cache_of(&manager);
    read(&cache, "a").await.unwrap();
    cache.async_delete_secret(&delete()).await.unwrap();
    assert_eq!(value(&cache, "a").await, Err(ErrorKind::NotFound));
    assert!(cache.previous(&request("a")).is_none());
    assert_eq!(manager.calls(), 2);
    manager.fail(ErrorKind::Unavailable);
    pass(seconds(11)).await;
    assert_eq!(value(&cache, "a").await, Err(ErrorKind::Unavailable));
}

#[tokio::test(start_paused = true)]
async fn a_read_that_began_before_a_change_never_brings_the_old_value_back() {
    let manager = Scripted::with("a", "one");
    let cache = cache_of(&manager);
    read(&cache, "a").await.unwrap();
    for deletes in [false, true] {
        manager.set("a", "one");
        cache.invalidate(&request("a").name);
        manager.delay(seconds(3));
        let slow = tokio::spawn({
            let cache = cache.clone();
            async move { value(&cache, "a").await }
        });
        settle().await;
        manager.delay(seconds(0));
        match deletes {
            true => cache.async_delete_secret(&delete()).await.unwrap(),
            false => drop(cache.async_write_secret(&write("two")).await.unwrap()),
        }
        manager.set("a", "a value that only the slow call sees");
        let expected = if deletes { Err(ErrorKind::NotFound) } else { Ok("two".to_owned()) };
        assert_eq!(slow.await.unwrap(), expected);
        assert_eq!(value(&cache, "a").await, expected);
    }
}

#[tokio::test(start_paused = true)]
async fn after_writes_that_overlap_the_manager_is_asked_which_one_won() {
    let manager = Scripted::with("a", "one");
    let cache = cache_of(&manager);
    manager.delay(seconds(1));
    let (two, three) = (write("two"), write("three"));
    let (first, second) = tokio::join!(cache.async_write_secret(&two), cache.async_write_secret(&three));
    first.and(second).unwrap();
    manager.set("a", "what the store has");
    assert_eq!(value(&cache, "a").await.unwrap(), "what the store has");
}

#[tokio::test(start_paused = true)]
async fn a_rotation_to_a_new_name_moves_the_value() {
    let manager = Scripted::with("a", "one");
    let cache = cache_of(&manager);
    read(&cache, "a").await.unwrap();
    let rotate =
        RotateRequest { new_name: request("b").name, ..RotateRequest::in_place("a", "two").unwrap() };
    cache.async_rotate_secret(rotate).await.unwrap();
    let calls = manager.calls();
    assert_eq!(value(&cache, "a").await, Err(ErrorKind::NotFound));
    assert_eq!(value(&cache, "b").await.unwrap(), "two");
    assert_eq!(manager.calls(), calls);
}
