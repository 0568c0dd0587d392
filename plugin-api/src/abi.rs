//! The C contract of `include/keyway_plugin.h` in Rust: the same structs, and no logic.
//!
//! The header is the specification and documents every member; names here are those of the header without
//! `keyway_` and `_v1`. [`FINGERPRINT`] holds the sizes and offsets that this compiler gave the structs.

use std::ffi::c_void;

#[cfg(feature = "abi_stable")]
use abi_stable::StableAbi;

/// `KEYWAY_ABI_MAJOR`
pub const ABI_MAJOR: u32 = 1;
/// `KEYWAY_ABI_MINOR`
pub const ABI_MINOR: u32 = 0;
/// The exported function that a plugin consists of.
pub const ENTRY_SYMBOL: &str = "keyway_plugin_entry_v1";
/// The exported table of layouts, as `KEYWAY_ABI_FINGERPRINT()` emits it.
pub const FINGERPRINT_SYMBOL: &str = "keyway_abi_fingerprint_v1";
/// `KEYWAY_OK`
pub const OK: u32 = 0;
/// `KEYWAY_RESULT_BINARY`
pub const RESULT_BINARY: u32 = 1;
/// `KEYWAY_LOG_ERROR`
pub const LOG_ERROR: u32 = 1;
/// `KEYWAY_LOG_WARN`
pub const LOG_WARN: u32 = 2;
/// `KEYWAY_LOG_INFO`
pub const LOG_INFO: u32 = 3;
/// `KEYWAY_LOG_DEBUG`
pub const LOG_DEBUG: u32 = 4;
/// `KEYWAY_LOG_TRACE`
pub const LOG_TRACE: u32 = 5;
/// `KEYWAY_EXT_LIST_V1`
pub const EXT_LIST: &str = "keyway.list/1";
/// `KEYWAY_INSTANCE_LOST`: the vendor code with which an instance says, beside [`ErrorKind::Internal`], that it is of no use
/// any more and that the host should make another one. [`export_plugin!`] sets it after a panic.
///
/// [`ErrorKind::Internal`]: crate::ErrorKind::Internal
/// [`export_plugin!`]: crate::export_plugin!
pub const INSTANCE_LOST: &str = "KEYWAY_INSTANCE_LOST";

/// An instance of a manager type: the plugin's own, opaque to the host.
#[repr(C)]
#[cfg_attr(feature = "abi_stable", derive(StableAbi))]
pub struct Instance {
    _opaque: [u8; 0],
}

/// `keyway_str_v1`
#[repr(C)]
#[derive(Clone, Copy, Debug)]
#[cfg_attr(feature = "abi_stable", derive(StableAbi))]
#[allow(missing_docs, reason = "the header documents each member")]
pub struct Str {
    pub ptr: *const u8,
    pub len: usize,
}

/// `keyway_bytes_v1`
#[repr(C)]
#[derive(Clone, Copy, Debug)]
#[cfg_attr(feature = "abi_stable", derive(StableAbi))]
#[allow(missing_docs, reason = "the header documents each member")]
pub struct Bytes {
    pub ptr: *const u8,
    pub len: usize,
}

/// `keyway_completion_v1`
#[repr(C)]
#[derive(Clone, Copy, Debug)]
#[cfg_attr(feature = "abi_stable", derive(StableAbi))]
#[allow(missing_docs, reason = "the header documents each member")]
pub struct Completion {
    pub op_id: u64,
    pub complete: Option<unsafe extern "C" fn(op_id: u64, result: *const OpResult)>,
}

/// `keyway_result_v1`
#[repr(C)]
#[cfg_attr(feature = "abi_stable", derive(StableAbi))]
#[allow(missing_docs, reason = "the header documents each member")]
pub struct OpResult {
    pub struct_size: u32,
    pub code: u32,
    pub flags_required: u32,
    pub flags_optional: u32,
    pub value: Bytes,
    pub version: Str,
    pub ttl_ms: u64,
    pub expires_at_unix_ms: i64,
    pub lease_id: Str,
    pub retry_after_ms: u64,
    pub message: Str,
    pub vendor_code: Str,
}

/// `keyway_create_request_v1`
#[repr(C)]
#[cfg_attr(feature = "abi_stable", derive(StableAbi))]
#[allow(missing_docs, reason = "the header documents each member")]
pub struct CreateRequest {
    pub struct_size: u32,
    pub flags_required: u32,
    pub flags_optional: u32,
    pub reserved: u32,
    pub timeout_ms: u64,
    pub instance_name: Str,
    pub config_json: Str,
}

/// `keyway_read_request_v1`
#[repr(C)]
#[cfg_attr(feature = "abi_stable", derive(StableAbi))]
#[allow(missing_docs, reason = "the header documents each member")]
pub struct ReadRequest {
    pub struct_size: u32,
    pub flags_required: u32,
    pub flags_optional: u32,
    pub reserved: u32,
    pub timeout_ms: u64,
    pub name: Str,
    pub version: Str,
    pub optional_params_json: Str,
}

