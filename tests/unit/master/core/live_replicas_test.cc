// SPDX-License-Identifier: Apache-2.0
#include "services/master/core/live_replicas.h"

#include <map>

#include "absl/strings/str_cat.h"
#include "common/base/rng.h"
#include "gtest/gtest.h"
#include "tests/support/status_matchers.h"
#include "tests/unit/master/core/fake_catalog.h"

namespace ballast::master {
namespace {

using ::ballast::testing::StatusIs;

SteadyTime At(double seconds) { return SteadyTime::FromOrigin(absl::Seconds(seconds)); }
constexpr ServerIndex kA(1);
constexpr ServerIndex kB(2);
constexpr ShardId kShard(1);
constexpr absl::Duration kPatience = absl::Seconds(10);

ChunkHandle Handle(uint64_t sequence) { return ChunkHandle(kShard, sequence); }

// What a chunk server does: it holds replicas of one shard and makes reports of them.
class FakeServer {
 public:
  void Put(uint64_t sequence, ReplicaFacts facts = {1000, 7, false}) {
    Remove(sequence);
    held_[sequence] = facts;
    digest_.Add(Handle(sequence), facts);
  }
  void Remove(uint64_t sequence) {
    if (const auto it = held_.find(sequence); it != held_.end()) {
      digest_.Remove(Handle(sequence), it->second);
      held_.erase(it);
    }
  }
  bool Holds(uint64_t sequence) const { return held_.count(sequence) > 0; }
  const std::map<uint64_t, ReplicaFacts>& held() const { return held_; }

  // The full list in pages of `page` replicas.
  std::vector<v1::ShardReport> Full(size_t page = 1000) const {
    std::vector<v1::ShardReport> pages(1);
    for (const auto& [sequence, facts] : held_) {
      if (static_cast<size_t>(pages.back().replicas_size()) == page) pages.emplace_back();
      Append(pages.back(), sequence, facts);
    }
    for (auto& p : pages) Close(p);
    pages.front().set_full_begin(true);
    pages.back().set_full_end(true);
    return pages;
  }
  v1::ShardReport Changes(const std::vector<uint64_t>& changed,
                          const std::vector<uint64_t>& removed) const {
    v1::ShardReport report;
    for (uint64_t s : changed) Append(report, s, held_.at(s));
    for (uint64_t s : removed) report.add_removed_handles(Handle(s).value());
    Close(report);
    return report;
  }

 private:
  static void Append(v1::ShardReport& report, uint64_t sequence, const ReplicaFacts& facts) {
    auto* r = report.add_replicas();
    r->set_handle(Handle(sequence).value());
    r->set_length_bytes(facts.length_bytes);
    r->set_crc32c(facts.crc32c);
    r->set_corrupt(facts.corrupt);
  }
  void Close(v1::ShardReport& report) const {
    report.set_shard(kShard.value());
    report.set_digest(digest_.value());
    report.set_replica_count(held_.size());
  }
  std::map<uint64_t, ReplicaFacts> held_;
  ReplicaDigest digest_;
};

class LiveReplicasTest : public ::testing::Test {
 protected:
  LiveReplicas::Ingested Take(const v1::ShardReport& report, double t = 1,
                              ServerIndex server = kA) {
    const auto result = replicas_.Ingest(server, report, 0, report.replicas_size(), At(t));
    EXPECT_OK(result);
    return result.ok() ? *result : LiveReplicas::Ingested();
  }
  void TakeFull(double t = 1) {
    for (const auto& page : server_.Full()) Take(page, t);
  }
  uint8_t Flags(uint64_t sequence, ServerIndex server = kA) {
    const ChunkRecord* record = catalog_.chunks(kShard)->Find(sequence);
    return record == nullptr ? 0 : record->FlagsOf(server);
  }
  bool Live(uint64_t sequence, ServerIndex server = kA) {
    return (Flags(sequence, server) & ChunkRecord::kLive) != 0;
  }
  std::vector<ShardId> Resend(double t) {
    return replicas_.ShardsToResend(kA, At(t), kPatience, 100);
  }
  size_t Specials() { return replicas_.special_count(); }

