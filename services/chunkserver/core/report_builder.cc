// SPDX-License-Identifier: Apache-2.0
#include "services/chunkserver/core/report_builder.h"

#include <algorithm>
#include <iterator>
#include <utility>

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

void ReportBuilder::Leave(const Shard& shard) {
  if (shard.Settled()) {
    --settled_;
    all_.digest -= shard.told.digest;
    all_.count -= shard.told.count;
  }
}

void ReportBuilder::Enter(ShardId id, const Shard& shard) {
  if (shard.Settled()) {
    ++settled_;
    all_.digest += shard.told.digest;
    all_.count += shard.told.count;
  }
  if (shard.HasNews()) {
    news_.insert(id);
  } else {
    news_.erase(id);
  }
}

std::optional<ToldLists> ReportBuilder::AllTold() const {
  return settled_ == shards_.size() ? std::make_optional(all_) : std::nullopt;
}

void ReportBuilder::Start(ShardId id) {
  const auto it = shards_.find(id);
  if (it == shards_.end() || it->second.state != State::kTold) {
    List(id);
    return;
  }
  Leave(it->second);
  it->second.offer_due = true;
  it->second.resend.clear();  // asked for on a stream that is gone
  Enter(id, it->second);
}

void ReportBuilder::Stop(ShardId id) {
  const auto it = shards_.find(id);
  if (it != shards_.end()) {
    Leave(it->second);
    shards_.erase(it);
    news_.erase(id);
  }
}

void ReportBuilder::List(ShardId id) {
  Shard& shard = shards_.try_emplace(id).first->second;
  Leave(shard);
  shard = Shard();
  Enter(id, shard);
}

void ReportBuilder::Count(ShardId id) {
  Shard& shard = shards_.at(id);
  Leave(shard);
  shard.state = State::kCounting;
  shard.next = 0;
  shard.told = ToldLists();
  shard.resend.clear();
  Enter(id, shard);
}

void ReportBuilder::OnReply(const v1::HeartbeatReply& reply) {
  for (const v1::ShardBucket& asked : reply.resend_buckets()) {
    const auto it = shards_.find(ShardId(asked.shard()));
    if (it != shards_.end() && it->second.Settled() && it->second.resend.size() < kBucketsMax &&
        asked.bucket() <= ChunkHandle::kSequenceMax / kBucketSequences) {
      it->second.resend.insert(asked.bucket());
      news_.insert(it->first);
    }
  }
  for (const uint32_t asked : reply.resync_shards()) {
    const auto it = shards_.find(ShardId(asked));
    if (it != shards_.end() && it->second.Settled()) {
      Count(it->first);
    }
  }
  for (const uint32_t asked : reply.resend_shards()) {
    if (Reports(ShardId(asked))) {
      List(ShardId(asked));
    }
  }
  if (reply.tell_digests()) {
    digests_due_ = shards_.size();
  }
}

void ReportBuilder::OnChange(ChunkHandle handle, const std::optional<ReplicaFacts>& before) {
  const auto it = shards_.find(handle.shard());
  if (it == shards_.end()) {
    return;
  }
  Shard& shard = it->second;
  if (shard.state != State::kTold && handle.sequence() >= shard.next) {
    return;  // the list or the count has yet to come to it, and will have it as it is then
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

// --- what is sent --------------------------------------------------------------------------------

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
    shard.told.digest += HashOf(handle, facts);
    ++shard.told.count;
    shard.next = handle.sequence() + 1;
    ++used;
    return true;
  });
  if (!more) {
    shard.state = State::kTold;
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
      shard.told.digest -= HashOf(handle, *told);
      --shard.told.count;
    }
    if (now.has_value()) {
      shard.told.digest += HashOf(handle, *now);
      ++shard.told.count;
      FillReplica(handle, *now, report->add_replicas());
    } else {
      report->add_removed_handles(handle.value());
    }
    ++used;
  }
  shard.changed.erase(shard.changed.begin(), it);
  return used;
}

