// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <vector>

#include "common/types/ids.h"
#include "services/master/core/chunk_table.h"
#include "services/master/core/trim_set.h"

namespace ballast::master {

// What the durable metadata says of a handle that some chunk server holds.
enum class HandleStanding {
  kNotOurs,     // its shard is not served by this group now
  kReferenced,  // in the chunk table (objects, sealed chunks of drafts, doomed chunks) or allocated
                // to a draft: must be kept
  kGarbage,     // allocated once, referenced by nothing, and never will be again
  kUnaccounted,  // never allocated here as far as the metadata knows, or in a range that a restored
                 // backup quarantined: kept and shown, never deleted
};

// What the volatile half of a master asks of the durable half: the chunk tables of the shards this
// group serves, whose records also hold the live view, and how a handle stands.
//
// Concurrency: the master's executor. Pointers are valid until the next command is applied.
class ChunkCatalog {
 public:
  virtual ~ChunkCatalog() = default;

  // Number of shards of the cluster.
  virtual uint32_t shard_count() const = 0;

  // The shards this group serves, ascending.
  virtual const std::vector<ShardId>& owned_shards() const = 0;

  // Null if the shard is not served here.
  virtual ChunkTable* chunks(ShardId shard) = 0;

  // The shard's trims as logged; null if the shard is not served here.
  virtual const TrimSet* trims(ShardId shard) const = 0;

  // Requires: nothing; any 64 bits may be asked.
  virtual HandleStanding StandingOf(ChunkHandle handle) const = 0;
};

}  // namespace ballast::master
