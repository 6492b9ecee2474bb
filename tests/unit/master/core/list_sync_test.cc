// SPDX-License-Identifier: Apache-2.0
// A chunk server's reports and a leader's replica map against each other, the real classes of both,
// over a stream that the test may break.
#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/base/rng.h"
#include "gtest/gtest.h"
#include "services/chunkserver/core/report_builder.h"
#include "services/master/core/live_replicas.h"
#include "tests/support/status_matchers.h"
#include "tests/unit/master/core/fake_catalog.h"

namespace ballast {
namespace {

using chunkserver::ChunkIndex;
using chunkserver::ReplicaState;
using chunkserver::ReportBuilder;
using master::ChunkRecord;
using master::FakeCatalog;
using master::Liveness;
using master::LiveReplicas;

constexpr ServerIndex kServer(1);
constexpr uint32_t kShards = 3;
constexpr absl::Duration kPatience = absl::Seconds(10);

chunkserver::ReplicaFacts Facts(uint32_t length, ReplicaState state = ReplicaState::kUnverified) {
  return {.length_bytes = length, .crc32c = Crc32c{7}, .state = state};
}

// One chunk server and one leader, and the stream between them.
class Pair {
 public:
  Pair() : catalog_(kShards) {
    Lead();
    StartServer();
    Connect();
  }

  // --- the server
  void Insert(ChunkHandle handle, const chunkserver::ReplicaFacts& facts) {
    if (index_.Insert(handle, facts)) builder_->OnChange(handle, std::nullopt);
  }
  void Erase(ChunkHandle handle) {
    const auto before = index_.Find(handle);
    if (index_.Erase(handle)) builder_->OnChange(handle, before);
  }
  void SetState(ChunkHandle handle, ReplicaState state) {
    const auto before = index_.Find(handle);
    if (index_.SetState(handle, state)) builder_->OnChange(handle, before);
  }
  // Another process on the same disk: nothing is verified any more.
  void StartServer() {
    ++incarnation_;
    std::vector<ChunkHandle> all;
    index_.Visit(ChunkHandle(), [&](ChunkHandle handle, const chunkserver::ReplicaFacts& facts) {
      if (facts.state == ReplicaState::kVerified) all.push_back(handle);
      return true;
    });
    for (const ChunkHandle handle : all) index_.SetState(handle, ReplicaState::kUnverified);
    builder_ = std::make_unique<ReportBuilder>(index_);
  }
  void Send(size_t replicas_max = 100, size_t reports_max = 100) {
    v1::Heartbeat message;
    builder_->Build(replicas_max, reports_max, /*with_heat=*/true, message.mutable_shards());
    if (const auto told = builder_->AllTold()) {
      message.set_lists_digest(told->digest);
      message.set_lists_replica_count(told->count);
    }
    for (const v1::ShardReport& report : message.shards()) {
      replicas_sent += static_cast<size_t>(report.replicas_size());
      buckets_sent += report.whole_bucket() ? 1 : 0;
      bucket_digests_sent += static_cast<size_t>(report.buckets_size());
      lists_begun += report.full_begin() ? 1 : 0;
    }
    up_.push_back(std::move(message));
  }

  // --- the stream
  // What was under way is lost but for the first `delivered` messages.
  void Break(size_t delivered) {
    for (; delivered > 0 && !up_.empty(); --delivered) Deliver();
    Connect();
  }
  void Connect() {
    up_.clear();
    down_.clear();
    fresh_ = true;
    for (uint32_t shard = 0; shard < kShards; ++shard) builder_->Start(ShardId(shard));
  }
  std::deque<v1::Heartbeat>& up() { return up_; }

  // --- the leader
  void Lead() {
    replicas_ = std::make_unique<LiveReplicas>(catalog_);
    fresh_ = true;
  }
  void Deliver(int64_t work_a_turn = LiveReplicas::kNoBound) {
    if (up_.empty()) return;
    const v1::Heartbeat message = std::move(up_.front());
    up_.pop_front();
    if (std::exchange(fresh_, false)) {
      replicas_->OnStreamBegan(kServer, {incarnation_, incarnation_}, now_);
    }
    for (const v1::ShardReport& report : message.shards()) {
      LiveReplicas::Cursor cursor;
      for (bool done = false; !done;) {
        int64_t work = work_a_turn;
        const auto taken = replicas_->Ingest(kServer, report, cursor, work, now_);
        ASSERT_OK(taken);
        done = taken->done;
      }
    }
    v1::HeartbeatReply reply;
    const LiveReplicas::Asks asks = replicas_->NextAsks(kServer, now_, kPatience, 100);
    for (const ShardId shard : asks.lists) reply.add_resend_shards(shard.value());
    for (const ShardId shard : asks.digests) reply.add_resync_shards(shard.value());
    for (const auto& [shard, bucket] : asks.buckets) {
      reply.add_resend_buckets()->set_shard(shard.value());
      reply.mutable_resend_buckets(reply.resend_buckets_size() - 1)->set_bucket(bucket);
    }
    reply.set_tell_digests(message.has_lists_digest() &&
                           replicas_->WantsAllDigests(kServer, message.lists_digest(),
                                                      message.lists_replica_count(), now_,
                                                      kPatience));
    lists_asked += asks.lists.size();
    resyncs_asked += asks.digests.size();
    down_.push_back(std::move(reply));
  }
  void Answer() {
    if (down_.empty()) return;
    builder_->OnReply(down_.front());
    down_.pop_front();
  }
  void Pass(absl::Duration time) { now_ = now_ + time; }

