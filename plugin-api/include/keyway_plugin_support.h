/* SPDX-License-Identifier: Apache-2.0 OR MIT
 *
 * keyway_plugin_support.h: conveniences over keyway_plugin.h, which includes it. Nothing here is part of the
 * contract: a plugin that writes the same bytes by other means is as good.
 */
#ifndef KEYWAY_PLUGIN_SUPPORT_H
#define KEYWAY_PLUGIN_SUPPORT_H

#include "keyway_plugin.h"

#ifdef __cplusplus
#define KEYWAY_EXTERN_C_ extern "C"
#define KEYWAY_ALIGNOF_(type) ((uint32_t)alignof(type))
#define KEYWAY_STATIC_ASSERT_ static_assert
#else
#define KEYWAY_EXTERN_C_ extern
#define KEYWAY_ALIGNOF_(type) ((uint32_t)_Alignof(type))
#define KEYWAY_STATIC_ASSERT_ _Static_assert
#endif

/* Initialises a keyway_str_v1 with a string literal, in static tables too. */
#define KEYWAY_STR(literal) { literal, sizeof(literal) - 1 }

/* A keyway_str_v1 of a string literal, as an expression. */
static inline keyway_str_v1 keyway_str_(const char *text, size_t len) {
  keyway_str_v1 str;
  str.ptr = text;
  str.len = len;
  return str;
}
#define KEYWAY_STR_OF(literal) keyway_str_(literal, sizeof(literal) - 1)

/* An empty result of a code. */
static inline keyway_result_v1 keyway_result(uint32_t code) {
#ifdef __cplusplus
  keyway_result_v1 result = {};
#else
  keyway_result_v1 result = {0};
#endif
  result.struct_size = (uint32_t)sizeof result;
  result.code = code;
  return result;
}

/* Completes with a code and, for an error, a text without a secret in it (a NUL-terminated literal, or NULL). */
static inline void keyway_complete(keyway_completion_v1 done, uint32_t code, const char *message) {
  keyway_result_v1 result = keyway_result(code);
  size_t len = 0;
  if (message != NULL) {
    while (message[len] != '\0') {
      ++len;
    }
  }
  result.message = keyway_str_(message, len);
  done.complete(done.op_id, &result);
}

/* Completes a read with a value, which is borrowed during the call: wipe your copy afterwards. */
static inline void keyway_complete_value(keyway_completion_v1 done, const void *value, size_t len) {
  keyway_result_v1 result = keyway_result(KEYWAY_OK);
  result.value.ptr = (const uint8_t *)value;
  result.value.len = len;
  done.complete(done.op_id, &result);
}

/* ---- the manifest: what `keyway plugin list` shows without loading the file ------------------------------- */

#if defined(_MSC_VER) && !defined(__clang__)
#pragma section(".keyway", read)
#endif
#if defined(__APPLE__)
#define KEYWAY_MANIFEST_SECTION_ __attribute__((used, section("__DATA,__keyway")))
#elif defined(_MSC_VER) && !defined(__clang__) /* with /OPT:REF, link with /INCLUDE:keyway_manifest_ */
#define KEYWAY_MANIFEST_SECTION_ __declspec(allocate(".keyway"))
#elif defined(_WIN32)
#define KEYWAY_MANIFEST_SECTION_ __attribute__((used, section(".keyway")))
#elif defined(__has_attribute)
#if __has_attribute(retain)
#define KEYWAY_MANIFEST_SECTION_ __attribute__((used, retain, section(".keyway.manifest")))
#endif
#endif
#ifndef KEYWAY_MANIFEST_SECTION_ /* without `retain`, do not link with --gc-sections */
#define KEYWAY_MANIFEST_SECTION_ __attribute__((used, section(".keyway.manifest")))
#endif

/* String literals, once per library, at file scope; managers: type names with commas between and no spaces. */
#define KEYWAY_MANIFEST(id, version, vendor, managers)                                                     \
  KEYWAY_MANIFEST_SECTION_ static const char keyway_manifest_[] =                                          \
      "keyway-manifest 1\nid=" id "\nversion=" version "\nvendor=" vendor "\nabi=1.0\nmanagers=" managers "\n"

