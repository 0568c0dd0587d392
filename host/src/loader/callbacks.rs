//! What a plugin calls: the completion, the names of a list, and the functions of the host's table.

use std::{
    ffi::c_void,
    panic::{AssertUnwindSafe, catch_unwind},
    slice,
    sync::{Mutex, PoisonError},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use keyway_plugin_api::{
    Error, ErrorKind, Result, Secret, SecretMetadata, SecretName, abi,
    request::{MAX_NAME_LEN, MAX_VALUE_LEN},
};
use tracing::{debug, error, info, trace, warn};

use super::slots::{self, Outcome};
use crate::redact::redact;

/// The longest text of a plugin's that is kept, in bytes.
const MAX_TEXT: usize = 4096;
/// The longest text of a plugin's that is looked at, so that a secret at the cut is found whole.
const MAX_SEARCHED: usize = 16 * MAX_TEXT;

/// A completion that ends in the slot of `id`.
pub(super) fn completion(id: u64) -> abi::Completion {
    abi::Completion { op_id: id, complete: Some(complete) }
}

/// The function behind every completion.
///
/// # Safety
/// As `complete` in the header: `result` is NULL or valid during the call.
unsafe extern "C" fn complete(op_id: u64, result: *const abi::OpResult) {
    // SAFETY: passed on to the plugin, which vouches for the result; read at most once, inside the call.
    contained(|| slots::complete(op_id, || unsafe { decode(result) }));
}

/// The function behind `entry` of a list request.
///
/// # Safety
/// As `entry` in the header.
pub(super) unsafe extern "C" fn list_entry(op_id: u64, name: abi::Str) {
    // SAFETY: passed on to the plugin, which vouches for the text during the call; read at most once.
    contained(|| slots::list_entry(op_id, || unsafe { listed(name) }));
}

/// Runs the host's part of a callback: a panic of its own must not cross the plugin's frames, and would end the process.
fn contained<R>(work: impl FnOnce() -> R) -> Option<R> {
    let panic = match catch_unwind(AssertUnwindSafe(work)) {
        Ok(done) => return Some(done),
        Err(panic) => panic,
    };
    if let Err(another) = catch_unwind(AssertUnwindSafe(|| drop(panic))) {
        Box::leak(another); // what panics when it goes stays
    }
    None
}

/// # Safety
/// As [`bytes`], for any length.
unsafe fn listed(name: abi::Str) -> Result<String> {
    let fault = |what: &str| Error::internal(format!("the plugin listed a name that is none: {what}"));
    if name.len > MAX_NAME_LEN {
        return Err(fault(&format!("it has {} bytes, at most {MAX_NAME_LEN} are possible", name.len)));
    }
    // SAFETY: the caller vouches for the text; its length is bounded.
    let bytes = unsafe { bytes(name.ptr, name.len) }.ok_or_else(|| fault("it is NULL and not empty"))?;
    let text = std::str::from_utf8(bytes).map_err(|_| fault("it is not UTF-8"))?;
    SecretName::new(text).map(String::from).map_err(|error| fault(error.message()))
}

/// # Safety
/// `ptr` is valid for `len` bytes during `'a`, or NULL, or `len` is 0; `len` is at most `isize::MAX`.
unsafe fn bytes<'a>(ptr: *const u8, len: usize) -> Option<&'a [u8]> {
    match (len, ptr.is_null()) {
        (0, _) => Some(&[]),
        (_, true) => None,
        // SAFETY: not NULL; the caller vouches for the rest.
        (_, false) => Some(unsafe { slice::from_raw_parts(ptr, len) }),
    }
}

/// Copies a text of a plugin's for logs and errors: what is not UTF-8 is replaced, known secrets are taken out, and it is
/// cut.
///
/// # Safety
/// As [`bytes`], for any length.
pub(super) unsafe fn text(str: abi::Str) -> String {
    // SAFETY: the length is cut; the caller vouches for the rest.
    let bytes = unsafe { bytes(str.ptr, str.len.min(MAX_SEARCHED)) }.unwrap_or_default();
    let text = String::from_utf8_lossy(bytes);
    let mut clean = redact(&text).replace(|c: char| c.is_control() && c != '\t', " ");
    clean.truncate(clean.floor_char_boundary(MAX_TEXT));
    clean
}

/// # Safety
/// `result` is NULL or valid during the call, as the header says.
unsafe fn decode(result: *const abi::OpResult) -> Result<Outcome> {
    let fault = |what: &str| Err(Error::internal(format!("the plugin completed with {what}")));
    if result.is_null() {
        return fault("NULL instead of a result");
    }
    if !result.is_aligned() {
        return fault("a result that is not aligned");
    }
    // SAFETY: not NULL and aligned; every version of the struct begins with its size.
    let size = unsafe { result.cast::<u32>().read() };
    if (size as usize) < size_of::<abi::OpResult>() {
        return fault("a result struct that is too short");
    }
    // SAFETY: it has all bytes of this version; the plugin vouches for it during the call.
    let raw = unsafe { &*result };
    if raw.flags_required != 0 {
        let message =
            format!("the result needs flags {:#x}, which this host does not know", raw.flags_required);
        return Err(Error::new(ErrorKind::Unsupported, message));
    }
    if raw.code != abi::OK {
        // SAFETY: the plugin vouches for the texts of its result; here and below.
        return Err(unsafe { failure(raw) });
    }
    if raw.value.len > MAX_VALUE_LEN {
        let message = format!("the value has {} bytes; at most {MAX_VALUE_LEN} are taken", raw.value.len);
        return Err(Error::new(ErrorKind::TooLarge, message));
    }
    // SAFETY: see above; the length is bounded.
    let Some(value) = (unsafe { bytes(raw.value.ptr, raw.value.len) }) else {
        return fault("a value of NULL that is not empty");
    };
    let secret = Secret::copy_from(value);
    // SAFETY: see above.
    let secret = match unsafe { metadata(raw) }? {
        Some(metadata) => secret.with_metadata(metadata),
        None => secret,
    };
    Ok(Outcome { secret: Some(secret), names: Vec::new() })
}

/// What the plugin said about the value; most say nothing, which must cost nothing.
///
/// # Safety
/// The texts of `raw` are valid, as in [`exact`].
unsafe fn metadata(raw: &abi::OpResult) -> Result<Option<SecretMetadata>> {
    let binary = raw.flags_optional & abi::RESULT_BINARY != 0;
    let texts = raw.version.len | raw.lease_id.len;
    if texts == 0 && raw.ttl_ms == 0 && raw.expires_at_unix_ms == 0 && !binary {
        return Ok(None);
    }
    Ok(Some(SecretMetadata {
        // SAFETY: passed on to the caller.
        version: unsafe { exact(raw.version, "version") }?,
        ttl: (raw.ttl_ms > 0).then(|| Duration::from_millis(raw.ttl_ms)),
        expires_at: expiry(raw.expires_at_unix_ms),
        // SAFETY: as above.
        lease_id: unsafe { exact(raw.lease_id, "lease id") }?,
        binary,
    }))
}

/// # Safety
/// The texts of `raw` are valid, as in [`text`].
unsafe fn failure(raw: &abi::OpResult) -> Error {
    // SAFETY: passed on to the caller.
    let message = unsafe { optional(raw.message) }.unwrap_or_else(|| "the plugin gave no reason".to_owned());
    let mut error = Error::new(ErrorKind::from_code(raw.code), message);
    if raw.retry_after_ms > 0 {
        error = error.with_retry_after(Duration::from_millis(raw.retry_after_ms));
    }
    // SAFETY: passed on to the caller.
    match unsafe { optional(raw.vendor_code) } {
        // What begins so are words of the host and the SDK, of which a plugin may say one.
        Some(code) if code.starts_with("KEYWAY_") && code != abi::INSTANCE_LOST => error,
        Some(code) => error.with_vendor_code(code),
        None => error,
    }
}

/// # Safety
/// As [`text`].
unsafe fn optional(str: abi::Str) -> Option<String> {
    // SAFETY: passed on to the caller.
    (str.len > 0).then(|| unsafe { text(str) })
}

/// A text that is handed back to the plugin some day, and so must not be altered.
///
/// # Safety
/// As [`bytes`], for any length.
unsafe fn exact(str: abi::Str, what: &str) -> Result<Option<String>> {
    if str.len > MAX_TEXT {
        let message = format!("the {what} has {} bytes; at most {MAX_TEXT} are taken", str.len);
        return Err(Error::new(ErrorKind::TooLarge, message));
    }
    let fault = |why| Error::internal(format!("the plugin completed with a {what} that {why}"));
    // SAFETY: the caller vouches for the text; its length is bounded.
    let bytes = unsafe { bytes(str.ptr, str.len) }.ok_or_else(|| fault("is NULL and not empty"))?;
    let text = std::str::from_utf8(bytes).map_err(|_| fault("is not UTF-8"))?;
    Ok((!text.is_empty()).then(|| text.to_owned()))
}

fn expiry(unix_ms: i64) -> Option<SystemTime> {
    let distance = Duration::from_millis(unix_ms.unsigned_abs());
    match unix_ms {
        0 => None,
        1.. => UNIX_EPOCH.checked_add(distance),
        _ => UNIX_EPOCH.checked_sub(distance),
    }
}

/// The names of the libraries whose tables were made; the index is the table's `host_data`.
static PLUGINS: Mutex<Vec<String>> = Mutex::new(Vec::new());

/// Makes the table for one library, which then may use it as long as the process lives.
pub(super) fn host_table(library: &str) -> &'static abi::Host {
    let mut plugins = PLUGINS.lock().unwrap_or_else(PoisonError::into_inner);
    let host_data = plugins.len() as u64;
    plugins.push(library.to_owned());
    let str = |text: &'static str| abi::Str { ptr: text.as_ptr(), len: text.len() };
    Box::leak(Box::new(abi::Host {
        struct_size: size_of::<abi::Host>() as u32,
        abi_major: abi::ABI_MAJOR,
        abi_minor: abi::ABI_MINOR,
        reserved: 0,
        host_data,
        name: str("keyway"),
        version: str(env!("CARGO_PKG_VERSION")),
        log_enabled: Some(log_enabled),
        log: Some(log),
        get_extension: Some(get_extension),
    }))
}

