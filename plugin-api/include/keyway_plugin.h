/* SPDX-License-Identifier: Apache-2.0 OR MIT
 *
 * keyway_plugin.h: the contract between the Keyway host and a secret manager plugin, version 1.0.
 *
 * A plugin is a shared library that exports one function, `keyway_plugin_entry_v1`. It returns a table that
 * describes one or more manager types; the host makes instances of them and calls the functions of the table.
 *
 * Rules that hold everywhere
 *  - Nothing allocated on one side is freed on the other. What a call passes in is borrowed until that call
 *    returns; the plugin copies what it needs longer, and wipes its own copies of secrets.
 *  - Text is pointer + length, UTF-8, never NUL-terminated; length 0 means "absent" and the pointer is ignored.
 *  - `struct_size` comes first in every struct but the small values below. The writer sets it to sizeof its
 *    own struct; the reader reads min(struct_size, its own sizeof) bytes and takes the rest for zero. A size below
 *    version 1.0's is a fault. Released structs never change; they grow at the tail or by extensions.
 *  - Flags are two words. An unknown bit of `flags_required` must be answered with KEYWAY_UNSUPPORTED; unknown
 *    bits of `flags_optional` are ignored. `reserved` members are written as 0 and ignored when read.
 *  - Nothing unwinds across: no C++ exception, Rust panic or longjmp may leave a function of the plugin.
 *  - Every function except create, sync_read_secret, shutdown and destroy returns without waiting for anything: the
 *    host calls them on threads that serve others. What takes time goes on elsewhere and calls `complete` later.
 *  - `complete` and `entry` only take note: they never call back into the plugin on the same thread, and a plugin may hold
 *    its own locks while it calls them. (`log` goes through the host's logging and may take longer.)
 *  - Never call exit, change signal handlers, the working directory, the umask or the locale.
 *
 * Thread tags, at the end of each function's comment
 *  [any]     called from any thread, concurrently with every other function of the instance; with
 *            KEYWAY_CAP_SERIAL the host begins an operation of an instance when the one before is complete and its call
 *            has returned; `cancel` comes at any time, `shutdown` when no call is inside
 *  [once]    called once, from one thread, which need not be the process's main thread, with no other call into the
 *            library under way
 */
#ifndef KEYWAY_PLUGIN_H
#define KEYWAY_PLUGIN_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define KEYWAY_ABI_MAJOR 1u
#define KEYWAY_ABI_MINOR 0u

#if defined(_WIN32)
#define KEYWAY_EXPORT __declspec(dllexport)
#else
#define KEYWAY_EXPORT __attribute__((visibility("default")))
#endif

/* Result codes. The host reads a code it does not know as KEYWAY_INTERNAL. */
#define KEYWAY_OK 0u
#define KEYWAY_NOT_FOUND 1u       /* the store said there is none; never for an outage: it lets the host look elsewhere */
#define KEYWAY_DENIED 2u          /* the manager's identity may not do this */
#define KEYWAY_UNAUTHENTICATED 3u /* the manager's own credentials were refused or ran out */
#define KEYWAY_THROTTLED 4u       /* too many calls; set retry_after_ms */
#define KEYWAY_UNAVAILABLE 5u     /* the store cannot be reached or cannot answer now */
#define KEYWAY_TIMEOUT 6u         /* the deadline passed */
#define KEYWAY_CANCELLED 7u       /* given up because of `cancel` */
#define KEYWAY_INVALID_NAME 8u    /* the store cannot hold a secret of this name */
#define KEYWAY_INVALID_CONFIG 9u  /* the configuration is wrong; retrying cannot help */
#define KEYWAY_TOO_LARGE 10u      /* the value is larger than the store accepts */
#define KEYWAY_CONFLICT 11u       /* the secret's state forbids this, pending deletion for example */
#define KEYWAY_UNSUPPORTED 12u    /* the manager does not have this operation, or not this flag */
#define KEYWAY_INTERNAL 13u       /* a fault in the manager itself */

