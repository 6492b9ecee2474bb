// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <vector>

#include "services/master/core/chunk_catalog.h"
#include "services/master/core/master_machine.h"

namespace ballast::master {

// A MasterMachine as the volatile half sees it. Concurrency: the machine's. `machine` must outlive
// it.
class MachineCatalog final : public ChunkCatalog {
 public:
  explicit MachineCatalog(MasterMachine& machine) : machine_(machine) {}

  uint32_t shard_count() const override { return machine_.shard_count(); }
  const std::vector<ShardId>& owned_shards() const override;
  ChunkTable* chunks(ShardId shard) override;
  const TrimSet* trims(ShardId shard) const override;
  HandleStanding StandingOf(ChunkHandle handle) const override;

  // A shard was replaced outside of Apply (ChunkObserver::OnShardReplaced).
  void Invalidate() { owned_as_of_ = ConfigVersion(0); }

 private:
  MasterMachine& machine_;
  mutable std::vector<ShardId> owned_;
  mutable ConfigVersion owned_as_of_;  // 0: to be computed
};

}  // namespace ballast::master
