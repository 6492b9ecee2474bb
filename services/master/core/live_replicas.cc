// SPDX-License-Identifier: Apache-2.0
#include "services/master/core/live_replicas.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/check.h"
#include "common/base/status_macros.h"
#include "common/types/error.h"

namespace ballast::master {
namespace {

constexpr uint64_t kEndOfSequences = ChunkHandle::kSequenceMax + 1;
constexpr uint8_t kHeldMask = ChunkRecord::kLive | ChunkRecord::kCorrupt;

uint8_t FlagsFor(bool sound, bool verified) {
  if (!sound) {
    return ChunkRecord::kCorrupt;
  }
  return static_cast<uint8_t>(ChunkRecord::kLive | (verified ? ChunkRecord::kVerified : 0));
}

absl::Status CheckReport(const v1::ReplicaReport& replica, ShardId shard) {
  const ChunkHandle handle(replica.handle());
  if (handle.shard() != shard || handle.sequence() == 0) {
    return InvalidArgument(
        absl::StrCat("report of shard ", shard.value(), " holds the handle ", handle.ToString()));
  }
  if (replica.length_bytes() > kChunkBytesMax) {
    return InvalidArgument(
        absl::StrCat("replica ", handle.ToString(), " is ", replica.length_bytes(), " bytes long"));
  }
  return absl::OkStatus();
}

bool Fits(const ChunkRecord& record, const ReplicaFacts& facts) {
  return record.length_bytes() == facts.length_bytes && record.crc32c().value == facts.crc32c;
}

}  // namespace

ChunkRecord* LiveReplicas::FindRecord(ChunkHandle handle) const {
  ChunkTable* const table = catalog_.chunks(handle.shard());
  return table == nullptr ? nullptr : table->Find(handle.sequence());
}

const LiveReplicas::List* LiveReplicas::FindList(ServerIndex server, ShardId shard) const {
  const auto lists = lists_.find(server);
  if (lists == lists_.end()) {
    return nullptr;
  }
  const auto list = lists->second.find(shard);
  return list == lists->second.end() ? nullptr : &list->second;
}

void LiveReplicas::OnStreamBegan(ServerIndex server, SteadyTime now) {
  Lists& lists = lists_[server];
  for (ShardId shard : catalog_.owned_shards()) {
    List& list = lists[shard];
    list.complete = false;
    list.open = false;
    list.misfit = false;
    list.progress_at = now;
  }
}

void LiveReplicas::OnServerForgotten(ServerIndex server) {
  lists_.erase(server);
  ++known_of_all_;
  for (auto it = specials_.begin(); it != specials_.end();) {
    it = it->first.second == server ? specials_.erase(it) : std::next(it);
  }
}

void LiveReplicas::SetKnown(List& list, ShardId shard) {
  if (!std::exchange(list.known, true)) {
    ++known_versions_[shard];
  }
}

uint64_t LiveReplicas::KnownVersion(ShardId shard) const {
  const auto it = known_versions_.find(shard);
  return known_of_all_ + (it == known_versions_.end() ? 0 : it->second);
}

void LiveReplicas::BeginList(List& list, SteadyTime now) {
  list.digest = ReplicaDigest();
  list.count = 0;
  list.next_sequence = 0;
  list.open = true;
  list.complete = false;
  list.misfit = false;
  list.progress_at = now;
}

absl::StatusOr<LiveReplicas::Ingested> LiveReplicas::Ingest(ServerIndex server,
                                                            const v1::ShardReport& report, int from,
                                                            int to, SteadyTime now) {
  CHECK(0 <= from && from <= to && to <= report.replicas_size());
  const ShardId shard(report.shard());
  if (report.shard() >= catalog_.shard_count()) {
    return InvalidArgument(absl::StrCat("there is no shard ", report.shard()));
  }
  for (int i = from; i < to; ++i) {
    RETURN_IF_ERROR(CheckReport(report.replicas(i), shard));
  }
  Ingested out;
  if (catalog_.chunks(shard) == nullptr) {
    return out;  // the server's configuration differs from ours for a moment
  }
  List& list = lists_[server][shard];
  if (from == 0 && report.full_begin()) {
    BeginList(list, now);
  } else if (!list.open && !list.complete) {
    return out;  // nothing to build on: the full list is to come, or will be asked for
  }
  if (list.open && report.removed_handles_size() > 0) {
    list.open = false;  // changes before the full list's end
    list.misfit = true;
    return out;
  }
  list.progress_at = now;
  const bool full = list.open;
  for (int i = from; i < to; ++i) {
    const v1::ReplicaReport& replica = report.replicas(i);
    const ChunkHandle handle(replica.handle());
    if (full) {
      if (handle.sequence() < list.next_sequence) {
        list.open = false;  // not ascending
        list.misfit = true;
        return out;
      }
      ForgetRange(server, shard, list.next_sequence, handle.sequence(), out);
      list.next_sequence = handle.sequence() + 1;
    }
    const ReplicaFacts facts{replica.length_bytes(), replica.crc32c(), replica.corrupt()};
    out.appeared += Put(server, list, handle, facts, replica.verified(), out) ? 1 : 0;
  }
  if (to == report.replicas_size()) {
    EndReport(server, list, report, out);
  }
  return out;
}

void LiveReplicas::EndReport(ServerIndex server, List& list, const v1::ShardReport& report,
                             Ingested& out) {
  const ShardId shard(report.shard());
  if (list.open) {
    if (!report.full_end()) {
      return;
    }
    ForgetRange(server, shard, list.next_sequence, kEndOfSequences, out);
    list.open = false;
    list.complete = true;
  }
  for (uint64_t value : report.removed_handles()) {
    const ChunkHandle handle(value);
    if (handle.shard() != shard) {
      continue;
    }
    const std::optional<ReplicaFacts> facts = HeldFacts(server, handle);
    if (facts.has_value()) {
      list.digest.Remove(handle, *facts);
      --list.count;
      Forget(server, handle, out);
    }
  }
  // What we could not account for (a removal of something we never heard of, facts lost with a
  // slot) shows here as a difference, and the full list settles it.
  list.complete = list.digest.value() == report.digest() && list.count == report.replica_count();
  if (list.complete) {
    SetKnown(list, shard);
  }
  list.misfit = !list.complete;
}

LiveReplicas::Ingested LiveReplicas::IngestEmptyLists(ServerIndex server,
                                                      absl::Span<const ShardId> named,
                                                      SteadyTime now) {
  Ingested out;
  Lists& lists = lists_[server];
  for (ShardId shard : catalog_.owned_shards()) {
    if (std::binary_search(named.begin(), named.end(), shard)) {
      continue;
    }
    List& list = lists[shard];
    if (!list.complete || list.count > 0) {
      BeginList(list, now);
      ForgetRange(server, shard, 0, kEndOfSequences, out);
      list.open = false;
      list.complete = true;
      SetKnown(list, shard);
    }
  }
  return out;
}

bool LiveReplicas::Put(ServerIndex server, List& list, ChunkHandle handle,
                       const ReplicaFacts& facts, bool verified, Ingested& out) {
  const std::optional<ReplicaFacts> before = HeldFacts(server, handle);
  if (!list.open && before.has_value()) {
    list.digest.Remove(handle, *before);
  } else {
    ++list.count;
  }
  list.digest.Add(handle, facts);

  ChunkRecord* const record = FindRecord(handle);
  if (record == nullptr) {
    specials_[{handle, server}] = {facts, verified};
    return !before.has_value();
  }
  const bool fits = Fits(*record, facts);
  const bool sound = fits && !facts.corrupt;
  if (record->SetLiveFlags(server, FlagsFor(sound, verified)) && fits) {
    specials_.erase({handle, server});
  } else {
    specials_[{handle, server}] = {facts, verified};
  }
  if (!sound) {
    out.odd.push_back(handle);
  }
  return !before.has_value();
}

void LiveReplicas::Forget(ServerIndex server, ChunkHandle handle, Ingested& out) {
  specials_.erase({handle, server});
  if (ChunkRecord* const record = FindRecord(handle)) {
    record->SetLiveFlags(server, 0);
    out.odd.push_back(handle);
  }
}

void LiveReplicas::ForgetRange(ServerIndex server, ShardId shard, uint64_t begin, uint64_t end,
                               Ingested& out) {
  if (begin >= end) {
    return;
  }
  catalog_.chunks(shard)->ForEach(begin, end, [&](uint64_t sequence, ChunkRecord& record) {
    if ((record.FlagsOf(server) & ChunkRecord::kLiveViewMask) != 0) {
      record.SetLiveFlags(server, 0);
      out.odd.push_back(ChunkHandle(shard, sequence));
    }
  });
  // Through the last possible sequence: `end` itself may not fit into a handle.
  auto it = specials_.lower_bound({ChunkHandle(shard, begin), ServerIndex(0)});
  while (it != specials_.end() && it->first.first.shard() == shard &&
         it->first.first.sequence() < end) {
    it = it->first.second == server ? specials_.erase(it) : std::next(it);
  }
}

std::vector<ShardId> LiveReplicas::ShardsToResend(ServerIndex server, SteadyTime now,
                                                  absl::Duration patience, size_t shards_max) {
  std::vector<ShardId> shards;
  Lists& lists = lists_[server];
  for (ShardId shard : catalog_.owned_shards()) {
    List& list = lists[shard];
    const bool due = list.misfit || now - list.progress_at >= patience;
    const bool asked = list.asked_at.has_value() && now - *list.asked_at < patience;
    if (list.complete || !due || asked) {
      continue;
    }
    if (shards.size() == shards_max) {
      break;
    }
    list.open = false;
    list.asked_at = now;
    shards.push_back(shard);
  }
  return shards;
}

void LiveReplicas::OnVerified(ServerIndex server, ChunkHandle handle) {
  ChunkRecord* const record = FindRecord(handle);
  const uint8_t flags = record == nullptr ? 0 : record->FlagsOf(server);
  if ((flags & ChunkRecord::kLive) != 0) {
    record->SetLiveFlags(server, flags | ChunkRecord::kVerified);
  }
}

void LiveReplicas::OnChunkAdded(ChunkHandle handle, ChunkRecord& record) {
  auto it = specials_.lower_bound({handle, ServerIndex(0)});
  while (it != specials_.end() && it->first.first == handle) {
    const ReplicaFacts& facts = it->second.facts;
    const bool fits = Fits(record, facts);
    const bool sound = fits && !facts.corrupt;
    const bool kept = record.SetLiveFlags(it->first.second, FlagsFor(sound, it->second.verified));
    it = kept && fits ? specials_.erase(it) : std::next(it);
  }
}

void LiveReplicas::OnChunkRemoved(ChunkHandle handle, const ChunkRecord& record) {
  record.ForEachReplica([&](ServerIndex server, uint8_t flags) {
    const List* const list = FindList(server, handle.shard());
    // Without a list of this term the flag is an earlier term's and says nothing.
    if ((flags & kHeldMask) != 0 && list != nullptr && (list->known || list->open)) {
      // A special one (facts that do not fit) keeps what its server said.
      specials_.try_emplace(SpecialKey(handle, server),
                            SpecialReplica{{record.length_bytes(), record.crc32c().value,
                                            (flags & ChunkRecord::kCorrupt) != 0},
                                           (flags & ChunkRecord::kVerified) != 0});
    }
  });
}

void LiveReplicas::OnShardReplaced(ShardId shard) {
  for (auto& [server, lists] : lists_) {
    lists.erase(shard);
  }
  ++known_versions_[shard];
  auto it = specials_.lower_bound({ChunkHandle(shard, 0), ServerIndex(0)});
  while (it != specials_.end() && it->first.first.shard() == shard) {
    it = specials_.erase(it);
  }
}

bool LiveReplicas::IsComplete(ServerIndex server, ShardId shard) const {
  const List* const list = FindList(server, shard);
  return list != nullptr && list->complete;
}

bool LiveReplicas::IsKnown(ServerIndex server, ShardId shard) const {
  const List* const list = FindList(server, shard);
  return list != nullptr && list->known;
}

uint64_t LiveReplicas::ReplicaCount(ServerIndex server) const {
  uint64_t count = 0;
  if (const auto lists = lists_.find(server); lists != lists_.end()) {
    for (const auto& [shard, list] : lists->second) {
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
  if ((flags & kHeldMask) == 0) {
    return std::nullopt;
  }
  return ReplicaFacts{record->length_bytes(), record->crc32c().value,
                      (flags & ChunkRecord::kCorrupt) != 0};
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
