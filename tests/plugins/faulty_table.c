/* SPDX-License-Identifier: Apache-2.0 OR MIT
 *
 * A plugin whose table is wrong in the one way that a macro asks for; without any it is right.
 */
#include <stddef.h>

#include "keyway_plugin.h"

static int one_instance;

static keyway_instance *create(const keyway_create_request_v1 *request, keyway_completion_v1 failed) {
  (void)request;
  (void)failed;
  return (keyway_instance *)&one_instance;
}

static void destroy(keyway_instance *self) { (void)self; }

#ifdef UNDEFINED_SYMBOL
extern void keyway_tests_nobody_defines_this(void);
#endif

static void read_secret(keyway_instance *self, const keyway_read_request_v1 *request, keyway_completion_v1 done) {
  (void)self;
  (void)request;
#ifdef UNDEFINED_SYMBOL
  keyway_tests_nobody_defines_this();
#endif
  keyway_complete_value(done, "sk-test-not-a-key", 17);
}

#ifndef MAJOR
#define MAJOR KEYWAY_ABI_MAJOR
#endif
#ifndef MINOR
#define MINOR KEYWAY_ABI_MINOR
#endif
#ifndef PLUGIN_SIZE
#define PLUGIN_SIZE sizeof(keyway_plugin_v1)
#endif
#ifndef MANAGER_SIZE
#define MANAGER_SIZE sizeof(keyway_manager_v1)
#endif
#ifndef NAME
#define NAME "Vault"
#endif
#ifndef SECOND
#define SECOND &FIRST
#endif
#ifndef MANAGERS_LEN
#define MANAGERS_LEN 1
#endif
#ifndef MANAGERS
#define MANAGERS LIST
#endif
#ifndef CREATE
#define CREATE create
#endif
#ifndef DESTROY
#define DESTROY destroy
#endif
#ifndef READ
#define READ read_secret
#endif
#ifndef RETURNED
#define RETURNED &PLUGIN
#endif
#ifndef ENTRY
#define ENTRY keyway_plugin_entry_v1
#endif

#define TABLE(type)                                                                                            \
  {.struct_size = MANAGER_SIZE, .name = KEYWAY_STR(type), .description = KEYWAY_STR("not UTF-8: \xff"),         \
   .create = CREATE, .destroy = DESTROY, .async_read_secret = READ}

static const keyway_manager_v1 FIRST = TABLE(NAME);
static const keyway_manager_v1 OTHER = TABLE("OtherVault");
static const keyway_manager_v1 *const LIST[] = {&FIRST, SECOND};

static const keyway_plugin_v1 PLUGIN = {
    .struct_size = PLUGIN_SIZE,
    .abi_major = MAJOR,
    .abi_minor = MINOR,
    .id = KEYWAY_STR("faulty-table"),
    .version = KEYWAY_STR("0.1.0"),
    .vendor = KEYWAY_STR("The Keyway authors"),
    .managers = MANAGERS,
    .managers_len = MANAGERS_LEN,
};

KEYWAY_EXPORT const keyway_plugin_v1 *ENTRY(const keyway_host_v1 *host);

const keyway_plugin_v1 *ENTRY(const keyway_host_v1 *host) {
  static const void *const used[] = {&OTHER, LIST, &PLUGIN};
  (void)create;
  (void)destroy;
  (void)read_secret;
  return host == NULL || used[0] == NULL ? NULL : RETURNED;
}

#ifndef NO_FINGERPRINT
KEYWAY_ABI_FINGERPRINT();
#endif

#ifdef FOREIGN_ROOT_MODULE /* the symbol of abi_stable's header, and something else behind it */
KEYWAY_EXPORT extern const char _1as_0lib_1header_0root_bmodule_bloader[256];
const char _1as_0lib_1header_0root_bmodule_bloader[256] = "something else";
#endif
