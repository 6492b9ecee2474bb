// SPDX-License-Identifier: Apache-2.0
#include "services/chunkserver/core/report_builder.h"

#include <map>
#include <optional>

#include "common/base/rng.h"
#include "common/routing/replica_digest.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "services/chunkserver/core/chunk_format.h"

namespace ballast::chunkserver {
namespace {

using Reports = google::protobuf::RepeatedPtrField<v1::ShardReport>;

ReplicaFacts Facts(uint32_t length, ReplicaState state = ReplicaState::kUnverified) {
  return ReplicaFacts{.length_bytes = length, .crc32c = Crc32c{length * 7}, .state = state};
}

ReplicaFacts FactsOf(const v1::ReplicaReport& replica) {
  return ReplicaFacts{.length_bytes = replica.length_bytes(),
                      .crc32c = Crc32c{replica.crc32c()},
                      .state = replica.corrupt()    ? ReplicaState::kCorrupt
                               : replica.verified() ? ReplicaState::kVerified
                                                    : ReplicaState::kUnverified};
}

// What a master makes of the reports, by the letter of the protocol.
class ModelMaster {
 public:
  void Take(const Reports& reports) {
    for (const v1::ShardReport& report : reports) {
      Shard& shard = shards_[report.shard()];
      if (report.offer()) {
        ASSERT_TRUE(shard.complete) << "an offer of what was never told";
        ASSERT_EQ(report.replicas_size() + report.removed_handles_size(), 0);
      }
      if (report.whole_bucket()) {
        const auto begin = ChunkHandle(ShardId(report.shard()), report.bucket() * kBucketSequences);
        shard.chunks.erase(shard.chunks.lower_bound(begin.value()),
                           shard.chunks.lower_bound(begin.value() + kBucketSequences));
      }
      if (report.full_begin()) {
        shard = Shard{.listing = true, .chunks = {}};
      }
      if (!shard.listing) {
        ASSERT_TRUE(shard.complete) << "changes before a completed full list";
      }
      for (const v1::ReplicaReport& replica : report.replicas()) {
        if (shard.listing) {
          ASSERT_TRUE(shard.chunks.empty() || shard.chunks.rbegin()->first < replica.handle());
          ASSERT_EQ(replica.reads_since_last(), 0u);
        }
        shard.chunks[replica.handle()] = FactsOf(replica);
        reads += replica.reads_since_last();
      }
      for (const uint64_t handle : report.removed_handles()) {
        ASSERT_FALSE(shard.listing);
        shard.chunks.erase(handle);
      }
      if (report.full_end()) {
        shard.listing = false;
        shard.complete = true;
      }
      ASSERT_EQ(report.digest(), Digest(shard)) << "shard " << report.shard();
      ASSERT_EQ(report.replica_count(), shard.chunks.size());
    }
  }

  // What all lists together sum up to.
  ToldLists All() {
    ToldLists all;
    for (const auto& [id, shard] : shards_) {
      all.digest += Digest(shard);
      all.count += shard.chunks.size();
    }
    return all;
  }
  const std::map<uint64_t, ReplicaFacts>& chunks(uint32_t shard) { return shards_[shard].chunks; }
  bool complete(uint32_t shard) { return shards_[shard].complete; }
  uint64_t reads = 0;

 private:
  struct Shard {
    bool listing = false;
    bool complete = false;
    std::map<uint64_t, ReplicaFacts> chunks;
  };
  static uint64_t Digest(const Shard& shard) {
    ReplicaDigest digest;
    for (const auto& [handle, facts] : shard.chunks) {
      digest.Add(ChunkHandle(handle), {.length_bytes = facts.length_bytes,
                                       .crc32c = facts.crc32c.value,
                                       .corrupt = facts.state == ReplicaState::kCorrupt});
    }
    return digest.value();
  }
  std::map<uint32_t, Shard> shards_;
};

class ReportBuilderTest : public ::testing::Test {
 protected:
  void Insert(ChunkHandle handle, const ReplicaFacts& facts) {
    index_.Insert(handle, facts);
    builder_.OnChange(handle, std::nullopt);
  }
  void Erase(ChunkHandle handle) {
    const auto before = index_.Find(handle);
    index_.Erase(handle);
    builder_.OnChange(handle, before);
  }
  void SetState(ChunkHandle handle, ReplicaState state) {
    const auto before = index_.Find(handle);
    index_.SetState(handle, state);
    builder_.OnChange(handle, before);
  }
  Reports Build(size_t replicas_max, size_t shards_max = 100, bool with_digests = false) {
    Reports reports;
    builder_.Build(replicas_max, shards_max, with_digests, &reports);
    return reports;
  }

