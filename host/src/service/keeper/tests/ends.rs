//! How long a value is used when the manager fails, or when the value has an end of its own.

use super::{Script::*, *};

#[tokio::test(start_paused = true)]
async fn an_outage_leaves_the_last_value_in_use_until_stale_ttl_has_passed_since_the_last_success() {
    let world = Setup::default().start([("A", Value("one"))]).await;
    pass(TTL).await;
    assert_eq!(world.reads("A"), 2, "confirmed once");
    let confirmed = world.status("A").age_seconds.unwrap();
    world.script("A", Fail(ErrorKind::Unavailable));
    pass(Duration::from_secs(3600 - confirmed - 2)).await;
    let status = world.status("A");
    assert_eq!((status.state, status.last_error), ("stale", Some("UNAVAILABLE")));
    assert!(status.age_seconds.unwrap() >= 3596 && status.source.as_deref() == Some("manager vault"));
    assert_eq!(world.value("A").as_deref(), Some("one"));
    pass(3 * SECOND).await;
    assert_eq!(world.value("A"), None);
    let status = world.status("A");
    assert_eq!((status.state, status.age_seconds, status.generation), ("missing", None, 0));
}

#[tokio::test(start_paused = true)]
async fn a_value_is_withdrawn_in_time_even_if_nothing_answers() {
    let freshness = Freshness { stale_ttl: TTL * 2, ..Freshness::default() };
    let world = Setup { freshness, ..Setup::default() }.start([("A", Value("one"))]).await;
    world.script("A", Hang);
    pass(TTL * 2 - SECOND).await;
    assert_eq!(world.value("A").as_deref(), Some("one"));
    assert_eq!(world.status("A").state, "refreshing");
    pass(2 * SECOND).await;
    assert_eq!(world.value("A"), None);
}

#[tokio::test(start_paused = true)]
async fn a_value_with_an_end_of_its_own_is_not_used_beyond_it() {
    let world = Setup::default().start([("A", Expiring("one", Duration::from_secs(60)))]).await;
    world.script("A", Fail(ErrorKind::Timeout));
    pass(Duration::from_secs(58)).await;
    assert_eq!(world.value("A").as_deref(), Some("one"));
    pass(3 * SECOND).await;
    assert_eq!(world.value("A"), None);
}

#[tokio::test(start_paused = true)]
async fn an_end_of_its_own_that_is_far_away_does_not_make_an_outage_longer() {
    let month = Duration::from_secs(30 * 86_400);
    let world = Setup::default().start([("A", Expiring("one", month))]).await;
    world.script("A", Fail(ErrorKind::Unavailable));
    pass(Duration::from_secs(3598)).await;
    assert_eq!(world.value("A").as_deref(), Some("one"));
    pass(3 * SECOND).await;
    assert_eq!(world.value("A"), None, "stale_ttl has passed");
}

#[tokio::test(start_paused = true)]
async fn a_manager_whose_clock_is_behind_does_not_lose_its_values() {
    let world = Setup::default().start([("A", Expiring("one", Duration::ZERO))]).await;
    pass(Duration::from_secs(20)).await;
    assert_eq!(world.value("A").as_deref(), Some("one"));
    assert!((10..=21).contains(&world.reads("A")), "{}", world.reads("A"));
    world.script("A", Fail(ErrorKind::Unavailable));
    pass(Duration::from_secs(12)).await;
    assert_eq!(world.value("A"), None, "an expired value is not used in an outage");
}
