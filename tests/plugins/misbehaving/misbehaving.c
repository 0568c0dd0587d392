/* SPDX-License-Identifier: Apache-2.0 OR MIT
 *
 * A plugin that breaks the rules of keyway_plugin.h, one at a time and when it is told to: by the name of the secret that
 * is read, by the configuration of the instance, or by its manager type.
 */
#define _POSIX_C_SOURCE 200809L

#include <time.h>

#include "answers.h"

struct keyway_instance {
  struct station *at;
};

static int starts(const char *name, const char *start) { return strncmp(name, start, strlen(start)) == 0; }

/* ---- what one instance may ask about another ------------------------------------------------------------------ */

struct watch {
  const int *counter;
  int number;
  keyway_completion_v1 done;
};

static void *watch(void *argument) {
  struct watch *watched = argument;
  wait_for(watched->counter, watched->number);
  value(watched->done, "reached");
  free(watched);
  return NULL;
}

/* wait/entered/STATION/NUMBER: completes when the counter of the station has reached the number. */
static void begin_watch(char *arguments, keyway_completion_v1 done) {
  char *rest = NULL;
  const char *counter = strtok_r(arguments, "/", &rest);
  const char *name = strtok_r(NULL, "/", &rest);
  const char *number = strtok_r(NULL, "/", &rest);
  struct station *at = name == NULL || number == NULL ? NULL : station(name, strlen(name));
  struct watch *watched = at == NULL ? NULL : malloc(sizeof *watched);
  pthread_t thread;
  if (watched == NULL) {
    keyway_complete(done, KEYWAY_INTERNAL, "cannot watch");
    return;
  }
  watched->counter = strcmp(counter, "entered") == 0     ? &at->entered
                     : strcmp(counter, "cancelled") == 0 ? &at->cancelled
                                                         : &at->ended;
  watched->number = atoi(number);
  watched->done = done;
  if (pthread_create(&thread, NULL, watch, watched) == 0) {
    pthread_detach(thread);
  }
}

/* Whether the name was such a question. */
static int answer_about_others(char *name, keyway_completion_v1 done) {
  char text[4200];
  char *which = strchr(name, '/');
  if (which == NULL) {
    return 0;
  }
  ++which;
  if (starts(name, "open/")) {
    open_station(station(which, strlen(which)));
    value(done, "open");
  } else if (starts(name, "wait/")) {
    begin_watch(which, done);
  } else if (starts(name, "journal/") || starts(name, "peak/")) {
    struct station *at = station(which, strlen(which));
    pthread_mutex_lock(&lock);
    if (starts(name, "peak/")) {
      snprintf(text, sizeof text, "%d", at->peak);
    } else {
      snprintf(text, sizeof text, "%s", at->journal);
    }
    pthread_mutex_unlock(&lock);
    value(done, text);
  } else {
    return 0;
  }
  return 1;
}

/* ---- operations ------------------------------------------------------------------------------------------------ */

static void behave(struct station *at, const char *name, uint64_t timeout_ms, keyway_completion_v1 done) {
  char text[32];
  const char *which = strchr(name, '/');
  which = which == NULL ? "" : which + 1;
  enter(at);
  if (starts(name, "never") || starts(name, "cancellable")) {
    hold(at, done, starts(name, "cancellable"));
    return;
  }
  if (strcmp(name, "thread") == 0) {
    from_another_thread(at, done);
    return;
  }
  leave(at);
  if (strcmp(name, "twice") == 0) {
    value(done, VALUE);
    value(done, "second");
  } else if (starts(name, "threads/")) {
    from_threads(done, atoi(which));
  } else if (strcmp(name, "forged") == 0) {
    forged(done);
  } else if (starts(name, "result/")) {
    bad_result(done, which);
  } else if (starts(name, "text/")) {
    bad_text(done, which);
  } else if (starts(name, "code/")) {
    keyway_complete(done, (uint32_t)strtoul(which, NULL, 10), "as asked");
  } else if (starts(name, "size/")) {
    sized(done, strtoul(which, NULL, 10));
  } else if (strcmp(name, "metadata") == 0) {
    metadata(done);
  } else if (strcmp(name, "throttled") == 0) {
    throttled(done);
  } else if (strcmp(name, "bytes") == 0) {
    keyway_complete_value(done, "a\0b\n\xff\r", 6);
  } else if (strcmp(name, "timeout") == 0) {
    snprintf(text, sizeof text, "%llu", (unsigned long long)timeout_ms);
    value(done, text);
  } else if (strcmp(name, "config") == 0) {
    value(done, at->config);
  } else if (strcmp(name, "linger") == 0) {
    value(done, VALUE);
    wait_until_open(at);
  } else if (strcmp(name, "stay") == 0) {
    const struct timespec long_enough = {0, 150 * 1000 * 1000};
    nanosleep(&long_enough, NULL);
    value(done, VALUE);
  } else if (strcmp(name, "log") == 0) {
    log_lines();
    value(done, VALUE);
  } else {
    value(done, VALUE);
  }
}

