/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Between the shim's two C files only: nobody else may include the library's header. */
#include <raft.h>

#include "common/raft/craft_shim.h"

#if RAFT_VERSION_NUMBER != 2201
#error "this driver is for C-Raft 0.22.1 only: memory ownership and defects differ in any other"
#endif

struct ballast_craft {
  struct raft* raft; /* on the heap: an update may point into it, and its size is the library's */
  ballast_craft_config config;
  struct raft_configuration configuration;
  struct raft_buffer payload; /* encoded configuration */
  struct raft_entry* entries; /* scratch for receive and submit */
  size_t entries_capacity;
  ballast_craft_message* messages; /* of the last update */
  size_t messages_capacity;
};

/* The logical name of a voter: the core wants one, stable, as it is part of log entry 1. */
void ballast_craft_name(uint64_t id, char name[32]);

/* Room for `count` entries; valid until the next call. */
struct raft_entry* ballast_craft_scratch(ballast_craft* craft, size_t count);

/* `batch` stands for the payload, which the core never sees; only a CHANGE has one. */
void ballast_craft_fill_entry(const ballast_craft* craft, struct raft_entry* entry,
                              ballast_craft_meta meta, void* batch);

void ballast_craft_copy_message(const struct raft_message* from, ballast_craft_message* to);
void ballast_craft_fill_message(ballast_craft* craft, const ballast_craft_message* message,
                                const ballast_craft_meta* metas, void* batch,
                                struct raft_message* out);

/* False for fields that no correct voter sends, and that the core does not check or only
 * asserts. */
bool ballast_craft_is_possible(const ballast_craft* craft, const ballast_craft_message* message,
                               const ballast_craft_meta* metas);

/* Filters F1 and F3: true for messages that the core would misread. */
bool ballast_craft_is_dropped(const ballast_craft* craft, const ballast_craft_message* message);

/* Filter F4: cuts what our newest snapshot covers off the front of an APPEND; how many entries. */
size_t ballast_craft_cut_below_snapshot(const ballast_craft* craft, ballast_craft_message* message);
