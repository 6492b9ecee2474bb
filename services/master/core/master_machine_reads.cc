// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/check.h"
#include "common/base/status_macros.h"
#include "common/routing/shard_router.h"
#include "common/types/error.h"
#include "services/master/core/master_machine.h"

namespace ballast::master {

uint64_t MasterMachine::group_time_ms() const {
  return std::max(group_floor_.group_time_ms, stamp_max_ms_);
}

const Shard* MasterMachine::FindShard(ShardId id) const {
  const auto it = shards_.find(id);
  return it == shards_.end() ? nullptr : &it->second->shard;
}

ShardId MasterMachine::ShardOf(absl::string_view key) const {
  return ShardOfKey(key, shard_count_);
}

absl::StatusOr<const Shard*> MasterMachine::Serving(ShardId id) const {
  const Shard* shard = FindShard(id);
  if (shard == nullptr || !shard->serving()) {
    return WrongGroupError(
        config_version_.value(),
        absl::StrCat("shard ", id.value(), " is not served by group ", group_.value()));
  }
  return shard;
}

const ChunkRecord* MasterMachine::FindChunk(ChunkHandle handle) const {
  const Shard* shard = FindShard(handle.shard());
  return shard == nullptr ? nullptr : shard->chunks().Find(handle.sequence());
}

ChunkRecord* MasterMachine::FindLive(ChunkHandle handle) {
  return const_cast<ChunkRecord*>(FindChunk(handle));
}

ChunkTable* MasterMachine::LiveChunks(ShardId id) {
  const auto it = shards_.find(id);
  return it == shards_.end() ? nullptr : &it->second->shard.mutable_chunks();
}

bool MasterMachine::IsReferenced(ChunkHandle handle) const {
  const Shard* shard = FindShard(handle.shard());
  return shard != nullptr && shard->serving() && shard->IsReferenced(handle.sequence());
}

bool MasterMachine::IsAllocated(ChunkHandle handle) const {
  const Shard* shard = FindShard(handle.shard());
  return shard != nullptr && shard->serving() && shard->IsAllocated(handle.sequence());
}

bool MasterMachine::IsProvableGarbage(ChunkHandle handle) const {
  const Shard* shard = FindShard(handle.shard());
  return shard != nullptr && shard->serving() && shard->IsProvableGarbage(handle.sequence());
}

absl::StatusOr<const ObjectRecord*> MasterMachine::FindObject(absl::string_view key) const {
  ASSIGN_OR_RETURN(const Shard* shard, Serving(ShardOf(key)));
  const ObjectRecord* object = shard->objects().Find(key);
  if (object == nullptr) return MakeError(v1::REASON_OBJECT_NOT_FOUND, "no such object");
  return object;
}

std::vector<MasterMachine::ChunkView> MasterMachine::ViewChunks(const Shard& shard,
                                                                absl::Span<const Run> runs,
                                                                uint64_t first_position,
                                                                uint64_t count) const {
  std::vector<ChunkView> views;
  if (runs.empty()) return views;
  // All chunks but the last have the length of the first.
  const ChunkRecord* first = shard.chunks().Find(runs.front().first);
  CHECK(first != nullptr);
  const uint64_t chunk_bytes = first->length_bytes();
  ForEachInRuns(runs, first_position, count, [&](uint64_t position, uint64_t sequence) {
    const ChunkRecord* record = shard.chunks().Find(sequence);
    CHECK(record != nullptr) << " sequence " << sequence;
    views.push_back({ChunkHandle(shard.id(), sequence), position, position * chunk_bytes, record});
  });
  return views;
}

absl::StatusOr<std::vector<MasterMachine::ChunkView>> MasterMachine::FindChunks(
    absl::string_view key, Generation generation, uint64_t first_position, uint64_t count) const {
  ASSIGN_OR_RETURN(const Shard* shard, Serving(ShardOf(key)));
  const ObjectRecord* object = shard->objects().Find(key);
  if (object != nullptr && object->generation() == generation) {
    return ViewChunks(*shard, object->chunks(), first_position, count);
  }
  const DoomedEntry* doomed = shard->doomed().Find(key, generation);
  if (doomed != nullptr && !doomed->removing) {
    return ViewChunks(*shard, doomed->chunks, first_position, count);
  }
  if (generation.value() == 0 || generation.value() > shard->last_generation()) {
    return MakeError(v1::REASON_OBJECT_NOT_FOUND, "the object never had this generation");
  }
  return MakeError(v1::REASON_GENERATION_GONE,
                   "the object was replaced or deleted since it was looked up");
}

MasterMachine::Page MasterMachine::List(absl::string_view prefix, absl::string_view after,
                                        size_t limit) const {
  using Position = std::pair<ObjectTable::Set::const_iterator, ObjectTable::Set::const_iterator>;
  const auto behind = [](const Position& a, const Position& b) {
    return b.first->key() < a.first->key();
  };
  const auto in_range = [&prefix](const Position& position) {
    return position.first != position.second &&
           position.first->key().substr(0, prefix.size()) == prefix;
  };
  std::vector<Position> heap;
  for (const auto& [id, slot] : shards_) {
    if (!slot->shard.serving()) continue;
    const ObjectTable& objects = slot->shard.objects();
    Position start{objects.Start(prefix, after), objects.End()};
    if (in_range(start)) heap.push_back(start);
  }
  std::make_heap(heap.begin(), heap.end(), behind);
  Page page;
  while (!heap.empty() && page.objects.size() < limit) {
    std::pop_heap(heap.begin(), heap.end(), behind);
    Position& next = heap.back();
    page.objects.push_back(&*next.first);
    ++next.first;
    if (in_range(next)) {
      std::push_heap(heap.begin(), heap.end(), behind);
    } else {
      heap.pop_back();
    }
  }
  page.more = !heap.empty();
  return page;
}

MasterMachine::Counts MasterMachine::Count() const {
  Counts counts;
  for (const auto& [id, slot] : shards_) {
    const Shard& shard = slot->shard;
    if (!shard.serving()) continue;
    ++counts.shards;
    counts.objects += shard.objects().size();
    counts.chunks += shard.chunks().size();
    counts.drafts += shard.drafts().size();
    counts.doomed += shard.doomed().handle_count();
    counts.sessions += shard.sessions().size();
  }
  return counts;
}

}  // namespace ballast::master