size_t ReportBuilder::WholeBucket(ShardId id, Shard& shard, uint64_t bucket,
                                  v1::ShardReport* report) {
  report->set_whole_bucket(true);
  report->set_bucket(bucket);
  const uint64_t begin = bucket * kBucketSequences;
  const uint64_t end = begin + kBucketSequences;
  index_.VisitShard(id, begin, [&](ChunkHandle handle, const ReplicaFacts& facts) {
    if (handle.sequence() >= end) {
      return false;
    }
    FillReplica(handle, facts, report->add_replicas());
    return true;
  });
  // What had changed in it is told herewith.
  auto it = shard.changed.lower_bound(ChunkHandle(id, begin));
  while (it != shard.changed.end() && it->first.sequence() < end) {
    const std::optional<ReplicaFacts> now = index_.Find(it->first);
    if (it->second.has_value()) {
      shard.told.digest -= HashOf(it->first, *it->second);
      --shard.told.count;
    }
    if (now.has_value()) {
      shard.told.digest += HashOf(it->first, *now);
      ++shard.told.count;
    }
    it = shard.changed.erase(it);
  }
  return static_cast<size_t>(report->replicas_size());
}

bool ReportBuilder::CountOn(ShardId id, Shard& shard, v1::ShardReport* report) {
  size_t walked = 0;
  bool more = false;
  // Changes are counted with everything else; of those that no digest shows, the flag is still to
  // be told.
  const auto count_changed = [&](uint64_t end, const ReplicaFacts* at_end) {
    auto it = shard.changed.lower_bound(ChunkHandle(id, shard.next));
    while (it != shard.changed.end() && it->first.sequence() <= end) {
      const bool verified_since = it->first.sequence() == end && at_end != nullptr &&
                                  at_end->state == ReplicaState::kVerified && it->second != *at_end;
      if (verified_since) {
        it->second = *at_end;
        it->second->state = ReplicaState::kUnverified;
      }
      it = verified_since ? std::next(it) : shard.changed.erase(it);
    }
  };
  index_.VisitShard(id, shard.next, [&](ChunkHandle handle, const ReplicaFacts& facts) {
    if (walked == kWalkMax) {
      more = true;
      return false;
    }
    const uint64_t bucket = handle.sequence() / kBucketSequences;
    if (shard.buckets.empty() || shard.buckets.back().bucket() != bucket) {
      shard.buckets.emplace_back().set_bucket(bucket);
    }
    v1::BucketDigest& counted = shard.buckets.back();
    const uint64_t hash = HashOf(handle, facts);
    counted.set_digest(counted.digest() + hash);
    counted.set_replica_count(counted.replica_count() + 1);
    shard.told.digest += hash;
    ++shard.told.count;
    count_changed(handle.sequence(), &facts);
    shard.next = handle.sequence() + 1;
    ++walked;
    return shard.buckets.size() <= kBucketsMax;
  });
  if (shard.buckets.size() > kBucketsMax) {
    shard = Shard();  // the list instead; it begins with the next report
    return false;
  }
  if (more) {
    return false;
  }
  count_changed(ChunkHandle::kSequenceMax, nullptr);
  report->set_all_buckets(true);
  report->mutable_buckets()->Add(std::make_move_iterator(shard.buckets.begin()),
                                 std::make_move_iterator(shard.buckets.end()));
  shard.buckets = {};
  shard.state = State::kTold;
  return true;
}

