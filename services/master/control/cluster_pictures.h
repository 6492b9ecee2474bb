// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>

#include "absl/container/btree_map.h"
#include "common/types/ids.h"
#include "services/master/control/live_view.h"
#include "services/master/core/chunk_picture.h"
#include "services/master/core/chunk_walk.h"
#include "services/master/core/cluster_view.h"

namespace ballast::master {

// Makes the values that planners look at from what the leader knows. They are kept for a term and
// made anew when what is behind them has changed.
//
// Concurrency: the master's executor. Ownership: the view outlives it.
class ClusterPictures {
 public:
  explicit ClusterPictures(LiveView& view) : view_(view) {}

  // All registered servers now. O(servers) if something has changed, else O(1). Requires: this node
  // leads.
  const ClusterView& Servers();

  // Null if the shard is not served here or not settled. Valid until the next call. Requires: this
  // node leads.
  const ShardLens* LensOf(ShardId shard);

 private:
  void NoticeTerm();
  ClusterView MakeServers() const;

  struct Kept {
    uint64_t version = 0;
    ShardLens lens;
  };

  LiveView& view_;
  RaftTerm term_;  // of what is kept
  absl::btree_map<ShardId, Kept> kept_;
  std::optional<ClusterView> servers_;
  uint64_t servers_registry_ = 0;  // versions that servers_ was made from
  uint64_t servers_facts_ = 0;
};

}  // namespace ballast::master
