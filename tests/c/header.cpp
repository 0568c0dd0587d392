/* Everything that keyway_plugin.h offers to C++, so that a compiler that warns about any of it refuses the header. */
#include <stdexcept>
#include <string>

#include "keyway_plugin.h"

struct keyway_instance {
  std::string value;
};

static keyway_instance *create(const keyway_create_request_v1 *, keyway_completion_v1 failed) {
  return keyway::guard_create(failed, [] { return new keyway_instance{"example-value-of-a-secret"}; });
}

static void read_secret(keyway_instance *self, const keyway_read_request_v1 *request, keyway_completion_v1 done) {
  keyway::guard(done, [&] {
    if (request->name.len == 0) {
      throw std::invalid_argument("no name");
    }
    keyway_complete_value(done, self->value.data(), self->value.size());
  });
}

static void cancel(keyway_instance *, uint64_t) {}

static void health_check(keyway_instance *, const keyway_control_request_v1 *, keyway_completion_v1 done) {
  keyway_complete(done, KEYWAY_OK, nullptr);
}

static void destroy(keyway_instance *self) { delete self; }

static keyway_manager_v1 make_manager() {
  keyway_manager_v1 manager{};
  manager.struct_size = sizeof manager;
  manager.capabilities = KEYWAY_CAP_READ | KEYWAY_CAP_HEALTH;
  manager.name = KEYWAY_STR_OF("Example");
  manager.create = create;
  manager.async_read_secret = read_secret;
  manager.health_check = health_check;
  manager.cancel = cancel;
  manager.destroy = destroy;
  return manager;
}

static const keyway_manager_v1 MANAGER = make_manager();
static const keyway_manager_v1 *const MANAGERS[] = {&MANAGER};
static const keyway_str_v1 ID = KEYWAY_STR("example-cpp");

static keyway_plugin_v1 make_plugin() {
  keyway_plugin_v1 plugin{};
  plugin.struct_size = sizeof plugin;
  plugin.abi_major = KEYWAY_ABI_MAJOR;
  plugin.abi_minor = KEYWAY_ABI_MINOR;
  plugin.id = ID;
  plugin.version = KEYWAY_STR_OF("0.1.0");
  plugin.managers = MANAGERS;
  plugin.managers_len = sizeof MANAGERS / sizeof MANAGERS[0];
  return plugin;
}

static const keyway_plugin_v1 PLUGIN = make_plugin();

const keyway_plugin_v1 *keyway_plugin_entry_v1(const keyway_host_v1 *host) {
  return host->abi_major == KEYWAY_ABI_MAJOR ? &PLUGIN : nullptr;
}

KEYWAY_MANIFEST("example-cpp", "0.1.0", "The Keyway authors", "Example");
KEYWAY_ABI_FINGERPRINT();
