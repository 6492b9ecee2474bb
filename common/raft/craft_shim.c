/* SPDX-License-Identifier: Apache-2.0 */
#include "common/raft/craft_shim.h"

#include "common/raft/craft_shim_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The library's flag macros lack parentheses. */
#define FLAG_TERM (RAFT_UPDATE_CURRENT_TERM)
#define FLAG_VOTE (RAFT_UPDATE_VOTED_FOR)
#define FLAG_ENTRIES (RAFT_UPDATE_ENTRIES)
#define FLAG_SNAPSHOT (RAFT_UPDATE_SNAPSHOT)
#define FLAG_MESSAGES (RAFT_UPDATE_MESSAGES)
#define FLAG_STATE (RAFT_UPDATE_STATE)
#define FLAG_COMMIT (RAFT_UPDATE_COMMIT_INDEX)

/* Copied into messages; the capacity threshold is 0, so it decides nothing. */
#define CAPACITY 0xffff

/* Entry 1 is the only configuration entry there ever is. */
#define CONFIGURATION_INDEX 1

static char kToken; /* stands for every payload that the core must not free */

static void make_configuration(const ballast_craft* craft, struct raft_configuration* out) {
  raft_configuration_init(out);
  for (size_t i = 0; i < craft->config.voter_count; ++i) {
    char name[32];
    ballast_craft_name(craft->config.voters[i], name);
    if (raft_configuration_add(out, craft->config.voters[i], name, RAFT_VOTER) != 0) {
      abort(); /* out of memory: the core's own state would be partial too */
    }
  }
}

ballast_craft* ballast_craft_create(const ballast_craft_config* config) {
  if (config->voter_count == 0 || config->voter_count > BALLAST_CRAFT_VOTERS_MAX ||
      config->election_timeout_ms == 0 || config->heartbeat_timeout_ms == 0 ||
      config->install_timeout_ms == 0 || config->inflight_entries_max == 0) {
    return NULL;
  }
  bool member = false;
  for (size_t i = 0; i < config->voter_count; ++i) {
    if (config->voters[i] == 0) {
      return NULL;
    }
    for (size_t j = 0; j < i; ++j) {
      if (config->voters[j] == config->voters[i]) {
        return NULL;
      }
    }
    member = member || config->voters[i] == config->id;
  }
  if (!member) {
    return NULL;
  }

  ballast_craft* craft = calloc(1, sizeof *craft);
  if (craft == NULL) {
    abort();
  }
  craft->config = *config;
  make_configuration(craft, &craft->configuration);
  /* raft_init does not clear the struct. */
  craft->raft = calloc(1, sizeof *craft->raft);
  char name[32];
  ballast_craft_name(config->id, name);
  if (craft->raft == NULL ||
      raft_configuration_encode(&craft->configuration, &craft->payload) != 0 ||
      raft_init(craft->raft, NULL, NULL, config->id, name) != 0) {
    abort();
  }
  /* The default tracer formats every step into buffers shared by all instances. */
  craft->raft->tracer = NULL;
  raft_seed(craft->raft, config->seed);
  raft_set_election_timeout(craft->raft, config->election_timeout_ms); /* draws: after the seed */
  raft_set_heartbeat_timeout(craft->raft, config->heartbeat_timeout_ms);
  raft_set_install_snapshot_timeout(craft->raft, config->install_timeout_ms);
  raft_set_max_inflight_entries(craft->raft, config->inflight_entries_max);
  raft_set_pre_vote(craft->raft, true);
  return craft;
}

void ballast_craft_destroy(ballast_craft* craft) {
  if (craft == NULL) {
    return;
  }
  raft_close(craft->raft, NULL); /* synchronous without I/O */
  free(craft->raft);
  raft_configuration_close(&craft->configuration);
  raft_free(craft->payload.base);
  free(craft->entries);
  free(craft->messages);
  free(craft);
}

const void* ballast_craft_bootstrap_payload(const ballast_craft* craft, size_t* bytes) {
  *bytes = craft->payload.len;
  return craft->payload.base;
}

