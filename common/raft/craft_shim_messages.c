/* SPDX-License-Identifier: Apache-2.0 */
/* Messages and entries between the shim's plain structs and the core's, and the four filters. */
#include "common/raft/craft_shim_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static bool is_voter(const ballast_craft* craft, uint64_t id) {
  for (size_t i = 0; i < craft->config.voter_count; ++i) {
    if (craft->config.voters[i] == id) {
      return true;
    }
  }
  return false;
}

void ballast_craft_copy_message(const struct raft_message* from, ballast_craft_message* to) {
  memset(to, 0, sizeof *to);
  to->type = (uint8_t)from->type;
  to->peer = from->server_id;
  switch (from->type) {
    case RAFT_APPEND_ENTRIES:
      to->version = from->append_entries.version;
      to->term = from->append_entries.term;
      to->log_index = from->append_entries.prev_log_index;
      to->log_term = from->append_entries.prev_log_term;
      to->extra = from->append_entries.leader_commit;
      to->entry_count = from->append_entries.n_entries;
      break;
    case RAFT_APPEND_ENTRIES_RESULT:
      to->version = from->append_entries_result.version;
      to->term = from->append_entries_result.term;
      to->log_index = from->append_entries_result.last_log_index;
      to->extra = from->append_entries_result.rejected;
      to->features = from->append_entries_result.features;
      to->capacity = from->append_entries_result.capacity;
      break;
    case RAFT_REQUEST_VOTE:
      to->version = from->request_vote.version;
      to->term = from->request_vote.term;
      to->log_index = from->request_vote.last_log_index;
      to->log_term = from->request_vote.last_log_term;
      to->extra = from->request_vote.candidate_id;
      to->flag_a = from->request_vote.disrupt_leader;
      to->flag_b = from->request_vote.pre_vote;
      break;
    case RAFT_REQUEST_VOTE_RESULT:
      to->version = from->request_vote_result.version;
      to->term = from->request_vote_result.term;
      to->flag_a = from->request_vote_result.vote_granted;
      to->flag_b = from->request_vote_result.pre_vote;
      to->features = from->request_vote_result.features;
      to->capacity = from->request_vote_result.capacity;
      break;
    case RAFT_INSTALL_SNAPSHOT:
      to->version = from->install_snapshot.version;
      to->term = from->install_snapshot.term;
      to->log_index = from->install_snapshot.last_index;
      to->log_term = from->install_snapshot.last_term;
      to->extra = from->install_snapshot.conf_index;
      break;
    case RAFT_TIMEOUT_NOW:
      to->version = from->timeout_now.version;
      to->term = from->timeout_now.term;
      to->log_index = from->timeout_now.last_log_index;
      to->log_term = from->timeout_now.last_log_term;
      break;
  }
}

struct raft_entry* ballast_craft_scratch(ballast_craft* craft, size_t count) {
  if (craft->entries_capacity < count) {
    free(craft->entries);
    craft->entries = calloc(count, sizeof *craft->entries);
    if (craft->entries == NULL) {
      abort();
    }
    craft->entries_capacity = count;
  }
  return craft->entries;
}

void ballast_craft_fill_entry(const ballast_craft* craft, struct raft_entry* entry,
                              ballast_craft_meta meta, void* batch) {
  memset(entry, 0, sizeof *entry);
  entry->term = meta.term;
  entry->type = (enum raft_entry_type)meta.type;
  entry->batch = batch;
  if (meta.type == BALLAST_CRAFT_CHANGE) {
    entry->buf = craft->payload;
  }
}

/* Fields that no correct voter sends, and that the core does not check or only asserts. */
bool ballast_craft_is_possible(const ballast_craft* craft, const ballast_craft_message* m,
                               const ballast_craft_meta* metas) {
  const struct raft* r = craft->raft;
  if (!is_voter(craft, m->peer) || m->peer == craft->config.id || m->term == 0) {
    return false;
  }
  const bool leads_this_term = r->state == RAFT_LEADER && m->term == r->current_term;
  switch (m->type) {
    case BALLAST_CRAFT_APPEND: {
      if (leads_this_term || (m->log_index == 0) != (m->log_term == 0) || m->log_term > m->term ||
          m->log_index > UINT64_MAX - m->entry_count) {
        return false;
      }
      uint64_t term = m->log_term;
      for (uint32_t i = 0; i < m->entry_count; ++i) {
        const bool first_of_all = m->log_index + i == 0;
        if (metas[i].term < term || metas[i].term == 0 || metas[i].term > m->term ||
            metas[i].type < BALLAST_CRAFT_COMMAND || metas[i].type > BALLAST_CRAFT_CHANGE ||
            (metas[i].type == BALLAST_CRAFT_CHANGE) != first_of_all) {
          return false;
        }
        term = metas[i].term;
      }
      return true;
    }
    case BALLAST_CRAFT_APPEND_RESULT:
      return true;
    case BALLAST_CRAFT_VOTE:
      return m->extra == m->peer;
    case BALLAST_CRAFT_VOTE_RESULT:
      /* A pre-vote far ahead of us is never granted. */
      return !(m->flag_a && m->flag_b && m->term > r->current_term + 1);
    case BALLAST_CRAFT_INSTALL:
      return !leads_this_term && m->log_index > 0 && m->log_term > 0 && m->log_term <= m->term;
    case BALLAST_CRAFT_TIMEOUT_NOW:
      return true;
    default:
      return false;
  }
}

