// SPDX-License-Identifier: Apache-2.0
// What is held where, in records and beside them; the lists' stages are in live_replicas_lists.cc.
#include "services/master/core/live_replicas.h"

#include <algorithm>
#include <iterator>

#include "absl/container/inlined_vector.h"

namespace ballast::master {
namespace {

constexpr uint8_t kHeldMask = ChunkRecord::kLive | ChunkRecord::kCorrupt;

uint8_t FlagsFor(bool sound, bool verified) {
  if (!sound) {
    return ChunkRecord::kCorrupt;
  }
  return static_cast<uint8_t>(ChunkRecord::kLive | (verified ? ChunkRecord::kVerified : 0));
}

bool Fits(const ChunkRecord& record, const ReplicaFacts& facts) {
  return record.length_bytes() == facts.length_bytes && record.crc32c().value == facts.crc32c;
}

ReplicaFacts FactsIn(const ChunkRecord& record, uint8_t flags) {
  return {record.length_bytes(), record.crc32c().value, (flags & ChunkRecord::kCorrupt) != 0};
}

}  // namespace

ChunkRecord* LiveReplicas::FindRecord(ChunkHandle handle) const {
  ChunkTable* const table = catalog_.chunks(handle.shard());
  return table == nullptr ? nullptr : table->Find(handle.sequence());
}

const LiveReplicas::List* LiveReplicas::FindList(ServerIndex server, ShardId shard) const {
  const auto known = servers_.find(server);
  if (known == servers_.end()) {
    return nullptr;
  }
  const auto list = known->second.lists.find(shard);
  return list == known->second.lists.end() ? nullptr : &list->second;
}

void LiveReplicas::OnServerForgotten(ServerIndex server) {
  servers_.erase(server);
  ++known_of_all_;
  for (auto& [shard, known] : known_) {
    if (server.value() < known.servers.size()) {
      known.servers[server.value()] = false;
    }
  }
  for (auto it = specials_.begin(); it != specials_.end();) {
    it = it->first.second == server ? specials_.erase(it) : std::next(it);
  }
}

// --- what is held --------------------------------------------------------------------------------

void LiveReplicas::Put(Scope& at, const v1::ReplicaReport& replica, bool counted) {
  const ChunkHandle handle(replica.handle());
  const ReplicaFacts facts{replica.length_bytes(), replica.crc32c(), replica.corrupt()};
  ChunkRecord* const record = FindRecord(handle);
  const SpecialKey key(handle, at.server);
  auto special = specials_.empty() ? specials_.end() : specials_.find(key);

  std::optional<ReplicaFacts> before;
  if (special != specials_.end()) {
    before = special->second.facts;
  } else if (record != nullptr) {
    const uint8_t flags = record->FlagsOf(at.server);
    if ((flags & kHeldMask) != 0) {
      before = FactsIn(*record, flags);
    }
  }
  if (counted && before.has_value()) {
    at.list.digest.Remove(handle, *before);
  } else {
    ++at.list.count;
  }
  at.list.digest.Add(handle, facts);
  at.out.appeared += before.has_value() ? 0 : 1;

  const bool fits = record != nullptr && Fits(*record, facts);
  const bool sound = fits && !facts.corrupt;
  const bool in_record =
      record != nullptr && record->SetLiveFlags(at.server, FlagsFor(sound, replica.verified()));
  if (!in_record || !fits) {
    specials_[key] = {facts, replica.verified()};
  } else if (special != specials_.end()) {
    specials_.erase(special);
  }
  if (record != nullptr && !sound) {
    at.out.odd.push_back(handle);
  }
}

std::optional<uint64_t> LiveReplicas::NextFrom(ShardId shard, uint64_t sequence) const {
  if (sequence > ChunkHandle::kSequenceMax) {
    return std::nullopt;
  }
  std::optional<uint64_t> next = catalog_.chunks(shard)->FirstFrom(sequence);
  const auto special = specials_.lower_bound({ChunkHandle(shard, sequence), ServerIndex(0)});
  if (special != specials_.end() && special->first.first.shard() == shard) {
    const uint64_t other = special->first.first.sequence();
    next = next.has_value() ? std::min(*next, other) : other;
  }
  return next;
}

uint64_t LiveReplicas::Sweep(Scope& at, uint64_t begin, uint64_t end, bool counted) {
  constexpr uint64_t kWindow = ChunkTable::kPageRecords;
  if (begin < end && end - begin <= kWindow) {
    SweepWindow(at, begin, end, counted);
    return end;
  }
  while (begin < end) {
    if (at.work <= 0) {
      return begin;
    }
    const std::optional<uint64_t> next = NextFrom(at.shard, begin);
    if (!next.has_value() || *next >= end) {
      return end;
    }
    const uint64_t window_end = std::min(end, (*next / kWindow + 1) * kWindow);
    SweepWindow(at, *next, window_end, counted);
    begin = window_end;
  }
  return end;
}

void LiveReplicas::SweepWindow(Scope& at, uint64_t begin, uint64_t end, bool counted) {
  at.work -= static_cast<int64_t>(end - begin);
  const auto forget = [&](ChunkHandle handle, const ReplicaFacts& facts) {
    if (counted) {
      at.list.digest.Remove(handle, facts);
      --at.list.count;
    }
  };
  auto it = specials_.empty()
                ? specials_.end()
                : specials_.lower_bound({ChunkHandle(at.shard, begin), ServerIndex(0)});
  while (it != specials_.end() && it->first.first.shard() == at.shard &&
         it->first.first.sequence() < end) {
    --at.work;
    if (it->first.second != at.server) {
      ++it;
      continue;
    }
    const ChunkHandle handle = it->first.first;
    forget(handle, it->second.facts);
    it = specials_.erase(it);
    ChunkRecord* const record = FindRecord(handle);
    if (record != nullptr && (record->FlagsOf(at.server) & ChunkRecord::kLiveViewMask) != 0) {
      record->SetLiveFlags(at.server, 0);
      at.out.odd.push_back(handle);
    }
  }
  catalog_.chunks(at.shard)->ForEach(begin, end, [&](uint64_t sequence, ChunkRecord& record) {
    const uint8_t flags = record.FlagsOf(at.server);
    if ((flags & ChunkRecord::kLiveViewMask) == 0) {
      return;
    }
    const ChunkHandle handle(at.shard, sequence);
    if ((flags & kHeldMask) != 0) {
      forget(handle, FactsIn(record, flags));
    }
    record.SetLiveFlags(at.server, 0);
    OnChunkAdded(handle, record);  // its slot may be what another one's waited for
    at.out.odd.push_back(handle);
  });
}

LiveReplicas::Sum LiveReplicas::SumOf(ServerIndex server, ShardId shard, uint64_t begin,
                                      uint64_t end) const {
  Sum sum;
  absl::InlinedVector<uint64_t, 16> special;
  auto it = specials_.lower_bound({ChunkHandle(shard, begin), ServerIndex(0)});
  for (; it != specials_.end() && it->first.first.shard() == shard &&
         it->first.first.sequence() < end;
       ++it) {
    if (it->first.second == server) {
      sum.digest.Add(it->first.first, it->second.facts);
      ++sum.count;
      special.push_back(it->first.first.sequence());
    }
  }
  catalog_.chunks(shard)->ForEach(begin, end, [&](uint64_t sequence, const ChunkRecord& record) {
    const uint8_t flags = record.FlagsOf(server);
    // Facts that do not fit lie beside the record.
    if ((flags & kHeldMask) != 0 && !std::binary_search(special.begin(), special.end(), sequence)) {
      sum.digest.Add(ChunkHandle(shard, sequence), FactsIn(record, flags));
      ++sum.count;
    }
  });
  return sum;
}

void LiveReplicas::GiveUpSlot(ServerIndex server, ChunkHandle handle) {
  ChunkRecord* const record = FindRecord(handle);
  const uint8_t flags = record == nullptr ? 0 : record->FlagsOf(server);
  if ((flags & ChunkRecord::kLiveViewMask) == 0) {
    return;
  }
  const ChunkRecord before = *record;
  record->SetLiveFlags(server, 0);
  KeepBeside(server, handle, before);
}

void LiveReplicas::FillSlots(ChunkHandle handle, absl::FunctionRef<bool(ServerIndex)> may) {
  ChunkRecord* const record = specials_.empty() ? nullptr : FindRecord(handle);
  if (record != nullptr) {
    FillSlots(handle, *record, may);
  }
}

void LiveReplicas::FillSlots(ChunkHandle handle, ChunkRecord& record,
                             absl::FunctionRef<bool(ServerIndex)> may) {
  auto it = specials_.lower_bound({handle, ServerIndex(0)});
  while (it != specials_.end() && it->first.first == handle) {
    const ServerIndex server = it->first.second;
    const ReplicaFacts& facts = it->second.facts;
    const bool fits = Fits(record, facts);
    const bool sound = fits && !facts.corrupt;
    const bool kept =
        may(server) && record.SetLiveFlags(server, FlagsFor(sound, it->second.verified));
    it = kept && fits ? specials_.erase(it) : std::next(it);
  }
}

void LiveReplicas::OnVerified(ServerIndex server, ChunkHandle handle) {
  ChunkRecord* const record = FindRecord(handle);
  const uint8_t flags = record == nullptr ? 0 : record->FlagsOf(server);
  if ((flags & ChunkRecord::kLive) != 0) {
    record->SetLiveFlags(server, flags | ChunkRecord::kVerified);
  }
}

// --- in step with the log ------------------------------------------------------------------------

void LiveReplicas::OnChunkAdded(ChunkHandle handle, ChunkRecord& record) {
  FillSlots(handle, record, [](ServerIndex) { return true; });
}

void LiveReplicas::OnChunkRemoved(ChunkHandle handle, const ChunkRecord& record) {
  record.ForEachReplica([&](ServerIndex server, uint8_t) { KeepBeside(server, handle, record); });
}

void LiveReplicas::KeepBeside(ServerIndex server, ChunkHandle handle, const ChunkRecord& record) {
  const uint8_t flags = record.FlagsOf(server);
  const List* const list = FindList(server, handle.shard());
  // Without a list of this term the flag is an earlier term's and says nothing.
  if ((flags & kHeldMask) != 0 && list != nullptr &&
      (list->known || list->stage == Stage::kListing)) {
    // A special one (facts that do not fit) keeps what its server said.
    specials_.try_emplace(
        SpecialKey(handle, server),
        SpecialReplica{FactsIn(record, flags), (flags & ChunkRecord::kVerified) != 0});
  }
}

void LiveReplicas::OnShardReplaced(ShardId shard) {
  for (auto& [server, known] : servers_) {
    known.lists.erase(shard);
    known.summed = false;  // it may have come, or gone
  }
  Known& known_here = known_[shard];
  ++known_here.version;
  known_here.servers.clear();
  auto it = specials_.lower_bound({ChunkHandle(shard, 0), ServerIndex(0)});
  while (it != specials_.end() && it->first.first.shard() == shard) {
    it = specials_.erase(it);
  }
}

// --- reading -------------------------------------------------------------------------------------

bool LiveReplicas::IsComplete(ServerIndex server, ShardId shard) const {
  const List* const list = FindList(server, shard);
  return list != nullptr && list->stage == Stage::kComplete;
}

bool LiveReplicas::IsKnown(ServerIndex server, ShardId shard) const {
  const List* const list = FindList(server, shard);
  return list != nullptr && list->known;
}

void LiveReplicas::SetKnown(ServerIndex server, ShardId shard, List& list) {
  if (std::exchange(list.known, true)) {
    return;
  }
  Known& known = known_[shard];
  ++known.version;
  if (known.servers.size() <= server.value()) {
    known.servers.resize(server.value() + 1);
  }
  known.servers[server.value()] = true;
}

uint64_t LiveReplicas::KnownVersion(ShardId shard) const {
  const auto it = known_.find(shard);
  return known_of_all_ + (it == known_.end() ? 0 : it->second.version);
}

const std::vector<bool>& LiveReplicas::KnownServers(ShardId shard) const {
  static const auto& kNone = *new std::vector<bool>();
  const auto it = known_.find(shard);
  return it == known_.end() ? kNone : it->second.servers;
}

uint64_t LiveReplicas::ReplicaCount(ServerIndex server) const {
  uint64_t count = 0;
  if (const auto known = servers_.find(server); known != servers_.end()) {
    for (const auto& [shard, list] : known->second.lists) {
      count += list.count;
    }
  }
  return count;
}

std::optional<ReplicaFacts> LiveReplicas::HeldFacts(ServerIndex server, ChunkHandle handle) const {
  if (const auto it = specials_.find({handle, server}); it != specials_.end()) {
    return it->second.facts;
  }
  const ChunkRecord* const record = FindRecord(handle);
  if (record == nullptr) {
    return std::nullopt;
  }
  const uint8_t flags = record->FlagsOf(server);
  return (flags & kHeldMask) == 0 ? std::nullopt : std::make_optional(FactsIn(*record, flags));
}

void LiveReplicas::ForEachSpecial(ChunkHandle handle, ServerIndex server,
                                  absl::FunctionRef<bool(const Special&)> visit) const {
  for (auto it = specials_.lower_bound({handle, server}); it != specials_.end(); ++it) {
    if (!visit({it->first.first, it->first.second, it->second.facts})) {
      return;
    }
  }
}

}  // namespace ballast::master