/* Describes the core as it is now, and `update` of its last step if there was one. */
static void describe(ballast_craft* craft, const struct raft_update* update,
                     ballast_craft_update* out) {
  struct raft* r = craft->raft;
  memset(out, 0, sizeof *out);
  switch (raft_state(r)) {
    case RAFT_LEADER:
      out->state = BALLAST_CRAFT_LEADER;
      break;
    case RAFT_CANDIDATE:
      out->state = BALLAST_CRAFT_CANDIDATE;
      break;
    default:
      out->state = BALLAST_CRAFT_FOLLOWER;
      break;
  }
  out->term = raft_current_term(r);
  out->vote = raft_voted_for(r);
  out->commit = raft_commit_index(r);
  out->last = raft_last_index(r);
  out->timeout_ms = raft_timeout(r);
  raft_id leader = 0;
  const char* name = NULL;
  raft_leader(r, &leader, &name);
  out->leader = leader;
  if (update == NULL) {
    return;
  }
  if ((update->flags & (FLAG_TERM)) != 0 || (update->flags & (FLAG_VOTE)) != 0) {
    out->flags |= BALLAST_CRAFT_UPDATE_HARD;
  }
  if ((update->flags & (FLAG_STATE)) != 0) {
    out->flags |= BALLAST_CRAFT_UPDATE_STATE;
  }
  if ((update->flags & (FLAG_COMMIT)) != 0) {
    out->flags |= BALLAST_CRAFT_UPDATE_COMMIT;
  }
  if ((update->flags & (FLAG_ENTRIES)) != 0) {
    out->flags |= BALLAST_CRAFT_UPDATE_ENTRIES;
    out->entries.first = update->entries.index;
    out->entries.count = update->entries.n;
    if (update->entries.batch == &r->barrier) {
      out->entries.source = BALLAST_CRAFT_SOURCE_BARRIER;
      raft_free(r->barrier.batch); /* ours to free; the caller knows what it held */
      r->barrier.batch = NULL;
      r->barrier.buf.base = NULL;
    } else {
      out->entries.source = BALLAST_CRAFT_SOURCE_SUBMITTED; /* receive corrects it */
    }
  }
  if ((update->flags & (FLAG_SNAPSHOT)) != 0) {
    out->flags |= BALLAST_CRAFT_UPDATE_SNAPSHOT;
    out->snapshot.index = update->snapshot.metadata.index;
    out->snapshot.term = update->snapshot.metadata.term;
  }
  if ((update->flags & (FLAG_MESSAGES)) != 0) {
    if (craft->messages_capacity < update->messages.n) {
      free(craft->messages);
      craft->messages = calloc(update->messages.n, sizeof *craft->messages);
      if (craft->messages == NULL) {
        abort();
      }
      craft->messages_capacity = update->messages.n;
    }
    for (unsigned i = 0; i < update->messages.n; ++i) {
      ballast_craft_copy_message(&update->messages.batch[i], &craft->messages[i]);
    }
    out->messages = craft->messages;
    out->message_count = update->messages.n;
  }
}

static int result_of(int rv) {
  switch (rv) {
    case 0:
      return BALLAST_CRAFT_OK;
    case RAFT_NOMEM:
      abort(); /* the core's state is partial */
    case RAFT_NOTLEADER:
    case RAFT_NOTFOUND:
    case RAFT_BADID:
      return BALLAST_CRAFT_NOT_LEADER;
    case RAFT_SHUTDOWN:
      return BALLAST_CRAFT_CONFLICT;
    default:
      return BALLAST_CRAFT_FAILED;
  }
}

/* Steps the core; on failure the update says only what the core is now. */
static int step(ballast_craft* craft, uint64_t now_ms, struct raft_event* event,
                struct raft_update* update, ballast_craft_update* out) {
  memset(update, 0, sizeof *update);
  event->time = now_ms;
  event->capacity = CAPACITY;
  const int rv = raft_step(craft->raft, event, update);
  describe(craft, rv == 0 ? update : NULL, out);
  return result_of(rv);
}

int ballast_craft_start(ballast_craft* craft, uint64_t now_ms, uint64_t term, uint64_t vote,
                        uint64_t snapshot_index, uint64_t snapshot_term, uint64_t start_index,
                        const ballast_craft_meta* metas, size_t count,
                        ballast_craft_update* update) {
  struct raft_entry* entries = NULL; /* raft_malloc: the core frees them if it fails */
  if (count > 0) {
    entries = raft_calloc(count, sizeof *entries);
    if (entries == NULL) {
      abort();
    }
    for (size_t i = 0; i < count; ++i) {
      ballast_craft_fill_entry(craft, &entries[i], metas[i], NULL);
    }
    void* batch = raft_malloc(1);
    if (batch == NULL) {
      abort();
    }
    for (size_t i = 0; i < count; ++i) {
      entries[i].batch = batch;
    }
  }
  struct raft_snapshot_metadata metadata;
  memset(&metadata, 0, sizeof metadata);
  struct raft_event event;
  memset(&event, 0, sizeof event);
  event.type = RAFT_START;
  event.start.term = term;
  event.start.voted_for = vote;
  if (snapshot_index > 0) {
    metadata.index = snapshot_index;
    metadata.term = snapshot_term;
    metadata.configuration_index = CONFIGURATION_INDEX;
    make_configuration(craft, &metadata.configuration); /* moves into the core */
    event.start.metadata = &metadata;
  }
  event.start.start_index = start_index;
  event.start.entries = entries;
  event.start.n_entries = (unsigned)count;
  struct raft_update raw;
  const int rv = step(craft, now_ms, &event, &raw, update);
  if (rv == BALLAST_CRAFT_OK && count > 0) {
    raft_free(entries[0].batch);
    raft_free(entries);
  }
  return rv;
}

