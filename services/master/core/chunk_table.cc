// SPDX-License-Identifier: Apache-2.0
#include "services/master/core/chunk_table.h"

#include <algorithm>

#include "common/base/check.h"
#include "services/master/core/heat.h"

namespace ballast::master {

uint8_t ChunkRecord::FlagsOf(ServerIndex server) const {
  const int slot = SlotOf(static_cast<uint16_t>(server.value()));
  return slot < 0 ? 0 : flags_[slot];
}

int ChunkRecord::CountWith(uint8_t mask) const {
  int count = 0;
  for (int i = 0; i < kSlots; ++i) {
    count += servers_[i] != 0 && (flags_[i] & mask) == mask;
  }
  return count;
}

ServerList ChunkRecord::LoggedServers() const {
  ServerList servers;
  ForEachReplica([&servers](ServerIndex server, uint8_t flags) {
    if (flags & kLogged) servers.push_back(server);
  });
  std::sort(servers.begin(), servers.end());
  return servers;
}

int ChunkRecord::SlotOf(uint16_t server) const {
  for (int i = 0; i < kSlots; ++i) {
    if (servers_[i] == server) return i;
  }
  return -1;
}

int ChunkRecord::SlotForLogged() const {
  const int free_slot = SlotOf(0);
  if (free_slot >= 0) return free_slot;
  for (int i = 0; i < kSlots; ++i) {
    if (!(flags_[i] & kLogged)) return i;
  }
  return -1;
}

bool ChunkRecord::SetLiveFlags(ServerIndex server, uint8_t flags) {
  CHECK(server.value() > 0 && server.value() <= kServerIndexMax) << " server " << server;
  const auto number = static_cast<uint16_t>(server.value());
  flags &= kLiveViewMask;
  int slot = SlotOf(number);
  if (slot < 0) {
    if (flags == 0) return true;
    slot = SlotOf(0);
    if (slot < 0) return false;
    servers_[slot] = number;
    flags_[slot] = 0;
  }
  flags_[slot] = (flags_[slot] & kLogged) | flags;
  if (flags_[slot] == 0) servers_[slot] = 0;
  return true;
}

void ChunkRecord::ClearLiveView() {
  for (int i = 0; i < kSlots; ++i) {
    flags_[i] &= kLogged;
    if (flags_[i] == 0) servers_[i] = 0;
  }
  heat_ = 0;
}

void ChunkRecord::SetFacts(const ChunkFacts& facts) {
  const uint32_t packed = facts.length_bytes | (facts.wanted_replicas << kLengthBits);
  length_low_ = static_cast<uint16_t>(packed);
  length_high_ = static_cast<uint16_t>(packed >> 16);
  crc_low_ = static_cast<uint16_t>(facts.crc32c.value);
  crc_high_ = static_cast<uint16_t>(facts.crc32c.value >> 16);
}

bool ChunkRecord::AddLogged(ServerIndex server) {
  const auto number = static_cast<uint16_t>(server.value());
  int slot = SlotOf(number);
  if (slot >= 0 && (flags_[slot] & kLogged)) return false;
  if (CountWith(kLogged) >= static_cast<int>(kReplicasMax)) return false;
  if (slot < 0) {
    slot = SlotForLogged();
    CHECK_GE(slot, 0);
    servers_[slot] = number;
    flags_[slot] = 0;
  }
  flags_[slot] |= kLogged;
  return true;
}

bool ChunkRecord::DropLogged(ServerIndex server) {
  const int slot = SlotOf(static_cast<uint16_t>(server.value()));
  if (slot < 0 || !(flags_[slot] & kLogged)) return false;
  flags_[slot] &= kLiveViewMask;
  if (flags_[slot] == 0) servers_[slot] = 0;
  return true;
}

const ChunkRecord* ChunkTable::Find(uint64_t sequence) const {
  const auto it = pages_.find(sequence / kPageRecords);
  if (it == pages_.end()) return nullptr;
  const ChunkRecord& record = it->second->records[sequence % kPageRecords];
  return record.exists() ? &record : nullptr;
}

ChunkRecord* ChunkTable::Find(uint64_t sequence) {
  return const_cast<ChunkRecord*>(static_cast<const ChunkTable*>(this)->Find(sequence));
}

std::optional<uint64_t> ChunkTable::FirstFrom(uint64_t sequence) const {
  for (auto it = pages_.lower_bound(sequence / kPageRecords); it != pages_.end(); ++it) {
    const uint64_t base = it->first * kPageRecords;
    for (uint64_t i = base < sequence ? sequence - base : 0; i < kPageRecords; ++i) {
      if (it->second->records[i].exists()) return base + i;
    }
  }
  return std::nullopt;
}

ChunkRecord& ChunkTable::Insert(uint64_t sequence, const ChunkFacts& facts,
                                absl::Span<const ServerIndex> logged) {
  CHECK(facts.length_bytes > 0 && facts.length_bytes <= kChunkBytesMax);
  CHECK(facts.wanted_replicas > 0 && facts.wanted_replicas <= kReplicasMax);
  std::unique_ptr<Page>& page = pages_[sequence / kPageRecords];
  if (page == nullptr) page = std::make_unique<Page>();
  ChunkRecord& record = page->records[sequence % kPageRecords];
  CHECK(!record.exists()) << " sequence " << sequence;
  record.SetFacts(facts);
  for (ServerIndex server : logged) {
    if (server.value() > 0 && server.value() <= kServerIndexMax) record.AddLogged(server);
  }
  ++page->used;
  ++size_;
  length_sum_ += facts.length_bytes;
  return record;
}

bool ChunkTable::Erase(uint64_t sequence) {
  const auto it = pages_.find(sequence / kPageRecords);
  if (it == pages_.end()) return false;
  ChunkRecord& record = it->second->records[sequence % kPageRecords];
  if (!record.exists()) return false;
  length_sum_ -= record.length_bytes();
  record = ChunkRecord();
  --size_;
  if (--it->second->used == 0) pages_.erase(it);
  return true;
}

bool ChunkTable::ChangeLogged(uint64_t sequence, absl::Span<const ServerIndex> add,
                              absl::Span<const ServerIndex> drop) {
  ChunkRecord* record = Find(sequence);
  CHECK(record != nullptr) << " sequence " << sequence;
  bool changed = false;
  for (ServerIndex server : drop) {
    if (server.value() > 0 && server.value() <= kServerIndexMax) {
      changed |= record->DropLogged(server);
    }
  }
  for (ServerIndex server : add) {
    if (server.value() > 0 && server.value() <= kServerIndexMax) {
      changed |= record->AddLogged(server);
    }
  }
  return changed;
}

void ChunkTable::Page::DecayHeat(uint32_t epoch) {
  if (epoch <= heat_epoch) return;
  for (ChunkRecord& record : records) {
    if (record.heat_ > 0) record.heat_ = DecayedHeat(record.heat_, epoch - heat_epoch);
  }
  heat_epoch = epoch;
}

bool ChunkTable::AddReads(uint64_t sequence, uint64_t reads, uint32_t epoch, Rng& rng) {
  const auto it = pages_.find(sequence / kPageRecords);
  if (it == pages_.end()) return false;
  ChunkRecord& record = it->second->records[sequence % kPageRecords];
  if (!record.exists()) return false;
  it->second->DecayHeat(epoch);
  record.heat_ = HeatedBy(record.heat_, reads, rng);
  return true;
}

void ChunkTable::DecayHeat(uint64_t begin, uint64_t end, uint32_t epoch) {
  for (auto it = pages_.lower_bound(begin / kPageRecords);
       it != pages_.end() && it->first * kPageRecords < end; ++it) {
    it->second->DecayHeat(epoch);
  }
}

void ChunkTable::SetWanted(uint64_t begin, uint64_t end, uint32_t wanted_replicas) {
  CHECK(wanted_replicas > 0 && wanted_replicas <= kReplicasMax);
  ForEach(begin, end, [wanted_replicas](uint64_t, ChunkRecord& record) {
    ChunkFacts facts = record.facts();
    facts.wanted_replicas = wanted_replicas;
    record.SetFacts(facts);
  });
}

bool ChunkTable::Mark(uint64_t sequence) {
  ChunkRecord* record = Find(sequence);
  if (record == nullptr || (record->LengthAndWanted() & ChunkRecord::kMarkBit)) return false;
  record->length_high_ |= ChunkRecord::kMarkBit >> 16;
  return true;
}

void ChunkTable::ClearMarks() {
  for (auto& [number, page] : pages_) {
    for (ChunkRecord& record : page->records) {
      record.length_high_ &= static_cast<uint16_t>(~(ChunkRecord::kMarkBit >> 16));
    }
  }
}

size_t ChunkTable::memory_bytes() const {
  return pages_.size() * (sizeof(Page) + sizeof(uint64_t) + sizeof(void*));
}

}  // namespace ballast::master