/// `keyway_write_request_v1`
#[repr(C)]
#[cfg_attr(feature = "abi_stable", derive(StableAbi))]
#[allow(missing_docs, reason = "the header documents each member")]
pub struct WriteRequest {
    pub struct_size: u32,
    pub flags_required: u32,
    pub flags_optional: u32,
    pub reserved: u32,
    pub timeout_ms: u64,
    pub name: Str,
    pub value: Bytes,
    pub description: Str,
    pub tags_json: Str,
    pub optional_params_json: Str,
}

/// `keyway_delete_request_v1`
#[repr(C)]
#[cfg_attr(feature = "abi_stable", derive(StableAbi))]
#[allow(missing_docs, reason = "the header documents each member")]
pub struct DeleteRequest {
    pub struct_size: u32,
    pub flags_required: u32,
    pub flags_optional: u32,
    pub recovery_window_in_days: u32,
    pub timeout_ms: u64,
    pub name: Str,
    pub optional_params_json: Str,
}

/// `keyway_rotate_request_v1`
#[repr(C)]
#[cfg_attr(feature = "abi_stable", derive(StableAbi))]
#[allow(missing_docs, reason = "the header documents each member")]
pub struct RotateRequest {
    pub struct_size: u32,
    pub flags_required: u32,
    pub flags_optional: u32,
    pub reserved: u32,
    pub timeout_ms: u64,
    pub current_name: Str,
    pub new_name: Str,
    pub value: Bytes,
    pub description: Str,
    pub tags_json: Str,
    pub optional_params_json: Str,
}

/// `keyway_control_request_v1`
#[repr(C)]
#[cfg_attr(feature = "abi_stable", derive(StableAbi))]
#[allow(missing_docs, reason = "the header documents each member")]
pub struct ControlRequest {
    pub struct_size: u32,
    pub flags_required: u32,
    pub flags_optional: u32,
    pub reserved: u32,
    pub timeout_ms: u64,
}

/// `keyway_host_v1`
#[repr(C)]
#[cfg_attr(feature = "abi_stable", derive(StableAbi))]
#[allow(missing_docs, reason = "the header documents each member")]
pub struct Host {
    pub struct_size: u32,
    pub abi_major: u32,
    pub abi_minor: u32,
    pub reserved: u32,
    pub host_data: u64,
    pub name: Str,
    pub version: Str,
    pub log_enabled: Option<unsafe extern "C" fn(host: *const Host, level: u32) -> u32>,
    pub log: Option<unsafe extern "C" fn(host: *const Host, level: u32, target: Str, message: Str)>,
    pub get_extension: Option<unsafe extern "C" fn(host: *const Host, id: Str) -> *const c_void>,
}

/// `keyway_manager_v1`
#[repr(C)]
#[cfg_attr(feature = "abi_stable", derive(StableAbi))]
#[allow(missing_docs, reason = "the header documents each member")]
pub struct Manager {
    pub struct_size: u32,
    pub reserved: u32,
    pub capabilities: u64,
    pub name: Str,
    pub description: Str,
    pub config_schema: Str,
    pub create:
        Option<unsafe extern "C" fn(request: *const CreateRequest, failed: Completion) -> *mut Instance>,
    pub async_read_secret:
        Option<unsafe extern "C" fn(instance: *mut Instance, request: *const ReadRequest, done: Completion)>,
    pub sync_read_secret:
        Option<unsafe extern "C" fn(instance: *mut Instance, request: *const ReadRequest, done: Completion)>,
    pub async_write_secret:
        Option<unsafe extern "C" fn(instance: *mut Instance, request: *const WriteRequest, done: Completion)>,
    pub async_delete_secret: Option<
        unsafe extern "C" fn(instance: *mut Instance, request: *const DeleteRequest, done: Completion),
    >,
    pub async_rotate_secret: Option<
        unsafe extern "C" fn(instance: *mut Instance, request: *const RotateRequest, done: Completion),
    >,
    pub health_check: Option<
        unsafe extern "C" fn(instance: *mut Instance, request: *const ControlRequest, done: Completion),
    >,
    pub cancel: Option<unsafe extern "C" fn(instance: *mut Instance, op_id: u64)>,
    pub shutdown: Option<
        unsafe extern "C" fn(instance: *mut Instance, request: *const ControlRequest, done: Completion),
    >,
    pub destroy: Option<unsafe extern "C" fn(instance: *mut Instance)>,
    pub get_extension: Option<unsafe extern "C" fn(instance: *mut Instance, id: Str) -> *const c_void>,
}

/// `keyway_plugin_v1`
#[repr(C)]
#[cfg_attr(feature = "abi_stable", derive(StableAbi))]
#[allow(missing_docs, reason = "the header documents each member")]
pub struct Plugin {
    pub struct_size: u32,
    pub abi_major: u32,
    pub abi_minor: u32,
    pub reserved: u32,
    pub id: Str,
    pub version: Str,
    pub vendor: Str,
    pub managers: *const *const Manager,
    pub managers_len: usize,
}

