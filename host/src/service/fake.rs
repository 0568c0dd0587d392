//! A manager for tests of groups: a map whose answers a test makes fail or hang.

use std::{
    collections::BTreeMap,
    future::pending,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use keyway_plugin_api::{
    Capabilities, DeleteRequest, Error, ErrorKind, ListRequest, ReadRequest, Result, Secret, SecretManager,
    WriteReceipt, WriteRequest, async_trait,
};
use tokio::sync::watch;

use super::Member;

pub(super) struct Fake {
    name: &'static str,
    secrets: watch::Sender<BTreeMap<String, String>>,
    fails: Mutex<Option<ErrorKind>>,
    changes_fail: Mutex<Option<ErrorKind>>,
    hangs: AtomicBool,
    reads: AtomicUsize,
}

impl Fake {
    pub(super) fn new(name: &'static str) -> Arc<Self> {
        Arc::new(Fake {
            name,
            secrets: watch::Sender::new(BTreeMap::new()),
            fails: Mutex::default(),
            changes_fail: Mutex::default(),
            hangs: AtomicBool::new(false),
            reads: AtomicUsize::new(0),
        })
    }

    pub(super) fn member(self: &Arc<Self>) -> Member {
        Member { name: self.name.to_owned(), manager: self.clone(), timeout: Duration::from_secs(5) }
    }

    /// Every operation answers with this kind.
    pub(super) fn fail(&self, kind: Option<ErrorKind>) {
        *self.fails.lock().unwrap() = kind;
    }

    /// Writes and deletes answer with this kind.
    pub(super) fn fail_changes(&self, kind: Option<ErrorKind>) {
        *self.changes_fail.lock().unwrap() = kind;
    }

    /// No operation ends.
    pub(super) fn hang(&self, hangs: bool) {
        self.hangs.store(hangs, Ordering::SeqCst);
    }

    pub(super) fn put(&self, name: &str, value: &str) {
        self.secrets.send_modify(|secrets| drop(secrets.insert(name.to_owned(), value.to_owned())));
    }

    pub(super) fn take(&self, name: &str) {
        self.secrets.send_modify(|secrets| drop(secrets.remove(name)));
    }

    pub(super) fn get(&self, name: &str) -> Option<String> {
        self.secrets.borrow().get(name).cloned()
    }

    /// Waits until a name has this value.
    pub(super) async fn has(&self, name: &str, value: Option<&str>) {
        let mut secrets = self.secrets.subscribe();
        secrets.wait_for(|secrets| secrets.get(name).map(String::as_str) == value).await.unwrap();
    }

    pub(super) fn reads(&self) -> usize {
        self.reads.load(Ordering::SeqCst)
    }

    async fn answer(&self, fails: Option<ErrorKind>) -> Result<()> {
        if self.hangs.load(Ordering::SeqCst) {
            pending::<()>().await;
        }
        match fails {
            Some(kind) => Err(Error::new(kind, "told to fail")),
            None => Ok(()),
        }
    }

    fn fails(&self) -> Option<ErrorKind> {
        *self.fails.lock().unwrap()
    }

    fn changes_fail(&self) -> Option<ErrorKind> {
        self.fails().or(*self.changes_fail.lock().unwrap())
    }
}

#[async_trait]
impl SecretManager for Fake {
    async fn async_read_secret(&self, request: &ReadRequest) -> Result<Secret> {
        self.reads.fetch_add(1, Ordering::SeqCst);
        self.answer(self.fails()).await?;
        self.get(&request.name).map(Secret::from).ok_or_else(|| Error::not_found(&request.name))
    }

    async fn async_write_secret(&self, request: &WriteRequest) -> Result<WriteReceipt> {
        self.answer(self.changes_fail()).await?;
        self.put(&request.name, request.value.expose_str()?);
        Ok(WriteReceipt::default())
    }

    async fn async_delete_secret(&self, request: &DeleteRequest) -> Result<()> {
        self.answer(self.changes_fail()).await?;
        let found = self.get(&request.name);
        self.take(&request.name);
        found.map(drop).ok_or_else(|| Error::not_found(&request.name))
    }

    async fn async_list_secrets(&self, request: &ListRequest) -> Result<Vec<String>> {
        self.answer(self.fails()).await?;
        let secrets = self.secrets.borrow();
        Ok(secrets.keys().filter(|name| name.starts_with(&request.prefix)).cloned().collect())
    }

    async fn health_check(&self) -> Result<()> {
        self.answer(self.fails()).await
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities::READ_WRITE | Capabilities::LIST | Capabilities::HEALTH
    }
}
