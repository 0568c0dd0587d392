// SPDX-License-Identifier: Apache-2.0 OR MIT
//
// A plugin in C++ whose operations throw, each inside the guard that the header has for them.
#include <stdexcept>
#include <string>

#include "keyway_plugin.h"

namespace {

int one_instance;

std::string text(keyway_str_v1 str) { return str.len == 0 ? std::string() : std::string(str.ptr, str.len); }

keyway_instance *create(const keyway_create_request_v1 *request, keyway_completion_v1 failed) {
  return keyway::guard_create(failed, [&] {
    if (text(request->config_json).find("throw") != std::string::npos) {
      throw std::runtime_error("no instance");
    }
    return reinterpret_cast<keyway_instance *>(&one_instance);
  });
}

void destroy(keyway_instance *) {}

void read_secret(keyway_instance *, const keyway_read_request_v1 *request, keyway_completion_v1 done) {
  keyway::guard(done, [&] {
    const std::string name = text(request->name);
    if (name == "throw") {
      throw std::runtime_error(name);
    }
    if (name == "throw a number") {
      throw 1;
    }
    keyway_complete_value(done, "sk-test-not-a-key", 17);
  });
}

keyway_manager_v1 vault() {
  keyway_manager_v1 table = {};
  table.struct_size = sizeof table;
  table.name = KEYWAY_STR_OF("Vault");
  table.create = create;
  table.async_read_secret = read_secret;
  table.destroy = destroy;
  return table;
}

const keyway_manager_v1 VAULT = vault();
const keyway_manager_v1 *const MANAGERS[] = {&VAULT};

keyway_plugin_v1 plugin() {
  keyway_plugin_v1 table = {};
  table.struct_size = sizeof table;
  table.abi_major = KEYWAY_ABI_MAJOR;
  table.abi_minor = KEYWAY_ABI_MINOR;
  table.id = KEYWAY_STR_OF("throwing");
  table.version = KEYWAY_STR_OF("0.1.0");
  table.vendor = KEYWAY_STR_OF("The Keyway authors");
  table.managers = MANAGERS;
  table.managers_len = 1;
  return table;
}

const keyway_plugin_v1 PLUGIN = plugin();

} // namespace

const keyway_plugin_v1 *keyway_plugin_entry_v1(const keyway_host_v1 *) { return &PLUGIN; }

KEYWAY_MANIFEST("throwing", "0.1.0", "The Keyway authors", "Vault");
KEYWAY_ABI_FINGERPRINT();
