/* SPDX-License-Identifier: Apache-2.0 OR MIT
 *
 * What the misbehaving plugin remembers about an instance, by the instance's name: it outlives the instance, so that a
 * test can ask another instance of the same library what became of the first one, or let it go on.
 */
#ifndef STATION_H
#define STATION_H

#include <pthread.h>
#include <stdio.h>
#include <string.h>

#include "keyway_plugin.h"

#define STATIONS 256
#define HELD 256

/* An operation that was begun and is not complete. */
struct held {
  keyway_completion_v1 done;
  int cancellable;
};

struct station {
  char name[64];
  char journal[4096]; /* what was called, in order, each with a semicolon behind it */
  char config[512];
  int is_open; /* operations that wait may go on */
  int entered, inside, peak;
  int cancelled, ended; /* ended: shut down or destroyed, each counts one */
  struct held held[HELD];
  size_t held_len;
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;
static struct station stations[STATIONS];
static size_t stations_len;

/* The station of a name, which is made when there is none. */
static struct station *station(const char *name, size_t len) {
  struct station *found = NULL;
  pthread_mutex_lock(&lock);
  for (size_t i = 0; i < stations_len && found == NULL; ++i) {
    if (strlen(stations[i].name) == len && memcmp(stations[i].name, name, len) == 0) {
      found = &stations[i];
    }
  }
  if (found == NULL && stations_len < STATIONS && len < sizeof found->name) {
    found = &stations[stations_len++];
    memcpy(found->name, name, len);
  }
  pthread_mutex_unlock(&lock);
  return found;
}

/* Adds a line to the journal; the lock is not held. */
static void note(struct station *at, const char *what, const char *name, size_t len) {
  pthread_mutex_lock(&lock);
  size_t used = strlen(at->journal);
  snprintf(at->journal + used, sizeof at->journal - used, "%s%s%.*s;", what, len > 0 ? " " : "", (int)len, name);
  pthread_mutex_unlock(&lock);
}

static void bump(int *counter, int by) {
  pthread_mutex_lock(&lock);
  *counter += by;
  pthread_cond_broadcast(&changed);
  pthread_mutex_unlock(&lock);
}

/* An operation begins. */
static void enter(struct station *at) {
  pthread_mutex_lock(&lock);
  at->entered += 1;
  at->inside += 1;
  if (at->inside > at->peak) {
    at->peak = at->inside;
  }
  pthread_cond_broadcast(&changed);
  pthread_mutex_unlock(&lock);
}

/* An operation is about to complete. */
static void leave(struct station *at) { bump(&at->inside, -1); }

/* Keeps an operation until the station is opened. */
static void hold(struct station *at, keyway_completion_v1 done, int cancellable) {
  pthread_mutex_lock(&lock);
  if (at->held_len < HELD) {
    at->held[at->held_len].done = done;
    at->held[at->held_len].cancellable = cancellable;
    at->held_len += 1;
  }
  pthread_cond_broadcast(&changed);
  pthread_mutex_unlock(&lock);
}

/* Lets everything go on that waits at a station. */
static void open_station(struct station *at) {
  struct held released[HELD];
  pthread_mutex_lock(&lock);
  size_t len = at->held_len;
  memcpy(released, at->held, len * sizeof released[0]);
  at->held_len = 0;
  at->is_open = 1;
  pthread_cond_broadcast(&changed);
  pthread_mutex_unlock(&lock);
  for (size_t i = 0; i < len; ++i) {
    leave(at);
    keyway_complete_value(released[i].done, "held", 4);
  }
}

/* Blocks until the station is opened. */
static void wait_until_open(struct station *at) {
  pthread_mutex_lock(&lock);
  while (!at->is_open) {
    pthread_cond_wait(&changed, &lock);
  }
  pthread_mutex_unlock(&lock);
}

/* Blocks until a counter has reached a number. */
static void wait_for(const int *counter, int number) {
  pthread_mutex_lock(&lock);
  while (*counter < number) {
    pthread_cond_wait(&changed, &lock);
  }
  pthread_mutex_unlock(&lock);
}

/* Completes a held operation that may be cancelled. */
static void cancel_held(struct station *at, uint64_t op_id) {
  keyway_completion_v1 done = {0, NULL};
  pthread_mutex_lock(&lock);
  at->cancelled += 1;
  for (size_t i = 0; i < at->held_len; ++i) {
    if (at->held[i].done.op_id == op_id && at->held[i].cancellable) {
      done = at->held[i].done;
      at->held[i] = at->held[--at->held_len];
      at->inside -= 1;
      break;
    }
  }
  pthread_cond_broadcast(&changed);
  pthread_mutex_unlock(&lock);
  if (done.complete != NULL) {
    keyway_complete(done, KEYWAY_CANCELLED, "given up");
  }
}

#endif
