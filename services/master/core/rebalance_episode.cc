// SPDX-License-Identifier: Apache-2.0
#include "services/master/core/rebalance_episode.h"

#include <utility>

#include "common/base/check.h"

namespace ballast::master {

RebalanceEpisode::RebalanceEpisode(ClusterView view, BalanceGoal goal, size_t moves_max)
    : moves_max_(moves_max) {
  BeginPlan(std::move(view), std::move(goal));
}

void RebalanceEpisode::BeginPlan(ClusterView view, BalanceGoal goal) {
  view_ = std::make_unique<const ClusterView>(std::move(view));
  goal_ = std::move(goal);
  chooser_ = std::make_unique<MoveChooser>(*view_, goal_, moves_max_);
  walk_.Restart();
  chosen_.clear();
  blocked_.clear();
  phase_ = Phase::kSurveying;
  if (chooser_->done()) {
    EndPlan();
  }
}

bool RebalanceEpisode::Step(const ChunkWorld& world, size_t visits_max) {
  if (phase_ != Phase::kSurveying && phase_ != Phase::kChoosing) {
    return false;
  }
  size_t visited = 0;
  const bool ended =
      walk_.Step(world, visits_max, visited,
                 [&](const ShardLens& lens, ChunkHandle handle, const ChunkRecord& record) {
                   bool interesting = false;
                   record.ForEachReplica([&](ServerIndex server, uint8_t) {
                     interesting |= chooser_->Sheds(server);
                   });
                   if (!interesting || moved_.contains(handle)) {
                     return;
                   }
                   // Judged by the plan's own view, so that positions and amounts fit.
                   const ChunkPicture picture = PictureOf(*view_, lens, handle, record);
                   if (phase_ == Phase::kSurveying) {
                     chooser_->Survey(picture, record.heat());
                     return;
                   }
                   const size_t before = chosen_.size();
                   chooser_->Choose(picture, record.heat(), chosen_);
                   if (chosen_.size() > before) {
                     moved_.insert(handle);
                   }
                 });
  if (!ended && !(phase_ == Phase::kChoosing && chooser_->done())) {
    return true;
  }
  if (phase_ == Phase::kSurveying) {
    chooser_->EndSurvey();
    phase_ = Phase::kChoosing;
  } else if (chooser_->done() || !chooser_->EndPass()) {
    EndPlan();
  }
  walk_.Restart();
  return phase_ != Phase::kMoving;
}

void RebalanceEpisode::EndPlan() {
  SortByHeat(chosen_);
  blocked_ = chooser_->Blocked();
  chooser_.reset();
  progress_.moves_planned += chosen_.size();
  for (const PlannedMove& move : chosen_) {
    progress_.bytes_planned += move.length_bytes;
  }
  waiting_.insert(waiting_.end(), chosen_.begin(), chosen_.end());
  chosen_ = {};
  phase_ = Phase::kMoving;
}

std::optional<PlannedMove> RebalanceEpisode::NextMove() {
  if (phase_ != Phase::kMoving || waiting_.empty()) {
    return std::nullopt;
  }
  const PlannedMove move = waiting_.front();
  waiting_.pop_front();
  ++progress_.under_way;
  return move;
}

void RebalanceEpisode::OnMoveEnded(bool moved, uint64_t bytes) {
  CHECK_GT(progress_.under_way, 0u);
  --progress_.under_way;
  ++(moved ? progress_.moves_done : progress_.moves_failed);
  progress_.bytes_moved += moved ? bytes : 0;
}

bool RebalanceEpisode::Replan(ClusterView view, BalanceGoal goal) {
  CHECK(idle());
  if (goal.bytes() == 0 || progress_.plans >= kPlansMax) {
    phase_ = Phase::kEnded;
    return false;
  }
  ++progress_.plans;
  BeginPlan(std::move(view), std::move(goal));
  return true;
}

}  // namespace ballast::master
