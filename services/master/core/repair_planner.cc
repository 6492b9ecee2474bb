// SPDX-License-Identifier: Apache-2.0
#include "services/master/core/repair_planner.h"

#include <algorithm>
#include <tuple>

#include "absl/strings/str_cat.h"
#include "common/base/check.h"
#include "common/types/error.h"

namespace ballast::master {
namespace {

bool HasZone(const ClusterView& view, const ChunkPicture& picture, uint32_t zone,
             ServerIndex except) {
  return std::any_of(picture.replicas.begin(), picture.replicas.end(), [&](const ReplicaView& r) {
    return r.present() && !r.draining && r.server != except &&
           view.ZoneAt(static_cast<size_t>(r.position)) == zone;
  });
}

uint64_t FreeBytes(const ServerView& server) {
  return server.capacity_bytes > server.used_bytes ? server.capacity_bytes - server.used_bytes : 0;
}

struct TargetSearch {
  bool any_may = false;       // some server may take it, were it not for room and limits
  bool any_roomy = false;     // some of these has room
  std::vector<size_t> found;  // positions, all in new zones or none
};

TargetSearch FindTargets(const ClusterView& view, const std::vector<CopyLoad>& load,
                         const CopySlots& slots, const ChunkPicture& picture) {
  TargetSearch search;
  bool found_new_zone = false;
  for (size_t i = 0; i < view.size(); ++i) {
    const ServerView& server = view.at(i);
    if (!server.accepts || server.draining || picture.Find(server.server) != nullptr) {
      continue;
    }
    search.any_may = true;
    if (FreeBytes(server) < picture.length_bytes) {
      continue;
    }
    search.any_roomy = true;
    if (!slots.HasRoom(load[i], picture.length_bytes)) {
      continue;
    }
    const bool new_zone = !HasZone(view, picture, view.ZoneAt(i), ServerIndex(0));
    if (new_zone && !found_new_zone) {
      search.found.clear();
      found_new_zone = true;
    }
    if (new_zone == found_new_zone) {
      search.found.push_back(i);
    }
  }
  return search;
}

size_t Draw(const ClusterView& view, const std::vector<size_t>& positions, Rng& rng) {
  uint64_t sum = 0;
  for (const size_t i : positions) {
    sum += (FreeBytes(view.at(i)) >> 20) + 1;
  }
  uint64_t at = rng.Below(sum);
  for (const size_t i : positions) {
    const uint64_t weight = (FreeBytes(view.at(i)) >> 20) + 1;
    if (at < weight) {
      return i;
    }
    at -= weight;
  }
  return positions.back();
}

}  // namespace

Assessment Assess(const ChunkPicture& picture) {
  const int wanted = static_cast<int>(picture.wanted_replicas);
  const int present = picture.present();
  const int staying = picture.staying();
  if (present == 0) {
    return {ChunkNeed::kLost, 0};
  }
  if (present < wanted) {
    // Without a source there is nothing to do yet: the expected ones are awaited.
    return picture.counting() == 0 ? Assessment{} : Assessment{ChunkNeed::kCopy, present};
  }
  if (staying < wanted) {
    return {ChunkNeed::kDrain, staying};
  }
  if (staying > wanted) {
    return {ChunkNeed::kTrim, 0};
  }
  return picture.any_damaged() ? Assessment{ChunkNeed::kDamaged, 0} : Assessment{};
}

absl::StatusOr<PlannedCopy> PlanCopy(const ClusterView& view, const std::vector<CopyLoad>& load,
                                     const CopySlots& slots, const ChunkPicture& picture,
                                     Rng& rng) {
  CHECK_EQ(load.size(), view.size());
  const TargetSearch targets = FindTargets(view, load, slots, picture);
  if (targets.found.empty()) {
    if (targets.any_roomy) {
      return MakeError(v1::REASON_OVERLOADED, "every server that may take it is busy with copies");
    }
    return targets.any_may
               ? MakeError(v1::REASON_NO_SPACE, "no server that may take it has room")
               : MakeError(v1::REASON_TOO_FEW_SERVERS,
                           "no server that accepts replicas is without it: add chunk servers");
  }
  using Choice = std::tuple<bool, bool, uint32_t, uint64_t, ServerIndex>;
  absl::InlinedVector<Choice, ChunkRecord::kSlots> sources;
  for (const ReplicaView& replica : picture.replicas) {
    if (replica.counts) {
      const CopyLoad& own = load[static_cast<size_t>(replica.position)];
      sources.emplace_back(own.outgoing >= slots.outgoing_max, !replica.verified, own.outgoing,
                           rng.Next(), replica.server);
    }
  }
  std::sort(sources.begin(), sources.end());
  if (sources.empty() || std::get<0>(sources.front())) {
    return MakeError(v1::REASON_OVERLOADED, "every server that has it is busy with copies");
  }
  PlannedCopy copy;
  copy.handle = picture.handle;
  copy.length_bytes = picture.length_bytes;
  copy.target = view.at(Draw(view, targets.found, rng)).server;
  for (const Choice& choice : sources) {
    copy.sources.push_back(std::get<ServerIndex>(choice));
  }
  if (Assess(picture).need == ChunkNeed::kDrain) {
    for (const ReplicaView& replica : picture.replicas) {
      if (replica.draining && (copy.trim_from.value() == 0 || replica.server < copy.trim_from)) {
        copy.trim_from = replica.server;
      }
    }
  }
  return copy;
}

ServerIndex ChooseSurplus(const ClusterView& view, const ChunkPicture& picture) {
  using Choice = std::tuple<bool, double, ServerIndex>;
  Choice best{false, -1.0, ServerIndex(0)};
  for (const ReplicaView& replica : picture.replicas) {
    if (!replica.counts || replica.draining) {
      continue;
    }
    const ServerView& server = view.at(static_cast<size_t>(replica.position));
    const bool spare_zone =
        HasZone(view, picture, view.ZoneAt(static_cast<size_t>(replica.position)), replica.server);
    const double full = server.capacity_bytes == 0
                            ? 100.0
                            : 100.0 * static_cast<double>(server.used_bytes) /
                                  static_cast<double>(server.capacity_bytes);
    const Choice choice{spare_zone, full, replica.server};
    best = std::max(best, choice);
  }
  return std::get<ServerIndex>(best);
}

}  // namespace ballast::master
