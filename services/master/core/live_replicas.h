// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <limits>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "absl/container/btree_map.h"
#include "absl/container/btree_set.h"
#include "absl/functional/function_ref.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "common/base/steady_time.h"
#include "common/routing/replica_digest.h"
#include "common/types/ids.h"
#include "protos/chunkserver_control_service.pb.h"
#include "services/master/core/chunk_catalog.h"
#include "services/master/core/liveness.h"

namespace ballast::master {

// Which chunk server holds which chunk, as the servers report it: the replica map of a leader.
//
// Where it is kept. A replica of a known chunk with the right length and checksum costs no memory
// of its own: it is a flag in the chunk's record (ChunkRecord: kLive, or kCorrupt). Everything else
// a server reports (handles the metadata does not know, facts that do not fit, more holders than a
// record has slots) is *special* and lies in a map by (handle, server) with its facts.
//
// Lists. For each (server, shard) there is a list, fed by ShardReports; its stage:
//
//   silent         nothing has come on this stream that says what is held
//   listing        pages of a full list are coming: all below the last handle has been said
//   complete       what is held here fits digest and count that the server reported last
//   wants list     nothing fits: the server is asked for its full list
//   wants digests  nearly all fits: the server is asked for the digests of its buckets
//   patching       the buckets that differ are asked for
//
//   from                event                                            to
//   any                 a stream begins                                  silent
//   any                 first page                                       listing
//   listing             last page; digest and count fit / do not         complete / wants list
//   listing             handles that do not ascend, changes, an offer    wants list
//   any but listing     offer of nothing: as an empty full list          complete
//   silent, retained    offer of just what is held                       complete
//   silent, wants, patching   any other offer; based / not               wants digests / wants list
//   complete            changes, a bucket, a digest, an offer that fit / do not   complete / wants
//   digests wants digests       digests of all buckets: all fit / some differ    complete /
//   patching patching            the last bucket; digest and count fit / do not   complete / wants
//   list patching            changes: taken in, not compared                  patching silent,
//   listing, patching, wants digests   nothing comes for `patience`   wants list
//
// and beside the stage
//   known      it was complete at some time since this leader began. Until then the flags in
//              records may stem from an earlier term and mean nothing
//   based      it was complete at some time in this term by the process that reports now, so that
//              everything held (its `verified` flags, too) was said by that process
//   retained   it was complete when the stream broke, and nothing came since: digest and count are
//              just those of what is held
// What a report says out of its turn is ignored; digest and count, or patience, find it out.
//
// Guarantees: when a list is complete, the digest of what this class holds for (server, shard)
// equals the one reported last. Absence of anything is never a reason to delete.
// Concurrency: none. Ownership: `catalog` must outlive it.
// Failure: INVALID_ARGUMENT for reports no honest server sends; what slips in the protocol's
// order only leads to questions (NextAsks).
class LiveReplicas {
 public:
  explicit LiveReplicas(ChunkCatalog& catalog) : catalog_(catalog) {}

  // --- feeding
  // ------------------------------------------------------------------------------------ The
  // server's reports begin anew (new stream, or new process): no list is complete.
  void OnStreamBegan(ServerIndex server, Liveness::Holder holder, SteadyTime now);
  // The server is gone from the registry.
  void OnServerForgotten(ServerIndex server);

  struct Ingested {
    uint64_t appeared = 0;         // replicas not held before
    std::vector<ChunkHandle> odd;  // known chunks whose replica vanished here or turned out corrupt
    bool done = true;              // false: the same again, with the same cursor
  };
  // How far a report has been taken in. Its fields are LiveReplicas' own.
  struct Cursor {
    bool begun = false;
    int replica = 0;
    int removed = 0;
    int bucket = 0;
  };
  // `work` bounds one call, and what was done is taken off it: a replica taken in costs
  // kReplicaWork, a record only looked at 1. A call exceeds it by no more than a bucket's worth.
  static constexpr int64_t kReplicaWork = 8;
  static constexpr int64_t kNoBound = std::numeric_limits<int64_t>::max() / 2;
  // Takes a report in, from `cursor` on. Requires: work > 0.
  absl::StatusOr<Ingested> Ingest(ServerIndex server, const v1::ShardReport& report, Cursor& cursor,
                                  int64_t& work, SteadyTime now);
  // How far the lists that a report did not name have been emptied.
  struct EmptyCursor {
    ShardId next;
    bool begun = false;
  };
  // The server's report was complete in one message and named the shards in `named` (sorted): the
  // lists of all others are complete and empty.
  Ingested IngestEmptyLists(ServerIndex server, absl::Span<const ShardId> named,
                            EmptyCursor& cursor, int64_t& work, SteadyTime now);

  // What the server should send, ascending: of what does not fit at once, of what did not come or
  // stopped coming after `patience`. For no shard a list or digests are asked for twice within
  // `patience`; buckets are asked for once after each comparison.
  struct Asks {
    std::vector<ShardId> lists;
    std::vector<ShardId> digests;
    std::vector<std::pair<ShardId, uint64_t>> buckets;
  };
  Asks NextAsks(ServerIndex server, SteadyTime now, absl::Duration patience, size_t asks_max);
  // The server says what all its lists together sum up to. True if it should tell each shard's
  // digest: all lists are complete, and yet the sum is another. At most once within `patience`.
  bool WantsAllDigests(ServerIndex server, uint64_t digest, uint64_t count, SteadyTime now,
                       absl::Duration patience);