/* Capabilities of a manager type: data for the host and for people; NULL functions decide all the same. */
#define KEYWAY_CAP_READ (UINT64_C(1) << 0)      /* has async_read_secret */
#define KEYWAY_CAP_SYNC_READ (UINT64_C(1) << 1) /* has sync_read_secret */
#define KEYWAY_CAP_WRITE (UINT64_C(1) << 2)
#define KEYWAY_CAP_DELETE (UINT64_C(1) << 3)
#define KEYWAY_CAP_ROTATE (UINT64_C(1) << 4) /* has its own rotation; otherwise the host reads, writes and deletes */
#define KEYWAY_CAP_LIST (UINT64_C(1) << 5)   /* has the extension KEYWAY_EXT_LIST_V1 */
#define KEYWAY_CAP_HEALTH (UINT64_C(1) << 6)
#define KEYWAY_CAP_SERIAL (UINT64_C(1) << 32) /* wants one operation at a time for each instance */

#define KEYWAY_LOG_ERROR 1u
#define KEYWAY_LOG_WARN 2u
#define KEYWAY_LOG_INFO 3u
#define KEYWAY_LOG_DEBUG 4u
#define KEYWAY_LOG_TRACE 5u

#define KEYWAY_MAX_VALUE_LEN (UINT64_C(16) << 20) /* the largest value a host takes, in bytes; a larger one is TOO_LARGE */

/* ---- small values, passed by value, frozen at two words ------------------------------------------------ */

typedef struct keyway_str_v1 {
  const char *ptr; /* UTF-8; may be NULL only when len is 0 */
  size_t len;      /* in bytes */
} keyway_str_v1;

typedef struct keyway_bytes_v1 {
  const uint8_t *ptr; /* any bytes, NUL included; may be NULL only when len is 0 */
  size_t len;
} keyway_bytes_v1;

struct keyway_result_v1;

/* How an operation ends: the plugin calls complete(op_id, result) exactly once, inline or later, from any thread.
 * Copy the struct; both members are plain values. A second, late or forged completion is ignored and counted. */
typedef struct keyway_completion_v1 {
  uint64_t op_id; /* chosen by the host, never reused while the process lives */
  void (*complete)(uint64_t op_id, const struct keyway_result_v1 *result); /* never NULL. [any] */
} keyway_completion_v1;

/* ---- what an operation answers ------------------------------------------------------------------------- */

#define KEYWAY_RESULT_BINARY 1u /* flags_optional: the value is not text */

/* A vendor_code, with KEYWAY_INTERNAL: this instance is of no use any more, and so answers every operation. The host makes
 * another one, first at once and then with growing pauses; it ends this one when the other is there. */
#define KEYWAY_INSTANCE_LOST "KEYWAY_INSTANCE_LOST"

/* Borrowed by the host until `complete` returns; it copies what it keeps. Zero a struct, then set what applies. */
typedef struct keyway_result_v1 {
  uint32_t struct_size;
  uint32_t code; /* KEYWAY_OK or an error */
  uint32_t flags_required;
  uint32_t flags_optional;
  keyway_bytes_v1 value;     /* OK of a read: the secret; otherwise empty */
  keyway_str_v1 version;     /* the store's name of the version read or written; kept exactly, at most 4096 bytes */
  uint64_t ttl_ms;           /* how long the value may be kept, in milliseconds; 0: no hint */
  int64_t expires_at_unix_ms; /* when it stops being valid, in milliseconds since 1970-01-01 UTC; 0: no expiry known */
  keyway_str_v1 lease_id;    /* the lease under which it was handed out; as version */
  uint64_t retry_after_ms;   /* error: how long to wait before the next try, in milliseconds; 0: not said */
  keyway_str_v1 message;     /* error: for the operator's log; holds no secret */
  keyway_str_v1 vendor_code; /* error: the vendor's own code, "AccessDeniedException" for example; KEYWAY_INSTANCE_LOST */
} keyway_result_v1;

/* ---- what an operation is asked; each borrowed until the function returns ------------------------------- */

typedef struct keyway_create_request_v1 {
  uint32_t struct_size;
  uint32_t flags_required;
  uint32_t flags_optional;
  uint32_t reserved;
  uint64_t timeout_ms; /* as in keyway_read_request_v1 */
  keyway_str_v1 instance_name; /* what the operator calls it; for logs */
  keyway_str_v1 config_json;   /* a JSON object that should fit the type's config_schema */
} keyway_create_request_v1;

typedef struct keyway_read_request_v1 {
  uint32_t struct_size;
  uint32_t flags_required;
  uint32_t flags_optional;
  uint32_t reserved;
  uint64_t timeout_ms; /* the time that is left; the host answers its caller itself when it has passed. 0: no time is
                          left, only shutdown is called so; otherwise rounded up, and at most 24 hours */
  keyway_str_v1 name;  /* 1 to 2048 bytes, no control characters */
  keyway_str_v1 version; /* absent: the newest */
  keyway_str_v1 optional_params_json; /* absent, or a JSON object: every setting of key_management_settings */
} keyway_read_request_v1;