/* The name as C has it, for as long as the call lasts. */
static void named(struct station *at, const char *what, keyway_str_v1 name, uint64_t timeout_ms,
                  keyway_completion_v1 done) {
  char copy[2049];
  memcpy(copy, name.ptr, name.len);
  copy[name.len] = '\0';
  if (answer_about_others(copy, done)) {
    return;
  }
  note(at, what, copy, name.len);
  behave(at, copy, timeout_ms, done);
}

static void async_read(keyway_instance *self, const keyway_read_request_v1 *request, keyway_completion_v1 done) {
  named(self->at, "read", request->name, request->timeout_ms, done);
}

static void sync_read(keyway_instance *self, const keyway_read_request_v1 *request, keyway_completion_v1 done) {
  struct station *at = self->at;
  enter(at);
  if (request->name.len == 5 && memcmp(request->name.ptr, "block", 5) == 0) {
    wait_until_open(at);
  }
  for (int i = 0; i < 20; ++i) {
    sched_yield();
  }
  leave(at);
  if (request->name.len != 6 || memcmp(request->name.ptr, "silent", 6) != 0) {
    value(done, VALUE);
  }
}

static void async_write(keyway_instance *self, const keyway_write_request_v1 *request, keyway_completion_v1 done) {
  named(self->at, "write", request->name, request->timeout_ms, done);
}

static void async_delete(keyway_instance *self, const keyway_delete_request_v1 *request, keyway_completion_v1 done) {
  named(self->at, "delete", request->name, request->timeout_ms, done);
}

static void async_rotate(keyway_instance *self, const keyway_rotate_request_v1 *request, keyway_completion_v1 done) {
  named(self->at, "rotate", request->new_name, request->timeout_ms, done);
}

static void health_check(keyway_instance *self, const keyway_control_request_v1 *request, keyway_completion_v1 done) {
  (void)self;
  (void)request;
  throttled(done);
}

static void cancel(keyway_instance *self, uint64_t op_id) {
  note(self->at, "cancel", "", 0);
  cancel_held(self->at, op_id);
}

/* Two names; between them, when the prefix asks for it, one that is none; with the prefix "late", one more after the
 * completion. */
static void list(keyway_instance *self, const keyway_list_request_v1 *request, keyway_completion_v1 done) {
  static char endless[3000];
  char prefix[32] = "";
  (void)self;
  memset(endless, 'n', sizeof endless);
  if (request->prefix.len > 0 && request->prefix.len < sizeof prefix) {
    memcpy(prefix, request->prefix.ptr, request->prefix.len);
  }
  request->entry(done.op_id, keyway_str_("first", 5));
  request->entry(done.op_id + (UINT64_C(1) << 40), keyway_str_("forged", 6));
  if (strcmp(prefix, "bad/utf-8") == 0) {
    request->entry(done.op_id, keyway_str_("\xff\xfe", 2));
  } else if (strcmp(prefix, "bad/long") == 0) {
    request->entry(done.op_id, keyway_str_(endless, sizeof endless));
  } else if (strcmp(prefix, "bad/null") == 0) {
    request->entry(done.op_id, keyway_str_(NULL, 4));
  } else if (strcmp(prefix, "bad/empty") == 0) {
    request->entry(done.op_id, keyway_str_("", 0));
  } else if (strcmp(prefix, "bad/control") == 0) {
    request->entry(done.op_id, keyway_str_("a\nb", 3));
  }
  request->entry(done.op_id, keyway_str_("last", 4));
  keyway_complete(done, KEYWAY_OK, NULL);
  if (strcmp(prefix, "late") == 0) {
    request->entry(done.op_id, keyway_str_("late", 4));
  }
}

/* ---- the life of an instance ----------------------------------------------------------------------------------- */