/* ---- the layout that this compiler gave the structs; the host refuses a plugin whose layout differs -------- */

#define KEYWAY_FP_MAGIC 0x4B575946u
#define KEYWAY_FP_WORDS 175u
#define KEYWAY_FP_HEAD_(id, type, members) id, (uint32_t)sizeof(type), KEYWAY_ALIGNOF_(type), members
#define KEYWAY_FP_AT_(type, member) (uint32_t)offsetof(type, member)

/* Words: magic, number of words, then for each struct its id, size, alignment, number of members and their offsets. */
#define KEYWAY_FP_CONTENT_ \
  { \
    KEYWAY_FP_MAGIC, KEYWAY_FP_WORDS, \
    KEYWAY_FP_HEAD_(1, keyway_str_v1, 2), \
        KEYWAY_FP_AT_(keyway_str_v1, ptr), KEYWAY_FP_AT_(keyway_str_v1, len), \
    KEYWAY_FP_HEAD_(2, keyway_bytes_v1, 2), \
        KEYWAY_FP_AT_(keyway_bytes_v1, ptr), KEYWAY_FP_AT_(keyway_bytes_v1, len), \
    KEYWAY_FP_HEAD_(3, keyway_completion_v1, 2), \
        KEYWAY_FP_AT_(keyway_completion_v1, op_id), KEYWAY_FP_AT_(keyway_completion_v1, complete), \
    KEYWAY_FP_HEAD_(4, keyway_result_v1, 12), \
        KEYWAY_FP_AT_(keyway_result_v1, struct_size), KEYWAY_FP_AT_(keyway_result_v1, code), \
        KEYWAY_FP_AT_(keyway_result_v1, flags_required), KEYWAY_FP_AT_(keyway_result_v1, flags_optional), \
        KEYWAY_FP_AT_(keyway_result_v1, value), KEYWAY_FP_AT_(keyway_result_v1, version), \
        KEYWAY_FP_AT_(keyway_result_v1, ttl_ms), KEYWAY_FP_AT_(keyway_result_v1, expires_at_unix_ms), \
        KEYWAY_FP_AT_(keyway_result_v1, lease_id), KEYWAY_FP_AT_(keyway_result_v1, retry_after_ms), \
        KEYWAY_FP_AT_(keyway_result_v1, message), KEYWAY_FP_AT_(keyway_result_v1, vendor_code), \
    KEYWAY_FP_HEAD_(5, keyway_create_request_v1, 7), \
        KEYWAY_FP_AT_(keyway_create_request_v1, struct_size), \
        KEYWAY_FP_AT_(keyway_create_request_v1, flags_required), \
        KEYWAY_FP_AT_(keyway_create_request_v1, flags_optional), \
        KEYWAY_FP_AT_(keyway_create_request_v1, reserved), KEYWAY_FP_AT_(keyway_create_request_v1, timeout_ms), \
        KEYWAY_FP_AT_(keyway_create_request_v1, instance_name), \
        KEYWAY_FP_AT_(keyway_create_request_v1, config_json), \
    KEYWAY_FP_HEAD_(6, keyway_read_request_v1, 8), \
        KEYWAY_FP_AT_(keyway_read_request_v1, struct_size), \
        KEYWAY_FP_AT_(keyway_read_request_v1, flags_required), \
        KEYWAY_FP_AT_(keyway_read_request_v1, flags_optional), KEYWAY_FP_AT_(keyway_read_request_v1, reserved), \
        KEYWAY_FP_AT_(keyway_read_request_v1, timeout_ms), KEYWAY_FP_AT_(keyway_read_request_v1, name), \
        KEYWAY_FP_AT_(keyway_read_request_v1, version), \
        KEYWAY_FP_AT_(keyway_read_request_v1, optional_params_json), \
    KEYWAY_FP_HEAD_(7, keyway_write_request_v1, 10), \
        KEYWAY_FP_AT_(keyway_write_request_v1, struct_size), \
        KEYWAY_FP_AT_(keyway_write_request_v1, flags_required), \
        KEYWAY_FP_AT_(keyway_write_request_v1, flags_optional), \
        KEYWAY_FP_AT_(keyway_write_request_v1, reserved), KEYWAY_FP_AT_(keyway_write_request_v1, timeout_ms), \
        KEYWAY_FP_AT_(keyway_write_request_v1, name), KEYWAY_FP_AT_(keyway_write_request_v1, value), \
        KEYWAY_FP_AT_(keyway_write_request_v1, description), KEYWAY_FP_AT_(keyway_write_request_v1, tags_json), \
        KEYWAY_FP_AT_(keyway_write_request_v1, optional_params_json), \
    KEYWAY_FP_HEAD_(8, keyway_delete_request_v1, 7), \
        KEYWAY_FP_AT_(keyway_delete_request_v1, struct_size), \
        KEYWAY_FP_AT_(keyway_delete_request_v1, flags_required), \
        KEYWAY_FP_AT_(keyway_delete_request_v1, flags_optional), \
        KEYWAY_FP_AT_(keyway_delete_request_v1, recovery_window_in_days), \
        KEYWAY_FP_AT_(keyway_delete_request_v1, timeout_ms), KEYWAY_FP_AT_(keyway_delete_request_v1, name), \
        KEYWAY_FP_AT_(keyway_delete_request_v1, optional_params_json), \
    KEYWAY_FP_HEAD_(9, keyway_rotate_request_v1, 11), \
        KEYWAY_FP_AT_(keyway_rotate_request_v1, struct_size), \
        KEYWAY_FP_AT_(keyway_rotate_request_v1, flags_required), \
        KEYWAY_FP_AT_(keyway_rotate_request_v1, flags_optional), \
        KEYWAY_FP_AT_(keyway_rotate_request_v1, reserved), KEYWAY_FP_AT_(keyway_rotate_request_v1, timeout_ms), \
        KEYWAY_FP_AT_(keyway_rotate_request_v1, current_name), \
        KEYWAY_FP_AT_(keyway_rotate_request_v1, new_name), KEYWAY_FP_AT_(keyway_rotate_request_v1, value), \
        KEYWAY_FP_AT_(keyway_rotate_request_v1, description), \
        KEYWAY_FP_AT_(keyway_rotate_request_v1, tags_json), \
        KEYWAY_FP_AT_(keyway_rotate_request_v1, optional_params_json), \
    KEYWAY_FP_HEAD_(10, keyway_control_request_v1, 5), \
        KEYWAY_FP_AT_(keyway_control_request_v1, struct_size), \
        KEYWAY_FP_AT_(keyway_control_request_v1, flags_required), \
        KEYWAY_FP_AT_(keyway_control_request_v1, flags_optional), \
        KEYWAY_FP_AT_(keyway_control_request_v1, reserved), \
        KEYWAY_FP_AT_(keyway_control_request_v1, timeout_ms), \
    KEYWAY_FP_HEAD_(11, keyway_host_v1, 10), \
        KEYWAY_FP_AT_(keyway_host_v1, struct_size), KEYWAY_FP_AT_(keyway_host_v1, abi_major), \
        KEYWAY_FP_AT_(keyway_host_v1, abi_minor), KEYWAY_FP_AT_(keyway_host_v1, reserved), \
        KEYWAY_FP_AT_(keyway_host_v1, host_data), KEYWAY_FP_AT_(keyway_host_v1, name), \
        KEYWAY_FP_AT_(keyway_host_v1, version), KEYWAY_FP_AT_(keyway_host_v1, log_enabled), \
        KEYWAY_FP_AT_(keyway_host_v1, log), KEYWAY_FP_AT_(keyway_host_v1, get_extension), \
    KEYWAY_FP_HEAD_(12, keyway_manager_v1, 17), \
        KEYWAY_FP_AT_(keyway_manager_v1, struct_size), KEYWAY_FP_AT_(keyway_manager_v1, reserved), \
        KEYWAY_FP_AT_(keyway_manager_v1, capabilities), KEYWAY_FP_AT_(keyway_manager_v1, name), \
        KEYWAY_FP_AT_(keyway_manager_v1, description), KEYWAY_FP_AT_(keyway_manager_v1, config_schema), \
        KEYWAY_FP_AT_(keyway_manager_v1, create), KEYWAY_FP_AT_(keyway_manager_v1, async_read_secret), \
        KEYWAY_FP_AT_(keyway_manager_v1, sync_read_secret), \
        KEYWAY_FP_AT_(keyway_manager_v1, async_write_secret), \
        KEYWAY_FP_AT_(keyway_manager_v1, async_delete_secret), \
        KEYWAY_FP_AT_(keyway_manager_v1, async_rotate_secret), KEYWAY_FP_AT_(keyway_manager_v1, health_check), \
        KEYWAY_FP_AT_(keyway_manager_v1, cancel), KEYWAY_FP_AT_(keyway_manager_v1, shutdown), \
        KEYWAY_FP_AT_(keyway_manager_v1, destroy), KEYWAY_FP_AT_(keyway_manager_v1, get_extension), \
    KEYWAY_FP_HEAD_(13, keyway_plugin_v1, 9), \
        KEYWAY_FP_AT_(keyway_plugin_v1, struct_size), KEYWAY_FP_AT_(keyway_plugin_v1, abi_major), \
        KEYWAY_FP_AT_(keyway_plugin_v1, abi_minor), KEYWAY_FP_AT_(keyway_plugin_v1, reserved), \
        KEYWAY_FP_AT_(keyway_plugin_v1, id), KEYWAY_FP_AT_(keyway_plugin_v1, version), \
        KEYWAY_FP_AT_(keyway_plugin_v1, vendor), KEYWAY_FP_AT_(keyway_plugin_v1, managers), \
        KEYWAY_FP_AT_(keyway_plugin_v1, managers_len), \
    KEYWAY_FP_HEAD_(14, keyway_list_request_v1, 8), \
        KEYWAY_FP_AT_(keyway_list_request_v1, struct_size), \
        KEYWAY_FP_AT_(keyway_list_request_v1, flags_required), \
        KEYWAY_FP_AT_(keyway_list_request_v1, flags_optional), KEYWAY_FP_AT_(keyway_list_request_v1, reserved), \
        KEYWAY_FP_AT_(keyway_list_request_v1, timeout_ms), KEYWAY_FP_AT_(keyway_list_request_v1, prefix), \
        KEYWAY_FP_AT_(keyway_list_request_v1, optional_params_json), \
        KEYWAY_FP_AT_(keyway_list_request_v1, entry), \
    KEYWAY_FP_HEAD_(15, keyway_list_v1, 3), \
        KEYWAY_FP_AT_(keyway_list_v1, struct_size), KEYWAY_FP_AT_(keyway_list_v1, reserved), \
        KEYWAY_FP_AT_(keyway_list_v1, async_list_secrets) \
  }

