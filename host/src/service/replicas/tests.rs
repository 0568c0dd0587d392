//! What a replica set does when its members differ.

use super::*;
use crate::service::fake::Fake;

struct Set {
    us: Arc<Fake>,
    eu: Arc<Fake>,
    set: Replicas,
}

impl Set {
    fn new() -> Self {
        let (us, eu) = (Fake::new("us"), Fake::new("eu"));
        let set = Replicas::new(vec![us.member(), eu.member()]);
        Set { us, eu, set }
    }

    async fn read(&self) -> Result<String, ErrorKind> {
        let secret = self.set.async_read_secret(&ReadRequest::new("key").unwrap()).await;
        secret.map(|secret| secret.expose_str().unwrap().to_owned()).map_err(|error| error.kind())
    }

    async fn write(&self, name: &str, value: &str) -> Result<(), ErrorKind> {
        let request = WriteRequest::new(name, value).unwrap();
        self.set.async_write_secret(&request).await.map(drop).map_err(|error| error.kind())
    }

    async fn delete(&self) -> Result<(), ErrorKind> {
        self.set.async_delete_secret(&DeleteRequest::new("key").unwrap()).await.map_err(|error| error.kind())
    }

    fn repairs(&self) -> [usize; 2] {
        let status = self.set.status();
        [status[0].repairs.len(), status[1].repairs.len()]
    }