static keyway_instance *create(const keyway_create_request_v1 *request, keyway_completion_v1 failed) {
  char config[512] = "";
  struct station *at = station(request->instance_name.ptr, request->instance_name.len);
  if (at == NULL || request->config_json.len >= sizeof config) {
    keyway_complete(failed, KEYWAY_INTERNAL, "no more stations");
    return NULL;
  }
  memcpy(config, request->config_json.ptr, request->config_json.len);
  memcpy(at->config, config, sizeof config);
  note(at, "create", "", 0);
  if (strstr(config, "without a reason") != NULL) {
    return NULL;
  }
  if (strstr(config, "refuse") != NULL) {
    keyway_complete(failed, KEYWAY_UNAUTHENTICATED, "the vault knows nobody of this name");
    return NULL;
  }
  if (strstr(config, "slow") != NULL) {
    wait_until_open(at);
  }
  keyway_instance *self = malloc(sizeof *self);
  if (self != NULL) {
    self->at = at;
  }
  return self;
}

static void shutdown_(keyway_instance *self, const keyway_control_request_v1 *request, keyway_completion_v1 done) {
  (void)request;
  note(self->at, "shutdown", "", 0);
  if (strstr(self->at->config, "hang in shutdown") != NULL) {
    wait_until_open(self->at);
  }
  bump(&self->at->ended, 1);
  keyway_complete(done, KEYWAY_OK, NULL);
}

static void destroy(keyway_instance *self) {
  struct station *at = self->at;
  free(self);
  note(at, "destroy", "", 0);
  if (strstr(at->config, "hang in destroy") != NULL) {
    wait_until_open(at);
  }
  bump(&at->ended, 1);
}

static const void *get_extension(keyway_instance *self, keyway_str_v1 id) {
  static const keyway_list_v1 LIST = {.struct_size = sizeof(keyway_list_v1), .async_list_secrets = list};
  (void)self;
  return id.len == strlen(KEYWAY_EXT_LIST_V1) && memcmp(id.ptr, KEYWAY_EXT_LIST_V1, id.len) == 0 ? &LIST : NULL;
}

/* ---- the tables ------------------------------------------------------------------------------------------------- */

#define LIFE                                                                            \
  .struct_size = sizeof(keyway_manager_v1), .create = create, .cancel = cancel, .shutdown = shutdown_, .destroy = destroy

static const keyway_manager_v1 MISBEHAVING = {
    LIFE,
    .name = KEYWAY_STR("Misbehaving"),
    .capabilities = ~UINT64_C(0) ^ KEYWAY_CAP_SERIAL, /* bits that no host knows, too */
    .async_read_secret = async_read,
    .async_write_secret = async_write,
    .async_delete_secret = async_delete,
    .async_rotate_secret = async_rotate,
    .health_check = health_check,
    .get_extension = get_extension,
};
static const keyway_manager_v1 SERIAL = {
    LIFE, .name = KEYWAY_STR("Serial"), .capabilities = KEYWAY_CAP_SERIAL, .async_read_secret = async_read};
static const keyway_manager_v1 BLOCKING = {LIFE, .name = KEYWAY_STR("Blocking"), .sync_read_secret = sync_read};
static const keyway_manager_v1 SERIAL_BLOCKING = {
    LIFE, .name = KEYWAY_STR("SerialBlocking"), .capabilities = KEYWAY_CAP_SERIAL, .sync_read_secret = sync_read};
/* Only what is required. */
static const keyway_manager_v1 BARE = {.struct_size = sizeof(keyway_manager_v1),
                                       .name = KEYWAY_STR("Bare"),
                                       .create = create,
                                       .destroy = destroy,
                                       .async_read_secret = async_read};

static const keyway_manager_v1 *const MANAGERS[] = {&MISBEHAVING, &SERIAL, &BLOCKING, &SERIAL_BLOCKING, &BARE};

static const keyway_plugin_v1 PLUGIN = {
    .struct_size = sizeof(keyway_plugin_v1),
    .abi_major = KEYWAY_ABI_MAJOR,
    .abi_minor = KEYWAY_ABI_MINOR,
    .id = KEYWAY_STR("misbehaving"),
    .version = KEYWAY_STR("0.1.0"),
    .vendor = KEYWAY_STR("The Keyway authors"),
    .managers = MANAGERS,
    .managers_len = sizeof MANAGERS / sizeof MANAGERS[0],
};

const keyway_plugin_v1 *keyway_plugin_entry_v1(const keyway_host_v1 *host) {
  the_host = host;
  return &PLUGIN;
}

KEYWAY_MANIFEST("misbehaving", "0.1.0", "The Keyway authors", "Misbehaving,Serial,Blocking,SerialBlocking,Bare");
KEYWAY_ABI_FINGERPRINT();
