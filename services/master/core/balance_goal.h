// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#include "common/types/ids.h"
#include "services/master/core/cluster_view.h"

namespace ballast::master {

struct BalanceLimits {
  double threshold_points = 20;     // a server further from the mean than this triggers an episode
  double settle_points = 5;         // planned until all are within this of the target
  uint64_t chunk_bytes = 64 << 20;  // usual length of a chunk: bytes go in such portions
};

// What one server is to give or to get. Never both.
struct ServerGoal {
  ServerIndex server;
  int position = 0;         // in the cluster view
  uint64_t shed_bytes = 0;  // to give away
  uint64_t gain_bytes = 0;  // to get
};

// How bytes should go between servers.
struct BalanceGoal {
  bool triggered = false;  // some server is beyond the threshold
  double mean_pct = 0;     // of the servers' utilisation: what the threshold is measured from
  double target_pct = 0;   // sum of used / sum of capacity: where all should end
  std::vector<ServerGoal> servers;  // those that shed or gain, by position
  uint64_t shed_bytes = 0;  // of all; what cannot be matched for want of whole portions is left
  uint64_t gain_bytes = 0;
  uint64_t chunk_bytes = 1;  // the portion that they are multiples of

  // To be moved in all.
  uint64_t bytes() const { return std::min(shed_bytes, gain_bytes); }
};

// Decides how many bytes each server gives or gets so that all end within settle_points of the
// target, moving as little as possible.
//
// Takes part: live, managed servers that are not draining and have a capacity. With
// lo = target - settle and hi = target + settle, those above hi must shed what they have above it,
// and those below lo must gain what they lack, each rounded up to whole chunks; no plan can do with
// less than the larger of the two sums. The smaller sum is filled up to it: by the emptiest below
// the target, or from the fullest above it.
// Example: four servers of 100 GiB at 78, 15, 57 and 50 %: mean and target 50, band 45..55. The
// second must gain 30 GiB, the first and third must shed 23 + 2; the 5 that are missing come from
// both, down to 52.5 %.
//
// Only a server that accepts replicas gains. Pure; O(n log n), however many chunks are to move.
BalanceGoal PlanBalanceGoal(const ClusterView& view, const BalanceLimits& limits);

// What of a goal is one group's to carry out when several groups plan for the same servers at once,
// none knowing of the others: of what a server sheds, the part that this group's bytes are of the
// bytes used there; of what a server gains, the part that the group sheds of all that is shed. So
// the parts of all groups together are the goal, but for half a portion a group and server.
// `own_bytes`: the group's, by position in the view, where servers shed. Pure.
BalanceGoal OwnPart(const BalanceGoal& goal, const ClusterView& view,
                    const std::vector<uint64_t>& own_bytes);

}  // namespace ballast::master