  // Lets both talk until nothing is left to be said, or patience is at its end.
  void Quiet() {
    for (int round = 0; round < 300; ++round) {
      Send(1000);
      while (!up_.empty()) Deliver();
      while (!down_.empty()) Answer();
      Pass(absl::Seconds(1));
    }
  }

  // Nothing but what the server holds, and all of it.
  void ExpectAgreement(const std::vector<uint64_t>& sequences) {
    for (uint32_t shard = 0; shard < kShards; ++shard) {
      ASSERT_TRUE(replicas_->IsComplete(kServer, ShardId(shard))) << "shard " << shard;
      for (const uint64_t sequence : sequences) {
        const ChunkHandle handle(ShardId(shard), sequence);
        const auto held = replicas_->HeldFacts(kServer, handle);
        const auto facts = index_.Find(handle);
        ASSERT_EQ(held.has_value(), facts.has_value()) << handle;
        const ChunkRecord* const record = catalog_.chunks(ShardId(shard))->Find(sequence);
        const uint8_t flags = record == nullptr ? 0 : record->FlagsOf(kServer);
        if (!facts.has_value()) {
          ASSERT_EQ(flags & ChunkRecord::kLiveViewMask, 0) << handle;
          continue;
        }
        ASSERT_EQ(held->length_bytes, facts->length_bytes) << handle;
        ASSERT_EQ(held->corrupt, facts->state == ReplicaState::kCorrupt) << handle;
        const bool fits = record != nullptr && record->length_bytes() == facts->length_bytes;
        ASSERT_EQ((flags & ChunkRecord::kLive) != 0, fits && facts->state != ReplicaState::kCorrupt)
            << handle;
        if ((flags & ChunkRecord::kVerified) != 0) {
          ASSERT_EQ(facts->state, ReplicaState::kVerified) << handle << " by this process";
        }
      }
    }
  }
  void ChunkAppears(ChunkHandle handle) {
    if (catalog_.chunks(handle.shard())->Find(handle.sequence()) == nullptr) {
      replicas_->OnChunkAdded(handle, catalog_.AddChunk(handle, {}));
    }
  }
  void ChunkGoes(ChunkHandle handle) {
    if (ChunkRecord* const record = catalog_.chunks(handle.shard())->Find(handle.sequence())) {
      replicas_->OnChunkRemoved(handle, *record);
      catalog_.chunks(handle.shard())->Erase(handle.sequence());
    }
  }
  bool complete(uint32_t shard) { return replicas_->IsComplete(kServer, ShardId(shard)); }
  const ChunkIndex& index() const { return index_; }

  size_t replicas_sent = 0;
  size_t buckets_sent = 0;
  size_t bucket_digests_sent = 0;
  size_t lists_begun = 0;
  size_t lists_asked = 0;
  size_t resyncs_asked = 0;

