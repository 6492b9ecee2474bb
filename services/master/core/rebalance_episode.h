// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <deque>
#include <memory>
#include <optional>
#include <vector>

#include "absl/container/btree_map.h"
#include "absl/container/flat_hash_set.h"
#include "common/types/ids.h"
#include "services/master/core/balance_goal.h"
#include "services/master/core/chunk_walk.h"
#include "services/master/core/cluster_view.h"
#include "services/master/core/move_chooser.h"

namespace ballast::master {

// A set of chunks that grows without ever pausing to move all of itself: it lies in many small
// parts, and neighbouring chunks, which are added together, in the same.
class ChosenChunks {
 public:
  bool Contains(ChunkHandle handle) const { return parts_[PartOf(handle)].contains(handle); }
  void Add(ChunkHandle handle) { parts_[PartOf(handle)].insert(handle); }

 private:
  static constexpr size_t kParts = 256;
  static size_t PartOf(ChunkHandle handle) {
    return ((handle.sequence() >> 12) + handle.shard().value() * 37) % kParts;
  }
  std::vector<absl::flat_hash_set<ChunkHandle>> parts_{kParts};
};

// One episode of rebalancing: from the moment at which a server is beyond the threshold until all
// are within the settling distance, or nothing more can be done.
//
//   surveying --> choosing --(passes)--> moving --> settled
//                                          ^  |        |
//                                          +--+        v
//                                       moves end    ended
//
// The plan of an episode is made once, from one view, in slices that cost about the same each,
// however many moves there are; its moves are then handed out
// coldest first. A chunk is moved at most once in an episode, whatever becomes of the move. When
// all have ended the caller looks at the servers anew: what failed, or what writers did meanwhile,
// is another plan of the same episode (Replan), at most kPlansMax of them.
//
// Concurrency: none. Deterministic. It decides; whoever carries a move out checks it again.
class RebalanceEpisode {
 public:
  static constexpr int kPlansMax = 4;

  enum class Phase { kSurveying, kChoosing, kMoving, kEnded };

  // `goal` was made from `view`. `moves_max`: of one plan. `shared`: other groups plan for the same
  // servers, so that only this group's part of the goal is planned (OwnPart).
  RebalanceEpisode(ClusterView view, BalanceGoal goal, size_t moves_max, bool shared = false);

  Phase phase() const { return phase_; }

  // Goes on with the plan, looking at up to `visits_max` chunks; false if there is nothing to plan
  // in this phase. `world.view` is the caller's present one; the plan stays with the episode's.
  bool Step(const ChunkWorld& world, size_t visits_max);

  // The next move to be begun; none while planning or when all were handed out.
  std::optional<PlannedMove> NextMove();
  // Gives one back: it could not be begun yet, and is the next again.
  void PutBack(const PlannedMove& move) {
    waiting_[move.heat].push_front(move);
    ++waiting_count_;
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
  size_t waiting_count() const { return phase_ == Phase::kMoving ? waiting_count_ : 0; }
  // The next moves that wait, at most `moves_max`, in their order.
  std::vector<PlannedMove> FirstWaiting(size_t moves_max) const;
  bool idle() const {
    return phase_ == Phase::kMoving && waiting_count_ == 0 && progress_.under_way == 0;
  }

 private:
  static constexpr uint64_t kTargetsAVisit = 8;  // to look at so many costs what a visit costs

  void BeginPlan(ClusterView view, BalanceGoal goal);
  // Returns how many visits more it has cost.
  size_t Choose(const ChunkPicture& picture, uint8_t heat);
  void EndPlan();

  size_t moves_max_;
  bool shared_;
  Phase phase_ = Phase::kSurveying;
  std::unique_ptr<const ClusterView> view_;
  BalanceGoal goal_;
  std::unique_ptr<MoveChooser> chooser_;  // while planning
  ChunkWalk walk_;
  ChosenChunks chosen_;
  // By heat, in the order in which they were chosen; handed out once the plan is made.
  absl::btree_map<uint8_t, std::deque<PlannedMove>> waiting_;
  size_t waiting_count_ = 0;
  uint64_t waiting_bytes_ = 0;  // of the plan being made
  std::vector<BlockedBytes> blocked_;
  Progress progress_;
};

}  // namespace ballast::master