  // What this server said of the chunk is kept beside the chunk's record; its slot there is free
  // unless the server is logged.
  void GiveUpSlot(ServerIndex server, ChunkHandle handle);
  // Replicas beside the record get its free slots, if `may` says so of their servers.
  void FillSlots(ChunkHandle handle, absl::FunctionRef<bool(ServerIndex)> may);

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
  // IsKnown by server index; servers beyond its end are not known. Valid until the next change.
  const std::vector<bool>& KnownServers(ShardId shard) const;
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
  enum class Stage : uint8_t {
    kSilent,
    kListing,
    kComplete,
    kWantsList,
    kWantsDigests,
    kPatching,
  };
  // What only a list needs that is not complete, or was asked for lately.
  struct Talk {
    uint64_t next_sequence = 0;  // listing, comparing: everything below has been said
    SteadyTime progress_at;      // last report that was taken in
    std::optional<SteadyTime> asked_at;
    bool asked = false;                 // what the stage wants
    std::vector<uint64_t> to_ask;       // buckets that differ, not asked for yet; descending
    absl::btree_set<uint64_t> awaited;  // asked for
  };
  struct List {
    ReplicaDigest digest;  // of what is held; while listing or comparing: of what was said so far
    uint32_t count = 0;    // likewise
    Stage stage = Stage::kSilent;
    bool known = false;
    bool based = false;
    bool retained = false;
    std::unique_ptr<Talk> talk;
  };
  struct Server {
    Liveness::Holder holder;
    SteadyTime began_at;  // the stream
    absl::btree_map<ShardId, List> lists;
    std::optional<SteadyTime> digests_asked_at;
    // Over the lists of all owned shards; worked out when it is needed.
    bool summed = false;
    bool all_complete = false;
    uint64_t digest = 0;
    uint64_t count = 0;
  };
  using SpecialKey = std::pair<ChunkHandle, ServerIndex>;
  // One list at work.
  struct Scope {
    ServerIndex server;
    ShardId shard;
    List& list;
    Talk& talk;
    int64_t& work;  // what is left of it
    SteadyTime now;
    Ingested out;
  };

  const List* FindList(ServerIndex server, ShardId shard) const;
  Scope ScopeOf(ServerIndex server, ShardId shard, int64_t& work, SteadyTime now);
  // Drops what a complete list need not keep.
  static void Tidy(List& list);
  void SumUp(Server& server) const;

  // --- stages
  void BeginList(Scope& at);
  static void Want(List& list, Stage stage);
  // Compares; complete if it fits, else as `otherwise` says.
  void Settle(Scope& at, uint64_t digest, uint64_t count, Stage otherwise);
  // Each takes its kind of report on; false: there is more to do.
  bool TakeReplicas(Scope& at, const v1::ShardReport& report, Cursor& cursor);
  bool TakeRemovals(Scope& at, const v1::ShardReport& report, Cursor& cursor);
  bool TakeOffer(Scope& at, const v1::ShardReport& report, Cursor& cursor);
  bool TakeBuckets(Scope& at, const v1::ShardReport& report, Cursor& cursor);
  void TakeBucket(Scope& at, const v1::ShardReport& report);
  // The rest of an open list: nothing is held from where it stands on.
  bool SweepToEnd(Scope& at);
  // What to ask of a list that is not complete; false: no more fits in.
  bool Ask(const Server& server, ShardId shard, List& list, SteadyTime now, absl::Duration patience,
           size_t asks_max, Asks& asks);
  static void AskBuckets(Talk& talk, ShardId shard, Asks& asks);

  // --- what is held
  // Takes one replica in. `counted`: what is held is in the list's digest, and is to stay so.
  void Put(Scope& at, const v1::ReplicaReport& replica, bool counted);
  // Records that the server does not hold anything in [begin, end), as far as the work allows;
  // returns from where on there is more to do.
  uint64_t Sweep(Scope& at, uint64_t begin, uint64_t end, bool counted);
  void SweepWindow(Scope& at, uint64_t begin, uint64_t end, bool counted);
  void FillSlots(ChunkHandle handle, ChunkRecord& record, absl::FunctionRef<bool(ServerIndex)> may);
  // What `record` says of the server's replica goes to the special ones.
  void KeepBeside(ServerIndex server, ChunkHandle handle, const ChunkRecord& record);
  struct Sum {
    ReplicaDigest digest;
    uint32_t count = 0;
  };
  // Of what the server holds in [begin, end).
  Sum SumOf(ServerIndex server, ShardId shard, uint64_t begin, uint64_t end) const;
  // The first sequence from `sequence` on with a record or a special replica of any server.
  std::optional<uint64_t> NextFrom(ShardId shard, uint64_t sequence) const;
  ChunkRecord* FindRecord(ChunkHandle handle) const;

  ChunkCatalog& catalog_;
  absl::btree_map<ServerIndex, Server> servers_;
  // The lists' `known` again, by shard.
  struct Known {
    uint64_t version = 0;
    std::vector<bool> servers;  // by index
  };
  void SetKnown(ServerIndex server, ShardId shard, List& list);
  uint64_t known_of_all_ = 1;  // counts what concerns every shard
  absl::btree_map<ShardId, Known> known_;
  struct SpecialReplica {
    ReplicaFacts facts;
    bool verified = false;
  };
  absl::btree_map<SpecialKey, SpecialReplica> specials_;
};

}  // namespace ballast::master
