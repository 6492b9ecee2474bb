// SPDX-License-Identifier: Apache-2.0
#include "services/master/core/rebalance_episode.h"

#include <utility>

#include "common/base/check.h"

namespace ballast::master {

RebalanceEpisode::RebalanceEpisode(ClusterView view, BalanceGoal goal, size_t moves_max,
                                   bool shared)
    : moves_max_(moves_max), shared_(shared) {
  BeginPlan(std::move(view), std::move(goal));
}

void RebalanceEpisode::BeginPlan(ClusterView view, BalanceGoal goal) {
  view_ = std::make_unique<const ClusterView>(std::move(view));
  goal_ = std::move(goal);
  chooser_ = std::make_unique<MoveChooser>(*view_, goal_, moves_max_, shared_);
  walk_.Restart();
  waiting_.clear();
  waiting_count_ = 0;
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
  const auto visit = [&](const ShardLens& lens, ChunkHandle handle, const ChunkRecord& record) {
    if (phase_ == Phase::kChoosing && record.heat() > chooser_->heat_max()) {
      return;
    }
    bool interesting = false;
    record.ForEachReplica(
        [&](ServerIndex server, uint8_t) { interesting |= chooser_->Sheds(server); });
    if (!interesting || chosen_.Contains(handle)) {
      return;
    }
    // Judged by the plan's own view, so that positions and amounts fit.
    const ChunkPicture picture = PictureOf(*view_, lens, handle, record);
    if (phase_ == Phase::kSurveying) {
      chooser_->Survey(picture, record.heat());
    } else {
      visited += Choose(picture, record.heat());
    }
  };
  const bool ended = walk_.Step(world, visits_max, visited, visit);
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

size_t RebalanceEpisode::Choose(const ChunkPicture& picture, uint8_t heat) {
  const uint64_t tried = chooser_->targets_tried();
  if (const std::optional<PlannedMove> move = chooser_->Choose(picture, heat)) {
    chosen_.Add(move->handle);
    waiting_[heat].push_back(*move);
    ++waiting_count_;
    waiting_bytes_ += move->length_bytes;
  }
  return (chooser_->targets_tried() - tried) / kTargetsAVisit;
}

void RebalanceEpisode::EndPlan() {
  blocked_ = chooser_->Blocked();
  chooser_.reset();
  progress_.moves_planned += waiting_count_;
  progress_.bytes_planned += std::exchange(waiting_bytes_, 0);
  phase_ = Phase::kMoving;
}

std::optional<PlannedMove> RebalanceEpisode::NextMove() {
  if (phase_ != Phase::kMoving || waiting_count_ == 0) {
    return std::nullopt;
  }
  while (waiting_.begin()->second.empty()) {
    waiting_.erase(waiting_.begin());
  }
  std::deque<PlannedMove>& coldest = waiting_.begin()->second;
  const PlannedMove move = coldest.front();
  coldest.pop_front();
  --waiting_count_;
  ++progress_.under_way;
  return move;
}

std::vector<PlannedMove> RebalanceEpisode::FirstWaiting(size_t moves_max) const {
  std::vector<PlannedMove> first;
  if (phase_ != Phase::kMoving) {
    return first;
  }
  for (const auto& [heat, moves] : waiting_) {
    for (const PlannedMove& move : moves) {
      if (first.size() >= moves_max) {
        return first;
      }
      first.push_back(move);
    }
  }
  return first;
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