 private:
  FakeCatalog catalog_;
  ChunkIndex index_;
  uint64_t incarnation_ = 0;
  std::unique_ptr<ReportBuilder> builder_;
  std::unique_ptr<LiveReplicas> replicas_;
  std::deque<v1::Heartbeat> up_;
  std::deque<v1::HeartbeatReply> down_;
  bool fresh_ = true;  // the leader has heard nothing on this stream
  SteadyTime now_ = SteadyTime::FromOrigin(absl::Seconds(1));
};

// Sequences in several buckets, the last one among them.
std::vector<uint64_t> Sequences() {
  std::vector<uint64_t> all;
  for (uint64_t s = 1; s <= 20; ++s) all.push_back(s);
  for (uint64_t s = kBucketSequences - 3; s <= kBucketSequences + 3; ++s) all.push_back(s);
  for (uint64_t s = 0; s < 3; ++s) all.push_back(40 * kBucketSequences + s * 700);
  for (uint64_t s = 0; s < 3; ++s) all.push_back(ChunkHandle::kSequenceMax - s * 5000);
  return all;
}

void Fill(Pair& pair) {
  for (uint32_t shard = 0; shard < kShards; ++shard) {
    for (const uint64_t sequence : Sequences()) {
      const ChunkHandle handle(ShardId(shard), sequence);
      if (sequence % 3 != 0) pair.ChunkAppears(handle);
      pair.Insert(handle, Facts(1000, ReplicaState::kVerified));
    }
  }
  pair.Quiet();
  pair.ExpectAgreement(Sequences());
}

TEST(ListSyncTest, ABlipCostsNoListAndNoQuestion) {
  Pair pair;
  Fill(pair);
  pair.replicas_sent = pair.lists_asked = pair.resyncs_asked = 0;
  pair.Break(0);
  pair.Send();
  pair.Deliver();
  for (uint32_t shard = 0; shard < kShards; ++shard) EXPECT_TRUE(pair.complete(shard));
  pair.Quiet();
  EXPECT_EQ(pair.replicas_sent + pair.lists_asked + pair.resyncs_asked, 0u);
  pair.ExpectAgreement(Sequences());
}

TEST(ListSyncTest, WhatChangedDuringABlipIsAllThatIsSent) {
  Pair pair;
  Fill(pair);
  pair.replicas_sent = pair.lists_asked = pair.resyncs_asked = 0;
  pair.Break(0);
  pair.Erase(ChunkHandle(ShardId(0), 1));
  pair.SetState(ChunkHandle(ShardId(1), 2), ReplicaState::kCorrupt);
  pair.Quiet();
  EXPECT_EQ(pair.replicas_sent, 1u);
  EXPECT_EQ(pair.lists_asked + pair.resyncs_asked, 0u);
  pair.ExpectAgreement(Sequences());
}

TEST(ListSyncTest, ALostTailCostsOneBucket) {
  Pair pair;
  Fill(pair);
  pair.replicas_sent = pair.lists_asked = pair.resyncs_asked = pair.buckets_sent = 0;
  pair.Erase(ChunkHandle(ShardId(0), kBucketSequences + 1));
  pair.Send();
  pair.Break(0);
  pair.Quiet();
  EXPECT_EQ(pair.resyncs_asked, 1u);
  EXPECT_EQ(pair.buckets_sent, 1u);
  EXPECT_EQ(pair.replicas_sent, 3u) << "the rest of that bucket";
  EXPECT_EQ(pair.lists_asked, 0u);
  pair.ExpectAgreement(Sequences());
}

TEST(ListSyncTest, ABucketThatBecameEmptyInALostTailIsForgotten) {
  Pair pair;
  Fill(pair);
  pair.replicas_sent = pair.buckets_sent = pair.lists_asked = 0;
  for (uint64_t s = 0; s < 3; ++s) {
    pair.Erase(ChunkHandle(ShardId(2), 40 * kBucketSequences + s * 700));
  }
  pair.Send();
  pair.Break(0);
  pair.Quiet();
  EXPECT_EQ(pair.replicas_sent + pair.buckets_sent + pair.lists_asked, 0u);
  pair.ExpectAgreement(Sequences());
}

TEST(ListSyncTest, ANewProcessAndANewLeaderGetTheFullLists) {
  Pair pair;
  Fill(pair);
  pair.lists_begun = 0;
  pair.StartServer();
  pair.Connect();
  pair.Quiet();
  EXPECT_EQ(pair.lists_begun, kShards);
  pair.ExpectAgreement(Sequences());
  pair.Lead();
  pair.Connect();
  pair.Quiet();
  EXPECT_EQ(pair.lists_begun, 2 * kShards);
  pair.ExpectAgreement(Sequences());
}

TEST(ListSyncTest, ACheckThatCountingOvertookIsStillTold) {
  Pair pair;
  const ChunkHandle checked(ShardId(0), 5);
  pair.ChunkAppears(checked);
  pair.Insert(checked, Facts(1000));
  pair.Insert(ChunkHandle(ShardId(0), 6), Facts(1000));
  pair.Quiet();
  pair.Erase(ChunkHandle(ShardId(0), 6));
  pair.Send();
  pair.Break(0);  // the removal is lost, so the buckets are asked for
  pair.Send();
  pair.Deliver();
  pair.SetState(checked, ReplicaState::kVerified);
  pair.Answer();
  pair.Quiet();
  EXPECT_GT(pair.bucket_digests_sent, 0u);
  pair.ExpectAgreement({5, 6});
}

TEST(ListSyncTest, WhenThereAreTooManyBucketsTheListIsSentInstead) {
  Pair pair;
  for (uint64_t b = 0; b <= ReportBuilder::kBucketsMax + 1; ++b) {
    pair.Insert(ChunkHandle(ShardId(0), b * kBucketSequences + 1), Facts(1000));
  }
  pair.Quiet();
  EXPECT_TRUE(pair.complete(0));
  pair.lists_begun = pair.lists_asked = 0;
  pair.Erase(ChunkHandle(ShardId(0), 1));
  pair.Send();
  pair.Break(0);
  pair.Quiet();
  EXPECT_TRUE(pair.complete(0));
  EXPECT_EQ(pair.bucket_digests_sent, 0u);
  EXPECT_EQ(pair.lists_asked, 0u);
  EXPECT_EQ(pair.lists_begun, 1u);
}

// A report on its way is changed, as by a bug of either side.
void Spoil(v1::Heartbeat& message, Rng& rng) {
  message.set_lists_digest(message.lists_digest() + rng.Below(2));
  if (message.shards_size() == 0) return;
  v1::ShardReport& report = *message.mutable_shards(
      static_cast<int>(rng.Below(static_cast<uint64_t>(message.shards_size()))));
  switch (rng.Below(4)) {
    case 0:
      report.set_digest(report.digest() ^ (uint64_t{1} << rng.Below(64)));
      break;
    case 1:
      report.set_replica_count(report.replica_count() + 1);
      break;
    case 2:
      if (report.replicas_size() > 0) report.mutable_replicas()->RemoveLast();
      break;
    case 3:
      if (report.buckets_size() > 0) {
        report.mutable_buckets(0)->set_digest(report.buckets(0).digest() + 1);
      }
      break;
  }
}

// Whatever happens: once it is quiet, the leader's picture is the server's.
TEST(ListSyncTest, EverythingAgreesOnceItIsQuiet) {
  const std::vector<uint64_t> sequences = Sequences();
  size_t resyncs = 0;
  size_t buckets = 0;
  for (uint64_t seed = 1; seed <= 300; ++seed) {
    SCOPED_TRACE(absl::StrCat("seed ", seed));
    Rng rng(seed);
    Pair pair;
    const bool spoils = rng.OneIn(2);
    for (int step = 0; step < 400; ++step) {
      const ChunkHandle handle(ShardId(static_cast<uint32_t>(rng.Below(kShards))),
                               sequences[rng.Below(sequences.size())]);
      switch (rng.Below(14)) {
        case 0:
        case 1:
        case 2:
          pair.Insert(handle,
                      Facts(rng.OneIn(5) ? 999 : 1000,
                            rng.OneIn(2) ? ReplicaState::kUnverified : ReplicaState::kVerified));
          break;
        case 3:
          pair.Erase(handle);
          break;
        case 4:
          if (const auto facts = pair.index().Find(handle);
              facts.has_value() && facts->state != ReplicaState::kCorrupt) {
            pair.SetState(handle, rng.OneIn(4) ? ReplicaState::kCorrupt : ReplicaState::kVerified);
          }
          break;
        case 5:
          pair.ChunkAppears(handle);
          break;
        case 6:
          pair.ChunkGoes(handle);
          break;
        case 7:
        case 8:
          if (pair.up().size() < 2) pair.Send(1 + rng.Below(6), 1 + rng.Below(4));
          if (spoils && rng.OneIn(20) && !pair.up().empty()) Spoil(pair.up().back(), rng);
          break;
        case 9:
        case 10:
          pair.Deliver(static_cast<int64_t>(rng.Between(1, 2000)));
          break;
        case 11:
          pair.Answer();
          break;
        case 12:
          pair.Pass(absl::Seconds(rng.Below(4)));
          break;
        case 13:
          if (rng.OneIn(3)) {
            pair.Break(rng.Below(3));
          } else if (rng.OneIn(10)) {
            pair.StartServer();
            pair.Connect();
          } else if (rng.OneIn(10)) {
            pair.Lead();
            pair.Connect();
          }
          break;
      }
      ASSERT_FALSE(HasFatalFailure());
    }
    pair.Quiet();
    pair.ExpectAgreement(sequences);
    ASSERT_FALSE(HasFatalFailure());
    resyncs += pair.resyncs_asked;
    buckets += pair.buckets_sent;
  }
  EXPECT_GT(resyncs, 100u);
  EXPECT_GT(buckets, 100u);
}

}  // namespace
}  // namespace ballast
