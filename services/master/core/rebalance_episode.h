// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <deque>
#include <memory>
#include <optional>
#include <vector>

#include "absl/container/flat_hash_set.h"
#include "common/types/ids.h"
#include "services/master/core/balance_goal.h"
#include "services/master/core/chunk_walk.h"
#include "services/master/core/cluster_view.h"
#include "services/master/core/move_chooser.h"

namespace ballast::master {

// One episode of rebalancing: from the moment at which a server is beyond the threshold until all
// are within the settling distance, or nothing more can be done.
//
//   surveying --> choosing --(passes)--> moving --> settled
//                                          ^  |        |
//                                          +--+        v
//                                       moves end    ended
//
// The plan of an episode is made once, from one view, in slices; its moves are then handed out
// coldest first. A chunk is moved at most once in an episode, whatever becomes of the move. When
// all have ended the caller looks at the servers anew: what failed, or what writers did meanwhile,
// is another plan of the same episode (Replan), at most kPlansMax of them.
//
// Concurrency: none. Deterministic. It decides; whoever carries a move out checks it again.
class RebalanceEpisode {
 public:
  static constexpr int kPlansMax = 4;

  enum class Phase { kSurveying, kChoosing, kMoving, kEnded };

  // `goal` was made from `view`. `moves_max`: of one plan.
  RebalanceEpisode(ClusterView view, BalanceGoal goal, size_t moves_max);

  Phase phase() const { return phase_; }

  // Goes on with the plan, looking at up to `visits_max` chunks; false if there is nothing to plan
  // in this phase. `world.view` is the caller's present one; the plan stays with the episode's.
  bool Step(const ChunkWorld& world, size_t visits_max);

  // The next move to be begun; none while planning or when all were handed out.
  std::optional<PlannedMove> NextMove();
  // Gives one back: it could not be begun yet, and is the next again.
  void PutBack(const PlannedMove& move) {
    waiting_.push_front(move);
    --progress_.under_way;
  }
  // A move that was handed out has ended.
  void OnMoveEnded(bool moved, uint64_t bytes);

  // All moves have ended, and the servers look like this now. True: another plan begins.
  bool Replan(ClusterView view, BalanceGoal goal);
  void End() { phase_ = Phase::kEnded; }

  // What people ask for.
  struct Progress {
    uint64_t moves_planned = 0;
    uint64_t bytes_planned = 0;
    uint64_t moves_done = 0;
    uint64_t moves_failed = 0;
    uint64_t bytes_moved = 0;
    uint64_t under_way = 0;
    int plans = 1;
  };
  const Progress& progress() const { return progress_; }
  const BalanceGoal& goal() const { return goal_; }
  const ClusterView& view() const { return *view_; }
  const std::vector<BlockedBytes>& blocked() const { return blocked_; }
  const std::deque<PlannedMove>& waiting() const { return waiting_; }
  bool idle() const {
    return phase_ == Phase::kMoving && waiting_.empty() && progress_.under_way == 0;
  }

 private:
  void BeginPlan(ClusterView view, BalanceGoal goal);
  void EndPlan();

  size_t moves_max_;
  Phase phase_ = Phase::kSurveying;
  std::unique_ptr<const ClusterView> view_;
  BalanceGoal goal_;
  std::unique_ptr<MoveChooser> chooser_;  // while planning
  ChunkWalk walk_;
  std::vector<PlannedMove> chosen_;  // of the plan being made
  absl::flat_hash_set<ChunkHandle> moved_;
  std::deque<PlannedMove> waiting_;
  std::vector<BlockedBytes> blocked_;
  Progress progress_;
};

}  // namespace ballast::master
