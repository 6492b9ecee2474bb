// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <set>
#include <utility>
#include <vector>

#include "common/types/ids.h"
#include "services/master/core/balance_goal.h"
#include "services/master/core/chunk_picture.h"
#include "services/master/core/cluster_view.h"

namespace ballast::master {

struct PlannedMove {
  ChunkHandle handle;
  ServerIndex from;
  ServerIndex to;
  uint32_t length_bytes = 0;
  uint8_t heat = 0;  // code, services/master/core/heat.h
  friend bool operator==(const PlannedMove&, const PlannedMove&) = default;
};

// Why a server's bytes could not all be planned.
struct BlockedBytes {
  ServerIndex server;
  uint64_t bytes = 0;      // that it should have shed
  bool no_chunks = false;  // it holds too few of our chunks; otherwise: no server may take those it
                           // has, by the rules of placement
};

// Chooses which chunks carry out a BalanceGoal, coldest first.
//
// How. A *survey* of all chunks counts, for each server that sheds, its bytes by heat; that gives
// a heat below which its chunks must go. Then *passes* over all chunks choose: a chunk goes from a
// shedding server that it is not too hot for to the server with most left to gain that may take it.
// Later passes let hotter chunks go where rules of placement kept colder ones.
//
// Rules: a chunk is moved at most once; only replicas that count are moved, and only of chunks with
// at least their wanted number staying; never to a server that has the chunk in any standing; never
// into fewer zones than before; nobody sheds or gains a whole chunk more than its goal says.
//
// The walk is the caller's, in slices of any size and between changes of the chunks: what was
// chosen is checked again when it is carried out. Deterministic. Concurrency: none.
class MoveChooser {
 public:
  static constexpr int kPassesMax = 4;

  // `moves_max`: chosen by this object in all. `shared`: other groups carry out the rest of the
  // goal; how much is this group's shows in the survey. `view` must outlive it.
  MoveChooser(const ClusterView& view, const BalanceGoal& goal, size_t moves_max,
              bool shared = false);

  // True if there is nothing to choose (any more).
  bool done() const { return to_shed_ == 0 || to_gain_ == 0 || moves_left_ == 0; }

  void Survey(const ChunkPicture& picture, uint8_t heat);
  void EndSurvey();

  // At most one move. Requires EndSurvey.
  std::optional<PlannedMove> Choose(const ChunkPicture& picture, uint8_t heat);
  // No chunk hotter than this is chosen in this pass.
  int heat_max() const { return heat_max_; }
  // What Choose has cost so far: targets looked at. For callers that bound their turns.
  uint64_t targets_tried() const { return targets_tried_; }
  // False: another pass would find nothing more. True: walk over all chunks again, leaving out
  // those that were chosen (the caller knows them).
  bool EndPass();

  std::vector<BlockedBytes> Blocked() const;

  // A quick test whether Survey and Choose could have any interest in a chunk on these servers.
  bool Sheds(ServerIndex server) const {
    const int position = view_.PositionOf(server);
    return position >= 0 && source_of_[static_cast<size_t>(position)] >= 0;
  }

 private:
  static constexpr int kHeats = 256;
  struct Source {
    ServerIndex server;
    uint64_t shed_bytes = 0;  // the goal
    int64_t left = 0;         // bytes still to shed
    std::array<uint64_t, kHeats> bytes_by_heat{};
    int heat_max = -1;        // chunks up to this heat may go
    int64_t left_at_max = 0;  // bytes that may go at exactly heat_max
    bool chose = false;       // in this pass
  };
  struct Target {
    int position = 0;
    int64_t left = 0;
  };

  bool MayMove(const ChunkPicture& picture, const ReplicaView& replica) const;
  bool MayTake(const ChunkPicture& picture, const ReplicaView& from, int position) const;
  std::optional<size_t> TargetFor(const ChunkPicture& picture, const ReplicaView& from);
  // What is to be shed and gained, and none of it is yet.
  void SetGoal(const BalanceGoal& goal);
  static void SetHeatMax(Source& source, uint64_t wanted_bytes);
  void SeeHeatMax();

  const ClusterView& view_;
  size_t moves_left_;
  BalanceGoal whole_;                // if it is shared
  std::vector<uint64_t> own_bytes_;  // likewise, by position: of the chunks surveyed
  int passes_ = 0;
  std::vector<int> source_of_;  // by position in the view: index into sources_, or -1
  std::vector<Source> sources_;
  std::vector<Target> targets_;
  std::set<std::pair<int64_t, size_t>> by_left_;  // targets with something left: (-left, index)
  size_t to_shed_ = 0;                            // sources with bytes left
  size_t to_gain_ = 0;                            // targets likewise
  int heat_max_ = -1;                             // the highest of the sources with bytes left
  uint64_t targets_tried_ = 0;
};

// Goal and moves in one go, for tests, tools and small clusters. `for_each_chunk(fn)` calls
// fn(const ChunkPicture&, uint8_t heat) for every chunk.
struct RebalancePlan {
  BalanceGoal goal;
  std::vector<PlannedMove> moves;  // coldest first
  std::vector<BlockedBytes> blocked;
};
template <typename ForEachChunk>
RebalancePlan PlanRebalance(const ClusterView& view, const BalanceLimits& limits, size_t moves_max,
                            ForEachChunk&& for_each_chunk, bool shared = false);

// Coldest first, then by handle.
void SortByHeat(std::vector<PlannedMove>& moves);

template <typename ForEachChunk>
RebalancePlan PlanRebalance(const ClusterView& view, const BalanceLimits& limits, size_t moves_max,
                            ForEachChunk&& for_each_chunk, bool shared) {
  RebalancePlan plan;
  plan.goal = PlanBalanceGoal(view, limits);
  if (!plan.goal.triggered) {
    return plan;
  }
  MoveChooser chooser(view, plan.goal, moves_max, shared);
  for_each_chunk([&](const ChunkPicture& picture, uint8_t heat) { chooser.Survey(picture, heat); });
  chooser.EndSurvey();
  std::set<ChunkHandle> chosen;
  do {
    for_each_chunk([&](const ChunkPicture& picture, uint8_t heat) {
      if (chosen.contains(picture.handle)) {
        return;
      }
      if (const std::optional<PlannedMove> move = chooser.Choose(picture, heat)) {
        plan.moves.push_back(*move);
        chosen.insert(picture.handle);
      }
    });
  } while (chooser.EndPass());
  SortByHeat(plan.moves);
  plan.blocked = chooser.Blocked();
  return plan;
}

}  // namespace ballast::master
