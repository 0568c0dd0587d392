//! A plugin that panics while the host serves: another instance takes over.

use keyway_tests::build::cargo_library;
use mock_openai::Options;

use crate::support::{NEW, Settings, Store, chat, until, until_state, upstream};

#[tokio::test(flavor = "multi_thread")]
async fn a_panic_costs_one_instance_and_another_one_of_the_verified_library_takes_over() {
    let upstream = upstream(Options::default()).await;
    let store = Store::new(&upstream, Settings { ttl_ms: 1000, ..Settings::default() });
    let serving = store.serve();
    // What is made from now on must come from the bytes that were verified, and not from what lies there now.
    let library = cargo_library("keyway-tests-folder").unwrap();
    store.replace(library.file_name().unwrap().to_str().unwrap(), "not a plugin");
    store.fail("OPENAI_API_KEY", "PANIC");
    let log = serving.said("an instance of the manager is lost", 1).unwrap();
    assert!(log.contains("manager=\"folder\"") && log.contains("the plugin panicked"), "{log}");
    until_state(&serving, "OPENAI_API_KEY", "stale").await;
    assert_eq!(chat(&serving).await.status(), 200);
    until("another instance was made", async || store.happened("create a") > 1).await;
    store.work_again("OPENAI_API_KEY");
    store.set("OPENAI_API_KEY", NEW);
    until_state(&serving, "OPENAI_API_KEY", "fresh").await;
    let made = store.happened("create a");
    assert!(made < 10, "{made} instances were made");
    serving.terminate().unwrap();
    serving.wait().unwrap();
    assert_eq!(store.happened("shutdown a"), 1, "one that panicked has no word in its end");
}
