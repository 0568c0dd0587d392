//! From the borrowed structs of a request to the safe, owned ones.

use std::time::Duration;

use crate::{
    abi,
    error::{Error, ErrorKind, Result},
    request::{
        DeleteRequest, ListRequest, OptionalParams, ReadRequest, RotateRequest, SecretName, WriteRequest,
    },
    secret::Secret,
};

/// A request of the contract: it begins with its size and its flags.
trait Request {
    fn flags_required(&self) -> u32;
}

macro_rules! requests {
    ($($type:ident),+) => {$(
        impl Request for abi::$type {
            fn flags_required(&self) -> u32 {
                self.flags_required
            }
        }
    )+};
}

requests!(
    CreateRequest,
    ReadRequest,
    WriteRequest,
    DeleteRequest,
    RotateRequest,
    ControlRequest,
    ListRequest
);

/// Borrows a request for the time of the call.
///
/// # Safety
/// `request` is NULL or points to a struct that lives during `'a` and whose `struct_size` bytes are readable.
unsafe fn checked<'a, T: Request>(request: *const T) -> Result<&'a T> {
    let fault = |what: &str| Error::internal(format!("the host passed {what} as a request"));
    if request.is_null() {
        return Err(fault("NULL"));
    }
    if !request.is_aligned() {
        return Err(fault("a struct that is not aligned"));
    }
    // SAFETY: not NULL and aligned, and the caller vouches for the first member at least.
    let size = unsafe { request.cast::<u32>().read() };
    if (size as usize) < size_of::<T>() {
        return Err(fault("a struct that is too short"));
    }
    // SAFETY: the struct has all bytes of `T` and lives during the call, as the caller vouches.
    let request = unsafe { &*request };
    if request.flags_required() != 0 {
        return Err(Error::new(
            ErrorKind::Unsupported,
            format!(
                "the request needs flags {:#x}, which this plugin does not know",
                request.flags_required()
            ),
        ));
    }
    Ok(request)
}

/// # Safety
/// The pointer is valid for `len` bytes during `'a`, or `len` is 0.
unsafe fn bytes<'a>(ptr: *const u8, len: usize) -> &'a [u8] {
    if len == 0 || ptr.is_null() {
        return &[];
    }
    // SAFETY: not NULL and not empty; the caller vouches for the rest.
    unsafe { std::slice::from_raw_parts(ptr, len) }
}

/// # Safety
/// As [`bytes`].
pub(super) unsafe fn text<'a>(str: abi::Str) -> Result<&'a str> {
    // SAFETY: passed on to the caller.
    let bytes = unsafe { bytes(str.ptr, str.len) };
    std::str::from_utf8(bytes).map_err(|_| Error::internal("the host passed text that is not UTF-8"))
}

/// # Safety
/// As [`bytes`].
unsafe fn name(str: abi::Str) -> Result<SecretName> {
    // SAFETY: passed on to the caller.
    SecretName::new(unsafe { text(str) }?)
}

/// # Safety
/// As [`bytes`].
unsafe fn optional(str: abi::Str) -> Result<Option<String>> {
    // SAFETY: passed on to the caller.
    let text = unsafe { text(str) }?;
    Ok((!text.is_empty()).then(|| text.to_owned()))
}

/// # Safety
/// As [`bytes`].
unsafe fn params(str: abi::Str) -> Result<OptionalParams> {
    // SAFETY: passed on to the caller.
    unsafe { text(str) }.map(OptionalParams::from_json)
}

/// # Safety
/// As [`bytes`].
unsafe fn tags(str: abi::Str) -> Result<Option<serde_json::Value>> {
    // SAFETY: passed on to the caller.
    let text = unsafe { text(str) }?;
    if text.is_empty() {
        return Ok(None);
    }
    // Without the reader's own words, which may quote what stands there.
    serde_json::from_str(text)
        .map(Some)
        .map_err(|_| Error::internal("the host passed tags that are not JSON"))
}

/// # Safety
/// As [`bytes`].
unsafe fn secret(value: abi::Bytes) -> Secret {
    // SAFETY: passed on to the caller.
    Secret::copy_from(unsafe { bytes(value.ptr, value.len) })
}

