// SPDX-License-Identifier: Apache-2.0
#include "services/master/core/repair_queue.h"

#include <utility>

namespace ballast::master {
namespace {

constexpr size_t kNotedMax = 65536;

size_t Index(NeedClass need) { return static_cast<size_t>(need); }

}  // namespace

std::optional<NeedClass> ClassOf(const Assessment& assessment) {
  switch (assessment.need) {
    case ChunkNeed::kNone:
    case ChunkNeed::kLost:
      return std::nullopt;
    case ChunkNeed::kCopy:
      return assessment.urgency <= 1   ? NeedClass::kOneLeft
             : assessment.urgency == 2 ? NeedClass::kTwoLeft
                                       : NeedClass::kMoreLeft;
    case ChunkNeed::kDrain:
      return NeedClass::kDrain;
    case ChunkNeed::kTrim:
      return NeedClass::kSurplus;
    case ChunkNeed::kDamaged:
      return NeedClass::kDamaged;
  }
  return std::nullopt;
}

void RepairQueue::BeginRound() {
  if (fresh_ && !walk_.at_start()) {
    again_ = true;
    return;
  }
  fresh_ = true;
  walk_.Restart();
  counting_ = {};
}

void RepairQueue::Note(absl::Span<const ChunkHandle> handles) {
  for (const ChunkHandle handle : handles) {
    if (noted_.size() >= kNotedMax) {
      return;
    }
    noted_.insert(handle);
  }
}

void RepairQueue::Set(ChunkHandle handle, NeedClass need) {
  const auto known = class_of_.find(handle);
  if (known != class_of_.end()) {
    if (known->second == need) {
      return;
    }
    Forget(handle);
  }
  if (needs_[Index(need)].size() < kNeedsMax) {
    needs_[Index(need)].insert(handle);
    class_of_.emplace(handle, need);
  }
}

void RepairQueue::Forget(ChunkHandle handle) {
  const auto known = class_of_.find(handle);
  if (known != class_of_.end()) {
    needs_[Index(known->second)].erase(handle);
    class_of_.erase(known);
  }
}

void RepairQueue::Look(const ChunkWorld& world, const ShardLens& lens, ChunkHandle handle,
                       const ChunkRecord& record, bool count) {
  const ChunkPicture picture = PictureOf(world.view, lens, handle, record);
  const Assessment assessment = Assess(picture);
  const std::optional<NeedClass> need = ClassOf(assessment);
  if (need.has_value()) {
    Set(handle, *need);
  } else {
    Forget(handle);
  }
  if (!count) {
    return;
  }
  ++counting_.chunks;
  counting_.lost += assessment.need == ChunkNeed::kLost;
  if (!need.has_value()) {
    return;
  }
  ++counting_.needs[Index(*need)];
  if (assessment.need == ChunkNeed::kCopy) {
    counting_.bytes_short +=
        uint64_t{picture.length_bytes} * (picture.wanted_replicas - picture.present());
  }
  if (assessment.need == ChunkNeed::kDrain) {
    for (const ReplicaView& replica : picture.replicas) {
      if (replica.draining) {
        Counts::Left& left = counting_.draining[replica.server];
        ++left.chunks;
        left.bytes += picture.length_bytes;
      }
    }
  }
}

size_t RepairQueue::Step(const ChunkWorld& world, size_t examine_max) {
  size_t looked = 0;
  while (!noted_.empty() && looked < examine_max) {
    const ChunkHandle handle = *noted_.begin();
    noted_.erase(noted_.begin());
    ++looked;
    const ChunkTable* const table = world.catalog.chunks(handle.shard());
    const ChunkRecord* const record = table == nullptr ? nullptr : table->Find(handle.sequence());
    const ShardLens* const lens = table == nullptr ? nullptr : world.lens(handle.shard());
    if (record == nullptr) {
      Forget(handle);
    } else if (lens != nullptr) {
      Look(world, *lens, handle, *record, /*count=*/false);
    }
  }
  const bool ended =
      walk_.Step(world, examine_max, looked,
                 [&](const ShardLens& lens, ChunkHandle handle, const ChunkRecord& record) {
                   Look(world, lens, handle, record, /*count=*/true);
                 });
  if (ended) {
    EndRound();
  }
  return looked;
}

void RepairQueue::EndRound() {
  counting_.unsettled_shards = walk_.skipped_shards();
  counts_ = std::exchange(counting_, {});
  fresh_ = std::exchange(again_, false);
  ++rounds_;
}

bool RepairQueue::Offer(NeedClass first, NeedClass last, size_t offers_max, size_t busy_max,
                        absl::FunctionRef<Verdict(ChunkHandle, NeedClass)> take) {
  bool forgot = false;
  for (size_t i = Index(first); i <= Index(last) && offers_max > 0; ++i) {
    size_t busy = 0;
    // The set changes as needs are taken, so the place is kept by handle.
    size_t left = needs_[i].size();
    auto it = needs_[i].lower_bound(next_offer_[i]);
    for (; left > 0 && offers_max > 0 && busy < busy_max; --left) {
      it = it == needs_[i].end() ? needs_[i].begin() : it;
      const ChunkHandle handle = *it;
      --offers_max;
      if (take(handle, static_cast<NeedClass>(i)) == Verdict::kBusy) {
        ++busy;
      } else {
        Forget(handle);
        forgot = true;
      }
      it = needs_[i].upper_bound(handle);
    }
    next_offer_[i] = it == needs_[i].end() ? ChunkHandle() : *it;
  }
  return forgot && offers_max == 0;
}

bool RepairQueue::HasNeeds(NeedClass first, NeedClass last) const {
  for (size_t i = Index(first); i <= Index(last); ++i) {
    if (!needs_[i].empty()) {
      return true;
    }
  }
  return false;
}

}  // namespace ballast::master
