//! A secret manager whose answers, delays and failures a test sets.

use std::{
    collections::{HashMap, VecDeque},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use keyway_plugin_api::{
    DeleteRequest, Error, ErrorKind, ListRequest, ReadRequest, Result, Secret, SecretManager, SecretMetadata,
    WriteReceipt, WriteRequest,
};

/// Holds secrets in memory and does as it is told.
#[derive(Default)]
pub struct Scripted {
    script: Mutex<Script>,
    calls: AtomicU64,
    ended: AtomicU64,
}

#[derive(Default)]
struct Script {
    secrets: HashMap<String, Vec<u8>>,
    metadata: SecretMetadata,
    failure: Option<ErrorKind>,
    retry_after: Option<Duration>,
    next: VecDeque<ErrorKind>,
    delay: Duration,
    loses_answers: bool,
}

impl Scripted {
    /// A manager that holds one secret.
    pub fn with(name: &str, value: &str) -> Arc<Self> {
        let manager = Self::default();
        manager.set(name, value);
        Arc::new(manager)
    }

    /// Gives a secret a value behind everybody's back.
    pub fn set(&self, name: &str, value: &str) {
        self.script().secrets.insert(name.to_owned(), value.as_bytes().to_owned());
    }

    /// Takes a secret away behind everybody's back.
    pub fn remove(&self, name: &str) {
        self.script().secrets.remove(name);
    }

    /// Says more about every value than the value.
    pub fn describe(&self, metadata: SecretMetadata) {
        self.script().metadata = metadata;
    }

    /// Fails every call from now on, or none.
    pub fn fail(&self, kind: impl Into<Option<ErrorKind>>) {
        self.script().failure = kind.into();
    }

    /// Fails the next calls, one by one.
    pub fn fail_next(&self, kinds: impl IntoIterator<Item = ErrorKind>) {
        self.script().next.extend(kinds);
    }

    /// Sends this wait along with every failure.
    pub fn retry_after(&self, wait: Duration) {
        self.script().retry_after = Some(wait);
    }

    /// Lets every call take so long.
    pub fn delay(&self, delay: Duration) {
        self.script().delay = delay;
    }

    /// Applies changes and then answers UNAVAILABLE.
    pub fn lose_answers(&self, loses: bool) {
        self.script().loses_answers = loses;
    }

    /// How many calls began.
    pub fn calls(&self) -> u64 {
        self.calls.load(Ordering::SeqCst)
    }

    /// How many calls came to their end.
    pub fn ended(&self) -> u64 {
        self.ended.load(Ordering::SeqCst)
    }

    fn script(&self) -> MutexGuard<'_, Script> {
        self.script.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts the call, takes its time and fails it when that is its turn.
    async fn begin(&self) -> Result<()> {
        self.calls.fetch_add(1, Ordering::SeqCst);
        let (delay, failure, wait) = {
            let mut script = self.script();
            (script.delay, script.next.pop_front().or(script.failure), script.retry_after)
        };
        if !delay.is_zero() {
            tokio::time::sleep(delay).await;
        }
        self.ended.fetch_add(1, Ordering::SeqCst);
        let Some(kind) = failure else { return Ok(()) };
        let error = Error::new(kind, "the script says so");
        Err(match wait {
            Some(wait) => error.with_retry_after(wait),
            None => error,
        })
    }

    fn applied(&self) -> Result<()> {
        match self.script().loses_answers {
            true => Err(Error::unavailable("the answer was lost")),
            false => Ok(()),
        }
    }
}

#[async_trait]
impl SecretManager for Scripted {
    async fn async_read_secret(&self, request: &ReadRequest) -> Result<Secret> {
        self.begin().await?;
        let script = self.script();
        let value = script.secrets.get(request.name.as_str());
        let value = value.ok_or_else(|| Error::not_found(&request.name))?;
        Ok(Secret::copy_from(value).with_metadata(script.metadata.clone()))
    }

    async fn async_write_secret(&self, request: &WriteRequest) -> Result<WriteReceipt> {
        self.begin().await?;
        let value = request.value.expose_bytes().to_owned();
        self.script().secrets.insert(request.name.to_string(), value);
        self.applied()?;
        Ok(WriteReceipt::default())
    }

    async fn async_delete_secret(&self, request: &DeleteRequest) -> Result<()> {
        self.begin().await?;
        let removed = self.script().secrets.remove(request.name.as_str());
        self.applied()?;
        removed.map(drop).ok_or_else(|| Error::not_found(&request.name))
    }

    async fn async_list_secrets(&self, request: &ListRequest) -> Result<Vec<String>> {
        self.begin().await?;
        let script = self.script();
        let mut names: Vec<_> =
            script.secrets.keys().filter(|name| name.starts_with(&request.prefix)).cloned().collect();
        names.sort();
        Ok(names)
    }
}
