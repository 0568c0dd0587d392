//! What follows when a value is refused by whoever it was presented to.

use super::{Script::*, *};

#[tokio::test(start_paused = true)]
async fn a_refused_value_is_asked_for_at_once_even_while_an_older_question_hangs() {
    let world = Setup::default().start([("A", WithTtl("one", Duration::from_secs(10)))]).await;
    world.script("A", Hang);
    pass(Duration::from_secs(10)).await;
    world.script("A", Value("two"));
    let version = world.handles["A"].after_refusal(&[1]).await.unwrap();
    assert_eq!((version.value.expose_str().unwrap(), version.generation), ("two", 2));
}

#[tokio::test(start_paused = true)]
async fn after_a_refusal_that_met_an_outage_the_value_is_asked_for_again_soon() {
    let world = Setup::default().start([("A", Value("one"))]).await;
    pass(SECOND).await;
    world.script("A", Fail(ErrorKind::Unavailable));
    assert!(world.handles["A"].after_refusal(&[1]).await.is_none());
    world.script("A", WithTtl("two", 3 * SECOND));
    pass(2 * SECOND).await;
    assert_eq!(world.value("A").as_deref(), Some("two"));
    world.script("A", Value("three"));
    pass(3 * SECOND).await;
    assert_eq!(world.value("A").as_deref(), Some("three"), "a short life is noticed, too");
}

#[tokio::test(start_paused = true)]
async fn a_refused_value_is_asked_for_once_in_thirty_seconds() {
    let world = Setup::default().start([("A", Value("one"))]).await;
    for _ in 0..3 {
        assert!(world.handles["A"].after_refusal(&[1]).await.is_none());
    }
    assert_eq!(world.reads("A"), 2);
    pass(30 * SECOND).await;
    assert!(world.handles["A"].after_refusal(&[1]).await.is_none());
    assert_eq!(world.reads("A"), 3);
}

#[tokio::test(start_paused = true)]
async fn a_hundred_refusals_make_one_read_and_all_get_its_value_however_long_it_takes() {
    for time in [4 * SECOND, 100 * SECOND] {
        let world = Setup::default().start([("A", Value("one"))]).await;
        world.script("A", Slow("two", time));
        let handle = &world.handles["A"];
        let versions = futures_util::future::join_all((0..100).map(|_| handle.after_refusal(&[1]))).await;
        assert!(
            versions.iter().all(|version| version.as_ref().is_some_and(|version| version.generation == 2))
        );
        assert_eq!(world.reads("A"), 2);
    }
}

#[tokio::test(start_paused = true)]
async fn who_begins_a_refresh_and_goes_away_does_not_end_it() {
    let world = Setup::default().start([("A", Value("one"))]).await;
    world.script("A", Slow("two", 2 * SECOND));
    let beginning = tokio::time::timeout(SECOND, world.handles["A"].after_refusal(&[1])).await;
    assert!(beginning.is_err(), "the answer is not there yet");
    assert_eq!(world.handles["A"].after_refusal(&[1]).await.unwrap().generation, 2);
    assert_eq!(world.reads("A"), 2);
}

#[tokio::test(start_paused = true)]
async fn refused_fields_of_one_secret_make_one_read_of_it() {
    let setup = Setup { primary: Some("DB"), ..Setup::default() };
    let world = setup.start([("DB", Value(r#"{"USER": "u1", "PASSWORD": "p1"}"#))]).await;
    world.script("DB", Slow(r#"{"USER": "u2", "PASSWORD": "p2"}"#, SECOND));
    let (user, password) = tokio::join!(
        world.handles["USER"].after_refusal(&[1]),
        world.handles["PASSWORD"].after_refusal(&[1])
    );
    assert_eq!((user.unwrap().generation, password.unwrap().generation), (2, 2));
    assert!(world.handles["USER"].after_refusal(&[1, 2]).await.is_none());
    assert_eq!(world.reads("DB"), 2);
}
