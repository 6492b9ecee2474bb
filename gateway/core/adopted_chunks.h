// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/container/btree_map.h"
#include "absl/container/btree_set.h"
#include "absl/container/flat_hash_map.h"
#include "absl/container/inlined_vector.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "absl/types/span.h"
#include "common/base/steady_time.h"
#include "common/types/ids.h"

namespace ballast::gateway {

// One replica as a server's next report tells it.
struct HeldReplica {
  ChunkHandle handle;
  bool corrupt = false;
  friend bool operator==(const HeldReplica&, const HeldReplica&) = default;
};

// The chunks that messages name, and which of the embedded cluster's servers hold them.
//
// A server holds the names that it listed last, and the replicas that it received by command,
// without those that it deleted by command. A deleted name that is listed on is not held: its
// server has not caught up, and is told again. Once it is missing from a list, a later list may
// bring it back.
//
// An adopted chunk should have as many replicas as servers ever listed it at once, at most
// kReplicasMax. Lists older than `list_age_max` (their servers are dead), received replicas and
// replicas that were moved away do not count there: a copy that was ordered is no wish for more.
//
// Pure bookkeeping: no I/O. Not thread-safe.
class AdoptedChunks {
 public:
  explicit AdoptedChunks(absl::Duration list_age_max) : list_age_max_(list_age_max) {}

  // --- names ---
  std::optional<ChunkHandle> Find(absl::string_view name) const;
  // The adopted name; the handle's own text for a chunk that was not adopted.
  std::string NameOf(ChunkHandle handle) const;
  bool Knows(ChunkHandle handle) const { return chunks_.contains(handle); }
  // Requires: neither is known. One replica is wanted.
  void Adopt(const std::string& name, ChunkHandle handle);

  // --- who holds what ---
  // Takes the list of a heartbeat: adopted chunks, each once. Returns what the server held until
  // now and does not hold any more, ascending.
  std::vector<ChunkHandle> TakeList(ServerIndex server, absl::Span<const ChunkHandle> listed,
                                    SteadyTime now);
  // Commands that were carried out.
  void OnReceived(ServerIndex server, ChunkHandle handle);
  void OnDeleted(ServerIndex server, ChunkHandle handle);
  void OnFoundCorrupt(ServerIndex server, ChunkHandle handle);
  // Its replica was moved to another server; it holds it until it is told to delete it,
  void OnMovedAway(ServerIndex server, ChunkHandle handle);
  // or to keep it after all.
  void OnKept(ServerIndex server, ChunkHandle handle);

  bool Holds(ServerIndex server, ChunkHandle handle) const;
  std::vector<HeldReplica> HeldBy(ServerIndex server) const;  // ascending
  std::vector<ServerIndex> HoldersOf(ChunkHandle handle) const;

  // A server's words against what commands have changed since.
  struct Tally {
    uint64_t listed = 0;           // in its latest list
    uint64_t received_untold = 0;  // received by command, and not in that list
    uint64_t deleted_untold = 0;   // deleted by command, and in that list
  };
  Tally TallyOf(ServerIndex server) const;

  // --- what follows ---
  // What the server has deleted by command and was not told of, or has listed since; ascending.
  // Each is given once.
  std::vector<ChunkHandle> TakeDeletesToTell(ServerIndex server);

  // Copies that the server was ordered to make, until they end; each is given once, ascending.
  void OnCopyOrdered(ServerIndex server, ChunkHandle handle);
  void OnCopyEnded(ServerIndex server, ChunkHandle handle);
  std::vector<ChunkHandle> TakeCopiesToTell(ServerIndex server);

  // Those of `handles` that more servers list at once than replicas are wanted.
  struct Growth {
    std::string name;
    ChunkHandle handle;
    uint32_t wanted = 0;
  };
  std::vector<Growth> WantedGrowth(absl::Span<const ChunkHandle> handles, SteadyTime now) const;
  // Requires: adopted.
  void SetWanted(ChunkHandle handle, uint32_t wanted);

  size_t size() const { return handles_.size(); }

 private:
  enum class Origin : uint8_t {
    kListed,
    kReceived,
    kDeleted,  // not held, but listed when it was last heard of
  };
  struct Replica {
    Origin origin = Origin::kListed;
    bool leaving = false;  // moved away
    bool corrupt = false;
    bool to_tell = false;  // of kDeleted
    bool listed = false;   // in the latest list
  };
  struct Server {
    SteadyTime listed_at;
    absl::flat_hash_map<ChunkHandle, Replica> replicas;
    absl::btree_set<ChunkHandle> copies_to_tell;
  };
  struct Chunk {
    std::string name;
    uint32_t wanted = 1;
    absl::InlinedVector<ServerIndex, 3> listed_by;  // and not leaving there
  };

  Replica* FindReplica(ServerIndex server, ChunkHandle handle);
  void AddLister(ChunkHandle handle, ServerIndex server);
  void RemoveLister(ChunkHandle handle, ServerIndex server);

  const absl::Duration list_age_max_;
  absl::flat_hash_map<std::string, ChunkHandle> handles_;
  absl::flat_hash_map<ChunkHandle, Chunk> chunks_;
  absl::btree_map<ServerIndex, Server> servers_;
};

}  // namespace ballast::gateway
