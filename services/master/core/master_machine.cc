// SPDX-License-Identifier: Apache-2.0
#include "services/master/core/master_machine.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "common/base/check.h"
#include "common/base/status_macros.h"
#include "common/routing/shard_router.h"
#include "common/types/limits.h"

// Applying entries. Images: master_machine_image.cc; reads: master_machine_reads.cc.

namespace ballast::master {

MasterMachine::MasterMachine(GroupId group, uint32_t shard_count)
    : group_(group), shard_count_(shard_count) {
  CHECK_GT(group.value(), 0u);
  CHECK(shard_count > 0 && shard_count <= kShardsMax) << " shards " << shard_count;
}

std::string MasterMachine::Apply(RaftIndex index, absl::string_view command) {
  CHECK_GT(index, applied_);
  mlog::Entry entry;
  CHECK(entry.ParseFromArray(command.data(), static_cast<int>(command.size())))
      << " log entry " << index << " is not a master_log.Entry";
  applied_ = index;
  stamp_max_ms_ = std::max(stamp_max_ms_, entry.stamp_ms());
  skipped_ = false;
  mlog::EntryResult results;
  for (int i = 0; i < entry.commands_size(); ++i) {
    const mlog::Command& one = entry.commands(i);
    *results.add_results() =
        one.has_apply_configuration()
            ? ApplyConfiguration(one.apply_configuration(), {index, static_cast<uint32_t>(i)})
            : ApplyToShard(one, index);
  }
  return skipped_ ? std::string() : results.SerializeAsString();
}

mlog::Result MasterMachine::ApplyToShard(const mlog::Command& command, RaftIndex index) {
  const ShardId id(command.shard());
  const auto it = shards_.find(id);
  if (it != shards_.end()) {
    Slot& slot = *it->second;
    if (index <= slot.floor.applied) {
      skipped_ = true;
      return {};
    }
    if (slot.shard.serving()) {
      return slot.shard.Apply(command, std::max(slot.floor.group_time_ms, stamp_max_ms_));
    }
  }
  // The hint is the group image's, which may be ahead in a replay.
  skipped_ |= index <= group_floor_.applied;
  mlog::Result result = Refusal(v1::REASON_WRONG_GROUP, "the shard is not served by this group");
  result.set_config_version(config_version_.value());
  return result;
}

mlog::Result MasterMachine::CheckConfiguration(const mlog::Command::ApplyConfiguration& op) const {
  if (op.version() != config_version_.value() + 1) {
    return Refusal(v1::REASON_VERSION_MISMATCH, "not the configuration after the current one");
  }
  if (static_cast<uint32_t>(op.shard_owner_size()) != shard_count_) {
    return Refusal(v1::REASON_INVALID_ARGUMENT, "shard_owner has not one group for each shard");
  }
  for (size_t shard = 0; shard < owners_.size(); ++shard) {
    const GroupId before = owners_[shard];
    const GroupId after(op.shard_owner(static_cast<int>(shard)));
    if (before.value() == 0 || before == after) continue;
    if (after.value() == 0) {
      if (before == group_) continue;
      // It could come to us from nobody then, and be taken for new while its owner still has it.
      return Refusal(v1::REASON_INVALID_ARGUMENT,
                     "shard_owner: another group's shard loses its owner");
    }
    if (before == group_ || after == group_) {
      return Refusal(v1::REASON_NOT_SUPPORTED_YET,
                     "a shard would come from or go to another group");
    }
  }
  return {};
}

bool MasterMachine::WasAccepted(Place place) const {
  const auto it = std::lower_bound(accepted_.begin(), accepted_.end(), place,
                                   [](const Accepted& a, Place p) { return a.place < p; });
  const bool found = it != accepted_.end() && it->place == place;
  CHECK(found || it != accepted_.begin() || accepted_.size() < kAcceptedConfigurationsMax)
      << " replay begins " << kAcceptedConfigurationsMax << " configurations before its image";
  return found;
}

mlog::Result MasterMachine::ApplyConfiguration(const mlog::Command::ApplyConfiguration& op,
                                               Place place) {
  mlog::Result result;
  if (place.index <= group_floor_.applied) {
    // The group image is ahead and tells what became of this command; shards may be behind.
    skipped_ = true;
    if (!WasAccepted(place)) return {};
  } else {
    result = CheckConfiguration(op);
    if (result.code() == 0) {
      config_version_ = ConfigVersion(op.version());
      owners_.clear();
      for (uint32_t owner : op.shard_owner()) owners_.push_back(GroupId(owner));
      accepted_.push_back({config_version_, place});
      if (accepted_.size() > kAcceptedConfigurationsMax) accepted_.erase(accepted_.begin());
    }
    result.set_config_version(config_version_.value());
    if (result.code() != 0) return result;
  }
  std::vector<ShardId> replaced;
  for (uint32_t number = 0; number < shard_count_; ++number) {
    const bool is_ours = GroupId(op.shard_owner(static_cast<int>(number))) == group_;
    if (SetOwned(ShardId(number), is_ours, ConfigVersion(op.version()), place.index)) {
      replaced.push_back(ShardId(number));
    }
  }
  // Told when all shards are as the configuration says.
  for (ShardId id : replaced) {
    if (observer_ != nullptr) observer_->OnShardReplaced(id);
  }
  return result;
}

bool MasterMachine::SetOwned(ShardId id, bool is_ours, ConfigVersion version, RaftIndex index) {
  auto it = shards_.find(id);
  if (it == shards_.end()) {
    if (!is_ours) return false;
    it = shards_.emplace(id, std::make_unique<Slot>(Slot{Shard(id, shard_count_), Floor{}})).first;
    it->second->shard.SetObserver(observer_);
  }
  Slot& slot = *it->second;
  if (index <= slot.floor.applied) return false;
  const mlog::ShardState before = slot.shard.state();
  if (is_ours && (before == mlog::SHARD_STATE_NONE || before == mlog::SHARD_STATE_FROZEN)) {
    slot.shard.Acquire(version);
    return true;
  }
  if (!is_ours && before == mlog::SHARD_STATE_OWNED) {
    slot.shard.Freeze();
    return true;
  }
  return false;
}

void MasterMachine::SetObserver(ChunkObserver* observer) {
  observer_ = observer;
  for (auto& [id, slot] : shards_) slot->shard.SetObserver(observer);
}

void MasterMachine::Reset() {
  std::vector<ShardId> dropped;
  for (const auto& [id, slot] : shards_) dropped.push_back(id);
  shards_.clear();
  applied_ = RaftIndex();
  stamp_max_ms_ = 0;
  group_floor_ = Floor{};
  config_version_ = ConfigVersion();
  owners_.clear();
  accepted_.clear();
  if (observer_ == nullptr) return;
  for (ShardId id : dropped) observer_->OnShardReplaced(id);
}

}  // namespace ballast::master
