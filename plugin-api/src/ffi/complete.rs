//! The way back: one completion for each operation, whatever becomes of it.

use std::{
    sync::{Arc, PoisonError, RwLock},
    time::{SystemTime, UNIX_EPOCH},
};

use super::borrow::Entry;
use crate::{
    abi,
    error::{Error, ErrorKind, Result},
    manager::WriteReceipt,
    secret::Secret,
};

/// What a successful operation answers.
pub(super) enum Reply {
    /// Nothing but success.
    Done,
    /// A value.
    Secret(Secret),
    /// What was written.
    Receipt(WriteReceipt),
    /// The names of a list, and where they are handed out before the completion.
    Names(Vec<String>, Entry),
}

/// Completes one operation, exactly once: dropping it unused completes with CANCELLED.
pub(super) struct Completer {
    done: abi::Completion,
    gate: Option<Arc<Gate>>,
    used: bool,
}

/// Closed by `destroy`: no completion, and no name of a list, passes afterwards.
#[derive(Default)]
pub(super) struct Gate(RwLock<bool>);

impl Gate {
    /// Waits for completions that are passing and lets no other one pass.
    pub(super) fn close(&self) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = true;
    }
}

impl Completer {
    /// Takes over the duty to complete.
    ///
    /// # Safety
    /// `done` comes from the host for this operation, and nobody else completes it.
    pub(super) unsafe fn new(done: abi::Completion) -> Self {
        Completer { done, gate: None, used: false }
    }

    /// The host's number of the operation.
    pub(super) fn op_id(&self) -> u64 {
        self.done.op_id
    }

    /// From now on the operation outlives its call, so that `destroy` may come before its end.
    pub(super) fn outlive_call(&mut self, gate: Arc<Gate>) {
        self.gate = Some(gate);
    }

    /// Completes with a result.
    pub(super) fn complete(mut self, result: Result<Reply>) {
        self.send(&result);
    }

    fn send(&mut self, result: &Result<Reply>) {
        self.used = true;
        let Some(complete) = self.done.complete else { return };
        let raw = match result {
            Ok(reply) => success(reply),
            Err(error) => failure(error),
        };
        let gate = self.gate.clone();
        let passing = gate.as_ref().map(|gate| gate.0.read().unwrap_or_else(PoisonError::into_inner));
        if passing.as_deref() == Some(&true) {
            return; // destroyed: the host takes no completion any more and frees what waited for it itself
        }
        if let Ok(Reply::Names(names, entry)) = result {
            for name in names {
                // SAFETY: the host's function for this operation, which is not complete yet; the name outlives the call;
                // `destroy` has not begun, as below.
                unsafe { entry(self.done.op_id, str(name)) };
            }
        }
        // SAFETY: the host gave this function for this operation, which is completed here for the first time; what
        // `raw` borrows from `result` outlives the call; `destroy` has not begun, either because the gate is held
        // open or because the call that made the operation has not returned.
        unsafe { complete(self.done.op_id, &raw) };
    }
}

impl Drop for Completer {
    fn drop(&mut self) {
        if !self.used {
            self.send(&Err(Error::new(ErrorKind::Cancelled, "the operation was given up")));
        }
    }
}

fn str(text: &str) -> abi::Str {
    abi::Str { ptr: text.as_ptr(), len: text.len() }
}

fn empty() -> abi::OpResult {
    abi::OpResult {
        struct_size: size_of::<abi::OpResult>() as u32,
        code: abi::OK,
        flags_required: 0,
        flags_optional: 0,
        value: abi::Bytes { ptr: std::ptr::null(), len: 0 },
        version: str(""),
        ttl_ms: 0,
        expires_at_unix_ms: 0,
        lease_id: str(""),
        retry_after_ms: 0,
        message: str(""),
        vendor_code: str(""),
    }
}

fn success(reply: &Reply) -> abi::OpResult {
    let mut raw = empty();
    match reply {
        Reply::Done | Reply::Names(..) => {}
        Reply::Receipt(receipt) => raw.version = str(receipt.version.as_deref().unwrap_or("")),
        Reply::Secret(secret) => {
            let value = secret.expose_bytes();
            let metadata = secret.metadata();
            raw.value = abi::Bytes { ptr: value.as_ptr(), len: value.len() };
            raw.flags_optional = if metadata.binary { abi::RESULT_BINARY } else { 0 };
            raw.version = str(metadata.version.as_deref().unwrap_or(""));
            // 0 means "no hint", so that "do not keep" becomes the shortest time there is.
            raw.ttl_ms =
                metadata.ttl.map_or(0, |ttl| u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX).max(1));
            raw.expires_at_unix_ms = metadata.expires_at.map_or(0, unix_ms);
            raw.lease_id = str(metadata.lease_id.as_deref().unwrap_or(""));
        }
    }
    raw
}

fn failure(error: &Error) -> abi::OpResult {
    let wait =
        error.retry_after().map_or(0, |wait| u64::try_from(wait.as_millis()).unwrap_or(u64::MAX).max(1));
    abi::OpResult {
        code: error.kind().code(),
        retry_after_ms: wait,
        message: str(error.message()),
        vendor_code: str(error.vendor_code().unwrap_or("")),
        ..empty()
    }
}

fn unix_ms(time: SystemTime) -> i64 {
    match time.duration_since(UNIX_EPOCH) {
        Ok(after) => i64::try_from(after.as_millis()).unwrap_or(i64::MAX).max(1),
        Err(before) => -i64::try_from(before.duration().as_millis()).unwrap_or(i64::MAX),
    }
}
