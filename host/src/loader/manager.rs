//! The trait over the table: each operation as a raw request, and its outcome as a result.

use keyway_plugin_api::{
    Capabilities, DeleteRequest, Error, ErrorKind, ListRequest, OptionalParams, ReadRequest, Result,
    RotateRequest, Secret, SecretManager, WriteReceipt, WriteRequest, abi, async_trait,
    manager::rotate_by_writing,
    request::{DEFAULT_TIMEOUT, MAX_VALUE_LEN},
};

use super::{
    callbacks,
    client::{LoadedPlugin, control},
    instance::{Instance, str},
    slots::Outcome,
    wait::block_on,
};
use crate::redact;

#[async_trait]
impl SecretManager for LoadedPlugin {
    async fn async_read_secret(&self, request: &ReadRequest) -> Result<Secret> {
        let outcome = if self.capabilities.contains(Capabilities::READ) {
            let begin =
                |instance: &Instance, id, left| read(request, left, |raw| instance.async_read(raw, id));
            self.operate(request.timeout, begin).await?
        } else {
            self.read_on_pool(request).await?
        };
        outcome.secret.ok_or_else(|| Error::internal("the plugin completed a read without a value"))
    }

    fn sync_read_secret(&self, request: &ReadRequest) -> Result<Secret> {
        let _inside = self.runtime.enter();
        // The deadline of the read itself hangs on the runtime's timer, which this thread may be the one to drive.
        block_on(self.async_read_secret(request), request.timeout)
            .unwrap_or_else(|| Err(self.shared.timed_out(request.timeout)))
    }

    async fn async_write_secret(&self, request: &WriteRequest) -> Result<WriteReceipt> {
        self.need(Capabilities::WRITE, "write", || format!("write {}", request.name))?;
        check_len(&request.value)?;
        let _known = redact::learn_copy(&request.value);
        let tags = request.tags.as_ref().map(ToString::to_string).unwrap_or_default();
        let begin = |instance: &Instance, id, timeout_ms| {
            let raw = abi::WriteRequest {
                struct_size: size_of::<abi::WriteRequest>() as u32,
                flags_required: 0,
                flags_optional: 0,
                reserved: 0,
                timeout_ms,
                name: str(&request.name),
                value: bytes(&request.value),
                description: str(request.description.as_deref().unwrap_or("")),
                tags_json: str(&tags),
                optional_params_json: params(&request.optional_params),
            };
            instance.write(&raw, id)
        };
        self.operate(request.timeout, begin).await.map(receipt)
    }

    async fn async_delete_secret(&self, request: &DeleteRequest) -> Result<()> {
        self.need(Capabilities::DELETE, "delete", || format!("delete {}", request.name))?;
        let begin = |instance: &Instance, id, timeout_ms| {
            let raw = abi::DeleteRequest {
                struct_size: size_of::<abi::DeleteRequest>() as u32,
                flags_required: 0,
                flags_optional: 0,
                recovery_window_in_days: request.recovery_window_in_days,
                timeout_ms,
                name: str(&request.name),
                optional_params_json: params(&request.optional_params),
            };
            instance.delete(&raw, id)
        };
        self.operate(request.timeout, begin).await.map(drop)
    }

    async fn async_rotate_secret(&self, request: RotateRequest) -> Result<WriteReceipt> {
        if !self.capabilities.contains(Capabilities::ROTATE) {
            let (current, new) = (&request.current_name, &request.new_name);
            self.need(Capabilities::WRITE, "write", || format!("rotate {current}"))?;
            if current != new {
                self.need(Capabilities::DELETE, "delete", || format!("rotate {current} to {new}"))?;
            }
            return rotate_by_writing(self, request).await;
        }
        check_len(&request.value)?;
        let _known = redact::learn_copy(&request.value);
        let tags = request.tags.as_ref().map(ToString::to_string).unwrap_or_default();
        let begin = |instance: &Instance, id, timeout_ms| {
            let raw = abi::RotateRequest {
                struct_size: size_of::<abi::RotateRequest>() as u32,
                flags_required: 0,
                flags_optional: 0,
                reserved: 0,
                timeout_ms,
                current_name: str(&request.current_name),
                new_name: str(&request.new_name),
                value: bytes(&request.value),
                description: str(request.description.as_deref().unwrap_or("")),
                tags_json: str(&tags),
                optional_params_json: params(&request.optional_params),
            };
            instance.rotate(&raw, id)
        };
        self.operate(request.timeout, begin).await.map(receipt)
    }

    async fn async_list_secrets(&self, request: &ListRequest) -> Result<Vec<String>> {
        self.need(Capabilities::LIST, "list", || "list its secrets".to_owned())?;
        let begin = |instance: &Instance, id, timeout_ms| {
            let raw = abi::ListRequest {
                struct_size: size_of::<abi::ListRequest>() as u32,
                flags_required: 0,
                flags_optional: 0,
                reserved: 0,
                timeout_ms,
                prefix: str(&request.prefix),
                optional_params_json: params(&request.optional_params),
                entry: Some(callbacks::list_entry),
            };
            instance.list(&raw, id)
        };
        Ok(self.operate(request.timeout, begin).await?.names)
    }

    async fn health_check(&self) -> Result<()> {
        let begin = |instance: &Instance, id, timeout_ms| instance.health(&control(timeout_ms), id);
        self.operate(DEFAULT_TIMEOUT, begin).await.map(drop)
    }

    async fn shutdown(&self) {
        self.end().await;
    }

    fn capabilities(&self) -> Capabilities {
        self.capabilities
    }
}

impl LoadedPlugin {
    /// Refuses before anything is done what the plugin does not implement, in words that name it.
    fn need(&self, capability: Capabilities, operation: &str, undone: impl FnOnce() -> String) -> Result<()> {
        if self.capabilities.contains(capability) {
            return Ok(());
        }
        self.shared.instance.is_open()?;
        Err(Error::not_implemented(self.name(), operation, undone()))
    }
}

/// Calls with the raw form of a read request.
pub(super) fn read(
    request: &ReadRequest,
    timeout_ms: u64,
    call: impl FnOnce(&abi::ReadRequest) -> Result<()>,
) -> Result<()> {
    call(&abi::ReadRequest {
        struct_size: size_of::<abi::ReadRequest>() as u32,
        flags_required: 0,
        flags_optional: 0,
        reserved: 0,
        timeout_ms,
        name: str(&request.name),
        version: str(request.version.as_deref().unwrap_or("")),
        optional_params_json: params(&request.optional_params),
    })
}

/// What could not be read back is not written.
fn check_len(value: &Secret) -> Result<()> {
    if value.len() <= MAX_VALUE_LEN {
        return Ok(());
    }
    let message = format!("the value has {} bytes; at most {MAX_VALUE_LEN} can be stored", value.len());
    Err(Error::new(ErrorKind::TooLarge, message))
}

fn params(params: &OptionalParams) -> abi::Str {
    str(params.as_json())
}

fn bytes(value: &Secret) -> abi::Bytes {
    abi::Bytes { ptr: value.expose_bytes().as_ptr(), len: value.len() }
}

fn receipt(outcome: Outcome) -> WriteReceipt {
    WriteReceipt { version: outcome.secret.and_then(|written| written.metadata().version.clone()) }
}
