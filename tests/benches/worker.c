/* A plugin for the benchmark: one type answers from a thread of its own, the other one only blocks.
 *
 * Each instance of `Threaded` has one worker and one place for an operation, which is all that a benchmark with one
 * read at a time needs; a second operation at the same time is answered with KEYWAY_THROTTLED. */
#define _POSIX_C_SOURCE 200809L

#include <pthread.h>
#include <stdlib.h>

#include "keyway_plugin.h"

static const char VALUE[] = "example-value-of-a-secret";

struct keyway_instance {
  pthread_t worker;
  pthread_mutex_t lock;
  pthread_cond_t wake;
  keyway_completion_v1 waiting; /* complete is NULL while nothing waits */
  int ending;
};

static void answer(keyway_completion_v1 done) { keyway_complete_value(done, VALUE, sizeof VALUE - 1); }

static void *work(void *data) {
  keyway_instance *self = data;
  pthread_mutex_lock(&self->lock);
  while (!self->ending) {
    if (self->waiting.complete == NULL) {
      pthread_cond_wait(&self->wake, &self->lock);
      continue;
    }
    keyway_completion_v1 done = self->waiting;
    self->waiting.complete = NULL;
    pthread_mutex_unlock(&self->lock);
    answer(done);
    pthread_mutex_lock(&self->lock);
  }
  pthread_mutex_unlock(&self->lock);
  return NULL;
}

static keyway_instance *create(const keyway_create_request_v1 *request, keyway_completion_v1 failed) {
  (void)request;
  keyway_instance *self = calloc(1, sizeof *self);
  if (self == NULL) {
    keyway_complete(failed, KEYWAY_INTERNAL, "out of memory");
    return NULL;
  }
  pthread_mutex_init(&self->lock, NULL);
  pthread_cond_init(&self->wake, NULL);
  if (pthread_create(&self->worker, NULL, work, self) != 0) {
    free(self);
    keyway_complete(failed, KEYWAY_INTERNAL, "cannot start a thread");
    return NULL;
  }
  return self;
}

static void destroy(keyway_instance *self) {
  pthread_mutex_lock(&self->lock);
  self->ending = 1;
  pthread_cond_signal(&self->wake);
  pthread_mutex_unlock(&self->lock);
  pthread_join(self->worker, NULL);
  free(self);
}

static void read_on_worker(keyway_instance *self, const keyway_read_request_v1 *request, keyway_completion_v1 done) {
  (void)request;
  pthread_mutex_lock(&self->lock);
  int busy = self->waiting.complete != NULL;
  if (!busy) {
    self->waiting = done;
    pthread_cond_signal(&self->wake);
  }
  pthread_mutex_unlock(&self->lock);
  if (busy) {
    keyway_complete(done, KEYWAY_THROTTLED, "one read at a time");
  }
}

static void read_at_once(keyway_instance *self, const keyway_read_request_v1 *request, keyway_completion_v1 done) {
  (void)self;
  (void)request;
  answer(done);
}

static const keyway_manager_v1 THREADED = {
    .struct_size = sizeof(keyway_manager_v1),
    .capabilities = KEYWAY_CAP_READ,
    .name = KEYWAY_STR("Threaded"),
    .create = create,
    .async_read_secret = read_on_worker,
    .destroy = destroy,
};

static const keyway_manager_v1 BLOCKING = {
    .struct_size = sizeof(keyway_manager_v1),
    .capabilities = KEYWAY_CAP_SYNC_READ,
    .name = KEYWAY_STR("Blocking"),
    .create = create,
    .sync_read_secret = read_at_once,
    .destroy = destroy,
};

static const keyway_manager_v1 INLINE = {
    .struct_size = sizeof(keyway_manager_v1),
    .capabilities = KEYWAY_CAP_READ,
    .name = KEYWAY_STR("Inline"),
    .create = create,
    .async_read_secret = read_at_once,
    .destroy = destroy,
};

static const keyway_manager_v1 *const MANAGERS[] = {&THREADED, &BLOCKING, &INLINE};

static const keyway_plugin_v1 PLUGIN = {
    .struct_size = sizeof(keyway_plugin_v1),
    .abi_major = KEYWAY_ABI_MAJOR,
    .abi_minor = KEYWAY_ABI_MINOR,
    .id = KEYWAY_STR("benchmark-worker"),
    .version = KEYWAY_STR("0.1.0"),
    .managers = MANAGERS,
    .managers_len = sizeof MANAGERS / sizeof MANAGERS[0],
};

const keyway_plugin_v1 *keyway_plugin_entry_v1(const keyway_host_v1 *host) {
  return host->abi_major == KEYWAY_ABI_MAJOR ? &PLUGIN : NULL;
}

KEYWAY_ABI_FINGERPRINT();