/// # Safety
/// `request` is NULL or a valid struct of its `struct_size`, with text that is readable, during the call.
pub(super) unsafe fn read(request: *const abi::ReadRequest) -> Result<ReadRequest> {
    // SAFETY: passed on to the caller.
    let request = unsafe { checked(request) }?;
    Ok(ReadRequest {
        // SAFETY: the caller vouches for the text of the request; here and below.
        name: unsafe { name(request.name) }?,
        // SAFETY: see above.
        version: unsafe { optional(request.version) }?,
        // SAFETY: see above.
        optional_params: unsafe { params(request.optional_params_json) }?,
        timeout: Duration::from_millis(request.timeout_ms),
    })
}

/// # Safety
/// As [`read`].
pub(super) unsafe fn write(request: *const abi::WriteRequest) -> Result<WriteRequest> {
    // SAFETY: passed on to the caller.
    let request = unsafe { checked(request) }?;
    Ok(WriteRequest {
        // SAFETY: the caller vouches for the text and the value of the request; here and below.
        name: unsafe { name(request.name) }?,
        // SAFETY: see above.
        value: unsafe { secret(request.value) },
        // SAFETY: see above.
        description: unsafe { optional(request.description) }?,
        // SAFETY: see above.
        tags: unsafe { tags(request.tags_json) }?,
        // SAFETY: see above.
        optional_params: unsafe { params(request.optional_params_json) }?,
        timeout: Duration::from_millis(request.timeout_ms),
    })
}

/// # Safety
/// As [`read`].
pub(super) unsafe fn delete(request: *const abi::DeleteRequest) -> Result<DeleteRequest> {
    // SAFETY: passed on to the caller.
    let request = unsafe { checked(request) }?;
    Ok(DeleteRequest {
        // SAFETY: the caller vouches for the text of the request; here and below.
        name: unsafe { name(request.name) }?,
        recovery_window_in_days: request.recovery_window_in_days,
        // SAFETY: see above.
        optional_params: unsafe { params(request.optional_params_json) }?,
        timeout: Duration::from_millis(request.timeout_ms),
    })
}

/// # Safety
/// As [`read`].
pub(super) unsafe fn rotate(request: *const abi::RotateRequest) -> Result<RotateRequest> {
    // SAFETY: passed on to the caller.
    let request = unsafe { checked(request) }?;
    Ok(RotateRequest {
        // SAFETY: the caller vouches for the text and the value of the request; here and below.
        current_name: unsafe { name(request.current_name) }?,
        // SAFETY: see above.
        new_name: unsafe { name(request.new_name) }?,
        // SAFETY: see above.
        value: unsafe { secret(request.value) },
        // SAFETY: see above.
        description: unsafe { optional(request.description) }?,
        // SAFETY: see above.
        tags: unsafe { tags(request.tags_json) }?,
        // SAFETY: see above.
        optional_params: unsafe { params(request.optional_params_json) }?,
        timeout: Duration::from_millis(request.timeout_ms),
    })
}

/// Where the names of a list are handed out.
pub(super) type Entry = unsafe extern "C" fn(u64, abi::Str);

/// The request and where to hand the names out.
///
/// # Safety
/// As [`read`].
pub(super) unsafe fn list(request: *const abi::ListRequest) -> Result<(ListRequest, Entry)> {
    // SAFETY: passed on to the caller.
    let request = unsafe { checked(request) }?;
    let entry = request.entry.ok_or_else(|| Error::internal("the host passed no function for the names"))?;
    let list = ListRequest {
        // SAFETY: the caller vouches for the text of the request; here and below.
        prefix: unsafe { text(request.prefix) }?.to_owned(),
        // SAFETY: see above.
        optional_params: unsafe { params(request.optional_params_json) }?,
        timeout: Duration::from_millis(request.timeout_ms),
    };
    Ok((list, entry))
}

/// # Safety
/// As [`read`].
pub(super) unsafe fn control(request: *const abi::ControlRequest) -> Result<()> {
    // SAFETY: passed on to the caller.
    unsafe { checked(request) }.map(|_| ())
}

/// The text of the configuration.
///
/// # Safety
/// As [`read`]; the text is borrowed from the request.
pub(super) unsafe fn config<'a>(request: *const abi::CreateRequest) -> Result<&'a str> {
    // SAFETY: passed on to the caller.
    let request = unsafe { checked(request) }?;
    // SAFETY: the caller vouches for the text of the request.
    unsafe { text(request.config_json) }
}
