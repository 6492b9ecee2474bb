// SPDX-License-Identifier: Apache-2.0
#include "services/master/core/location_planner.h"

#include <algorithm>

#include "services/master/core/read_order.h"

namespace ballast::master {
namespace {

constexpr size_t kNotedMax = 65536;
constexpr size_t kAbsencesMax = 65536;
constexpr uint64_t kAbsentHeartbeats = 2;
constexpr uint8_t kHeldMask = ChunkRecord::kLive | ChunkRecord::kCorrupt;

// Null if the shard has none: hardly any shard does.
const TrimSet* TrimsOf(const ChunkCatalog& catalog, ShardId shard) {
  const TrimSet* const trims = catalog.trims(shard);
  return trims == nullptr || trims->empty() ? nullptr : trims;
}

}  // namespace

void LocationPlanner::Note(absl::Span<const ChunkHandle> handles) {
  for (ChunkHandle handle : handles) {
    if (noted_.size() >= kNotedMax) {
      return;
    }
    noted_.insert(handle);
  }
}

void LocationPlanner::ForgetAbsences(ChunkHandle handle) {
  auto it = absences_.lower_bound({handle, ServerIndex(0)});
  while (it != absences_.end() && it->first.first == handle) {
    it = absences_.erase(it);
  }
}

void LocationPlanner::MakeRoom(LiveReplicas& replicas, const Inputs& inputs,
                               const ChunkRecord& record, const TrimSet* trims,
                               LocationChange& change) {
  const bool full = record.CountWith(0) == ChunkRecord::kSlots;
  size_t places = kReplicasMax - (record.CountWith(ChunkRecord::kLogged) - change.drop.size());
  const auto may = [&](ServerIndex server) {
    return inputs.liveness(server) != LivenessState::kDead;
  };
  if (!full) {
    replicas.FillSlots(change.handle, may);  // a server whose slot was given up may be back
  }
  if (!full && change.add.size() <= places) {
    return;
  }
  bool lives = false;
  ServerIndex seen;  // dead, and only reported: the lowest
  ServerList dead;   // dead, and logged
  record.ForEachReplica([&](ServerIndex server, uint8_t flags) {
    if (may(server)) {
      lives |= (flags & ChunkRecord::kLive) != 0;
    } else if ((flags & ChunkRecord::kLogged) == 0) {
      seen = seen == ServerIndex(0) ? server : std::min(seen, server);
    } else if (trims == nullptr || !trims->Contains(change.handle.sequence(), server)) {
      dead.push_back(server);
    }
  });
  std::sort(dead.begin(), dead.end());
  if (full && seen != ServerIndex(0)) {
    replicas.GiveUpSlot(seen, change.handle);
    replicas.FillSlots(change.handle, may);
  } else if (full && lives && change.add.size() <= places && change.drop.empty() && !dead.empty()) {
    change.drop.push_back(dead.front());
  }
  for (auto server = dead.begin(); server != dead.end() && change.add.size() > places; ++server) {
    change.drop.push_back(*server);
    ++places;
  }
  change.add.resize(std::min(change.add.size(), places));
}

bool LocationPlanner::Examine(LiveReplicas& replicas, const Inputs& inputs, ChunkHandle handle,
                              const ChunkRecord& record, const TrimSet* trims,
                              std::vector<LocationChange>& changes) {
  LocationChange change{handle, {}, {}};
  bool look_again = false;
  record.ForEachReplica([&](ServerIndex server, uint8_t flags) {
    if (trims != nullptr && trims->Contains(handle.sequence(), server)) {
      return;
    }
    const bool logged = (flags & ChunkRecord::kLogged) != 0;
    const bool present = inputs.liveness(server) == LivenessState::kAlive &&
                         replicas.IsComplete(server, handle.shard());
    if (!present || !logged || (flags & kHeldMask) != 0) {
      absences_.erase({handle, server});
    }
    if (!present) {
      return;
    }
    if (!logged) {
      if ((flags & ChunkRecord::kLive) != 0) {
        change.add.push_back(server);
      }
    } else if ((flags & ChunkRecord::kCorrupt) != 0) {
      change.drop.push_back(server);
    } else if ((flags & ChunkRecord::kLive) == 0) {
      if (absences_.size() >= kAbsencesMax && absences_.count({handle, server}) == 0) {
        return;  // a later round will find it
      }
      const uint64_t heartbeats = inputs.heartbeat_count(server);
      const Absence& absence =
          absences_.try_emplace({handle, server}, Absence{inputs.now, heartbeats}).first->second;
      if (inputs.now - absence.since >= inputs.patience &&
          heartbeats >= absence.heartbeat_count + kAbsentHeartbeats) {
        change.drop.push_back(server);
      } else {
        look_again = true;
      }
    }
  });
  std::sort(change.add.begin(), change.add.end());
  MakeRoom(replicas, inputs, record, trims, change);
  std::sort(change.drop.begin(), change.drop.end());
  if (!change.add.empty() || !change.drop.empty()) {
    changes.push_back(std::move(change));
  }
  return look_again;
}

void LocationPlanner::Count(const LiveReplicas& replicas, const Inputs& inputs, ChunkHandle handle,
                            const ChunkRecord& record, const TrimSet* trims) {
  uint32_t readable = 0;
  record.ForEachReplica([&](ServerIndex server, uint8_t flags) {
    if (trims != nullptr && trims->Contains(handle.sequence(), server)) {
      return;
    }
    const ReadRank rank =
        RankReplica(inputs.liveness(server), replicas.IsKnown(server, handle.shard()), flags);
    readable += rank == ReadRank::kNone ? 0 : 1;
  });
  counting_.without_live_replica += readable == 0 ? 1 : 0;
  counting_.below_wanted += readable < record.wanted_replicas() ? 1 : 0;
}

std::vector<LocationChange> LocationPlanner::Step(LiveReplicas& replicas, ChunkCatalog& catalog,
                                                  const Inputs& inputs, size_t examine_max,
                                                  size_t changes_max) {
  std::vector<LocationChange> changes;
  // Noted chunks take at most half of the step, so that the walk always goes on.
  size_t budget = examine_max / 2;
  auto noted = noted_.lower_bound(next_noted_);
  while (noted != noted_.end() && budget > 0 && changes.size() < changes_max) {
    const ChunkHandle handle = *noted;
    ChunkTable* const table = catalog.chunks(handle.shard());
    const ChunkRecord* const record = table == nullptr ? nullptr : table->Find(handle.sequence());
    if (record != nullptr &&
        Examine(replicas, inputs, handle, *record, TrimsOf(catalog, handle.shard()), changes)) {
      ++noted;
    } else {
      ForgetAbsences(handle);
      noted = noted_.erase(noted);
    }
    --budget;
  }
  next_noted_ = noted == noted_.end() ? ChunkHandle() : *noted;

  budget = examine_max - examine_max / 2;
  const std::vector<ShardId>& shards = catalog.owned_shards();
  auto shard = std::lower_bound(shards.begin(), shards.end(), next_.shard());
  uint64_t sequence =
      shard != shards.end() && *shard == next_.shard() ? next_.sequence() : uint64_t{0};
  while (shard != shards.end() && budget > 0 && changes.size() < changes_max) {
    const auto at = catalog.chunks(*shard)->FirstFrom(sequence);
    if (!at.has_value()) {
      ++shard;
      sequence = 0;
      continue;
    }
    const ChunkHandle handle(*shard, *at);
    const ChunkRecord& record = *catalog.chunks(*shard)->Find(*at);
    const TrimSet* const trims = TrimsOf(catalog, *shard);
    if (noted_.count(handle) == 0 && Examine(replicas, inputs, handle, record, trims, changes)) {
      Note({&handle, 1});
    }
    Count(replicas, inputs, handle, record, trims);
    sequence = *at + 1;
    --budget;
  }
  if (shard == shards.end()) {
    next_ = ChunkHandle();
    health_ = std::exchange(counting_, {});
  } else {
    next_ = ChunkHandle(*shard, sequence);
  }
  std::sort(changes.begin(), changes.end(),
            [](const LocationChange& a, const LocationChange& b) { return a.handle < b.handle; });
  // A noted chunk may have been met by the walk as well.
  changes.erase(std::unique(changes.begin(), changes.end(),
                            [](const LocationChange& a, const LocationChange& b) {
                              return a.handle == b.handle;
                            }),
                changes.end());
  return changes;
}

}  // namespace ballast::master
