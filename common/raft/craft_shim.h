/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The consensus core (cowsql C-Raft 0.22.1, driven through raft_step) behind an opaque handle. Its
 * header does not compile as C++ and the size of its structs depends on how it was built, so
 * craft_shim.c is the only file that includes it.
 *
 * The core sees terms and types of entries, never their payloads, and does no I/O: each call below
 * takes the time, steps the core once and describes in an update what its caller must do.
 * Membership is static: the voters of the configuration, for ever.
 *
 * Guarantees beyond the core's own, because of defects of 0.22.1 (docs/decisions/0001):
 *   F1 vote results that arrive when we are no candidate are dropped;
 *   F2 answers to messages of an older term acknowledge nothing;
 *   F3 a leader drops refusals of what the refuser already acknowledged;
 *   F4 entries below our newest snapshot are cut off a leader's message instead of refused.
 *
 * Concurrency: instances are independent; one thread at a time in each. */

#ifdef __cplusplus
extern "C" {
#endif

#define BALLAST_CRAFT_VOTERS_MAX 7

typedef struct ballast_craft ballast_craft;

typedef struct {
  uint64_t id; /* one of `voters` */
  uint64_t voters[BALLAST_CRAFT_VOTERS_MAX];
  size_t voter_count;
  uint32_t seed; /* differs per node and per start */
  uint32_t election_timeout_ms;
  uint32_t heartbeat_timeout_ms;
  uint32_t install_timeout_ms;
  uint32_t inflight_entries_max;
} ballast_craft_config;

/* Stable numbers: they are written to disk and sent. */
enum { BALLAST_CRAFT_COMMAND = 1, BALLAST_CRAFT_BARRIER = 2, BALLAST_CRAFT_CHANGE = 3 };

typedef struct {
  uint64_t term;
  uint8_t type;
} ballast_craft_meta;

/* Stable numbers: they are sent. */
enum {
  BALLAST_CRAFT_APPEND = 1,
  BALLAST_CRAFT_APPEND_RESULT = 2,
  BALLAST_CRAFT_VOTE = 3,
  BALLAST_CRAFT_VOTE_RESULT = 4,
  BALLAST_CRAFT_INSTALL = 5,
  BALLAST_CRAFT_TIMEOUT_NOW = 6
};

/* Every field of every message of the core; unused ones are 0, so encodings are deterministic.
 *               log_index       log_term   extra          flag_a          flag_b
 * APPEND        previous index  its term   leader commit  -               -
 * APPEND_RESULT last log index  -          rejected       -               -
 * VOTE          last index      its term   candidate      disrupt leader  pre-vote
 * VOTE_RESULT   -               -          -              granted         pre-vote
 * INSTALL       last index      its term   conf index     -               -
 * TIMEOUT_NOW   last index      its term   -              -               -               */
typedef struct {
  uint8_t type;
  uint8_t version;
  bool flag_a;
  bool flag_b;
  uint16_t features;
  uint16_t capacity;
  uint32_t entry_count; /* APPEND: entries log_index+1 .. log_index+entry_count */
  uint64_t peer;        /* receiver of an outgoing, sender of an incoming message */
  uint64_t term;
  uint64_t log_index;
  uint64_t log_term;
  uint64_t extra;
} ballast_craft_message;

enum { BALLAST_CRAFT_FOLLOWER = 1, BALLAST_CRAFT_CANDIDATE = 2, BALLAST_CRAFT_LEADER = 3 };

/* Bits of ballast_craft_update.flags. */
enum {
  BALLAST_CRAFT_UPDATE_HARD = 1,     /* term or vote changed: make both durable */
  BALLAST_CRAFT_UPDATE_ENTRIES = 2,  /* truncate the log from entries.first, then append */
  BALLAST_CRAFT_UPDATE_SNAPSHOT = 4, /* the log is dropped: fetch and install snapshot */
  BALLAST_CRAFT_UPDATE_STATE = 8,
  BALLAST_CRAFT_UPDATE_COMMIT = 16
};

enum {
  BALLAST_CRAFT_SOURCE_SUBMITTED = 1, /* the entries of this submit */
  BALLAST_CRAFT_SOURCE_RECEIVED = 2,  /* the last entries.count of this message */
  BALLAST_CRAFT_SOURCE_BARRIER = 3    /* one BARRIER of the current term, payload 8 zero bytes */
};

typedef struct {
  uint32_t flags;
  int state;
  uint64_t term;
  uint64_t vote; /* 0: none */
  uint64_t commit;
  uint64_t last;
  uint64_t leader;     /* 0: unknown */
  uint64_t timeout_ms; /* when to call ballast_craft_timeout; always valid */
  struct {
    uint64_t first;
    uint32_t count;
    int source;
  } entries;
  struct {
    uint64_t index;
    uint64_t term;
  } snapshot;
  const ballast_craft_message* messages; /* valid until the next call with this handle */
  size_t message_count;
} ballast_craft_update;

/* Results. Anything but OK and NOT_LEADER is final: destroy the handle and restart from disk. */
enum {
  BALLAST_CRAFT_OK = 0,
  BALLAST_CRAFT_NOT_LEADER = 1, /* submit, transfer: nothing changed */
  BALLAST_CRAFT_CONFLICT = 2,   /* committed entries contradict a leader: corruption */
  BALLAST_CRAFT_FAILED = 3
};

/* NULL if the configuration is impossible (id not a voter, no voter, duplicates, zero timeouts). */
ballast_craft* ballast_craft_create(const ballast_craft_config* config);
void ballast_craft_destroy(ballast_craft* craft);

/* The payload of log entry 1 (type CHANGE, term 1) of every log of this configuration. Valid as
 * long as the handle. */
const void* ballast_craft_bootstrap_payload(const ballast_craft* craft, size_t* bytes);

/* First call of all. The entries are those on disk from start_index on. snapshot_index 0: none.
 * Requires: term >= 1; snapshot_index > 0 or start_index == 1 and metas[0] is the CHANGE entry;
 * 1 <= start_index <= snapshot_index + 1, and == if count == 0; terms never decrease. */
int ballast_craft_start(ballast_craft* craft, uint64_t now_ms, uint64_t term, uint64_t vote,
                        uint64_t snapshot_index, uint64_t snapshot_term, uint64_t start_index,
                        const ballast_craft_meta* metas, size_t count,
                        ballast_craft_update* update);

/* A message from another voter. Impossible ones (unknown sender, contradicting fields) are
 * dropped: OK with an empty update. */
int ballast_craft_receive(ballast_craft* craft, uint64_t now_ms,
                          const ballast_craft_message* message, const ballast_craft_meta* metas,
                          ballast_craft_update* update);

/* Appends `count` >= 1 commands of the current term. */
int ballast_craft_submit(ballast_craft* craft, uint64_t now_ms, uint32_t count,
                         ballast_craft_update* update);

/* All entries up to `index` are durable here. Requires: more than reported before, written
 * entries not overwritten since, no install under way. */
int ballast_craft_persisted(ballast_craft* craft, uint64_t now_ms, uint64_t index,
                            ballast_craft_update* update);

/* The snapshot of an UPDATE_SNAPSHOT is durable and loaded. */
int ballast_craft_snapshot_installed(ballast_craft* craft, uint64_t now_ms, uint64_t index,
                                     uint64_t term, ballast_craft_update* update);

/* A snapshot of our own at `index` is durable; the log keeps `trailing` entries up to it.
 * Requires: index > that of the newest snapshot, <= what was reported persisted, no install. */
int ballast_craft_snapshot_taken(ballast_craft* craft, uint64_t now_ms, uint64_t index,
                                 uint64_t term, uint32_t trailing, ballast_craft_update* update);

int ballast_craft_timeout(ballast_craft* craft, uint64_t now_ms, ballast_craft_update* update);

/* Leadership to voter `to`, 0 = the best one. Submits are refused until it is over. */
int ballast_craft_transfer(ballast_craft* craft, uint64_t now_ms, uint64_t to,
                           ballast_craft_update* update);

#ifdef __cplusplus
}
#endif