typedef struct keyway_write_request_v1 {
  uint32_t struct_size;
  uint32_t flags_required;
  uint32_t flags_optional;
  uint32_t reserved;
  uint64_t timeout_ms;
  keyway_str_v1 name;
  keyway_bytes_v1 value;     /* may be empty */
  keyway_str_v1 description; /* for people who look at the store */
  keyway_str_v1 tags_json;   /* absent, or a JSON object or array */
  keyway_str_v1 optional_params_json;
} keyway_write_request_v1;

typedef struct keyway_delete_request_v1 {
  uint32_t struct_size;
  uint32_t flags_required;
  uint32_t flags_optional;
  uint32_t recovery_window_in_days; /* for how long a store that can do so keeps it recoverable */
  uint64_t timeout_ms;
  keyway_str_v1 name;
  keyway_str_v1 optional_params_json;
} keyway_delete_request_v1;

typedef struct keyway_rotate_request_v1 {
  uint32_t struct_size;
  uint32_t flags_required;
  uint32_t flags_optional;
  uint32_t reserved;
  uint64_t timeout_ms;
  keyway_str_v1 current_name; /* need not exist */
  keyway_str_v1 new_name;     /* equal to current_name: replace in place, and never delete */
  keyway_bytes_v1 value;
  keyway_str_v1 description;
  keyway_str_v1 tags_json;
  keyway_str_v1 optional_params_json;
} keyway_rotate_request_v1;

/* For health_check and shutdown. */
typedef struct keyway_control_request_v1 {
  uint32_t struct_size;
  uint32_t flags_required;
  uint32_t flags_optional;
  uint32_t reserved;
  uint64_t timeout_ms;
} keyway_control_request_v1;

/* ---- the host, as a plugin sees it ----------------------------------------------------------------------- */

/* Lives as long as the process. */
typedef struct keyway_host_v1 {
  uint32_t struct_size;
  uint32_t abi_major;
  uint32_t abi_minor;
  uint32_t reserved;
  uint64_t host_data;    /* the host's; pass `host` on, do not read this */
  keyway_str_v1 name;    /* "keyway" */
  keyway_str_v1 version; /* the host's own */
  /* Whether a line of this level would be written; 0 or 1. Never NULL. [any] */
  uint32_t (*log_enabled)(const struct keyway_host_v1 *host, uint32_t level);
  /* Writes a line into the host's log; target is a module or component; message holds no secret. Never NULL. [any] */
  void (*log)(const struct keyway_host_v1 *host, uint32_t level, keyway_str_v1 target, keyway_str_v1 message);
  /* A frozen struct by its id, valid for the process's life, or NULL. Never NULL itself. [any] */
  const void *(*get_extension)(const struct keyway_host_v1 *host, keyway_str_v1 id);
} keyway_host_v1;

/* ---- a manager type ----------------------------------------------------------------------------------------- */

typedef struct keyway_instance keyway_instance; /* the plugin's own; the host passes the pointer back and never looks */

/* Static: lives as long as the process. Of the two reads at least one is required; `create` and `destroy` are
 * required; every other function may be NULL and then counts as one that completes with KEYWAY_UNSUPPORTED
 * (health_check: with KEYWAY_OK; shutdown: with KEYWAY_OK; cancel: as ignored). */
