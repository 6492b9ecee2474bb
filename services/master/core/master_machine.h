// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/container/btree_map.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "common/raft/state_machine.h"
#include "common/types/ids.h"
#include "services/master/core/shard.h"

namespace ballast::master {

// The replicated state of one master group: its shards, group time and the last configuration.
// Applies master_log::Entry, returns master_log::EntryResult.
//
// Images: "group", and "shard-00000".. for every shard that this group has ever had state for. Each
// has an applied index of its own; an entry's commands are applied to those images only that are
// behind it. Replay after a restore must begin no later than after the index that was applied when
// ImageNames was called for that snapshot, and go on without gaps; then the state equals that of a
// straight replay, byte for byte.
//
// Configurations. A shard that this group owned and nobody owns now is *frozen*: not served,
// nothing of it garbage, all of it in its image. It is served again, as it was, when this group
// owns it again. A shard that comes from nobody and was never here is empty. Shards that would come
// from or go to another group are NOT_SUPPORTED_YET. (A frozen one that another group gets stays
// frozen: it cannot come back from there.) Whether a configuration is accepted follows from the one
// before alone, not from the shards, so that any mix of images replays alike.
//
// Group time: the largest stamp applied, in ms.
//
// Concurrency: none. Lifetime: an observer outlives the machine.
class MasterMachine : public StateMachine {
 public:
  MasterMachine(GroupId group, uint32_t shard_count);

  // StateMachine. The result is a serialised EntryResult; empty if a part was skipped.
  std::string Apply(RaftIndex index, absl::string_view command) override;
  std::vector<std::string> ImageNames() const override;
  std::string TakeImage(const std::string& name) const override;
  absl::Status RestoreImage(const std::string& name, absl::string_view image) override;
  void Reset() override;

  // Told of changes to chunk tables; at most one, set before the first Apply.
  void SetObserver(ChunkObserver* observer);

  // --- the group ---
  GroupId group() const { return group_; }
  uint32_t shard_count() const { return shard_count_; }
  uint64_t group_time_ms() const;
  ConfigVersion config_version() const { return config_version_; }
  RaftIndex applied() const { return applied_; }

  // --- shards ---
  // Null if there never was state for it.
  const Shard* FindShard(ShardId id) const;
  // fn(const Shard&) for all there are, by id.
  template <typename Fn>
  void ForEachShard(Fn&& fn) const {
    for (const auto& [id, slot] : shards_) fn(static_cast<const Shard&>(slot->shard));
  }
  ShardId ShardOf(absl::string_view key) const;
  // The shard if it is served here; otherwise FAILED_PRECONDITION / WRONG_GROUP.
  absl::StatusOr<const Shard*> Serving(ShardId id) const;

  // --- live views ---
  // The record of a sealed chunk, whose live view the caller may change; null if there is none.
  ChunkRecord* FindLive(ChunkHandle handle);
  const ChunkRecord* FindChunk(ChunkHandle handle) const;
  // The chunk table of a shard for walking over live views; null if there is no such shard.
  ChunkTable* LiveChunks(ShardId id);

  // Garbage rules; false for shards that are not served here.
  bool IsReferenced(ChunkHandle handle) const;
  bool IsAllocated(ChunkHandle handle) const;
  bool IsProvableGarbage(ChunkHandle handle) const;

  // --- objects ---
  // WRONG_GROUP, or NOT_FOUND / OBJECT_NOT_FOUND. The record lives until the next Apply.
  absl::StatusOr<const ObjectRecord*> FindObject(absl::string_view key) const;

  struct ChunkView {
    ChunkHandle handle;
    uint64_t position = 0;
    uint64_t offset_bytes = 0;
    const ChunkRecord* record = nullptr;  // lives until the next Apply
  };
  // Up to `count` chunks of one generation of an object from `first_position` on; none if it is
  // inline or has no such position.
  //   WRONG_GROUP
  //   ABORTED / GENERATION_GONE       it was replaced or deleted, and its grace period is over
  //   NOT_FOUND / OBJECT_NOT_FOUND    that generation never was
  absl::StatusOr<std::vector<ChunkView>> FindChunks(absl::string_view key, Generation generation,
                                                    uint64_t first_position, uint64_t count) const;

  struct Page {
    std::vector<const ObjectRecord*> objects;  // by key; live until the next Apply
    bool more = false;                         // there are objects after the last one
  };
  // Objects of all shards served here whose key is > after and begins with prefix; at most `limit`.
  Page List(absl::string_view prefix, absl::string_view after, size_t limit) const;

  struct Counts {
    uint64_t shards = 0;  // served
    uint64_t objects = 0;
    uint64_t chunks = 0;
    uint64_t drafts = 0;
    uint64_t doomed = 0;  // handles
    uint64_t sessions = 0;
  };
  Counts Count() const;

 private:
  // What an image was restored with; 0 for one that was not.
  struct Floor {
    RaftIndex applied;
    uint64_t group_time_ms = 0;
  };
  struct Slot {
    Shard shard;
    Floor floor;
  };
  // Where in the log a command is.
  struct Place {
    RaftIndex index;
    uint32_t command = 0;  // position in its entry
    friend auto operator<=>(const Place&, const Place&) = default;
  };
  struct Accepted {
    ConfigVersion version;
    Place place;
  };

  mlog::Result ApplyConfiguration(const mlog::Command::ApplyConfiguration& op, Place place);
  mlog::Result CheckConfiguration(const mlog::Command::ApplyConfiguration& op) const;
  // The shard becomes ours, or frozen if it was ours, unless its image is ahead of `index`. True if
  // it came, was frozen or thawed: what was heard of its replicas means nothing until it is heard
  // anew.
  bool SetOwned(ShardId id, bool is_ours, ConfigVersion version, RaftIndex index);
  mlog::Result ApplyToShard(const mlog::Command& command, RaftIndex index);
  bool WasAccepted(Place place) const;
  std::string TakeGroupImage() const;
  absl::Status RestoreGroupImage(absl::string_view image);
  absl::Status RestoreShardImage(ShardId id, absl::string_view image);
  std::vector<ChunkView> ViewChunks(const Shard& shard, absl::Span<const Run> runs,
                                    uint64_t first_position, uint64_t count) const;

  const GroupId group_;
  const uint32_t shard_count_;
  ChunkObserver* observer_ = nullptr;

  RaftIndex applied_;          // last index given to Apply
  uint64_t stamp_max_ms_ = 0;  // of the entries given to Apply
  bool skipped_ = false;       // in the entry being applied
  Floor group_floor_;
  ConfigVersion config_version_;
  std::vector<GroupId> owners_;     // index = shard; empty before the first configuration
  std::vector<Accepted> accepted_;  // by place
  absl::btree_map<ShardId, std::unique_ptr<Slot>> shards_;
};

// "shard-00042".
std::string ShardImageName(ShardId id);

}  // namespace ballast::master
