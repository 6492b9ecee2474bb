// SPDX-License-Identifier: Apache-2.0
#include "services/master/core/move_chooser.h"

#include <algorithm>
#include <limits>

#include "absl/container/inlined_vector.h"

namespace ballast::master {

MoveChooser::MoveChooser(const ClusterView& view, const BalanceGoal& goal, size_t moves_max,
                         bool shared)
    : view_(view), moves_left_(moves_max), source_of_(view.size(), -1) {
  if (shared) {
    whole_ = goal;
    own_bytes_.resize(view.size());
  }
  SetGoal(goal);
}

void MoveChooser::SetGoal(const BalanceGoal& goal) {
  targets_.clear();
  by_left_.clear();
  to_shed_ = 0;
  sources_.reserve(static_cast<size_t>(
      std::count_if(goal.servers.begin(), goal.servers.end(),
                    [](const ServerGoal& server) { return server.shed_bytes > 0; })));
  for (const ServerGoal& server : goal.servers) {
    int& source_of = source_of_[static_cast<size_t>(server.position)];
    if (server.shed_bytes > 0 && source_of < 0) {
      source_of = static_cast<int>(sources_.size());
      sources_.emplace_back().server = server.server;
    }
    if (source_of >= 0) {
      Source& source = sources_[static_cast<size_t>(source_of)];
      source.shed_bytes = server.shed_bytes;
      source.left = static_cast<int64_t>(server.shed_bytes);
      to_shed_ += source.left > 0 ? 1 : 0;
    } else if (server.gain_bytes > 0) {
      targets_.push_back({server.position, static_cast<int64_t>(server.gain_bytes)});
      by_left_.emplace(-targets_.back().left, targets_.size() - 1);
    }
  }
  to_gain_ = targets_.size();
}

bool MoveChooser::MayMove(const ChunkPicture& picture, const ReplicaView& replica) const {
  return replica.counts && !replica.draining && replica.position >= 0 &&
         source_of_[static_cast<size_t>(replica.position)] >= 0 &&
         picture.staying() >= static_cast<int>(picture.wanted_replicas);
}

void MoveChooser::Survey(const ChunkPicture& picture, uint8_t heat) {
  for (const ReplicaView& replica : picture.replicas) {
    if (!own_bytes_.empty() && replica.counts && replica.position >= 0) {
      own_bytes_[static_cast<size_t>(replica.position)] += picture.length_bytes;
    }
    if (MayMove(picture, replica)) {
      const int source = source_of_[static_cast<size_t>(replica.position)];
      sources_[static_cast<size_t>(source)].bytes_by_heat[heat] += picture.length_bytes;
    }
  }
}

void MoveChooser::SetHeatMax(Source& source, uint64_t wanted_bytes) {
  uint64_t colder = 0;
  int heat = 0;
  while (heat < kHeats - 1 &&
         colder + source.bytes_by_heat[static_cast<size_t>(heat)] < wanted_bytes) {
    colder += source.bytes_by_heat[static_cast<size_t>(heat)];
    ++heat;
  }
  source.heat_max = heat;
  source.left_at_max = wanted_bytes > colder ? static_cast<int64_t>(wanted_bytes - colder) : 0;
}

void MoveChooser::EndSurvey() {
  if (!own_bytes_.empty()) {
    SetGoal(OwnPart(whole_, view_, own_bytes_));
  }
  for (Source& source : sources_) {
    SetHeatMax(source, static_cast<uint64_t>(source.left));
  }
  SeeHeatMax();
}

void MoveChooser::SeeHeatMax() {
  heat_max_ = -1;
  for (const Source& source : sources_) {
    heat_max_ = source.left > 0 ? std::max(heat_max_, source.heat_max) : heat_max_;
  }
}

bool MoveChooser::MayTake(const ChunkPicture& picture, const ReplicaView& from,
                          int position) const {
  const uint32_t zone = view_.ZoneAt(static_cast<size_t>(position));
  bool zone_has_one = false;   // another replica that stays in the target's zone
  bool source_shares = false;  // another one in the source's zone
  for (const ReplicaView& replica : picture.replicas) {
    if (replica.position == position) {
      return false;
    }
    if (replica.position < 0 || !replica.counts || replica.server == from.server) {
      continue;
    }
    const uint32_t own = view_.ZoneAt(static_cast<size_t>(replica.position));
    zone_has_one |= own == zone;
    source_shares |= own == view_.ZoneAt(static_cast<size_t>(from.position));
  }
  return !zone_has_one || source_shares || zone == view_.ZoneAt(static_cast<size_t>(from.position));
}

std::optional<size_t> MoveChooser::TargetFor(const ChunkPicture& picture, const ReplicaView& from) {
  for (const auto& [left, index] : by_left_) {
    ++targets_tried_;
    if (MayTake(picture, from, targets_[index].position)) {
      return index;
    }
  }
  return std::nullopt;
}

std::optional<PlannedMove> MoveChooser::Choose(const ChunkPicture& picture, uint8_t heat) {
  if (done()) {
    return std::nullopt;
  }
  const ReplicaView* from = nullptr;
  int64_t most_left = 0;
  for (const ReplicaView& replica : picture.replicas) {
    if (!MayMove(picture, replica)) {
      continue;
    }
    const Source& source =
        sources_[static_cast<size_t>(source_of_[static_cast<size_t>(replica.position)])];
    const bool cold = heat < source.heat_max || (heat == source.heat_max && source.left_at_max > 0);
    if (cold && source.left > most_left) {
      from = &replica;
      most_left = source.left;
    }
  }
  if (from == nullptr) {
    return std::nullopt;
  }
  const std::optional<size_t> found = TargetFor(picture, *from);
  if (!found.has_value()) {
    return std::nullopt;
  }
  Source& source = sources_[static_cast<size_t>(source_of_[static_cast<size_t>(from->position)])];
  Target& target = targets_[*found];
  const auto length = static_cast<int64_t>(picture.length_bytes);
  if (heat == source.heat_max) {
    source.left_at_max -= length;
  }
  source.left -= length;
  source.chose = true;
  to_shed_ -= source.left <= 0;
  by_left_.erase({-target.left, *found});
  target.left -= length;
  if (target.left > 0) {
    by_left_.emplace(-target.left, *found);
  } else {
    --to_gain_;
  }
  --moves_left_;
  return PlannedMove{picture.handle, from->server,
                     view_.at(static_cast<size_t>(target.position)).server, picture.length_bytes,
                     heat};
}

bool MoveChooser::EndPass() {
  ++passes_;
  if (done() || passes_ >= kPassesMax) {
    return false;
  }
  bool again = false;
  for (Source& source : sources_) {
    if (source.left <= 0) {
      continue;
    }
    // What was let through could not all go: let hotter chunks through, in the last pass any.
    const int before = source.heat_max;
    if (passes_ == kPassesMax - 1) {
      source.heat_max = kHeats - 1;
      source.left_at_max = std::numeric_limits<int64_t>::max() / 2;
    } else {
      uint64_t through = 0;
      for (int heat = 0; heat <= source.heat_max; ++heat) {
        through += source.bytes_by_heat[static_cast<size_t>(heat)];
      }
      SetHeatMax(source, through + (static_cast<uint64_t>(source.left) << passes_));
    }
    again |= source.heat_max > before || source.chose;
    source.chose = false;
  }
  SeeHeatMax();
  return again;
}

std::vector<BlockedBytes> MoveChooser::Blocked() const {
  std::vector<BlockedBytes> blocked;
  for (const Source& source : sources_) {
    if (source.left <= 0 || to_gain_ == 0 || moves_left_ == 0) {
      continue;
    }
    uint64_t held = 0;
    for (const uint64_t bytes : source.bytes_by_heat) {
      held += bytes;
    }
    blocked.push_back(
        {source.server, static_cast<uint64_t>(source.left), held < source.shed_bytes});
  }
  return blocked;
}

void SortByHeat(std::vector<PlannedMove>& moves) {
  std::sort(moves.begin(), moves.end(), [](const PlannedMove& a, const PlannedMove& b) {
    return a.heat != b.heat ? a.heat < b.heat : a.handle < b.handle;
  });
}

}  // namespace ballast::master
