//! Resolution, with managers that follow a script.

use std::{
    collections::BTreeMap,
    io,
    path::Path,
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

use keyway_plugin_api::{Error, Result as ManagerResult, async_trait};
use tokio::sync::Barrier;
use tracing::instrument::WithSubscriber as _;

use super::*;
use crate::config::{Location, Place};

const NAME: &str = "my_secret_manager.InMemorySecretManager";

/// Answers from a table; what is not in it is not found. Remembers what it was asked.
#[derive(Default)]
struct Scripted {
    values: BTreeMap<&'static str, &'static str>,
    failure: Option<ErrorKind>,
    asked: Mutex<Vec<String>>,
    params: Mutex<Vec<String>>,
}

#[async_trait]
impl SecretManager for Scripted {
    async fn async_read_secret(&self, request: &ReadRequest) -> ManagerResult<Secret> {
        self.asked.lock().unwrap().push(request.name.to_string());
        self.params.lock().unwrap().push(request.optional_params.as_json().to_owned());
        if let Some(kind) = self.failure {
            return Err(Error::new(kind, "the vendor's own words, canary"));
        }
        self.values
            .get(request.name.as_str())
            .map(|value| (*value).into())
            .ok_or_else(|| Error::not_found(&request.name))
    }
}

fn holding(values: &[(&'static str, &'static str)]) -> Arc<Scripted> {
    Arc::new(Scripted { values: values.iter().copied().collect(), ..Scripted::default() })
}

fn failing(kind: ErrorKind) -> Arc<Scripted> {
    Arc::new(Scripted { failure: Some(kind), ..Scripted::default() })
}

fn policy() -> Policy {
    Policy {
        access_mode: AccessMode::ReadOnly,
        hosted_keys: None,
        primary_secret_name: None,
        on_error: OnError::Fail,
        optional_params: OptionalParams::from_json("{\"a\":1}"),
        timeout: DEFAULT_TIMEOUT,
        max_in_flight: 8,
    }
}

fn env() -> Env {
    Env::from_vars([("A", "from env"), ("EMPTY", ""), ("TRUE", "True"), ("SPACED", " padded\n")])
}

fn resolver(manager: &Arc<Scripted>, policy: Policy) -> Resolver {
    Resolver::new(Some((NAME.to_owned(), manager.clone())), policy, env())
}

fn reference(text: &str) -> Reference {
    let place = |line, setting: &str| Place {
        file: Path::new("config.yaml").into(),
        setting: setting.to_owned(),
        location: Some(Location { line, column: 16 }),
    };
    Reference::new(text, vec![place(9, "model_list[0].litellm_params.api_key")]).unwrap()
}

fn named(names: &[&str]) -> Vec<Reference> {
    names.iter().map(|name| reference(&format!("os.environ/{name}"))).collect()
}

/// The value and its source, or the error's text.
async fn one(resolver: &Resolver, name: &str) -> Result<(String, Source), String> {
    let mut outcomes = resolver.resolve_all(&named(&[name])).await;
    let resolved = outcomes.remove(0).result.map_err(|error| error.to_string())?;
    Ok((resolved.value.expose_str().unwrap().to_owned(), resolved.source))
}

fn environment(why: EnvironmentReason) -> Source {
    Source::Environment { why }
}

#[tokio::test]
async fn the_manager_comes_before_the_environment_and_gets_the_settings() {
    let manager = holding(&[("A", "from manager")]);
    let resolved = one(&resolver(&manager, policy()), "A").await.unwrap();
    assert_eq!(resolved, ("from manager".to_owned(), Source::Manager { name: NAME.to_owned() }));
    assert_eq!(*manager.asked.lock().unwrap(), ["A"]);
    assert_eq!(*manager.params.lock().unwrap(), ["{\"a\":1}"]);
}

#[tokio::test]
async fn not_found_and_empty_fall_back_to_the_environment() {
    for manager in [holding(&[]), holding(&[("A", "")])] {
        let resolved = one(&resolver(&manager, policy()), "A").await.unwrap();
        assert_eq!(resolved, ("from env".to_owned(), environment(EnvironmentReason::NotFound)));
    }
}

#[tokio::test]
async fn values_are_neither_trimmed_nor_made_into_booleans() {
    let resolver = resolver(&holding(&[("M", "False\n")]), policy());
    assert_eq!(one(&resolver, "M").await.unwrap().0, "False\n");
    assert_eq!(one(&resolver, "TRUE").await.unwrap().0, "True");
    assert_eq!(one(&resolver, "SPACED").await.unwrap().0, " padded\n");
}

#[tokio::test]
async fn what_resolves_nowhere_says_where_it_stands_and_what_each_answered() {
    let error = one(&resolver(&holding(&[]), policy()), "EMPTY").await.unwrap_err();
    assert_eq!(
        error,
        "cannot resolve os.environ/EMPTY, which stands at config.yaml:9:16 (model_list[0].litellm_params.api_key): \
         manager my_secret_manager.InMemorySecretManager answered NOT_FOUND for EMPTY; \
         environment variable EMPTY is set to an empty value, which counts as missing; \
         write EMPTY to the manager, or set the environment variable EMPTY"
    );
}

#[tokio::test]
async fn without_a_manager_the_environment_answers() {
    let resolver = Resolver::new(None, policy(), env());
    let (_, source) = one(&resolver, "A").await.unwrap();
    assert_eq!(source, environment(EnvironmentReason::NotAsked(NotAsked::NoManager)));
    assert!(one(&resolver, "NONE").await.unwrap_err().ends_with("set the environment variable NONE"));
}

#[tokio::test]
async fn hosted_keys_is_an_exact_allowlist_and_an_empty_one_never_asks() {
    let manager = holding(&[("A", "m"), ("B", "m")]);
    let hosted = |names: &[&str]| Policy {
        hosted_keys: Some(names.iter().map(|name| (*name).to_owned()).collect()),
        ..policy()
    };
    let not_hosted = EnvironmentReason::NotAsked(NotAsked::NotHosted);
    assert_eq!(one(&resolver(&manager, hosted(&["B"])), "A").await.unwrap().1, environment(not_hosted));
    assert_eq!(one(&resolver(&manager, hosted(&[])), "A").await.unwrap().1, environment(not_hosted));
    assert!(manager.asked.lock().unwrap().is_empty());
    assert_eq!(one(&resolver(&manager, hosted(&["B"])), "B").await.unwrap().0, "m");
    assert!(
        one(&resolver(&manager, hosted(&["B"])), "C").await.unwrap_err().contains("add C to `hosted_keys`")
    );
}

#[tokio::test]
async fn write_only_never_asks() {
    let manager = holding(&[("A", "m")]);
    let write_only = resolver(&manager, Policy { access_mode: AccessMode::WriteOnly, ..policy() });
    assert_eq!(one(&write_only, "A").await.unwrap().0, "from env");
    assert!(manager.asked.lock().unwrap().is_empty());
}

#[tokio::test]
async fn an_error_is_an_error_even_when_the_environment_has_a_value() {
    for kind in ErrorKind::ALL.into_iter().filter(|kind| *kind != ErrorKind::NotFound) {
        let outcomes = resolver(&failing(kind), policy()).resolve_all(&named(&["A"])).await;
        let error = outcomes[0].result.as_ref().unwrap_err();
        assert_eq!(error.manager_error().map(Error::kind), Some(kind));
        assert!(error.to_string().contains(&format!("failed with {kind}")), "{error}");
        assert!(!error.to_string().contains("canary"), "the cause is not printed twice");
        assert!(std::error::Error::source(error).unwrap().to_string().contains("canary"));
    }
}

#[derive(Clone, Default)]
struct Sink(Arc<Mutex<Vec<u8>>>);

impl io::Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn on_error_environment_falls_back_with_one_redacted_warning() {
    let sink = Sink::default();
    let writer = sink.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_ansi(false)
        .with_writer(move || writer.clone())
        .with_max_level(tracing::Level::TRACE)
        .finish();
    let fall_back = Policy { on_error: OnError::Environment, ..policy() };
    let resolver = resolver(&failing(ErrorKind::Unavailable), fall_back);
    let references = named(&["A", "TRUE", "NONE"]);
    let outcomes = resolver.resolve_all(&references).with_subscriber(subscriber).await;

    let source = &outcomes[0].result.as_ref().unwrap().source;
    assert_eq!(*source, environment(EnvironmentReason::FellBack(ErrorKind::Unavailable)));
    let error = outcomes[2].result.as_ref().unwrap_err().to_string();
    assert!(error.contains("failed with UNAVAILABLE") && error.contains("NONE is not set"), "{error}");

    let log = String::from_utf8(sink.0.lock().unwrap().clone()).unwrap();
    assert_eq!(log.matches("WARN").count(), 1, "{log}");
    assert!(log.contains("UNAVAILABLE") && log.contains("others=1"), "{log}");
    assert!(!log.contains("canary") && !log.contains("from env"), "{log}");
}

#[tokio::test]
async fn one_json_secret_is_fetched_once_for_all_its_fields() {
    let manager = holding(&[("all", r#"{"X": "x value", "N": 7, "A": "", "L": [1]}"#), ("DIRECT", "never")]);
    let primary = Policy { primary_secret_name: Some("all".to_owned()), ..policy() };
    let resolver = resolver(&manager, primary);
    let outcomes = resolver.resolve_all(&named(&["X", "N", "A", "L", "DIRECT"])).await;
    let values: Vec<_> = outcomes[..3]
        .iter()
        .map(|outcome| outcome.result.as_ref().unwrap().value.expose_str().unwrap().to_owned())
        .collect();
    assert_eq!(values, ["x value", "7", "from env"]);
    assert_eq!(*manager.asked.lock().unwrap(), ["all"]);
    let texts: Vec<_> =
        outcomes[3..].iter().map(|outcome| outcome.result.as_ref().unwrap_err().to_string()).collect();
    assert!(texts[0].contains("has a list or an object in this field"), "{}", texts[0]);
    assert!(texts[1].contains("add the field DIRECT to all"), "{}", texts[1]);
}

#[tokio::test]
async fn a_primary_secret_that_is_no_object_is_an_error_without_its_content() {
    let primary = Policy { primary_secret_name: Some("all".to_owned()), ..policy() };
    let error = one(&resolver(&holding(&[("all", "canary")]), primary.clone()), "A").await.unwrap_err();
    assert!(error.contains("the primary secret all") && error.contains("is not a JSON object"), "{error}");
    assert!(!error.contains("canary"));

    let missing = resolver(&holding(&[]), primary.clone());
    assert_eq!(one(&missing, "A").await.unwrap().0, "from env");
    assert!(
        one(&missing, "NONE")
            .await
            .unwrap_err()
            .contains("write all to the manager as a JSON object with a field NONE")
    );

    let manager = holding(&[]);
    let unhosted = Policy { hosted_keys: Some(HashSet::new()), ..primary };
    assert_eq!(one(&resolver(&manager, unhosted), "A").await.unwrap().0, "from env");
    assert!(manager.asked.lock().unwrap().is_empty());
}

/// Answers only when as many reads as the barrier wants are under way at once.
struct Together {
    barrier: Barrier,
    running: AtomicUsize,
    most: AtomicUsize,
}

#[async_trait]
impl SecretManager for Together {
    async fn async_read_secret(&self, request: &ReadRequest) -> ManagerResult<Secret> {
        let running = 1 + self.running.fetch_add(1, Ordering::SeqCst);
        self.most.fetch_max(running, Ordering::SeqCst);
        self.barrier.wait().await;
        self.running.fetch_sub(1, Ordering::SeqCst);
        Ok(request.name.as_str().into())
    }
}

#[tokio::test]
async fn references_are_resolved_concurrently_within_the_limit_and_in_order() {
    let manager = Arc::new(Together {
        barrier: Barrier::new(4),
        running: AtomicUsize::new(0),
        most: AtomicUsize::new(0),
    });
    let limited = Policy { max_in_flight: 4, ..policy() };
    let resolver = Resolver::new(Some((NAME.to_owned(), manager.clone())), limited, env());
    let names: Vec<String> = (0..12).map(|index| format!("N{index}")).collect();
    let references = named(&names.iter().map(String::as_str).collect::<Vec<_>>());
    let outcomes =
        tokio::time::timeout(Duration::from_secs(20), resolver.resolve_all(&references)).await.unwrap();
    let values: Vec<_> =
        outcomes.iter().map(|outcome| outcome.result.as_ref().unwrap().value.expose_str().unwrap()).collect();
    assert_eq!(values, names);
    assert_eq!(manager.most.load(Ordering::SeqCst), 4);
}

#[tokio::test]
async fn oidc_tokens_come_from_the_platform_and_never_from_the_manager() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("token");
    std::fs::write(&path, "token").unwrap();
    let manager = holding(&[]);
    let resolver = resolver(&manager, policy()).with_oidc_directories([folder.path().to_owned()]);
    let references = [
        reference(&format!("oidc/file/{}", path.display())),
        reference("os.environ/oidc/env/A"),
        reference("oidc/file/etc/hostname"),
    ];
    let outcomes = resolver.resolve_all(&references).await;
    let file = outcomes[0].result.as_ref().unwrap();
    assert_eq!((file.value.expose_bytes(), &file.source), (&b"token"[..], &Source::Oidc));
    assert_eq!(outcomes[1].result.as_ref().unwrap().value.expose_bytes(), b"from env");
    assert!(
        outcomes[2]
            .result
            .as_ref()
            .is_err_and(|error| error.to_string().starts_with("cannot resolve oidc/file/etc/hostname"))
    );
    assert!(manager.asked.lock().unwrap().is_empty());
}

#[tokio::test]
async fn each_failure_of_a_token_has_an_advice_that_fits_it() {
    let folder = tempfile::tempdir().unwrap();
    let manager = holding(&[]);
    let resolver = resolver(&manager, policy()).with_oidc_directories([folder.path().to_owned()]);
    for (text, says) in [
        (
            "oidc/google/x",
            "the OIDC provider `google` is not available here; have the platform put the token into",
        ),
        ("oidc/file/etc/passwd", "is outside"),
        ("oidc/file/etc/passwd", "; have the platform put the token into one of these folders, or"),
        ("oidc/env/NONE", "NONE is not set; see that the platform provides the token"),
    ] {
        let error = resolver.resolve_all(&[reference(text)]).await.remove(0).result.unwrap_err().to_string();
        assert!(error.contains(says), "{error}");
    }
}

#[tokio::test]
async fn white_space_at_the_end_of_a_name_is_seen_in_the_message() {
    let resolver = resolver(&holding(&[]), policy());
    let error = resolver.resolve_all(&[reference("os.environ/A ")]).await.remove(0).result.unwrap_err();
    assert!(error.to_string().starts_with("cannot resolve \"os.environ/A \", which"), "{error}");
}

#[tokio::test]
async fn all_required_failures_are_reported_together_with_their_causes() {
    let resolver = resolver(&failing(ErrorKind::Denied), policy());
    let unused = Place {
        file: Path::new("c").into(),
        setting: "general_settings.database_url".to_owned(),
        location: None,
    };
    let mut references = named(&["B", "C"]);
    references.push(Reference::new("os.environ/D", vec![unused]).unwrap());
    let unresolved = required(resolver.resolve_all(&references).await).unwrap_err();
    assert_eq!((unresolved.errors.len(), unresolved.total), (2, 3));
    let text = unresolved.to_string();
    assert!(
        text.starts_with("2 of 3 references cannot be resolved\n  - cannot resolve os.environ/B"),
        "{text}"
    );
    assert!(text.contains("\n  - cannot resolve os.environ/C"));
    assert!(text.contains("give the manager's identity access to it"));
    assert!(text.contains("the vendor's own words"), "the cause is part of the report");

    let values = required(Resolver::new(None, policy(), env()).resolve_all(&named(&["A"])).await).unwrap();
    assert_eq!(values[0].0.text(), "os.environ/A");
}

#[test]
fn the_policy_is_what_the_configuration_says() {
    let text = "general_settings:\n  key_management_system: custom\n  key_management_settings: {custom_secret_manager: a.B, hosted_keys: [os.environ/X], access_mode: read_and_write, primary_secret_name: all}\nkeyway: {on_error: environment, managers: {a.B: {timeout: 1s, max_in_flight: 2}}}\n";
    let policy = Policy::new(&crate::config::parse(text, Path::new("c"), env()).unwrap());
    assert_eq!(policy.hosted_keys, Some(HashSet::from(["X".to_owned()])));
    assert_eq!((policy.access_mode, policy.on_error), (AccessMode::ReadAndWrite, OnError::Environment));
    assert_eq!((policy.timeout, policy.max_in_flight), (Duration::from_secs(1), 2));
    assert_eq!(policy.primary_secret_name.as_deref(), Some("all"));
    assert!(policy.optional_params.as_json().contains("\"custom_secret_manager\":\"a.B\""));
}
