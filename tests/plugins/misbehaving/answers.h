/* SPDX-License-Identifier: Apache-2.0 OR MIT
 *
 * The ways in which the misbehaving plugin completes an operation, by the name of the secret.
 */
#ifndef ANSWERS_H
#define ANSWERS_H

#include <sched.h>
#include <stdlib.h>

#include "station.h"

#define VALUE "sk-test-not-a-key"

static const keyway_host_v1 *the_host;

static void value(keyway_completion_v1 done, const char *text) { keyway_complete_value(done, text, strlen(text)); }

/* A number of bytes that a test can recompute. */
static void sized(keyway_completion_v1 done, size_t len) {
  uint8_t *bytes = malloc(len + 1);
  for (size_t i = 0; bytes != NULL && i < len; ++i) {
    bytes[i] = (uint8_t)(i * 31 + 7);
  }
  keyway_complete_value(done, bytes, len);
  free(bytes);
}

static void metadata(keyway_completion_v1 done) {
  keyway_result_v1 result = keyway_result(KEYWAY_OK);
  result.flags_optional = KEYWAY_RESULT_BINARY | 0x80000000u; /* the second one no host knows */
  result.value.ptr = (const uint8_t *)VALUE;
  result.value.len = sizeof VALUE - 1;
  result.version = keyway_str_("7", 1);
  result.ttl_ms = 1500;
  result.expires_at_unix_ms = INT64_C(1893456000123);
  result.lease_id = keyway_str_("lease-1", 7);
  done.complete(done.op_id, &result);
}

static void throttled(keyway_completion_v1 done) {
  keyway_result_v1 result = keyway_result(KEYWAY_THROTTLED);
  result.retry_after_ms = 2500;
  result.message = keyway_str_("too many calls", 14);
  result.vendor_code = keyway_str_("SlowDown", 8);
  done.complete(done.op_id, &result);
}

/* Texts that are not what the header asks for. */
static void bad_text(keyway_completion_v1 done, const char *which) {
  static char endless[1 << 20];
  keyway_result_v1 result = keyway_result(KEYWAY_UNAVAILABLE);
  if (strcmp(which, "message") == 0) {
    result.message = keyway_str_("a\xff\xfe\0b\nc", 7);
    result.vendor_code = keyway_str_("\xc3", 1);
  } else if (strcmp(which, "endless") == 0) {
    memset(endless, 'm', sizeof endless);
    result.message = keyway_str_(endless, sizeof endless);
  } else if (strcmp(which, "null") == 0) {
    result.message = keyway_str_(NULL, 10);
  } else {
    result.code = KEYWAY_OK;
    if (strcmp(which, "version") == 0) {
      result.version = keyway_str_("7\xff", 2);
    } else if (strcmp(which, "lease") == 0) {
      result.lease_id = keyway_str_(NULL, 3);
    } else if (strcmp(which, "endless version") == 0) {
      memset(endless, 'm', sizeof endless);
      result.version = keyway_str_(endless, sizeof endless);
    } else {
      result.version = keyway_str_("7\t\xc3\xa4", 4);
      result.lease_id = keyway_str_("l\0\n", 3);
    }
  }
  done.complete(done.op_id, &result);
}

/* Results that are no results. */
static void bad_result(keyway_completion_v1 done, const char *which) {
  keyway_result_v1 result = keyway_result(KEYWAY_OK);
  result.value.ptr = (const uint8_t *)VALUE;
  result.value.len = sizeof VALUE - 1;
  if (strcmp(which, "null") == 0) {
    done.complete(done.op_id, NULL);
    return;
  }
  if (strcmp(which, "short") == 0) {
    result.struct_size = 16;
  } else if (strcmp(which, "flags") == 0) {
    result.flags_required = 4;
  } else {
    result.value.ptr = NULL;
  }
  done.complete(done.op_id, &result);
}

static void *complete_in_thread(void *argument) {
  keyway_completion_v1 *done = argument;
  value(*done, VALUE);
  free(done);
  return NULL;
}

/* Completes from several threads at once, all of which are gone when this returns. */
static void from_threads(keyway_completion_v1 done, int count) {
  pthread_t threads[8];
  int begun = 0;
  for (int i = 0; i < count && i < 8; ++i) {
    keyway_completion_v1 *copy = malloc(sizeof *copy);
    if (copy != NULL) {
      *copy = done;
      begun += pthread_create(&threads[begun], NULL, complete_in_thread, copy) == 0;
    }
  }
  for (int i = 0; i < begun; ++i) {
    pthread_join(threads[i], NULL);
  }
}

struct later {
  struct station *at;
  keyway_completion_v1 done;
};

static void *complete_later(void *argument) {
  struct later *later = argument;
  for (int i = 0; i < 20; ++i) {
    sched_yield();
  }
  leave(later->at);
  value(later->done, VALUE);
  free(later);
  return NULL;
}

/* Returns first and completes from a thread of its own. */
static void from_another_thread(struct station *at, keyway_completion_v1 done) {
  pthread_t thread;
  struct later *later = malloc(sizeof *later);
  if (later != NULL) {
    later->at = at;
    later->done = done;
    if (pthread_create(&thread, NULL, complete_later, later) == 0) {
      pthread_detach(thread);
    }
  }
}

/* Completes operations that were never begun, then the right one. */
static void forged(keyway_completion_v1 done) {
  const uint64_t other[] = {0, UINT64_MAX, done.op_id + (UINT64_C(1) << 40), done.op_id | (UINT64_C(1) << 63)};
  for (size_t i = 0; i < sizeof other / sizeof other[0]; ++i) {
    keyway_completion_v1 wrong = done;
    wrong.op_id = other[i];
    value(wrong, "forged");
  }
  value(done, VALUE);
}

static void log_lines(void) {
  static const char *const lines[] = {"", "line of an error", "line of a warning", "line of an information",
                                      "line of a debugger", "line of a trace"};
  for (uint32_t level = KEYWAY_LOG_ERROR; level <= KEYWAY_LOG_TRACE; ++level) {
    if (the_host->log_enabled(the_host, level)) {
      the_host->log(the_host, level, keyway_str_("misbehaving", 11), keyway_str_(lines[level], strlen(lines[level])));
    }
  }
  the_host->log(the_host, KEYWAY_LOG_INFO, keyway_str_("bad\xff", 4), keyway_str_("two\nlines \xfe", 11));
}

#endif