int ballast_craft_receive(ballast_craft* craft, uint64_t now_ms,
                          const ballast_craft_message* message, const ballast_craft_meta* metas,
                          ballast_craft_update* update) {
  if (!ballast_craft_is_possible(craft, message, metas) ||
      ballast_craft_is_dropped(craft, message)) {
    describe(craft, NULL, update);
    return BALLAST_CRAFT_OK;
  }
  ballast_craft_message m = *message;
  metas += ballast_craft_cut_below_snapshot(craft, &m);

  char name[32];
  ballast_craft_name(m.peer, name);
  void* batch = NULL;
  if (m.type == BALLAST_CRAFT_APPEND && m.entry_count > 0) {
    batch = raft_malloc(1);
    if (batch == NULL) {
      abort();
    }
  }
  struct raft_message raw_message;
  memset(&raw_message, 0, sizeof raw_message);
  raw_message.server_address = name;
  ballast_craft_fill_message(craft, &m, metas, batch, &raw_message);
  const bool asks = m.type == BALLAST_CRAFT_APPEND || m.type == BALLAST_CRAFT_INSTALL;
  const bool stale = asks && m.term < raft_current_term(craft->raft);

  struct raft_event event;
  memset(&event, 0, sizeof event);
  event.type = RAFT_RECEIVE;
  event.receive.message = &raw_message;
  struct raft_update raw;
  const int rv = step(craft, now_ms, &event, &raw, update);
  if ((update->flags & BALLAST_CRAFT_UPDATE_ENTRIES) != 0 &&
      update->entries.source != BALLAST_CRAFT_SOURCE_BARRIER) {
    update->entries.source = BALLAST_CRAFT_SOURCE_RECEIVED;
    raft_free(batch); /* in every other case the core has freed it */
  }
  if (stale) {
    /* F2: the core leaves the acknowledged index of such an answer uninitialised. */
    for (size_t i = 0; i < update->message_count; ++i) {
      if (craft->messages[i].type == BALLAST_CRAFT_APPEND_RESULT) {
        craft->messages[i].log_index = 0;
      }
    }
  }
  return rv;
}

int ballast_craft_submit(ballast_craft* craft, uint64_t now_ms, uint32_t count,
                         ballast_craft_update* update) {
  if (count == 0) {
    describe(craft, NULL, update);
    return BALLAST_CRAFT_OK;
  }
  struct raft_entry* entries = ballast_craft_scratch(craft, count);
  const ballast_craft_meta meta = {raft_current_term(craft->raft), BALLAST_CRAFT_COMMAND};
  for (uint32_t i = 0; i < count; ++i) {
    ballast_craft_fill_entry(craft, &entries[i], meta, &kToken);
  }
  struct raft_event event;
  memset(&event, 0, sizeof event);
  event.type = RAFT_SUBMIT;
  event.submit.entries = entries;
  event.submit.n = count;
  struct raft_update raw;
  return step(craft, now_ms, &event, &raw, update);
}

int ballast_craft_persisted(ballast_craft* craft, uint64_t now_ms, uint64_t index,
                            ballast_craft_update* update) {
  struct raft_event event;
  memset(&event, 0, sizeof event);
  event.type = RAFT_PERSISTED_ENTRIES;
  event.persisted_entries.index = index;
  struct raft_update raw;
  return step(craft, now_ms, &event, &raw, update);
}

int ballast_craft_snapshot_installed(ballast_craft* craft, uint64_t now_ms, uint64_t index,
                                     uint64_t term, ballast_craft_update* update) {
  struct raft_event event;
  memset(&event, 0, sizeof event);
  event.type = RAFT_PERSISTED_SNAPSHOT;
  event.persisted_snapshot.metadata.index = index;
  event.persisted_snapshot.metadata.term = term;
  event.persisted_snapshot.metadata.configuration_index = CONFIGURATION_INDEX;
  make_configuration(craft, &event.persisted_snapshot.metadata.configuration);
  event.persisted_snapshot.last = true;
  struct raft_update raw;
  return step(craft, now_ms, &event, &raw, update);
}

int ballast_craft_snapshot_taken(ballast_craft* craft, uint64_t now_ms, uint64_t index,
                                 uint64_t term, uint32_t trailing, ballast_craft_update* update) {
  struct raft_event event;
  memset(&event, 0, sizeof event);
  event.type = RAFT_SNAPSHOT;
  event.snapshot.metadata.index = index;
  event.snapshot.metadata.term = term;
  event.snapshot.metadata.configuration_index = CONFIGURATION_INDEX;
  make_configuration(craft, &event.snapshot.metadata.configuration);
  event.snapshot.trailing = trailing;
  struct raft_update raw;
  return step(craft, now_ms, &event, &raw, update);
}

int ballast_craft_timeout(ballast_craft* craft, uint64_t now_ms, ballast_craft_update* update) {
  struct raft_event event;
  memset(&event, 0, sizeof event);
  event.type = RAFT_TIMEOUT;
  struct raft_update raw;
  return step(craft, now_ms, &event, &raw, update);
}

int ballast_craft_transfer(ballast_craft* craft, uint64_t now_ms, uint64_t to,
                           ballast_craft_update* update) {
  struct raft_event event;
  memset(&event, 0, sizeof event);
  event.type = RAFT_TRANSFER;
  event.transfer.server_id = to;
  struct raft_update raw;
  return step(craft, now_ms, &event, &raw, update);
}