/// `keyway_list_request_v1`
#[repr(C)]
#[cfg_attr(feature = "abi_stable", derive(StableAbi))]
#[allow(missing_docs, reason = "the header documents each member")]
pub struct ListRequest {
    pub struct_size: u32,
    pub flags_required: u32,
    pub flags_optional: u32,
    pub reserved: u32,
    pub timeout_ms: u64,
    pub prefix: Str,
    pub optional_params_json: Str,
    pub entry: Option<unsafe extern "C" fn(op_id: u64, name: Str)>,
}

/// `keyway_list_v1`
#[repr(C)]
#[cfg_attr(feature = "abi_stable", derive(StableAbi))]
#[allow(missing_docs, reason = "the header documents each member")]
pub struct List {
    pub struct_size: u32,
    pub reserved: u32,
    pub async_list_secrets:
        Option<unsafe extern "C" fn(instance: *mut Instance, request: *const ListRequest, done: Completion)>,
}

/// Declares [`LAYOUTS`] and [`FINGERPRINT`]; ids and order are those of `KEYWAY_ABI_FINGERPRINT` in the header.
macro_rules! layouts {
    ($($id:literal, $name:literal, $type:ident { $($member:ident),+ };)+) => {
        /// The layout of every struct of the contract, as this compiler made it.
        pub const LAYOUTS: &[Layout] = &[$(Layout {
            id: $id,
            name: $name,
            size: size_of::<$type>() as u32,
            align: align_of::<$type>() as u32,
            members: &[$((stringify!($member), core::mem::offset_of!($type, $member) as u32)),+],
        }),+];
    };
}

/// The layout of one struct.
#[derive(Clone, Copy, Debug)]
pub struct Layout {
    /// Its number in the fingerprint.
    pub id: u32,
    /// Its name in the header.
    pub name: &'static str,
    /// In bytes.
    pub size: u32,
    /// In bytes.
    pub align: u32,
    /// Name and offset of each member, in the order of the header.
    pub members: &'static [(&'static str, u32)],
}

layouts! {
    1, "keyway_str_v1", Str { ptr, len };
    2, "keyway_bytes_v1", Bytes { ptr, len };
    3, "keyway_completion_v1", Completion { op_id, complete };
    4, "keyway_result_v1", OpResult { struct_size, code, flags_required, flags_optional, value, version, ttl_ms, expires_at_unix_ms, lease_id, retry_after_ms, message, vendor_code };
    5, "keyway_create_request_v1", CreateRequest { struct_size, flags_required, flags_optional, reserved, timeout_ms, instance_name, config_json };
    6, "keyway_read_request_v1", ReadRequest { struct_size, flags_required, flags_optional, reserved, timeout_ms, name, version, optional_params_json };
    7, "keyway_write_request_v1", WriteRequest { struct_size, flags_required, flags_optional, reserved, timeout_ms, name, value, description, tags_json, optional_params_json };
    8, "keyway_delete_request_v1", DeleteRequest { struct_size, flags_required, flags_optional, recovery_window_in_days, timeout_ms, name, optional_params_json };
    9, "keyway_rotate_request_v1", RotateRequest { struct_size, flags_required, flags_optional, reserved, timeout_ms, current_name, new_name, value, description, tags_json, optional_params_json };
    10, "keyway_control_request_v1", ControlRequest { struct_size, flags_required, flags_optional, reserved, timeout_ms };
    11, "keyway_host_v1", Host { struct_size, abi_major, abi_minor, reserved, host_data, name, version, log_enabled, log, get_extension };
    12, "keyway_manager_v1", Manager { struct_size, reserved, capabilities, name, description, config_schema, create, async_read_secret, sync_read_secret, async_write_secret, async_delete_secret, async_rotate_secret, health_check, cancel, shutdown, destroy, get_extension };
    13, "keyway_plugin_v1", Plugin { struct_size, abi_major, abi_minor, reserved, id, version, vendor, managers, managers_len };
    14, "keyway_list_request_v1", ListRequest { struct_size, flags_required, flags_optional, reserved, timeout_ms, prefix, optional_params_json, entry };
    15, "keyway_list_v1", List { struct_size, reserved, async_list_secrets };
}

/// `KEYWAY_FP_MAGIC`
pub const FINGERPRINT_MAGIC: u32 = 0x4B57_5946;
/// `KEYWAY_FP_WORDS`
pub const FINGERPRINT_WORDS: usize = 175;

/// [`LAYOUTS`] as the words that every plugin exports: magic, number of words, then for each struct its id, size,
/// alignment, number of members and their offsets.
pub const FINGERPRINT: [u32; FINGERPRINT_WORDS] = {
    let mut words = [0; FINGERPRINT_WORDS];
    words[0] = FINGERPRINT_MAGIC;
    words[1] = FINGERPRINT_WORDS as u32;
    let mut at = 2;
    let mut index = 0;
    while index < LAYOUTS.len() {
        let layout = &LAYOUTS[index];
        words[at] = layout.id;
        words[at + 1] = layout.size;
        words[at + 2] = layout.align;
        words[at + 3] = layout.members.len() as u32;
        at += 4;
        let mut member = 0;
        while member < layout.members.len() {
            words[at] = layout.members[member].1;
            at += 1;
            member += 1;
        }
        index += 1;
    }
    assert!(at == FINGERPRINT_WORDS);
    words
};
