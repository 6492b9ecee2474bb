// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

#include "absl/container/btree_set.h"
#include "absl/functional/function_ref.h"
#include "absl/types/span.h"
#include "common/types/ids.h"
#include "services/master/core/chunk_catalog.h"
#include "services/master/core/copy_view.h"

namespace ballast::master {

// What a trim needs now.
struct TrimStep {
  enum class Kind {
    kDelete,  // order the trimmed replica's delete
    kVerify,  // order the check of another replica, so that it can be relied on
    kKeep,    // order `server` to forget deletes of the chunk; its answer: OnKept
    kRevoke,  // log RevokeTrim
    kFinish,  // log FinishTrim
  };
  Kind kind = Kind::kDelete;
  ChunkHandle handle;
  ServerIndex server;         // who gets the order, or whose trim it is
  uint32_t length_bytes = 0;  // kDelete: what the server holds
};

// Drives logged trims to their end (docs/protocols/moves.md, "A trim"):
//
//   the server's replica     other firm replicas                  step
//   listed                   >= keep                              Delete
//   listed                   < keep, more count or are expected   Verify them, or wait
//   listed, server heard     < keep, and no more to come          Keep; when answered, Revoke
//   absent from its list     any                                  Finish
//   server removed           any                                  Finish
//   server dead, not heard, its list not complete                 wait
//
// Guarantees: a Delete is asked for only while at least the trim's keep (ReplicaStanding::firm)
// other replicas are there, while no Keep is under way at that server, and never after the server
// has answered one in this term: from then on the trim is only revoked. "No more to come" is said
// only of a settled shard. Steps repeat until what they are for is seen; whoever carries them out
// knows what is under way.
//
// Derives everything anew from the log and the reports: a new leader goes on where the last one
// was. It remembers which shards have trims, so that a step costs what trims there are, not chunks.
//
// Concurrency: none. Ownership: nothing. Never fails.
class TrimPlanner {
 public:
  // Trims of this chunk have begun or ended: it is looked at first.
  void Note(ChunkHandle handle);
  // The shard's state is new to us.
  void NoteShard(ShardId shard) { shards_.insert(shard); }
  // The server has answered Keep: it will not delete the replica.
  void OnKept(ServerIndex server, ChunkHandle handle) { kept_.insert({handle, server}); }

  // Looks at the chunks that were noted and at up to `examine_max` further trims, round and round.
  void Step(const CopyView& view, const ChunkCatalog& catalog, size_t examine_max,
            absl::FunctionRef<void(const TrimStep&)> emit);

  // There may be trims.
  bool active() const { return !shards_.empty() || !noted_.empty(); }

 private:
  using Key = std::pair<ChunkHandle, ServerIndex>;

  void Examine(const CopyView& view, Key key, uint32_t keep,
               absl::FunctionRef<void(const TrimStep&)> emit) const;
  void ExamineNoted(const CopyView& view, const ChunkCatalog& catalog, size_t examine_max,
                    absl::FunctionRef<void(const TrimStep&)> emit);

  absl::btree_set<ShardId> shards_;  // with trims; those without any more are dropped by a step
  absl::btree_set<ChunkHandle> noted_;
  absl::btree_set<Key> kept_;
  Key next_;  // where the walk goes on
};

}  // namespace ballast::master
