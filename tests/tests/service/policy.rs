//! What `access_mode` and `hosted_keys` allow.

use std::sync::Arc;

use keyway::{
    config::AccessMode,
    service::{AccessPolicy, policy::Guarded},
};
use keyway_plugin_api::{
    DeleteRequest, ErrorKind, ListRequest, RotateRequest, SecretManager as _, WriteRequest,
};
use keyway_tests::scripted::Scripted;

use crate::support::request;

fn guarded(manager: &Arc<Scripted>, policy: AccessPolicy) -> Guarded {
    Guarded::new(manager.clone(), Arc::new(policy))
}

#[tokio::test]
async fn each_mode_allows_what_it_says_and_a_refusal_never_reaches_the_manager() {
    for (access_mode, reads, changes) in [
        (AccessMode::ReadOnly, true, false),
        (AccessMode::WriteOnly, false, true),
        (AccessMode::ReadAndWrite, true, true),
    ] {
        let manager = Scripted::with("a", "one");
        let guarded = guarded(&manager, AccessPolicy { access_mode, ..AccessPolicy::default() });
        let outcomes = [
            (reads, guarded.async_read_secret(&request("a")).await.map(drop)),
            (reads, guarded.async_list_secrets(&ListRequest::default()).await.map(drop)),
            (changes, guarded.async_write_secret(&WriteRequest::new("a", "x").unwrap()).await.map(drop)),
            (
                changes,
                guarded.async_rotate_secret(RotateRequest::in_place("a", "y").unwrap()).await.map(drop),
            ),
            (changes, guarded.async_delete_secret(&DeleteRequest::new("a").unwrap()).await),
        ];
        let allowed = outcomes.iter().filter(|(expected, _)| *expected).count();
        for (expected, outcome) in outcomes {
            match outcome {
                Ok(()) => assert!(expected, "{access_mode:?}"),
                Err(error) => {
                    assert!(!expected, "{access_mode:?}: {error}");
                    assert_eq!(error.kind(), ErrorKind::Denied);
                    assert!(error.message().contains("access_mode"), "{error}");
                }
            }
        }
        assert_eq!(manager.calls(), allowed as u64);
    }
}

#[tokio::test]
async fn only_hosted_keys_are_read_and_listed_and_the_primary_secret() {
    let manager = Scripted::with("A", "one");
    manager.set("B", "two");
    manager.set("all", "{}");
    let policy = AccessPolicy {
        hosted_keys: Some(["A".to_owned()].into()),
        primary_secret_name: Some("all".to_owned()),
        ..AccessPolicy::default()
    };
    let guarded = guarded(&manager, policy);
    assert!(guarded.async_read_secret(&request("A")).await.is_ok());
    assert!(guarded.async_read_secret(&request("all")).await.is_ok());
    let error = guarded.async_read_secret(&request("B")).await.unwrap_err();
    assert_eq!(error.message(), "may not read B: it is not one of the `hosted_keys`");
    assert_eq!(guarded.async_list_secrets(&ListRequest::default()).await.unwrap(), ["A"]);
}