typedef struct keyway_manager_v1 {
  uint32_t struct_size;
  uint32_t reserved;
  uint64_t capabilities;       /* KEYWAY_CAP_* */
  keyway_str_v1 name;          /* the Class of "module.Class"; letters, digits and underscores */
  keyway_str_v1 description;   /* one line */
  keyway_str_v1 config_schema; /* absent, or the JSON Schema of config_json */

  /* Makes an instance; may block until timeout_ms. On failure returns NULL after it called failed.complete with an
   * error, inline; on success it never calls it. The instance is the plugin's until `destroy`. [any] */
  keyway_instance *(*create)(const keyway_create_request_v1 *request, keyway_completion_v1 failed);
  /* Reads without blocking the caller. [any] */
  void (*async_read_secret)(keyway_instance *instance, const keyway_read_request_v1 *request, keyway_completion_v1 done);
  /* Reads and may block; calls done.complete before it returns, on the calling thread. [any] */
  void (*sync_read_secret)(keyway_instance *instance, const keyway_read_request_v1 *request, keyway_completion_v1 done);
  /* Creates the secret or replaces its value. [any] */
  void (*async_write_secret)(keyway_instance *instance, const keyway_write_request_v1 *request, keyway_completion_v1 done);
  /* Deletes it; KEYWAY_NOT_FOUND when there is none. [any] */
  void (*async_delete_secret)(keyway_instance *instance, const keyway_delete_request_v1 *request, keyway_completion_v1 done);
  /* Replaces it, under its own name or a new one. [any] */
  void (*async_rotate_secret)(keyway_instance *instance, const keyway_rotate_request_v1 *request, keyway_completion_v1 done);
  /* KEYWAY_OK when the store can be used now. [any] */
  void (*health_check)(keyway_instance *instance, const keyway_control_request_v1 *request, keyway_completion_v1 done);
  /* The host no longer waits for op_id, whose call may not have been made yet, not have returned yet, or be long
   * complete. An operation that was begun must still complete, best soon and with KEYWAY_CANCELLED; an op_id that is not
   * known is ignored. Must not block. [any] */
  void (*cancel)(keyway_instance *instance, uint64_t op_id);
  /* Ends background work; may block until timeout_ms. Called at most once, after the last operation was made and all of
   * them completed or were given up; with KEYWAY_CAP_SERIAL not at all while a call does not return. [any] */
  void (*shutdown)(keyway_instance *instance, const keyway_control_request_v1 *request, keyway_completion_v1 done);
  /* Frees the instance; may block for some seconds. Called once, after shutdown completed or its time was up, and not at
   * all while a call does not return. No completion and no entry after it returned. The library itself stays loaded until
   * the process ends. [any, but with no other call of the instance under way] */
  void (*destroy)(keyway_instance *instance);
  /* A frozen struct by its id, valid for the process's life, or NULL. [any] */
  const void *(*get_extension)(keyway_instance *instance, keyway_str_v1 id);
} keyway_manager_v1;

/* ---- the plugin --------------------------------------------------------------------------------------------- */

/* Static: lives as long as the process. */
typedef struct keyway_plugin_v1 {
  uint32_t struct_size;
  uint32_t abi_major; /* KEYWAY_ABI_MAJOR as the plugin was compiled; another one is refused */
  uint32_t abi_minor; /* KEYWAY_ABI_MINOR; a newer one is accepted */
  uint32_t reserved;
  keyway_str_v1 id;      /* "acme-vault" */
  keyway_str_v1 version; /* "1.4.2" */
  keyway_str_v1 vendor;
  const keyway_manager_v1 *const *managers; /* managers_len pointers, none of them NULL */
  size_t managers_len;                      /* 1 or more */
} keyway_plugin_v1;

/* What a plugin defines and exports. Returns its table, or NULL when it cannot work with this host. [once] */
KEYWAY_EXPORT const keyway_plugin_v1 *keyway_plugin_entry_v1(const keyway_host_v1 *host);

/* ---- extensions of a manager type --------------------------------------------------------------------------- */

#define KEYWAY_EXT_LIST_V1 "keyway.list/1" /* get_extension returns a keyway_list_v1 */

typedef struct keyway_list_request_v1 {
  uint32_t struct_size;
  uint32_t flags_required;
  uint32_t flags_optional;
  uint32_t reserved;
  uint64_t timeout_ms;
  keyway_str_v1 prefix; /* absent: all names */
  keyway_str_v1 optional_params_json;
  /* Hands out one name, borrowed during the call; one call at a time for each op_id, all before the completion. A name
   * that is none (see keyway_read_request_v1) makes the whole list fail with KEYWAY_INTERNAL. [any] */
  void (*entry)(uint64_t op_id, keyway_str_v1 name);
} keyway_list_request_v1;

typedef struct keyway_list_v1 {
  uint32_t struct_size;
  uint32_t reserved;
  /* Calls request->entry for each name that starts with the prefix, then completes with an empty value. [any] */
  void (*async_list_secrets)(keyway_instance *instance, const keyway_list_request_v1 *request, keyway_completion_v1 done);
} keyway_list_v1;

#ifdef __cplusplus
} /* extern "C" */
#endif

#include "keyway_plugin_support.h" /* conveniences: KEYWAY_STR, KEYWAY_MANIFEST, KEYWAY_ABI_FINGERPRINT, keyway::guard */

#endif /* KEYWAY_PLUGIN_H */
