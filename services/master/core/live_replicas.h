// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>
#include <utility>
#include <vector>

#include "absl/container/btree_map.h"
#include "absl/functional/function_ref.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "common/base/steady_time.h"
#include "common/routing/replica_digest.h"
#include "common/types/ids.h"
#include "protos/chunkserver_control_service.pb.h"
#include "services/master/core/chunk_catalog.h"

namespace ballast::master {

// Which chunk server holds which chunk, as the servers report it: the replica map of a leader.
//
// Where it is kept. A replica of a known chunk with the right length and checksum costs no memory
// of its own: it is a flag in the chunk's record (ChunkRecord: kLive, or kCorrupt). Everything else
// a server reports (handles the metadata does not know, facts that do not fit, more holders than a
// record has slots) is *special* and lies in a map by (handle, server) with its facts.
//
// Lists. For each (server, shard) there is a list, fed by ShardReports:
//   complete   the server's full list came whole on its present stream and the digest fits; changes
//              are applied on top of it
//   known      it was complete at some time since this leader began. Until then the flags in
//              records may stem from an earlier term and mean nothing
// A full list may take any number of pages and messages; a page says everything of the range from
// the page before to its own last handle, so what is missing there is not held. A list that was cut
// (stream broken, page lost) is not complete and is asked for again. A digest or count that does
// not fit after a report makes the list incomplete likewise.
//
// Guarantees: when a list is complete, the digest of what this class holds for (server, shard)
// equals the one reported last. Absence of anything is never a reason to delete.
// Concurrency: none. Ownership: `catalog` must outlive it.
// Failure: INVALID_ARGUMENT for reports no honest server sends; what slips in the protocol's
// order only leads to ShardsToResend.
class LiveReplicas {
 public:
  explicit LiveReplicas(ChunkCatalog& catalog) : catalog_(catalog) {}

  // --- feeding
  // ------------------------------------------------------------------------------------ The
  // server's reports begin anew (new stream, or new process): no list is complete.
  void OnStreamBegan(ServerIndex server, SteadyTime now);
  // The server is gone from the registry.
  void OnServerForgotten(ServerIndex server);

  struct Ingested {
    uint64_t appeared = 0;         // replicas not held before
    std::vector<ChunkHandle> odd;  // known chunks whose replica vanished here or turned out corrupt
  };
  // Takes report.replicas[from, to) and, with the last of them, the removals and the digest.
  // Callers split long reports; parts come in order, from 0.
  absl::StatusOr<Ingested> Ingest(ServerIndex server, const v1::ShardReport& report, int from,
                                  int to, SteadyTime now);
  // The server's report was complete in one message and named the shards in `named` (sorted): the
  // lists of all others are complete and empty.
  Ingested IngestEmptyLists(ServerIndex server, absl::Span<const ShardId> named, SteadyTime now);

  // Shards (at most `shards_max`) whose full list the server should send again, ascending: those
  // that do not fit at once, those that did not come or stopped coming after `patience`. None is
  // named twice within `patience`.
  std::vector<ShardId> ShardsToResend(ServerIndex server, SteadyTime now, absl::Duration patience,
                                      size_t shards_max);

  // The server has checked the whole chunk just now, and it is sound.
  void OnVerified(ServerIndex server, ChunkHandle handle);

  // --- in step with the log (ChunkObserver)
  // -------------------------------------------------------
  void OnChunkAdded(ChunkHandle handle, ChunkRecord& record);
  void OnChunkRemoved(ChunkHandle handle, const ChunkRecord& record);
  // The shard's records were replaced or are no longer ours: its lists must be sent anew.
  void OnShardReplaced(ShardId shard);

  // --- reading
  // ------------------------------------------------------------------------------------
  bool IsComplete(ServerIndex server, ShardId shard) const;
  bool IsKnown(ServerIndex server, ShardId shard) const;
  // Changes whenever IsKnown changes for some server and this shard.
  uint64_t KnownVersion(ShardId shard) const;
  // Replicas the server reported, of this group's shards.
  uint64_t ReplicaCount(ServerIndex server) const;
  // What the server says it holds of this handle.
  std::optional<ReplicaFacts> HeldFacts(ServerIndex server, ChunkHandle handle) const;

  struct Special {
    ChunkHandle handle;
    ServerIndex server;
    ReplicaFacts facts;
  };
  // Visits special replicas from (handle, server) on, in order, until `visit` returns false.
  void ForEachSpecial(ChunkHandle handle, ServerIndex server,
                      absl::FunctionRef<bool(const Special&)> visit) const;
  size_t special_count() const { return specials_.size(); }

 private:
  struct List {
    ReplicaDigest digest;        // of what is held; while open: of what came so far
    uint64_t count = 0;          // likewise
    uint64_t next_sequence = 0;  // while open: everything below has been said
    SteadyTime progress_at;      // last page, or start of the stream
    std::optional<SteadyTime> asked_at;
    bool open = false;
    bool complete = false;
    bool known = false;
    bool misfit = false;  // incomplete because something did not fit, not because it is to come
  };
  using Lists = absl::btree_map<ShardId, List>;
  using SpecialKey = std::pair<ChunkHandle, ServerIndex>;

  const List* FindList(ServerIndex server, ShardId shard) const;
  void BeginList(List& list, SteadyTime now);
  void SetKnown(List& list, ShardId shard);
  void EndReport(ServerIndex server, List& list, const v1::ShardReport& report, Ingested& out);
  // Takes one replica in; true if it was not held before.
  bool Put(ServerIndex server, List& list, ChunkHandle handle, const ReplicaFacts& facts,
           bool verified, Ingested& out);
  // Records that the server does not hold `handle`. Its digest is the caller's business.
  void Forget(ServerIndex server, ChunkHandle handle, Ingested& out);
  // The open list says that nothing with sequence in [begin, end) is held.
  void ForgetRange(ServerIndex server, ShardId shard, uint64_t begin, uint64_t end, Ingested& out);
  ChunkRecord* FindRecord(ChunkHandle handle) const;

  ChunkCatalog& catalog_;
  absl::btree_map<ServerIndex, Lists> lists_;
  uint64_t known_of_all_ = 1;  // counts what concerns every shard
  absl::btree_map<ShardId, uint64_t> known_versions_;
  struct SpecialReplica {
    ReplicaFacts facts;
    bool verified = false;
  };
  absl::btree_map<SpecialKey, SpecialReplica> specials_;
};

}  // namespace ballast::master
