/* The Quick Start's secret manager as a plugin in C.
 *
 *   cc -std=c11 -O2 -fPIC -shared -fvisibility=hidden -Wl,-z,noexecstack -I ../../plugin-api/include \
 *      my_secret_manager.c -o libmy_secret_manager.so
 *
 * Put the library beside config.yaml; `custom_secret_manager: my_secret_manager.InMemorySecretManager` selects it.
 * keyway_plugin.h says what each member means, who owns it and which thread calls it.
 */
#include <stdlib.h>
#include <string.h>

#include "keyway_plugin.h"

/* A secret manager that only looks things up needs no instance data of its own, but the host wants a pointer. */
struct keyway_instance {
  size_t size;
  const struct entry {
    const char *name;
    const char *value;
  } *entries;
};

static const struct entry SECRETS[] = {
    {"OPENAI_API_KEY", "example-openai-key-from-the-plugin"},
    {"ANTHROPIC_API_KEY", "example-anthropic-key-from-the-plugin"},
};

static keyway_instance *create(const keyway_create_request_v1 *request, keyway_completion_v1 failed) {
  /* request->config_json holds the settings under keyway.managers.<name>.config, which this example has no use for. */
  if (request->flags_required != 0) {
    keyway_complete(failed, KEYWAY_UNSUPPORTED, "unknown flags");
    return NULL;
  }
  keyway_instance *self = malloc(sizeof *self);
  if (self == NULL) {
    keyway_complete(failed, KEYWAY_INTERNAL, "out of memory");
    return NULL;
  }
  self->size = sizeof SECRETS / sizeof SECRETS[0];
  self->entries = SECRETS;
  return self;
}

static void destroy(keyway_instance *self) { free(self); }

/* Answers before it returns, so it may serve as the asynchronous read as well as the blocking one. */
static void read_secret(keyway_instance *self, const keyway_read_request_v1 *request, keyway_completion_v1 done) {
  if (request->flags_required != 0) {
    keyway_complete(done, KEYWAY_UNSUPPORTED, "unknown flags");
    return;
  }
  for (size_t i = 0; i < self->size; ++i) {
    const struct entry *entry = &self->entries[i];
    /* Text is pointer and length; it does not end with a NUL. */
    if (request->name.len == strlen(entry->name) && memcmp(request->name.ptr, entry->name, request->name.len) == 0) {
      keyway_complete_value(done, entry->value, strlen(entry->value));
      return;
    }
  }
  keyway_complete(done, KEYWAY_NOT_FOUND, "no secret of this name");
}

static const keyway_manager_v1 IN_MEMORY = {
    .struct_size = sizeof(keyway_manager_v1),
    .capabilities = KEYWAY_CAP_READ | KEYWAY_CAP_SYNC_READ,
    .name = KEYWAY_STR("InMemorySecretManager"),
    .description = KEYWAY_STR("Keeps its secrets in memory"),
    .create = create,
    .async_read_secret = read_secret,
    .sync_read_secret = read_secret,
    .destroy = destroy,
    /* Every other function may be left out: the host answers "not implemented" for it. */
};

static const keyway_manager_v1 *const MANAGERS[] = {&IN_MEMORY};

static const keyway_plugin_v1 PLUGIN = {
    .struct_size = sizeof(keyway_plugin_v1),
    .abi_major = KEYWAY_ABI_MAJOR,
    .abi_minor = KEYWAY_ABI_MINOR,
    .id = KEYWAY_STR("my-secret-manager-c"),
    .version = KEYWAY_STR("0.1.0"),
    .vendor = KEYWAY_STR("The Keyway authors"),
    .managers = MANAGERS,
    .managers_len = sizeof MANAGERS / sizeof MANAGERS[0],
};

const keyway_plugin_v1 *keyway_plugin_entry_v1(const keyway_host_v1 *host) {
  return host->abi_major == KEYWAY_ABI_MAJOR ? &PLUGIN : NULL;
}

/* What `keyway plugin list` shows without loading the file, and the layout that the host compares with its own. */
KEYWAY_MANIFEST("my-secret-manager-c", "0.1.0", "The Keyway authors", "InMemorySecretManager");
KEYWAY_ABI_FINGERPRINT();