/// # Safety
/// As `log_enabled` in the header.
unsafe extern "C" fn log_enabled(_host: *const abi::Host, level: u32) -> u32 {
    let enabled = contained(|| match level {
        abi::LOG_ERROR => tracing::enabled!(target: "keyway::plugin", tracing::Level::ERROR),
        abi::LOG_WARN => tracing::enabled!(target: "keyway::plugin", tracing::Level::WARN),
        abi::LOG_INFO => tracing::enabled!(target: "keyway::plugin", tracing::Level::INFO),
        abi::LOG_DEBUG => tracing::enabled!(target: "keyway::plugin", tracing::Level::DEBUG),
        abi::LOG_TRACE => tracing::enabled!(target: "keyway::plugin", tracing::Level::TRACE),
        _ => false,
    });
    u32::from(enabled.unwrap_or(false))
}

/// # Safety
/// As `log` in the header.
unsafe extern "C" fn log(host: *const abi::Host, level: u32, target: abi::Str, message: abi::Str) {
    // SAFETY: passed on to the plugin.
    contained(|| unsafe { write_line(host, level, target, message) });
}

/// # Safety
/// As `log` in the header.
unsafe fn write_line(host: *const abi::Host, level: u32, target: abi::Str, message: abi::Str) {
    // SAFETY: NULL, or the table that this host made for the plugin.
    let index = unsafe { host.as_ref() }.map_or(u64::MAX, |host| host.host_data);
    let plugin = {
        let plugins = PLUGINS.lock().unwrap_or_else(PoisonError::into_inner);
        usize::try_from(index).ok().and_then(|index| plugins.get(index).cloned()).unwrap_or_default()
    };
    // SAFETY: the plugin vouches for both texts during the call.
    let component = unsafe { text(target) };
    // SAFETY: as above.
    let line = unsafe { text(message) };
    match level {
        abi::LOG_ERROR => error!(target: "keyway::plugin", plugin, component, "{line}"),
        abi::LOG_WARN => warn!(target: "keyway::plugin", plugin, component, "{line}"),
        abi::LOG_INFO => info!(target: "keyway::plugin", plugin, component, "{line}"),
        abi::LOG_DEBUG => debug!(target: "keyway::plugin", plugin, component, "{line}"),
        _ => trace!(target: "keyway::plugin", plugin, component, "{line}"),
    }
}

/// # Safety
/// As `get_extension` in the header. Version 1.0 has no extension of the host's.
unsafe extern "C" fn get_extension(_host: *const abi::Host, _id: abi::Str) -> *const c_void {
    std::ptr::null()
}
