// SPDX-License-Identifier: Apache-2.0
#include "services/master/core/doomed_list.h"

#include "common/base/check.h"
#include "common/types/key.h"
#include "common/types/limits.h"

namespace ballast::master {

void DoomedList::Add(DoomedEntry entry) {
  CHECK(!entry.chunks.empty());
  CHECK(due_of_.emplace(entry.generation, entry.due_ms).second);
  handle_count_ += CountOf(entry.chunks);
  const auto order = std::make_pair(entry.due_ms, entry.generation);
  entries_.emplace(order, std::move(entry));
}

const DoomedEntry* DoomedList::Find(absl::string_view key, Generation generation) const {
  const auto due = due_of_.find(generation);
  if (due == due_of_.end()) return nullptr;
  const DoomedEntry& entry = entries_.at({due->second, generation});
  return entry.key == key ? &entry : nullptr;
}

mlog::Doomed DoomedList::ToProto(const DoomedEntry& entry) {
  mlog::Doomed proto;
  proto.set_due_ms(entry.due_ms);
  proto.set_key(entry.key);
  proto.set_generation(entry.generation.value());
  proto.set_size_bytes(entry.size_bytes);
  for (const Run& run : entry.chunks) {
    mlog::Run& out = *proto.add_chunks();
    out.set_first_sequence(run.first);
    out.set_count(run.count);
  }
  proto.set_removing(entry.removing);
  return proto;
}

bool DoomedList::Import(const mlog::Doomed& proto, uint64_t last_generation, ChunkTable& table) {
  DoomedEntry entry;
  entry.due_ms = proto.due_ms();
  entry.key = proto.key();
  entry.generation = Generation(proto.generation());
  entry.size_bytes = proto.size_bytes();
  entry.removing = proto.removing();
  const auto order = std::make_pair(entry.due_ms, entry.generation);
  if (!entries_.empty() && entries_.rbegin()->first >= order) return false;
  if (!ValidateKey(entry.key).ok() || proto.generation() == 0 ||
      proto.generation() > last_generation || proto.chunks_size() == 0 ||
      due_of_.contains(entry.generation)) {
    return false;
  }
  uint64_t bytes = 0;
  uint64_t count = 0;
  for (const mlog::Run& run : proto.chunks()) {
    if (run.count() == 0 || run.count() > kChunksPerObjectMax) return false;
    count += run.count();
    if (count > kChunksPerObjectMax) return false;
    for (uint64_t i = 0; i < run.count(); ++i) {
      if (!table.Mark(run.first_sequence() + i)) return false;
      bytes += table.Find(run.first_sequence() + i)->length_bytes();
    }
    entry.chunks.push_back({run.first_sequence(), run.count()});
  }
  if (entry.removing ? bytes > entry.size_bytes : bytes != entry.size_bytes) return false;
  Add(std::move(entry));
  return true;
}

}  // namespace ballast::master