/* F1 and F3: messages that the core would misread. */
bool ballast_craft_is_dropped(const ballast_craft* craft, const ballast_craft_message* m) {
  const struct raft* r = craft->raft;
  if (m->type == BALLAST_CRAFT_VOTE_RESULT) {
    /* F1: the core reads a candidate's fields from a union before it checks the state. */
    return r->state != RAFT_CANDIDATE;
  }
  if (m->type == BALLAST_CRAFT_APPEND_RESULT && m->extra > 0 && r->state == RAFT_LEADER &&
      m->term == r->current_term) {
    /* F3: a late refusal moves the core's next index below its match index, for ever. */
    raft_index match = 0;
    return raft_match_index(r, m->peer, &match) == 0 && m->extra <= match;
  }
  return false;
}

/* F4: a leader of the current term holds every committed entry, so what our snapshot covers
 * matches its log; the core would refuse it because it no longer has the previous entry. */
size_t ballast_craft_cut_below_snapshot(const ballast_craft* craft, ballast_craft_message* m) {
  const struct raft* r = craft->raft;
  const uint64_t snapshot = r->trail.snapshot.index;
  if (m->type != BALLAST_CRAFT_APPEND || m->term < r->current_term || r->snapshot.installing ||
      m->log_index >= snapshot) {
    return 0;
  }
  const uint64_t below = snapshot - m->log_index;
  const uint32_t cut = below < m->entry_count ? (uint32_t)below : m->entry_count;
  m->log_index = snapshot;
  m->log_term = r->trail.snapshot.term;
  m->entry_count -= cut;
  return cut;
}

void ballast_craft_fill_message(ballast_craft* craft, const ballast_craft_message* m,
                                const ballast_craft_meta* metas, void* batch,
                                struct raft_message* out) {
  out->type = (enum raft_message_type)m->type;
  out->server_id = m->peer;
  switch (m->type) {
    case BALLAST_CRAFT_APPEND:
      out->append_entries.version = m->version;
      out->append_entries.term = m->term;
      out->append_entries.prev_log_index = m->log_index;
      out->append_entries.prev_log_term = m->log_term;
      out->append_entries.leader_commit = m->extra;
      out->append_entries.n_entries = m->entry_count;
      if (m->entry_count > 0) {
        out->append_entries.entries = ballast_craft_scratch(craft, m->entry_count);
        for (uint32_t i = 0; i < m->entry_count; ++i) {
          ballast_craft_fill_entry(craft, &out->append_entries.entries[i], metas[i], batch);
        }
      }
      break;
    case BALLAST_CRAFT_APPEND_RESULT:
      out->append_entries_result.version = m->version;
      out->append_entries_result.term = m->term;
      out->append_entries_result.rejected = m->extra;
      out->append_entries_result.last_log_index = m->log_index;
      out->append_entries_result.features = m->features;
      out->append_entries_result.capacity = m->capacity;
      break;
    case BALLAST_CRAFT_VOTE:
      out->request_vote.version = m->version;
      out->request_vote.term = m->term;
      out->request_vote.candidate_id = m->extra;
      out->request_vote.last_log_index = m->log_index;
      out->request_vote.last_log_term = m->log_term;
      out->request_vote.disrupt_leader = m->flag_a;
      out->request_vote.pre_vote = m->flag_b;
      break;
    case BALLAST_CRAFT_VOTE_RESULT:
      out->request_vote_result.version = m->version;
      out->request_vote_result.term = m->term;
      out->request_vote_result.vote_granted = m->flag_a;
      out->request_vote_result.pre_vote = m->flag_b;
      out->request_vote_result.features = m->features;
      out->request_vote_result.capacity = m->capacity;
      break;
    case BALLAST_CRAFT_INSTALL:
      /* Empty configuration, no data: both come at ballast_craft_snapshot_installed. */
      out->install_snapshot.version = m->version;
      out->install_snapshot.term = m->term;
      out->install_snapshot.last_index = m->log_index;
      out->install_snapshot.last_term = m->log_term;
      out->install_snapshot.conf_index = m->extra;
      break;
    case BALLAST_CRAFT_TIMEOUT_NOW:
      out->timeout_now.version = m->version;
      out->timeout_now.term = m->term;
      out->timeout_now.last_log_index = m->log_index;
      out->timeout_now.last_log_term = m->log_term;
      break;
  }
}

void ballast_craft_name(uint64_t id, char name[32]) {
  snprintf(name, 32, "n%llu", (unsigned long long)id);
}
