// SPDX-License-Identifier: Apache-2.0
#include "services/chunkserver/core/report_builder.h"

#include <algorithm>
#include <vector>

#include "common/base/check.h"
#include "common/routing/replica_digest.h"

namespace ballast::chunkserver {
namespace {

void FillReplica(ChunkHandle handle, const ReplicaFacts& facts, v1::ReplicaReport* out) {
  out->set_handle(handle.value());
  out->set_length_bytes(facts.length_bytes);
  out->set_crc32c(facts.crc32c.value);
  out->set_verified(facts.state == ReplicaState::kVerified);
  out->set_corrupt(facts.state == ReplicaState::kCorrupt);
}

// What one replica adds to its shard's digest.
uint64_t HashOf(ChunkHandle handle, const ReplicaFacts& facts) {
  return ReplicaHash(handle,
                     ballast::ReplicaFacts{.length_bytes = facts.length_bytes,
                                           .crc32c = facts.crc32c.value,
                                           .corrupt = facts.state == ReplicaState::kCorrupt});
}

}  // namespace

void ReportBuilder::Start(ShardId shard) {
  shards_[shard] = Shard{};
  news_.insert(shard);
}

void ReportBuilder::Stop(ShardId shard) {
  shards_.erase(shard);
  news_.erase(shard);
}

void ReportBuilder::OnChange(ChunkHandle handle, const std::optional<ReplicaFacts>& before) {
  const auto it = shards_.find(handle.shard());
  if (it == shards_.end()) {
    return;
  }
  Shard& shard = it->second;
  if (shard.listing && handle.sequence() >= shard.next) {
    return;  // the master has not been told of it yet; the list will have it as it is then
  }
  shard.changed.try_emplace(handle, before);  // only the first one is what the master knows
  news_.insert(it->first);
}

void ReportBuilder::OnRead(ChunkHandle handle) {
  if (shards_.count(handle.shard()) == 0) {
    return;
  }
  const auto it = heat_.find(handle);
  if (it != heat_.end()) {
    ++it->second;
  } else if (heat_.size() < kHeatMax) {
    heat_.emplace(handle, 1);
  }
}

size_t ReportBuilder::ListPage(ShardId id, Shard& shard, size_t replicas_max,
                               v1::ShardReport* report) {
  if (shard.next == 0) {
    report->set_full_begin(true);
  }
  size_t used = 0;
  bool more = false;
  index_.VisitShard(id, shard.next, [&](ChunkHandle handle, const ReplicaFacts& facts) {
    if (used == replicas_max) {
      more = true;
      return false;
    }
    FillReplica(handle, facts, report->add_replicas());
    shard.digest += HashOf(handle, facts);
    ++shard.count;
    shard.next = handle.sequence() + 1;
    ++used;
    return true;
  });
  if (!more) {
    shard.listing = false;
    report->set_full_end(true);
  }
  return used;
}

size_t ReportBuilder::Changes(Shard& shard, size_t replicas_max, v1::ShardReport* report) {
  size_t used = 0;
  auto it = shard.changed.begin();
  for (; it != shard.changed.end() && used < replicas_max; ++it) {
    const ChunkHandle handle = it->first;
    const std::optional<ReplicaFacts>& told = it->second;
    const std::optional<ReplicaFacts> now = index_.Find(handle);
    if (now == told) {
      continue;  // came and went between two reports
    }
    if (told.has_value()) {
      shard.digest -= HashOf(handle, *told);
      --shard.count;
    }
    if (now.has_value()) {
      shard.digest += HashOf(handle, *now);
      ++shard.count;
      FillReplica(handle, *now, report->add_replicas());
    } else {
      report->add_removed_handles(handle.value());
    }
    ++used;
  }
  shard.changed.erase(shard.changed.begin(), it);
  return used;
}

void ReportBuilder::Build(size_t replicas_max, size_t shards_max, bool with_digests,
                          google::protobuf::RepeatedPtrField<v1::ShardReport>* out) {
  CHECK_GT(replicas_max, 0u);
  size_t replicas_left = replicas_max;
  size_t shards_left = shards_max;
  absl::btree_set<ShardId> reported;
  while (!news_.empty() && replicas_left > 0 && shards_left > 0) {
    auto it = news_.lower_bound(next_news_);
    if (it == news_.end()) {
      it = news_.begin();
    }
    const ShardId id = *it;
    if (!reported.insert(id).second) {
      break;  // once round: one report a shard and message
    }
    Shard& shard = shards_.at(id);
    v1::ShardReport* report = out->Add();
    report->set_shard(id.value());
    replicas_left -= shard.listing ? ListPage(id, shard, replicas_left, report)
                                   : Changes(shard, replicas_left, report);
    report->set_digest(shard.digest);
    report->set_replica_count(shard.count);
    --shards_left;
    if (!shard.listing && shard.changed.empty()) {
      news_.erase(id);
    }
    next_news_ = id.Next();
  }
  if (!with_digests) {
    return;
  }
  for (size_t left = std::min(shards_left, shards_.size()); left > 0; --left) {
    auto it = shards_.lower_bound(next_digest_);
    if (it == shards_.end()) {
      it = shards_.begin();
    }
    next_digest_ = it->first.Next();
    if (it->second.listing || reported.count(it->first) != 0) {
      continue;
    }
    v1::ShardReport* report = out->Add();
    report->set_shard(it->first.value());
    report->set_digest(it->second.digest);
    report->set_replica_count(it->second.count);
  }
  Heat(out, replicas_left);
}

void ReportBuilder::Heat(google::protobuf::RepeatedPtrField<v1::ShardReport>* out,
                         size_t replicas_max) {
  absl::btree_map<ShardId, v1::ShardReport*> by_shard;
  for (v1::ShardReport& report : *out) {
    by_shard[ShardId(report.shard())] = &report;
  }
  for (const auto& [handle, reads] : heat_) {
    const auto report = by_shard.find(handle.shard());
    const auto shard = shards_.find(handle.shard());
    if (replicas_max == 0 || report == by_shard.end() || report->second->full_begin() ||
        report->second->full_end() || shard == shards_.end() || shard->second.listing) {
      continue;
    }
    const auto facts = index_.Find(handle);
    // One that has changed since goes out with its change, which must be told before its heat.
    if (!facts.has_value() || shard->second.changed.count(handle) != 0) {
      continue;
    }
    v1::ReplicaReport* replica = report->second->add_replicas();
    FillReplica(handle, *facts, replica);
    replica->set_reads_since_last(reads);
    --replicas_max;
  }
  heat_.clear();
}

}  // namespace ballast::chunkserver
