// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <vector>

#include "absl/container/btree_map.h"
#include "absl/container/btree_set.h"
#include "common/types/ids.h"
#include "protos/chunkserver_control_service.pb.h"
#include "services/chunkserver/core/chunk_index.h"

namespace ballast::chunkserver {

// Digest and number of replicas that a master was told.
struct ToldLists {
  uint64_t digest = 0;
  uint64_t count = 0;
  friend bool operator==(const ToldLists&, const ToldLists&) = default;
};

// Makes the chunk reports for one master, or one after the other of a group's: of each shard an
// offer or the full list in pages, then what changed, each with the digest of what was told.
//
// The picture it keeps is the master's: which handles of which shards it has been told, and of
// every changed chunk what it was told. So digests are exact although the chunks change between the
// pages of a list. Nothing is acknowledged: a lost message ends the stream. What a lost message
// said counts as told; the offer on the next stream then does not fit what the master holds, and
// the master asks.
//
//   shard is   event                              becomes   and sends
//   (new)      Start                              listing   the full list, page by page
//   listing    last page built                    told      changes, as they come
//   listing    Start, resend                      listing   the full list from its beginning
//   told       Start (a new stream)               told      an offer: digest and count of what was
//                                                           told, nothing listed; then changes
//   told       resend_shards                      listing   the full list
//   told       resync_shards                      counting  nothing while it walks over the chunks
//   counting   walk done, at most kBucketsMax     told      all bucket digests; from now on all
//              buckets                                      that was counted is told
//   counting   more buckets                       listing   the full list: the digests of so many
//                                                           buckets are not shorter
//   told       resend_buckets                     told      each bucket whole; what had changed in
//                                                           it is told thereby
//   told       tell_digests                       told      each shard's digest, once
//   any        Start of a new stream, not told    listing   the full list
//
// A change that the digest does not see (a check of the whole chunk, `verified`) is told as any
// other; if it was told in a message that is lost, it is not told again on this process's next
// stream. Whoever wants to know has the chunk verified again.
//
// Concurrency: none; its owner serialises, and calls OnChange for each change of the index. Pure.
// Lifetime: `index` must outlive it.
class ReportBuilder {
 public:
  explicit ReportBuilder(const ChunkIndex& index) : index_(index) {}

  // A stream begins with this shard: an offer if it was told to its end before, else the full list.
  void Start(ShardId shard);
  // The shard is no longer reported to this master.
  void Stop(ShardId shard);
  bool Reports(ShardId shard) const { return shards_.count(shard) != 0; }

  // Does what the master asks for: resend_shards, resync_shards, resend_buckets, tell_digests. What
  // it asks of shards that are not reported is ignored, as is what a list under way answers anyway.
  void OnReply(const v1::HeartbeatReply& reply);

  // To be called after each change of the index, with the chunk's facts before it (none: it was not
  // there). Chunks of shards that are not reported are ignored.
  void OnChange(ChunkHandle handle, const std::optional<ReplicaFacts>& before);

  // Counts a read, for heat. Kept for at most kHeatMax chunks between two reports.
  void OnRead(ChunkHandle handle);
  static constexpr size_t kHeatMax = 16384;

  // Digests of so many buckets take some 80 KB.
  static constexpr size_t kBucketsMax = 4096;
  // Chunks walked over in one Build to count buckets: a few milliseconds.
  static constexpr size_t kWalkMax = 65536;

  // True if Build would report something beyond heat.
  bool HasNews() const { return !news_.empty() || digests_due_ > 0; }

  // Appends at most `reports_max` reports of at most `replicas_max` replicas and removals. With
  // `with_heat`, reads since the last time are added. One report exceeds replicas_max: a bucket
  // that comes first and is larger.
  void Build(size_t replicas_max, size_t reports_max, bool with_heat,
             google::protobuf::RepeatedPtrField<v1::ShardReport>* out);

  // Everything the master was told, over all shards; none while a shard is not told to its end on
  // this stream. O(1).
  std::optional<ToldLists> AllTold() const;

 private:
  enum class State { kListing, kCounting, kTold };
  struct Shard {
    State state = State::kListing;
    bool offer_due = false;
    uint64_t next = 0;  // while listing or counting: nothing is said from this sequence on
    ToldLists told;     // of what the master was told; while counting: of what was counted
    // Chunks whose facts differ from what the master was told, with what it was told.
    absl::btree_map<ChunkHandle, std::optional<ReplicaFacts>> changed;
    std::vector<v1::BucketDigest> buckets;  // while counting
    absl::btree_set<uint64_t> resend;       // buckets to send whole
    bool Settled() const { return state == State::kTold && !offer_due; }
    bool HasNews() const { return !Settled() || !changed.empty() || !resend.empty(); }
  };
  using ReportList = google::protobuf::RepeatedPtrField<v1::ShardReport>;

  // The shard's state is about to change, or has: keeps what is summed over all shards.
  void Leave(const Shard& shard);
  void Enter(ShardId id, const Shard& shard);

  void List(ShardId id);
  void Count(ShardId id);
  // Each fills `report` and returns how many replicas and removals it used; none: there is nothing
  // to send yet.
  std::optional<size_t> ReportOf(ShardId id, Shard& shard, size_t replicas_max,
                                 v1::ShardReport* report);
  size_t ListPage(ShardId id, Shard& shard, size_t replicas_max, v1::ShardReport* report);
  size_t Changes(Shard& shard, size_t replicas_max, v1::ShardReport* report);
  size_t WholeBucket(ShardId id, Shard& shard, uint64_t bucket, v1::ShardReport* report);
  // Walks on; true when `report` has all buckets.
  bool CountOn(ShardId id, Shard& shard, v1::ShardReport* report);
  void AddDigests(size_t reports_max, const absl::btree_set<ShardId>& reported, ReportList* out);
  void AddHeat(size_t replicas_max, size_t reports_max, ReportList* out);

  const ChunkIndex& index_;
  absl::btree_map<ShardId, Shard> shards_;
  absl::btree_set<ShardId> news_;  // shards with something to send
  ShardId next_news_;              // rotation, so that no shard waits for a large one
  ShardId next_digest_;            // likewise
  size_t digests_due_ = 0;
  size_t settled_ = 0;  // shards that are told to their end
  ToldLists all_;       // their sum
  absl::btree_map<ChunkHandle, uint32_t> heat_;
};

}  // namespace ballast::chunkserver