/* Once per library, at file scope. */
#define KEYWAY_ABI_FINGERPRINT() \
  KEYWAY_EXTERN_C_ KEYWAY_EXPORT const uint32_t keyway_abi_fingerprint_v1[KEYWAY_FP_WORDS]; \
  const uint32_t keyway_abi_fingerprint_v1[KEYWAY_FP_WORDS] = KEYWAY_FP_CONTENT_

/* ---- C++ ----------------------------------------------------------------------------------------------------- */

#ifdef __cplusplus
namespace keyway {

/* Runs the body of an operation; an exception that leaves it completes the operation with KEYWAY_INTERNAL instead of
 * crossing to the host, which it would end. The body must not throw after it completed. */
template <class Body>
void guard(keyway_completion_v1 done, Body &&body) noexcept {
  try {
    body();
  } catch (...) {
    keyway_complete(done, KEYWAY_INTERNAL, "the plugin threw an exception");
  }
}

/* The same for `create`: the body returns the instance. */
template <class Body>
keyway_instance *guard_create(keyway_completion_v1 failed, Body &&body) noexcept {
  try {
    return body();
  } catch (...) {
    keyway_complete(failed, KEYWAY_INTERNAL, "the plugin threw an exception while it made an instance");
    return nullptr;
  }
}

} /* namespace keyway */
#endif

#endif /* KEYWAY_PLUGIN_SUPPORT_H */
