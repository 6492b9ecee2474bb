// SPDX-License-Identifier: Apache-2.0
#include "services/master/core/garbage_planner.h"

#include <utility>

namespace ballast::master {

void GarbagePlanner::Step(const LiveReplicas& replicas, const ChunkCatalog& catalog,
                          const Gates& gates, size_t examine_max,
                          absl::FunctionRef<void(const GarbageReplica&)> emit) {
  if (!gates.leads) {
    return;
  }
  size_t examined = 0;
  bool round_done = true;
  replicas.ForEachSpecial(next_handle_, next_server_, [&](const LiveReplicas::Special& special) {
    if (examined == examine_max) {
      next_handle_ = special.handle;
      next_server_ = special.server;
      round_done = false;
      return false;
    }
    ++examined;
    switch (catalog.StandingOf(special.handle)) {
      case HandleStanding::kGarbage:
        if (gates.is_alive(special.server) &&
            replicas.IsComplete(special.server, special.handle.shard()) &&
            gates.is_settled(special.handle.shard())) {
          emit({special.server, special.handle, special.facts.length_bytes});
        }
        break;
      case HandleStanding::kUnaccounted:
        ++counting_[special.server];
        break;
      case HandleStanding::kReferenced:
      case HandleStanding::kNotOurs:
        break;
    }
    return true;
  });
  if (round_done) {
    next_handle_ = ChunkHandle();
    next_server_ = ServerIndex();
    ++rounds_;
    quarantined_ = std::exchange(counting_, {});
  }
}

uint64_t GarbagePlanner::QuarantinedCount(ServerIndex server) const {
  const auto it = quarantined_.find(server);
  return it == quarantined_.end() ? 0 : it->second;
}

}  // namespace ballast::master