void ReportBuilder::Build(size_t replicas_max, size_t reports_max, bool with_heat,
                          ReportList* out) {
  CHECK_GT(replicas_max, 0u);
  const size_t all_max = static_cast<size_t>(out->size()) + reports_max;
  const auto room = [&] { return all_max - static_cast<size_t>(out->size()); };
  size_t replicas_left = replicas_max;
  absl::btree_set<ShardId> reported;
  while (!news_.empty() && replicas_left > 0 && room() > 0) {
    auto it = news_.lower_bound(next_news_);
    if (it == news_.end()) {
      it = news_.begin();
    }
    const ShardId id = *it;
    if (!reported.insert(id).second) {
      break;  // once round: no shard waits for a large one
    }
    next_news_ = id.Next();
    Shard& shard = shards_.at(id);
    Leave(shard);
    do {
      // A bucket goes in one piece; only the first of a message may be larger than what is left.
      if (!shard.resend.empty() && replicas_left < replicas_max &&
          replicas_left < kBucketSequences) {
        break;
      }
      v1::ShardReport* const report = out->Add();
      const std::optional<size_t> used = ReportOf(id, shard, replicas_left, report);
      if (!used.has_value()) {
        out->RemoveLast();
        break;
      }
      report->set_shard(id.value());
      report->set_digest(shard.told.digest);
      report->set_replica_count(shard.told.count);
      replicas_left -= std::min(replicas_left, *used);
    } while (!shard.resend.empty() && replicas_left > 0 && room() > 0);
    Enter(id, shard);
  }
  AddDigests(room(), reported, out);
  if (with_heat) {
    AddHeat(replicas_left, room(), out);
  }
}

std::optional<size_t> ReportBuilder::ReportOf(ShardId id, Shard& shard, size_t replicas_max,
                                              v1::ShardReport* report) {
  if (shard.state == State::kListing) {
    return ListPage(id, shard, replicas_max, report);
  }
  if (shard.state == State::kCounting) {
    return CountOn(id, shard, report) ? std::make_optional<size_t>(0) : std::nullopt;
  }
  if (std::exchange(shard.offer_due, false)) {
    report->set_offer(true);
    return 0;
  }
  if (!shard.resend.empty()) {
    const uint64_t bucket = *shard.resend.begin();
    shard.resend.erase(shard.resend.begin());
    return WholeBucket(id, shard, bucket, report);
  }
  return Changes(shard, replicas_max, report);
}

void ReportBuilder::AddDigests(size_t reports_max, const absl::btree_set<ShardId>& reported,
                               ReportList* out) {
  for (digests_due_ = std::min(digests_due_, shards_.size()); digests_due_ > 0 && reports_max > 0;
       --digests_due_) {
    auto it = shards_.lower_bound(next_digest_);
    if (it == shards_.end()) {
      it = shards_.begin();
    }
    next_digest_ = it->first.Next();
    if (!it->second.Settled() || reported.count(it->first) != 0) {
      continue;
    }
    v1::ShardReport* const report = out->Add();
    report->set_shard(it->first.value());
    report->set_digest(it->second.told.digest);
    report->set_replica_count(it->second.told.count);
    --reports_max;
  }
}

void ReportBuilder::AddHeat(size_t replicas_max, size_t reports_max, ReportList* out) {
  v1::ShardReport* report = nullptr;
  for (const auto& [handle, reads] : heat_) {
    const auto shard = shards_.find(handle.shard());
    if (replicas_max == 0 || shard == shards_.end() || !shard->second.Settled()) {
      continue;
    }
    const auto facts = index_.Find(handle);
    // One that has changed since goes out with its change, which must be told before its heat.
    if (!facts.has_value() || shard->second.changed.count(handle) != 0) {
      continue;
    }
    if (report == nullptr || report->shard() != handle.shard().value()) {
      if (reports_max == 0) {
        break;
      }
      --reports_max;
      report = out->Add();
      report->set_shard(handle.shard().value());
      report->set_digest(shard->second.told.digest);
      report->set_replica_count(shard->second.told.count);
    }
    v1::ReplicaReport* replica = report->add_replicas();
    FillReplica(handle, *facts, replica);
    replica->set_reads_since_last(reads);
    --replicas_max;
  }
  heat_.clear();
}

}  // namespace ballast::chunkserver