  FakeCatalog catalog_{2};
  LiveReplicas replicas_{catalog_};
  FakeServer server_;
};

TEST_F(LiveReplicasTest, AFullListInPagesMakesReplicasLive) {
  for (uint64_t s = 1; s <= 10; ++s) {
    catalog_.AddChunk(Handle(s), {1});
    if (s % 2 == 0) server_.Put(s);
  }
  const auto pages = server_.Full(2);
  ASSERT_EQ(pages.size(), 3u);
  for (const auto& page : pages) {
    EXPECT_FALSE(replicas_.IsComplete(kA, kShard));
    Take(page);
  }
  EXPECT_TRUE(replicas_.IsComplete(kA, kShard));
  EXPECT_EQ(replicas_.ReplicaCount(kA), 5u);
  for (uint64_t s = 1; s <= 10; ++s) EXPECT_EQ(Live(s), s % 2 == 0) << s;
  EXPECT_EQ(Specials(), 0u) << "replicas that fit cost nothing";
}

TEST_F(LiveReplicasTest, ALongReportMayBeTakenInParts) {
  for (uint64_t s = 1; s <= 100; ++s) {
    catalog_.AddChunk(Handle(s), {1});
    server_.Put(s);
  }
  const v1::ShardReport report = server_.Full(1000)[0];
  for (int from = 0; from < 100; from += 30) {
    EXPECT_FALSE(replicas_.IsComplete(kA, kShard));
    ASSERT_OK(replicas_.Ingest(kA, report, from, std::min(from + 30, 100), At(1)));
  }
  EXPECT_TRUE(replicas_.IsComplete(kA, kShard));
}

TEST_F(LiveReplicasTest, ANewFullListIsDiffedBothWays) {
  for (uint64_t s = 1; s <= 4; ++s) catalog_.AddChunk(Handle(s), {1});
  server_.Put(1);
  server_.Put(2);
  TakeFull();
  server_.Remove(1);
  server_.Put(3);
  replicas_.OnStreamBegan(kA, At(2));
  const auto page = server_.Full()[0];
  const auto result = Take(page, 3);
  EXPECT_EQ(result.appeared, 1u);
  EXPECT_EQ(result.odd, std::vector<ChunkHandle>{Handle(1)});
  EXPECT_FALSE(Live(1));
  EXPECT_TRUE(Live(2));
  EXPECT_TRUE(Live(3));
}

TEST_F(LiveReplicasTest, AListCutByTheStreamsEndIsAskedForAgain) {
  for (uint64_t s = 1; s <= 4; ++s) {
    catalog_.AddChunk(Handle(s), {1});
    server_.Put(s);
  }
  const auto pages = server_.Full(2);
  Take(pages[0], 1);
  replicas_.OnStreamBegan(kA, At(2));
  Take(pages[1], 3);  // the rest alone is worth nothing
  EXPECT_FALSE(replicas_.IsComplete(kA, kShard));
  EXPECT_FALSE(replicas_.IsKnown(kA, kShard));
  EXPECT_TRUE(Resend(4).empty()) << "it may be on its way";
  EXPECT_EQ(Resend(13), (std::vector<ShardId>{ShardId(0), kShard}));
  EXPECT_TRUE(Resend(14).empty()) << "asked a moment ago";
  TakeFull(15);
  EXPECT_EQ(Resend(30), std::vector<ShardId>{ShardId(0)});
}

TEST_F(LiveReplicasTest, ChangesApplyOnTopAndTheDigestHolds) {
  catalog_.AddChunk(Handle(1), {1});
  TakeFull();
  server_.Put(1);
  EXPECT_EQ(Take(server_.Changes({1}, {})).appeared, 1u);
  EXPECT_TRUE(Live(1));
  EXPECT_EQ(Take(server_.Changes({1}, {})).appeared, 0u) << "the same again";
  server_.Remove(1);
  EXPECT_EQ(Take(server_.Changes({}, {1})).odd.size(), 1u);
  EXPECT_FALSE(Live(1));
  EXPECT_TRUE(replicas_.IsComplete(kA, kShard));
  EXPECT_EQ(replicas_.ReplicaCount(kA), 0u);
}

TEST_F(LiveReplicasTest, ADigestThatDoesNotFitAsksForTheListAtOnceButNotInALoop) {
  TakeFull();
  server_.Put(1);
  server_.Put(2);
  Take(server_.Changes({1}, {}), 2);  // the change with 2 was lost
  EXPECT_FALSE(replicas_.IsComplete(kA, kShard));
  EXPECT_TRUE(replicas_.IsKnown(kA, kShard));
  EXPECT_EQ(Resend(2), std::vector<ShardId>{kShard});
  v1::ShardReport wrong = server_.Full()[0];
  wrong.set_digest(wrong.digest() + 1);
  Take(wrong, 3);
  EXPECT_TRUE(Resend(3).empty());
  EXPECT_EQ(Resend(13).size(), 2u);
}

TEST_F(LiveReplicasTest, ACountThatDoesNotFitIsFoundToo) {
  server_.Put(1);
  v1::ShardReport report = server_.Full()[0];
  report.set_replica_count(2);
  Take(report);
  EXPECT_FALSE(replicas_.IsComplete(kA, kShard));
}

TEST_F(LiveReplicasTest, ChangesBeforeTheFullListMeanNothing) {
  catalog_.AddChunk(Handle(1), {1});
  server_.Put(1);
  replicas_.OnStreamBegan(kA, At(0));
  Take(server_.Changes({1}, {}));
  EXPECT_FALSE(replicas_.IsComplete(kA, kShard));
  EXPECT_FALSE(Live(1));
}

TEST_F(LiveReplicasTest, HandlesMustAscendOverAllPages) {
  server_.Put(1);
  server_.Put(2);
  auto pages = server_.Full(1);
  Take(pages[0], 1);
  pages[1].mutable_replicas(0)->set_handle(Handle(1).value());
  Take(pages[1], 2);
  EXPECT_FALSE(replicas_.IsComplete(kA, kShard));
  EXPECT_EQ(Resend(2), std::vector<ShardId>{kShard});
}

TEST_F(LiveReplicasTest, CorruptAndUnfittingReplicasAreNotLive) {
  catalog_.AddChunk(Handle(1), {1});
  catalog_.AddChunk(Handle(2), {1});
  catalog_.AddChunk(Handle(3), {1});
  server_.Put(1, {1000, 7, true});
  server_.Put(2, {999, 7, false});
  server_.Put(3, {1000, 8, false});
  const auto result = Take(server_.Full()[0]);
  EXPECT_EQ(result.odd.size(), 3u);
  EXPECT_TRUE(replicas_.IsComplete(kA, kShard));
  for (uint64_t s = 1; s <= 3; ++s) {
    EXPECT_FALSE(Live(s)) << s;
    EXPECT_TRUE(Flags(s) & ChunkRecord::kCorrupt) << s;
    EXPECT_EQ(replicas_.HeldFacts(kA, Handle(s)), server_.held().at(s)) << s;
  }
  server_.Put(1);  // repaired
  Take(server_.Changes({1}, {}));
  EXPECT_TRUE(Live(1));
  EXPECT_TRUE(replicas_.IsComplete(kA, kShard));
}

TEST_F(LiveReplicasTest, AReportBeforeTheSealIsRememberedAndAfterTheRemovalStillKnown) {
  TakeFull();
  server_.Put(1);
  Take(server_.Changes({1}, {}));
  EXPECT_EQ(Specials(), 1u);
  ChunkRecord& record = catalog_.AddChunk(Handle(1), {1, 2});
  replicas_.OnChunkAdded(Handle(1), record);
  EXPECT_EQ(Specials(), 0u);
  EXPECT_TRUE(Live(1));
  EXPECT_FALSE(Live(1, kB));
  replicas_.OnChunkRemoved(Handle(1), record);
  catalog_.chunks(kShard)->Erase(1);
  EXPECT_EQ(Specials(), 1u) << "what kB holds is not known, so only kA's";
  server_.Remove(1);
  Take(server_.Changes({}, {1}));
  EXPECT_EQ(Specials(), 0u);
  EXPECT_TRUE(replicas_.IsComplete(kA, kShard));
}

TEST_F(LiveReplicasTest, FlagsOfAnEarlierTermAreReplacedByTheFirstList) {
  catalog_.AddChunk(Handle(1), {1}).SetLiveFlags(kA, ChunkRecord::kLive);
  catalog_.AddChunk(Handle(2), {}).SetLiveFlags(kA, ChunkRecord::kCorrupt);
  EXPECT_FALSE(replicas_.IsKnown(kA, kShard));
  TakeFull();
  EXPECT_EQ(Flags(1), ChunkRecord::kLogged);
  EXPECT_EQ(Flags(2), 0);
}

TEST_F(LiveReplicasTest, MoreHoldersThanSlotsAreStillAccountedFor) {
  ChunkRecord& record = catalog_.AddChunk(Handle(1), {11, 12, 13, 14, 15});
  record.SetLiveFlags(ServerIndex(16), ChunkRecord::kLive);
  record.SetLiveFlags(ServerIndex(17), ChunkRecord::kLive);
  server_.Put(1);
  TakeFull();
  EXPECT_FALSE(Live(1));
  EXPECT_EQ(Specials(), 1u);
  EXPECT_TRUE(replicas_.IsComplete(kA, kShard));
  server_.Remove(1);
  Take(server_.Changes({}, {1}));
  EXPECT_TRUE(replicas_.IsComplete(kA, kShard));
}

TEST_F(LiveReplicasTest, ACompleteUnaryReportEmptiesTheShardsItDoesNotName) {
  catalog_.AddChunk(Handle(1), {1});
  server_.Put(1);
  TakeFull();
  const std::vector<ShardId> none;
  EXPECT_EQ(replicas_.IngestEmptyLists(kA, none, At(2)).odd.size(), 1u);
  EXPECT_FALSE(Live(1));
  EXPECT_TRUE(replicas_.IsComplete(kA, ShardId(0)));
  EXPECT_TRUE(replicas_.IsComplete(kA, kShard));
}

TEST_F(LiveReplicasTest, HostileReportsAreRefused) {
  const auto refused = [&](auto&& change) {
    v1::ShardReport report;
    report.set_shard(kShard.value());
    report.set_full_begin(true);
    auto* r = report.add_replicas();
    r->set_handle(Handle(1).value());
    r->set_length_bytes(1);
    change(report);
    return replicas_.Ingest(kA, report, 0, 1, At(1));
  };
  EXPECT_OK(refused([](v1::ShardReport&) {}));
  const auto code = absl::StatusCode::kInvalidArgument;
  EXPECT_THAT(refused([](auto& r) { r.set_shard(2); }), StatusIs(code));
  EXPECT_THAT(refused([](auto& r) { r.set_shard(0xFFFFFFFF); }), StatusIs(code));
  EXPECT_THAT(refused([](auto& r) { r.mutable_replicas(0)->set_handle(5); }), StatusIs(code));
  EXPECT_THAT(refused([](auto& r) { r.mutable_replicas(0)->set_handle(Handle(0).value()); }),
              StatusIs(code));
  EXPECT_THAT(refused([](auto& r) { r.mutable_replicas(0)->set_length_bytes(MiB(64) + 1); }),
              StatusIs(code));
}

TEST_F(LiveReplicasTest, ShardsOfOtherGroupsAreIgnored) {
  server_.Put(1);
  catalog_.GiveAway(kShard);
  replicas_.OnShardReplaced(kShard);
  TakeFull();
  EXPECT_FALSE(replicas_.IsComplete(kA, kShard));
  EXPECT_EQ(Specials(), 0u);
}

// Against a model: whatever happens in whatever order, a complete list says exactly what the server
// holds.
TEST_F(LiveReplicasTest, AgreesWithTheServerThroughRandomHistories) {
  int compared = 0;
  for (uint64_t seed = 1; seed <= 60; ++seed) {
    SCOPED_TRACE(absl::StrCat("seed ", seed));
    Rng rng(seed);
    FakeCatalog catalog(2);
    LiveReplicas replicas(catalog);
    FakeServer server;
    std::vector<v1::ShardReport> pages;  // of a list under way
    std::vector<uint64_t> changed, removed;
    double now = 1;
    replicas.OnStreamBegan(kA, At(now));
    for (int step = 0; step < 400; ++step) {
      now += 0.5;
      const uint64_t s = rng.Between(1, 30);
      ChunkTable& table = *catalog.chunks(kShard);
      switch (rng.Below(8)) {
        case 0:
        case 1:  // a replica comes or changes
          if (!pages.empty()) break;
          server.Put(s, {1000, rng.OneIn(6) ? 8u : 7u, rng.OneIn(6)});
          std::erase(removed, s);
          std::erase(changed, s);
          changed.push_back(s);
          break;
        case 2:  // or goes
          if (!pages.empty() || !server.Holds(s)) break;
          server.Remove(s);
          std::erase(changed, s);
          removed.push_back(s);
          break;
        case 3:  // the log learns of the chunk, or forgets it
          if (ChunkRecord* record = table.Find(s)) {
            replicas.OnChunkRemoved(Handle(s), *record);
            table.Erase(s);
          } else {
            replicas.OnChunkAdded(Handle(s), catalog.AddChunk(Handle(s), {1}));
          }
          break;
        case 4:
        case 5:  // a heartbeat
          if (!pages.empty()) {
            ASSERT_OK(replicas.Ingest(kA, pages[0], 0, pages[0].replicas_size(), At(now)));
            pages.erase(pages.begin());
          } else {
            const auto report = server.Changes(changed, removed);
            ASSERT_OK(replicas.Ingest(kA, report, 0, report.replicas_size(), At(now)));
            changed.clear();
            removed.clear();
          }
          break;
        case 6:  // the stream breaks
          if (!rng.OneIn(4)) break;
          replicas.OnStreamBegan(kA, At(now));
          pages = server.Full(rng.Between(1, 7));
          changed.clear();
          removed.clear();
          break;
        case 7:
          if (!replicas.ShardsToResend(kA, At(now), absl::Seconds(1), 9).empty()) {
            pages = server.Full(rng.Between(1, 7));
            changed.clear();
            removed.clear();
          }
          break;
      }
      const bool all_said = pages.empty() && changed.empty() && removed.empty();
      if (!replicas.IsComplete(kA, kShard) || !all_said) continue;
      ++compared;
      ASSERT_EQ(replicas.ReplicaCount(kA), server.held().size());
      for (uint64_t q = 1; q <= 30; ++q) {
        const auto facts = replicas.HeldFacts(kA, Handle(q));
        ASSERT_EQ(facts.has_value(), server.Holds(q)) << "sequence " << q << " step " << step;
        if (facts.has_value()) {
          ASSERT_EQ(*facts, server.held().at(q));
        }
      }
    }
  }
  EXPECT_GT(compared, 1000);
}

}  // namespace
}  // namespace ballast::master
