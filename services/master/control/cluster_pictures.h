// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

#include "absl/container/btree_map.h"
#include "common/types/ids.h"
#include "services/master/control/live_view.h"
#include "services/master/core/chunk_picture.h"
#include "services/master/core/chunk_walk.h"
#include "services/master/core/cluster_view.h"

namespace ballast::master {

// Makes the values that planners look at from what the leader knows. Pictures of shards are kept
// for a term and made anew when the reports behind them have changed.
//
// Concurrency: the master's executor. Ownership: the view outlives it.
class ClusterPictures {
 public:
  explicit ClusterPictures(LiveView& view) : view_(view) {}

  // All registered servers now; O(servers). Requires: this node leads.
  ClusterView Servers() const;

  // Null if the shard is not served here or not settled. Valid until the next call. Requires: this
  // node leads.
  const ShardLens* LensOf(ShardId shard);

 private:
  struct Kept {
    uint64_t version = 0;
    ShardLens lens;
  };

  LiveView& view_;
  RaftTerm term_;  // of what is kept
  absl::btree_map<ShardId, Kept> kept_;
};

}  // namespace ballast::master
