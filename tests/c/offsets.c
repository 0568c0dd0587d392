/* Prints what a C compiler makes of keyway_plugin.h, one fact a line, for the test that compares it with the Rust mirror:
 *
 *   struct NAME SIZE ALIGNMENT
 *   member NAME OFFSET           of the struct before
 *   number NAME VALUE
 *   text NAME VALUE
 *   word VALUE                   of the fingerprint, in order
 */
#include <inttypes.h>
#include <stdio.h>

#include "keyway_plugin.h"

KEYWAY_ABI_FINGERPRINT();

#define STRUCT(type) \
  typedef type current; \
  printf("struct %s %zu %zu\n", #type, sizeof(current), _Alignof(current))
#define MEMBER(name) printf("member %s %zu\n", #name, offsetof(current, name))
#define NUMBER(name) printf("number %s %" PRIu64 "\n", #name, (uint64_t)(name))
#define TEXT(name) printf("text %s %s\n", #name, name)

static void small_values(void) {
  {
    STRUCT(keyway_str_v1);
    MEMBER(ptr);
    MEMBER(len);
  }
  {
    STRUCT(keyway_bytes_v1);
    MEMBER(ptr);
    MEMBER(len);
  }
  {
    STRUCT(keyway_completion_v1);
    MEMBER(op_id);
    MEMBER(complete);
  }
}

static void result(void) {
  STRUCT(keyway_result_v1);
  MEMBER(struct_size);
  MEMBER(code);
  MEMBER(flags_required);
  MEMBER(flags_optional);
  MEMBER(value);
  MEMBER(version);
  MEMBER(ttl_ms);
  MEMBER(expires_at_unix_ms);
  MEMBER(lease_id);
  MEMBER(retry_after_ms);
  MEMBER(message);
  MEMBER(vendor_code);
}

static void create_request(void) {
  STRUCT(keyway_create_request_v1);
  MEMBER(struct_size);
  MEMBER(flags_required);
  MEMBER(flags_optional);
  MEMBER(reserved);
  MEMBER(timeout_ms);
  MEMBER(instance_name);
  MEMBER(config_json);
}

static void read_request(void) {
  STRUCT(keyway_read_request_v1);
  MEMBER(struct_size);
  MEMBER(flags_required);
  MEMBER(flags_optional);
  MEMBER(reserved);
  MEMBER(timeout_ms);
  MEMBER(name);
  MEMBER(version);
  MEMBER(optional_params_json);
}

static void write_request(void) {
  STRUCT(keyway_write_request_v1);
  MEMBER(struct_size);
  MEMBER(flags_required);
  MEMBER(flags_optional);
  MEMBER(reserved);
  MEMBER(timeout_ms);
  MEMBER(name);
  MEMBER(value);
  MEMBER(description);
  MEMBER(tags_json);
  MEMBER(optional_params_json);
}

static void delete_request(void) {
  STRUCT(keyway_delete_request_v1);
  MEMBER(struct_size);
  MEMBER(flags_required);
  MEMBER(flags_optional);
  MEMBER(recovery_window_in_days);
  MEMBER(timeout_ms);
  MEMBER(name);
  MEMBER(optional_params_json);
}

static void rotate_request(void) {
  STRUCT(keyway_rotate_request_v1);
  MEMBER(struct_size);
  MEMBER(flags_required);
  MEMBER(flags_optional);
  MEMBER(reserved);
  MEMBER(timeout_ms);
  MEMBER(current_name);
  MEMBER(new_name);
  MEMBER(value);
  MEMBER(description);
  MEMBER(tags_json);
  MEMBER(optional_params_json);
}

static void control_request(void) {
  STRUCT(keyway_control_request_v1);
  MEMBER(struct_size);
  MEMBER(flags_required);
  MEMBER(flags_optional);
  MEMBER(reserved);
  MEMBER(timeout_ms);
}

static void host(void) {
  STRUCT(keyway_host_v1);
  MEMBER(struct_size);
  MEMBER(abi_major);
  MEMBER(abi_minor);
  MEMBER(reserved);
  MEMBER(host_data);
  MEMBER(name);
  MEMBER(version);
  MEMBER(log_enabled);
  MEMBER(log);
  MEMBER(get_extension);
}

static void manager(void) {
  STRUCT(keyway_manager_v1);
  MEMBER(struct_size);
  MEMBER(reserved);
  MEMBER(capabilities);
  MEMBER(name);
  MEMBER(description);
  MEMBER(config_schema);
  MEMBER(create);
  MEMBER(async_read_secret);
  MEMBER(sync_read_secret);
  MEMBER(async_write_secret);
  MEMBER(async_delete_secret);
  MEMBER(async_rotate_secret);
  MEMBER(health_check);
  MEMBER(cancel);
  MEMBER(shutdown);
  MEMBER(destroy);
  MEMBER(get_extension);
}

static void plugin(void) {
  STRUCT(keyway_plugin_v1);
  MEMBER(struct_size);
  MEMBER(abi_major);
  MEMBER(abi_minor);
  MEMBER(reserved);
  MEMBER(id);
  MEMBER(version);
  MEMBER(vendor);
  MEMBER(managers);
  MEMBER(managers_len);
}

static void list(void) {
  {
    STRUCT(keyway_list_request_v1);
    MEMBER(struct_size);
    MEMBER(flags_required);
    MEMBER(flags_optional);
    MEMBER(reserved);
    MEMBER(timeout_ms);
    MEMBER(prefix);
    MEMBER(optional_params_json);
    MEMBER(entry);
  }
  {
    STRUCT(keyway_list_v1);
    MEMBER(struct_size);
    MEMBER(reserved);
    MEMBER(async_list_secrets);
  }
}

static void constants(void) {
  NUMBER(KEYWAY_ABI_MAJOR);
  NUMBER(KEYWAY_ABI_MINOR);
  NUMBER(KEYWAY_OK);
  NUMBER(KEYWAY_NOT_FOUND);
  NUMBER(KEYWAY_DENIED);
  NUMBER(KEYWAY_UNAUTHENTICATED);
  NUMBER(KEYWAY_THROTTLED);
  NUMBER(KEYWAY_UNAVAILABLE);
  NUMBER(KEYWAY_TIMEOUT);
  NUMBER(KEYWAY_CANCELLED);
  NUMBER(KEYWAY_INVALID_NAME);
  NUMBER(KEYWAY_INVALID_CONFIG);
  NUMBER(KEYWAY_TOO_LARGE);
  NUMBER(KEYWAY_CONFLICT);
  NUMBER(KEYWAY_UNSUPPORTED);
  NUMBER(KEYWAY_INTERNAL);
  NUMBER(KEYWAY_CAP_READ);
  NUMBER(KEYWAY_CAP_SYNC_READ);
  NUMBER(KEYWAY_CAP_WRITE);
  NUMBER(KEYWAY_CAP_DELETE);
  NUMBER(KEYWAY_CAP_ROTATE);
  NUMBER(KEYWAY_CAP_LIST);
  NUMBER(KEYWAY_CAP_HEALTH);
  NUMBER(KEYWAY_CAP_SERIAL);
  NUMBER(KEYWAY_LOG_ERROR);
  NUMBER(KEYWAY_LOG_WARN);
  NUMBER(KEYWAY_LOG_INFO);
  NUMBER(KEYWAY_LOG_DEBUG);
  NUMBER(KEYWAY_LOG_TRACE);
  NUMBER(KEYWAY_MAX_VALUE_LEN);
  NUMBER(KEYWAY_RESULT_BINARY);
  NUMBER(KEYWAY_FP_MAGIC);
  NUMBER(KEYWAY_FP_WORDS);
  TEXT(KEYWAY_EXT_LIST_V1);
  TEXT(KEYWAY_INSTANCE_LOST);
}

int main(void) {
  small_values();
  result();
  create_request();
  read_request();
  write_request();
  delete_request();
  rotate_request();
  control_request();
  host();
  manager();
  plugin();
  list();
  constants();
  for (size_t i = 0; i < sizeof keyway_abi_fingerprint_v1 / sizeof keyway_abi_fingerprint_v1[0]; ++i) {
    printf("word %" PRIu32 "\n", keyway_abi_fingerprint_v1[i]);
  }
  return 0;
}
