// SPDX-License-Identifier: Apache-2.0
#include "services/master/core/machine_catalog.h"

namespace ballast::master {

const std::vector<ShardId>& MachineCatalog::owned_shards() const {
  if (owned_as_of_ == ConfigVersion(0) || owned_as_of_ != machine_.config_version()) {
    owned_.clear();
    machine_.ForEachShard([this](const Shard& shard) {
      if (shard.serving()) {
        owned_.push_back(shard.id());
      }
    });
    owned_as_of_ = machine_.config_version();
  }
  return owned_;
}

ChunkTable* MachineCatalog::chunks(ShardId shard) {
  const Shard* const found = machine_.FindShard(shard);
  return found != nullptr && found->serving() ? machine_.LiveChunks(shard) : nullptr;
}

const TrimSet* MachineCatalog::trims(ShardId shard) const {
  const Shard* const found = machine_.FindShard(shard);
  return found != nullptr && found->serving() ? &found->trims() : nullptr;
}

HandleStanding MachineCatalog::StandingOf(ChunkHandle handle) const {
  const Shard* const shard = machine_.FindShard(handle.shard());
  if (shard == nullptr || !shard->serving()) {
    return HandleStanding::kNotOurs;
  }
  if (shard->IsReferenced(handle.sequence())) {
    return HandleStanding::kReferenced;
  }
  return shard->IsProvableGarbage(handle.sequence()) ? HandleStanding::kGarbage
                                                     : HandleStanding::kUnaccounted;
}

}  // namespace ballast::master