  ChunkIndex index_;
  ReportBuilder builder_{index_};
  ModelMaster master_;
};

TEST_F(ReportBuilderTest, ListsInPagesThatEndTheList) {
  for (uint64_t i = 1; i <= 10; ++i) {
    Insert(ChunkHandle(ShardId(1), i), Facts(100));
  }
  builder_.Start(ShardId(1));
  const Reports first = Build(4);
  ASSERT_EQ(first.size(), 1);
  EXPECT_TRUE(first[0].full_begin());
  EXPECT_FALSE(first[0].full_end());
  EXPECT_EQ(first[0].replicas_size(), 4);
  const Reports second = Build(4);
  EXPECT_FALSE(second[0].full_begin());
  const Reports third = Build(4);
  EXPECT_TRUE(third[0].full_end());
  EXPECT_EQ(third[0].replicas_size(), 2);
  EXPECT_FALSE(builder_.HasNews());
}

TEST_F(ReportBuilderTest, ReportsAnEmptyShardToo) {
  builder_.Start(ShardId(9));
  const Reports reports = Build(4);
  ASSERT_EQ(reports.size(), 1);
  EXPECT_TRUE(reports[0].full_begin() && reports[0].full_end());
  EXPECT_EQ(reports[0].replica_count(), 0u);
}

TEST_F(ReportBuilderTest, SendsOnlyWhatChangedAfterTheList) {
  Insert(ChunkHandle(ShardId(1), 1), Facts(100));
  Insert(ChunkHandle(ShardId(1), 2), Facts(100));
  builder_.Start(ShardId(1));
  master_.Take(Build(10));
  Erase(ChunkHandle(ShardId(1), 1));
  SetState(ChunkHandle(ShardId(1), 2), ReplicaState::kCorrupt);
  Insert(ChunkHandle(ShardId(2), 1), Facts(5));  // not reported to this master
  const Reports reports = Build(10);
  ASSERT_EQ(reports.size(), 1);
  EXPECT_EQ(reports[0].removed_handles_size(), 1);
  ASSERT_EQ(reports[0].replicas_size(), 1);
  EXPECT_TRUE(reports[0].replicas(0).corrupt());
  master_.Take(reports);
  EXPECT_EQ(Build(10).size(), 0);
}

TEST_F(ReportBuilderTest, AChunkThatCameAndWentIsNotMentioned) {
  builder_.Start(ShardId(1));
  master_.Take(Build(10));
  Insert(ChunkHandle(ShardId(1), 1), Facts(100));
  Erase(ChunkHandle(ShardId(1), 1));
  const Reports reports = Build(10);
  ASSERT_EQ(reports.size(), 1);
  EXPECT_EQ(reports[0].replicas_size() + reports[0].removed_handles_size(), 0);
  master_.Take(reports);
}

TEST_F(ReportBuilderTest, NoShardWaitsForALargeOne) {
  for (uint64_t i = 1; i <= 1000; ++i) {
    Insert(ChunkHandle(ShardId(1), i), Facts(100));
  }
  builder_.Start(ShardId(1));
  builder_.Start(ShardId(2));
  master_.Take(Build(10));
  master_.Take(Build(10));
  EXPECT_TRUE(master_.complete(2));
  EXPECT_FALSE(master_.complete(1));
}

TEST_F(ReportBuilderTest, ANewStreamBeginsWithOffersOfWhatWasTold) {
  Insert(ChunkHandle(ShardId(1), 1), Facts(100));
  builder_.Start(ShardId(1));
  EXPECT_FALSE(builder_.AllTold().has_value());
  master_.Take(Build(10));
  EXPECT_EQ(builder_.AllTold(), master_.All());
  Insert(ChunkHandle(ShardId(1), 2), Facts(100));
  builder_.Start(ShardId(1));
  EXPECT_FALSE(builder_.AllTold().has_value()) << "nothing has been said on this stream";
  const Reports offers = Build(10);
  ASSERT_EQ(offers.size(), 1);
  EXPECT_TRUE(offers[0].offer());
  EXPECT_EQ(offers[0].replica_count(), 1u) << "what was told, not what is there";
  master_.Take(offers);
  EXPECT_EQ(builder_.AllTold(), master_.All());
  const Reports changes = Build(10);
  ASSERT_EQ(changes.size(), 1);
  EXPECT_EQ(changes[0].replicas_size(), 1);
  master_.Take(changes);
}

TEST_F(ReportBuilderTest, AListThatWasNotToldToItsEndIsBegunAgain) {
  Insert(ChunkHandle(ShardId(1), 1), Facts(100));
  Insert(ChunkHandle(ShardId(1), 2), Facts(100));
  builder_.Start(ShardId(1));
  Build(1);
  builder_.Start(ShardId(1));
  const Reports reports = Build(10);
  ASSERT_EQ(reports.size(), 1);
  EXPECT_TRUE(reports[0].full_begin() && reports[0].full_end());
}

TEST_F(ReportBuilderTest, TellsEveryDigestOnceWhenAsked) {
  for (uint32_t shard = 0; shard < 10; ++shard) {
    builder_.Start(ShardId(shard));
  }
  Build(100);
  EXPECT_EQ(Build(100, 100, true).size(), 0) << "nobody asked";
  v1::HeartbeatReply ask;
  ask.set_tell_digests(true);
  builder_.OnReply(ask);
  std::multiset<uint32_t> seen;
  for (int round = 0; builder_.HasNews(); ++round) {
    ASSERT_LT(round, 5);
    for (const v1::ShardReport& report : Build(100, 3)) {
      seen.insert(report.shard());
    }
  }
  EXPECT_EQ(seen.size(), 10u);
  EXPECT_EQ(std::set<uint32_t>(seen.begin(), seen.end()).size(), 10u);
}

TEST_F(ReportBuilderTest, DigestsOfAllBucketsCountWhatIsThereNow) {
  for (const uint64_t s : {uint64_t{1}, uint64_t{2}, kBucketSequences, 9 * kBucketSequences}) {
    Insert(ChunkHandle(ShardId(1), s), Facts(100));
  }
  builder_.Start(ShardId(1));
  master_.Take(Build(10));
  Erase(ChunkHandle(ShardId(1), kBucketSequences));
  SetState(ChunkHandle(ShardId(1), 2), ReplicaState::kVerified);
  v1::HeartbeatReply ask;
  ask.add_resync_shards(1);
  ask.add_resync_shards(7);  // not reported
  builder_.OnReply(ask);
  EXPECT_FALSE(builder_.AllTold().has_value());
  const Reports counted = Build(10);
  ASSERT_EQ(counted.size(), 1);
  EXPECT_TRUE(counted[0].all_buckets());
  ASSERT_EQ(counted[0].buckets_size(), 2);
  EXPECT_EQ(counted[0].buckets(0).replica_count(), 2u);
  EXPECT_EQ(counted[0].buckets(1).bucket(), 9u);
  EXPECT_EQ(counted[0].replica_count(), 3u);
  EXPECT_EQ(builder_.AllTold()->count, 3u);
  const Reports flags = Build(10);
  ASSERT_EQ(flags.size(), 1) << "no digest shows that one was verified";
  EXPECT_EQ(flags[0].removed_handles_size(), 0);
  ASSERT_EQ(flags[0].replicas_size(), 1);
  EXPECT_TRUE(flags[0].replicas(0).verified());
}

TEST_F(ReportBuilderTest, ABucketIsSentWholeAndSaysWhatHadChangedInIt) {
  for (uint64_t s = 1; s <= 10; ++s) {
    Insert(ChunkHandle(ShardId(1), s), Facts(100));
    Insert(ChunkHandle(ShardId(1), 5 * kBucketSequences + s), Facts(100));
  }
  builder_.Start(ShardId(1));
  master_.Take(Build(100));
  Erase(ChunkHandle(ShardId(1), 5 * kBucketSequences + 3));
  Insert(ChunkHandle(ShardId(1), 5 * kBucketSequences + 30), Facts(100));
  v1::HeartbeatReply ask;
  for (const uint64_t bucket : {uint64_t{5}, uint64_t{6}, uint64_t{1} << 60}) {
    ask.add_resend_buckets()->set_shard(1);
    ask.mutable_resend_buckets(ask.resend_buckets_size() - 1)->set_bucket(bucket);
  }
  builder_.OnReply(ask);
  const Reports reports = Build(8192);
  ASSERT_EQ(reports.size(), 2) << "there is no bucket 2^60";
  EXPECT_EQ(reports[0].bucket(), 5u);
  EXPECT_EQ(reports[0].replicas_size(), 10);
  EXPECT_EQ(reports[1].bucket(), 6u);
  EXPECT_EQ(reports[1].replicas_size(), 0);
  master_.Take(reports);
  EXPECT_FALSE(builder_.HasNews());
  EXPECT_EQ(builder_.AllTold(), master_.All());
}

TEST_F(ReportBuilderTest, AMessageHoldsAPageOfReplicasAlsoInBuckets) {
  for (uint64_t bucket = 0; bucket < 3; ++bucket) {
    for (uint64_t s = 1; s <= 3000; ++s) {
      Insert(ChunkHandle(ShardId(1), bucket * kBucketSequences + s), Facts(100));
    }
  }
  builder_.Start(ShardId(1));
  while (builder_.HasNews()) {
    master_.Take(Build(8192));
  }
  v1::HeartbeatReply ask;
  for (uint64_t bucket = 0; bucket < 3; ++bucket) {
    ask.add_resend_buckets()->set_shard(1);
    ask.mutable_resend_buckets(static_cast<int>(bucket))->set_bucket(bucket);
  }
  builder_.OnReply(ask);
  int replicas = 0;
  while (builder_.HasNews()) {
    int in_message = 0;
    const Reports reports = Build(8192);
    master_.Take(reports);
    for (const v1::ShardReport& report : reports) {
      in_message += report.replicas_size();
    }
    EXPECT_LE(in_message, 8192);
    replicas += in_message;
  }
  EXPECT_EQ(replicas, 9000);
}

TEST_F(ReportBuilderTest, CountsReadsOnce) {
  Insert(ChunkHandle(ShardId(1), 1), Facts(100));
  builder_.Start(ShardId(1));
  master_.Take(Build(10));
  builder_.OnRead(ChunkHandle(ShardId(1), 1));
  builder_.OnRead(ChunkHandle(ShardId(1), 1));
  builder_.OnRead(ChunkHandle(ShardId(5), 1));
  master_.Take(Build(10, 100, true));
  master_.Take(Build(10, 100, true));
  EXPECT_EQ(master_.reads, 2u);
}

// Of all kinds but resync_shards, whose answer needs further questions (list_sync_test).
v1::HeartbeatReply RandomQuestion(Rng& rng, ShardId shard) {
  v1::HeartbeatReply reply;
  switch (rng.Below(3)) {
    case 0:
      reply.add_resend_shards(shard.value());
      break;
    case 1:
      reply.add_resend_buckets()->set_shard(shard.value());
      reply.mutable_resend_buckets(0)->set_bucket(rng.Below(2));
      break;
    case 2:
      reply.set_tell_digests(true);
      break;
  }
  return reply;
}

// However pages, changes, restarts, questions and limits fall together, the master's digest always
// equals the reported one (ModelMaster checks each), and in the end it knows exactly what is there.
TEST_F(ReportBuilderTest, ModelMasterAlwaysAgreesWithTheDigest) {
  for (uint64_t seed = 1; seed <= 200; ++seed) {
    SCOPED_TRACE(seed);
    Rng rng(seed);
    ChunkIndex index;
    ReportBuilder builder(index);
    ModelMaster master;
    for (uint32_t shard = 0; shard < 3; ++shard) {
      builder.Start(ShardId(shard));
    }
    const auto build = [&](size_t replicas_max) {
      Reports reports;
      builder.Build(replicas_max, 1 + rng.Below(4), rng.OneIn(2), &reports);
      master.Take(reports);
      if (const auto told = builder.AllTold()) {
        ASSERT_EQ(*told, master.All());
      }
    };
    for (int step = 0; step < 200; ++step) {
      const ChunkHandle handle(ShardId(static_cast<uint32_t>(rng.Below(3))), 1 + rng.Below(30));
      const auto before = index.Find(handle);
      switch (rng.Below(6)) {
        case 0:
        case 1:
          if (index.Insert(handle, Facts(static_cast<uint32_t>(1 + rng.Below(1000))))) {
            builder.OnChange(handle, before);
          }
          break;
        case 2:
          if (index.Erase(handle)) {
            builder.OnChange(handle, before);
          }
          break;
        case 3:
          if (index.SetState(handle, static_cast<ReplicaState>(rng.Below(3)))) {
            builder.OnChange(handle, before);
          }
          break;
        case 4:
          builder.OnRead(handle);
          if (rng.OneIn(10)) {
            builder.Start(handle.shard());
          }
          if (rng.OneIn(10)) {
            builder.OnReply(RandomQuestion(rng, handle.shard()));
          }
          break;
        default:
          build(1 + rng.Below(5));
      }
      ASSERT_FALSE(HasFatalFailure());
    }
    while (builder.HasNews()) {
      build(1000);
    }
    for (uint32_t shard = 0; shard < 3; ++shard) {
      std::map<uint64_t, ReplicaFacts> expected;
      index.VisitShard(ShardId(shard), 0, [&](ChunkHandle handle, const ReplicaFacts& facts) {
        expected[handle.value()] = facts;
        return true;
      });
      ASSERT_EQ(master.chunks(shard), expected);
    }
  }
}

TEST(ChunkIndexTest, KeepsFactsCountsAndBytes) {
  ChunkIndex index;
  const ChunkHandle handle(ShardId(65535), ChunkHandle::kSequenceMax);
  EXPECT_TRUE(index.Insert(handle, Facts(kChunkBytesMax, ReplicaState::kVerified)));
  EXPECT_FALSE(index.Insert(handle, Facts(1)));
  EXPECT_EQ(index.Find(handle), Facts(kChunkBytesMax, ReplicaState::kVerified));
  EXPECT_EQ(index.bytes_on_disk(), kChunkBytesMax + kChunkPrefixBytes);
  EXPECT_TRUE(index.SetState(handle, ReplicaState::kCorrupt));
  EXPECT_EQ(index.corrupt_count(), 1u);
  EXPECT_EQ(index.Find(handle)->length_bytes, kChunkBytesMax);
  EXPECT_TRUE(index.Erase(handle));
  EXPECT_EQ(index.size() + index.corrupt_count() + index.bytes_on_disk(), 0u);
  EXPECT_FALSE(index.Erase(handle));
}

TEST(ChunkIndexTest, ASmallChunkCostsLittleMoreThanEightKibibytes) {
  EXPECT_EQ(ChunkFileBytesOnDisk(1), KiB(12));
  EXPECT_EQ(ChunkFileBytesOnDisk(KiB(4)), KiB(12));
  EXPECT_EQ(ChunkFileBytesOnDisk(KiB(4) + 1), KiB(16));
}

}  // namespace
}  // namespace ballast::chunkserver