    /// Lets the repairs run until none waits; the clock is paused, so this takes no time.
    async fn repaired(&self) {
        while self.repairs() != [0, 0] {
            tokio::time::advance(Duration::from_millis(100)).await;
            tokio::task::yield_now().await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_change_reaches_every_member() {
    let set = Set::new();
    set.write("key", "one").await.unwrap();
    assert_eq!((set.us.get("key"), set.eu.get("key")), (Some("one".into()), Some("one".into())));
    set.delete().await.unwrap();
    assert_eq!((set.us.get("key"), set.eu.get("key")), (None, None));
    assert_eq!(set.delete().await, Err(ErrorKind::NotFound));
    assert_eq!(set.repairs(), [0, 0]);
}

#[tokio::test(start_paused = true)]
async fn the_first_healthy_member_answers_and_its_not_found_is_final() {
    let set = Set::new();
    set.us.put("key", "us");
    set.eu.put("key", "eu");
    assert_eq!(set.read().await.unwrap(), "us");
    set.us.fail(Some(ErrorKind::Unavailable));
    assert_eq!(set.read().await.unwrap(), "eu");
    let asked = set.us.reads();
    assert_eq!(set.read().await.unwrap(), "eu");
    assert_eq!(set.us.reads(), asked, "a member that was down a moment ago was asked first");
    set.us.fail(None);
    tokio::time::advance(Duration::from_secs(61)).await;
    assert_eq!(set.read().await.unwrap(), "us");
    set.us.take("key");
    assert_eq!(set.read().await, Err(ErrorKind::NotFound));
    set.us.fail(Some(ErrorKind::Denied));
    assert_eq!(set.read().await, Err(ErrorKind::Denied));
}

#[tokio::test(start_paused = true)]
async fn an_outage_of_all_members_is_never_not_found() {
    let set = Set::new();
    set.us.fail(Some(ErrorKind::Timeout));
    set.eu.fail(Some(ErrorKind::Unavailable));
    assert_eq!(set.read().await, Err(ErrorKind::Timeout));
    assert_eq!(set.write("key", "one").await, Err(ErrorKind::Timeout));
    assert_eq!(set.repairs(), [0, 0], "nobody took the write, so nobody missed it");
    assert!(set.set.health_check().await.is_err());
}

#[tokio::test(start_paused = true)]
async fn a_member_that_missed_a_write_is_repaired_and_until_then_not_read() {
    let set = Set::new();
    set.write("key", "one").await.unwrap();
    set.us.fail(Some(ErrorKind::Unavailable));
    set.write("key", "two").await.unwrap();
    assert_eq!(set.repairs(), [1, 0]);
    let status = set.set.status();
    assert_eq!((status[0].name.as_str(), status[0].last_outage), ("us", Some(ErrorKind::Unavailable)));
    assert_eq!((status[0].repairs[0].name.as_str(), status[0].repairs[0].operation), ("key", "write"));
    // It answers again, but with the old value, and the other one is down.
    set.us.fail_changes(Some(ErrorKind::Unavailable));
    set.us.fail(None);
    set.eu.fail(Some(ErrorKind::Unavailable));
    assert_eq!(set.read().await, Err(ErrorKind::Unavailable));
    set.us.fail_changes(None);
    set.us.has("key", Some("two")).await;
    set.repaired().await;
    assert_eq!(set.read().await.unwrap(), "two");
}

#[tokio::test(start_paused = true)]
async fn the_newest_change_of_a_name_wins() {
    let set = Set::new();
    set.us.fail(Some(ErrorKind::Unavailable));
    set.write("key", "one").await.unwrap();
    set.write("key", "two").await.unwrap();
    set.delete().await.unwrap();
    set.write("key", "three").await.unwrap();
    assert_eq!(set.repairs(), [1, 0]);
    // Answers again while older changes of the name wait: the next change must not be overtaken by them.
    set.us.fail(None);
    set.write("key", "four").await.unwrap();
    set.us.has("key", Some("four")).await;
    set.repaired().await;
    assert_eq!((set.us.get("key"), set.eu.get("key")), (Some("four".into()), Some("four".into())));
}

#[tokio::test(start_paused = true)]
async fn a_missed_delete_is_repaired_too() {
    let set = Set::new();
    set.write("key", "one").await.unwrap();
    set.eu.fail(Some(ErrorKind::Throttled));
    set.delete().await.unwrap();
    assert_eq!(set.set.status()[1].repairs[0].operation, "delete");
    set.eu.fail(None);
    set.eu.has("key", None).await;
    set.repaired().await;
}

#[tokio::test(start_paused = true)]
async fn a_repair_that_fails_is_tried_again_later_and_later() {
    let set = Set::new();
    set.us.fail_changes(Some(ErrorKind::Conflict));
    set.write("key", "one").await.unwrap();
    let failures = || set.set.status()[0].repairs[0].failures;
    let mut times = Vec::new();
    for expected in 1..=8 {
        let began = tokio::time::Instant::now();
        while failures() < expected {
            tokio::time::advance(Duration::from_millis(50)).await;
            tokio::task::yield_now().await;
        }
        times.push(began.elapsed());
    }
    assert!(times[7] > 4 * times[1], "{times:?}");
    assert!(times.iter().all(|time| *time <= Duration::from_secs(61)), "{times:?}");
    assert_eq!(set.set.status()[0].repairs[0].last_error, ErrorKind::Conflict);
}

#[tokio::test(start_paused = true)]
async fn a_member_that_hangs_costs_one_write_its_deadline_and_the_next_ones_nothing() {
    let set = Set::new();
    set.eu.hang(true);
    let began = tokio::time::Instant::now();
    set.write("key", "one").await.unwrap();
    assert_eq!(began.elapsed(), Duration::from_secs(5));
    assert_eq!(set.set.status()[1].repairs[0].last_error, ErrorKind::Timeout);
    set.write("other", "one").await.unwrap();
    assert_eq!(began.elapsed(), Duration::from_secs(5));
    assert_eq!(set.repairs(), [0, 2]);
}

#[tokio::test(start_paused = true)]
async fn a_member_that_was_down_is_asked_when_no_other_takes_a_write() {
    let set = Set::new();
    set.us.fail(Some(ErrorKind::Unavailable));
    set.write("key", "one").await.unwrap();
    set.us.fail(None);
    set.eu.fail(Some(ErrorKind::Unavailable));
    set.write("other", "two").await.unwrap();
    assert_eq!((set.us.get("other").as_deref(), set.repairs()), (Some("two"), [1, 1]));
}

#[tokio::test(start_paused = true)]
async fn a_caller_that_gives_up_leaves_no_member_behind_unnoticed() {
    let set = Set::new();
    set.eu.hang(true);
    let given_up = tokio::time::timeout(Duration::from_millis(10), set.write("key", "one")).await;
    assert!(given_up.is_err());
    assert_eq!(set.us.get("key").as_deref(), Some("one"));
    tokio::time::advance(Duration::from_secs(6)).await;
    while set.repairs() != [0, 1] {
        tokio::task::yield_now().await;
    }
}

#[tokio::test(start_paused = true)]
async fn the_queue_has_a_bound_and_a_write_beyond_it_says_so() {
    let set = Set::new();
    set.eu.fail(Some(ErrorKind::Unavailable));
    for index in 0..MAX_REPAIRS {
        set.write(&format!("key {index}"), "one").await.unwrap();
    }
    assert_eq!(set.write("one more", "one").await, Err(ErrorKind::Unavailable));
    assert_eq!(set.repairs(), [0, MAX_REPAIRS]);
    set.write("key 7", "two").await.unwrap();
    set.eu.fail(None);
    set.repaired().await;
    assert_eq!(set.eu.get("key 7").as_deref(), Some("two"));
}

#[tokio::test(start_paused = true)]
async fn nothing_is_written_when_one_member_cannot_write() {
    struct ReadOnly;
    #[async_trait]
    impl SecretManager for ReadOnly {}
    let us = Fake::new("us");
    let read_only =
        Member { name: "eu".to_owned(), manager: Arc::new(ReadOnly), timeout: Duration::from_secs(5) };
    let set = Replicas::new(vec![us.member(), read_only]);
    let error = set.async_write_secret(&WriteRequest::new("key", "one").unwrap()).await.unwrap_err();
    assert_eq!((error.kind(), us.get("key")), (ErrorKind::Unsupported, None));
    let said = "write operations are not implemented by the replica eu, so it did not write key";
    assert_eq!(error.message(), said);
}

#[tokio::test(start_paused = true)]
async fn the_status_holds_no_value() {
    let set = Set::new();
    set.us.fail(Some(ErrorKind::Unavailable));
    set.write("key", "canary").await.unwrap();
    assert!(!format!("{:?}", set.set.status()).contains("canary"));
}

#[tokio::test(start_paused = true)]
async fn a_refusal_is_the_answer_and_is_not_repaired() {
    for kind in [ErrorKind::Unsupported, ErrorKind::InvalidName, ErrorKind::TooLarge, ErrorKind::Denied] {
        let set = Set::new();
        set.eu.fail_changes(Some(kind));
        let request = WriteRequest::new("key", "one").unwrap();
        let error = set.set.async_write_secret(&request).await.unwrap_err();
        assert_eq!((error.kind(), set.us.get("key").as_deref()), (kind, Some("one")));
        assert!(error.message().starts_with("the replica eu refused the write of key, which"), "{error}");
        assert_eq!(std::error::Error::source(&error).unwrap().to_string(), format!("told to fail ({kind})"));
        assert_eq!(set.repairs(), [0, 0], "{kind}");
        assert_eq!(set.read().await.unwrap(), "one");
        // One that refuses keeps no other from its repair.
        set.us.fail(Some(ErrorKind::Unavailable));
        set.eu.fail_changes(None);
        set.write("key", "two").await.unwrap();
        assert_eq!(set.repairs(), [1, 0]);
    }
}

#[tokio::test(start_paused = true)]
async fn a_repair_that_is_refused_keeps_the_old_value_from_being_read() {
    let set = Set::new();
    set.us.put("key", "old");
    set.us.fail(Some(ErrorKind::Unavailable));
    set.write("key", "new").await.unwrap();
    set.us.fail(None);
    set.us.fail_changes(Some(ErrorKind::Denied));
    tokio::time::sleep(Duration::from_secs(120)).await;
    assert_eq!(set.set.status()[0].repairs[0].last_error, ErrorKind::Denied);
    assert_eq!(set.read().await.unwrap(), "new");
    // A further change takes the place of the one that waits.
    set.write("key", "newer").await.unwrap();
    set.us.fail_changes(None);
    set.us.has("key", Some("newer")).await;
    set.repaired().await;
}

#[tokio::test(start_paused = true)]
async fn the_end_waits_for_repairs_and_tells_what_remains() {
    let set = Set::new();
    set.us.fail(Some(ErrorKind::Unavailable));
    set.write("key", "one").await.unwrap();
    let back = async {
        tokio::time::sleep(Duration::from_secs(2)).await;
        set.us.fail(None);
    };
    let (missed, ()) = tokio::join!(set.set.finish(Duration::from_secs(60)), back);
    assert_eq!((missed.len(), set.us.get("key").as_deref()), (0, Some("one")));

    let set = Set::new();
    set.us.fail(Some(ErrorKind::Unavailable));
    set.write("key", "one").await.unwrap();
    set.write("other", "one").await.unwrap();
    set.eu.hang(true);
    let began = tokio::time::Instant::now();
    let missed = set.set.finish(Duration::from_secs(3)).await;
    assert_eq!(began.elapsed(), Duration::from_secs(3), "a member that is down answers at once");
    let told: Vec<_> = missed.iter().map(|missed| (&*missed.member, &*missed.repair.name)).collect();
    assert_eq!(told, [("us", "key"), ("us", "other")]);
    assert_eq!(missed[0].repair.last_error, ErrorKind::Unavailable);
}

#[tokio::test(start_paused = true)]
async fn a_stop_tries_what_is_left_once_more_and_never_longer_than_one_operation() {
    let set = Set::new();
    set.us.fail(Some(ErrorKind::Unavailable));
    for name in ["key", "other", "third"] {
        set.write(name, "one").await.unwrap();
    }
    // Long enough for the waits between two tries to have grown.
    tokio::time::sleep(Duration::from_secs(300)).await;
    set.us.fail(None);
    let began = tokio::time::Instant::now();
    set.set.shutdown().await;
    assert_eq!((began.elapsed(), set.us.get("third").as_deref()), (Duration::ZERO, Some("one")));
    assert_eq!(set.repairs(), [0, 0]);

    let set = Set::new();
    set.us.fail(Some(ErrorKind::Unavailable));
    for name in ["key", "other", "third"] {
        set.write(name, "one").await.unwrap();
    }
    set.us.hang(true);
    let began = tokio::time::Instant::now();
    set.set.shutdown().await;
    assert_eq!((began.elapsed(), set.repairs()), (Duration::from_secs(5), [0, 0]));
}
