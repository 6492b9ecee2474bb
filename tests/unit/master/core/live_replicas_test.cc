// SPDX-License-Identifier: Apache-2.0
#include "services/master/core/live_replicas.h"

#include <map>

#include "absl/strings/str_cat.h"
#include "common/base/rng.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/support/status_matchers.h"
#include "tests/unit/master/core/fake_catalog.h"

namespace ballast::master {
namespace {

using ::ballast::testing::StatusIs;
using ::testing::ElementsAre;
using ::testing::IsEmpty;

SteadyTime At(double seconds) { return SteadyTime::FromOrigin(absl::Seconds(seconds)); }
constexpr ServerIndex kA(1);
constexpr ServerIndex kB(2);
constexpr ShardId kShard(1);
constexpr Liveness::Holder kProcess{1, 1};
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

absl::StatusOr<LiveReplicas::Ingested> TakeWhole(LiveReplicas& replicas, ServerIndex server,
                                                 const v1::ShardReport& report, double t) {
  LiveReplicas::Cursor cursor;
  int64_t work = LiveReplicas::kNoBound;
  return replicas.Ingest(server, report, cursor, work, At(t));
}

class LiveReplicasTest : public ::testing::Test {
 protected:
  LiveReplicasTest() { BeginStream(0); }
  LiveReplicas::Ingested Take(const v1::ShardReport& report, double t = 1,
                              ServerIndex server = kA) {
    const auto result = TakeWhole(replicas_, server, report, t);
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
  void BeginStream(double t, Liveness::Holder holder = kProcess) {
    replicas_.OnStreamBegan(kA, holder, At(t));
  }
  LiveReplicas::Asks Asks(double t) { return replicas_.NextAsks(kA, At(t), kPatience, 100); }
  // The shards whose full list is asked for.
  std::vector<ShardId> Resend(double t) { return Asks(t).lists; }
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
  LiveReplicas::Cursor cursor;
  int turns = 0;
  for (bool done = false; !done; ++turns) {
    EXPECT_FALSE(replicas_.IsComplete(kA, kShard));
    int64_t work = 30 * LiveReplicas::kReplicaWork;
    ASSERT_OK_AND_ASSIGN(const auto taken, replicas_.Ingest(kA, report, cursor, work, At(1)));
    done = taken.done;
  }
  EXPECT_GE(turns, 4);
  EXPECT_TRUE(replicas_.IsComplete(kA, kShard));
}

TEST_F(LiveReplicasTest, AShortListOverManyRecordsIsTakenInPartsToo) {
  for (uint64_t s = 1; s <= 20000; ++s) catalog_.AddChunk(Handle(s), {1});
  server_.Put(19999);
  const v1::ShardReport report = server_.Full()[0];
  LiveReplicas::Cursor cursor;
  int turns = 0;
  for (bool done = false; !done; ++turns) {
    int64_t work = 1000;
    ASSERT_OK_AND_ASSIGN(const auto taken, replicas_.Ingest(kA, report, cursor, work, At(1)));
    EXPECT_GT(work, -1000) << "one turn does little more than it may";
    done = taken.done;
  }
  EXPECT_GE(turns, 15);
  EXPECT_TRUE(replicas_.IsComplete(kA, kShard));
  EXPECT_TRUE(Live(19999));
}

TEST_F(LiveReplicasTest, ANewFullListIsDiffedBothWays) {
  for (uint64_t s = 1; s <= 4; ++s) catalog_.AddChunk(Handle(s), {1});
  server_.Put(1);
  server_.Put(2);
  TakeFull();
  server_.Remove(1);
  server_.Put(3);
  BeginStream(2);
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
  BeginStream(2);
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

TEST_F(LiveReplicasTest, ADigestThatDoesNotFitIsAskedAboutAtOnceButNotInALoop) {
  TakeFull();
  server_.Put(1);
  server_.Put(2);
  Take(server_.Changes({1}, {}), 2);  // the change with 2 was lost
  EXPECT_FALSE(replicas_.IsComplete(kA, kShard));
  EXPECT_TRUE(replicas_.IsKnown(kA, kShard));
  EXPECT_EQ(Asks(2).digests, std::vector<ShardId>{kShard}) << "nearly all of it fits";
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
  BeginStream(0);
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

TEST_F(LiveReplicasTest, AHolderThatFoundNoSlotGetsOneThatIsFreed) {
  ChunkRecord& record = catalog_.AddChunk(Handle(1), {11, 12, 13, 14, 15});
  record.SetLiveFlags(ServerIndex(17), ChunkRecord::kLive);
  FakeServer other;
  other.Put(1);
  replicas_.OnStreamBegan(ServerIndex(16), kProcess, At(0));
  Take(other.Full()[0], 1, ServerIndex(16));
  server_.Put(1);
  TakeFull();
  ASSERT_FALSE(Live(1));
  other.Remove(1);
  Take(other.Changes({}, {1}), 2, ServerIndex(16));
  EXPECT_TRUE(Live(1));
  EXPECT_EQ(Specials(), 0u);
  EXPECT_TRUE(replicas_.IsComplete(kA, kShard));
}

TEST_F(LiveReplicasTest, ACompleteUnaryReportEmptiesTheShardsItDoesNotName) {
  catalog_.AddChunk(Handle(1), {1});
  server_.Put(1);
  TakeFull();
  const std::vector<ShardId> none;
  LiveReplicas::EmptyCursor cursor;
  int64_t work = LiveReplicas::kNoBound;
  EXPECT_EQ(replicas_.IngestEmptyLists(kA, none, cursor, work, At(2)).odd.size(), 1u);
  EXPECT_FALSE(Live(1));
  EXPECT_TRUE(replicas_.IsComplete(kA, ShardId(0)));
  EXPECT_TRUE(replicas_.IsComplete(kA, kShard));
}

// --- offers and buckets (the whole conversation: list_sync_test)
// ----------------------------------------------------------------

v1::ShardReport OfferOf(const FakeServer& server) {
  v1::ShardReport offer = server.Changes({}, {});
  offer.set_offer(true);
  return offer;
}

TEST_F(LiveReplicasTest, AnOfferOfWhatIsHeldCompletesTheListAtOnce) {
  catalog_.AddChunk(Handle(1), {1});
  server_.Put(1);
  server_.Put(7);  // nobody knows this one
  TakeFull();
  BeginStream(2);
  EXPECT_FALSE(replicas_.IsComplete(kA, kShard));
  Take(OfferOf(server_), 3);
  EXPECT_TRUE(replicas_.IsComplete(kA, kShard));
  EXPECT_TRUE(Live(1));
  server_.Remove(7);
  Take(server_.Changes({}, {7}), 4);
  EXPECT_TRUE(replicas_.IsComplete(kA, kShard)) << "changes build on it";
}

TEST_F(LiveReplicasTest, AnotherProcesssOfferIsNotBelieved) {
  server_.Put(1);
  TakeFull();
  BeginStream(2, {2, 9});
  Take(OfferOf(server_), 3);
  EXPECT_FALSE(replicas_.IsComplete(kA, kShard));
  EXPECT_EQ(Resend(3), std::vector<ShardId>{kShard}) << "what was verified was so by another";
}

TEST_F(LiveReplicasTest, AnOfferIsNotBelievedAfterAListThatWasCut) {
  server_.Put(1);
  server_.Put(2);
  Take(server_.Full(1)[0], 1);
  BeginStream(2);
  Take(OfferOf(server_), 3);
  EXPECT_EQ(Resend(3), std::vector<ShardId>{kShard});
}

TEST_F(LiveReplicasTest, AnOfferOfNothingIsAWholeList) {
  catalog_.AddChunk(Handle(1), {1}).SetLiveFlags(kA, ChunkRecord::kLive);  // of an earlier term
  BeginStream(1);
  Take(OfferOf(server_), 2);
  EXPECT_TRUE(replicas_.IsComplete(kA, kShard));
  EXPECT_FALSE(Live(1));
}

TEST_F(LiveReplicasTest, BucketsThatDoNotComeLeadToTheFullList) {
  catalog_.AddChunk(Handle(1), {1});
  server_.Put(1);
  TakeFull();
  server_.Put(2);
  BeginStream(2);
  Take(OfferOf(server_), 3);
  EXPECT_EQ(Asks(3).digests, std::vector<ShardId>{kShard});
  EXPECT_TRUE(Asks(11.9).lists.empty());
  EXPECT_EQ(Resend(13.5), (std::vector<ShardId>{ShardId(0), kShard}));
  // Now digests, but of buckets that are never sent.
  TakeFull(14);
  BeginStream(15.5);
  server_.Put(3);
  Take(OfferOf(server_), 16);
  EXPECT_EQ(Asks(24).digests, std::vector<ShardId>{kShard}) << "once within the patience";
  v1::ShardReport buckets = server_.Changes({}, {});
  buckets.set_all_buckets(true);
  buckets.add_buckets()->set_replica_count(3);
  Take(buckets, 25);
  const auto asks = Asks(25);
  EXPECT_TRUE(asks.digests.empty() && asks.lists.empty());
  EXPECT_EQ(asks.buckets, (std::vector<std::pair<ShardId, uint64_t>>{{kShard, 0}}));
  EXPECT_TRUE(Asks(26).buckets.empty()) << "once";
  Take(server_.Changes({3}, {}), 34);  // a change is no bucket
  EXPECT_EQ(Resend(35.5).back(), kShard);
}

TEST_F(LiveReplicasTest, BucketsThatLeadNowhereLeadToTheFullList) {
  server_.Put(1);
  TakeFull();
  server_.Put(2);
  BeginStream(2);
  Take(OfferOf(server_), 3);
  EXPECT_EQ(Asks(3).digests.size(), 1u);
  v1::ShardReport buckets = server_.Changes({}, {});
  buckets.set_all_buckets(true);
  buckets.add_buckets()->set_replica_count(2);
  Take(buckets, 4);
  EXPECT_EQ(Asks(4).buckets.size(), 1u);
  v1::ShardReport bucket = server_.Changes({1}, {});  // it says that it holds less than it counted
  bucket.set_whole_bucket(true);
  Take(bucket, 5);
  EXPECT_FALSE(replicas_.IsComplete(kA, kShard));
  EXPECT_EQ(Resend(13).back(), kShard);
}

TEST_F(LiveReplicasTest, TheSumOfAllListsIsComparedOnlyWhenAllAreComplete) {
  server_.Put(1);
  TakeFull();
  const auto wants = [&](uint64_t digest, uint64_t count, double t) {
    return replicas_.WantsAllDigests(kA, digest, count, At(t), kPatience);
  };
  const v1::ShardReport said = server_.Changes({}, {});
  EXPECT_FALSE(wants(1, 1, 1)) << "shard 0 has not been heard";
  v1::ShardReport empty;
  empty.set_full_begin(true);
  empty.set_full_end(true);
  Take(empty, 2);
  EXPECT_FALSE(wants(said.digest(), 1, 2));
  EXPECT_TRUE(wants(said.digest() + 1, 1, 3));
  EXPECT_FALSE(wants(said.digest(), 2, 4)) << "asked a moment ago";
  EXPECT_TRUE(wants(said.digest(), 2, 13));
}

TEST_F(LiveReplicasTest, ShardsOfOtherGroupsAreIgnored) {
  server_.Put(1);
  catalog_.GiveAway(kShard);
  replicas_.OnShardReplaced(kShard);
  TakeFull();
  EXPECT_FALSE(replicas_.IsComplete(kA, kShard));
  EXPECT_EQ(Specials(), 0u);
}

TEST_F(LiveReplicasTest, AServerThatSpokeBeforeAShardCameIsAskedForItsList) {
  catalog_.GiveAway(ShardId(0));
  catalog_.GiveAway(kShard);
  server_.Put(1);
  TakeFull();  // of no use yet
  EXPECT_THAT(Asks(1).lists, IsEmpty()) << "nothing is served, so nothing is missing";
  catalog_.Take(kShard);
  replicas_.OnShardReplaced(kShard);
  EXPECT_THAT(Resend(11), ElementsAre(kShard)) << "though nothing more has come of it";
  TakeFull(12);
  EXPECT_TRUE(replicas_.IsComplete(kA, kShard));
  EXPECT_THAT(Asks(30).lists, IsEmpty());
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
    replicas.OnStreamBegan(kA, kProcess, At(now));
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
            ASSERT_OK(TakeWhole(replicas, kA, pages[0], now));
            pages.erase(pages.begin());
          } else {
            const auto report = server.Changes(changed, removed);
            ASSERT_OK(TakeWhole(replicas, kA, report, now));
            changed.clear();
            removed.clear();
          }
          break;
        case 6:  // the stream breaks
          if (!rng.OneIn(4)) break;
          replicas.OnStreamBegan(kA, kProcess, At(now));
          pages = server.Full(rng.Between(1, 7));
          changed.clear();
          removed.clear();
          break;
        case 7:  // it answers every question with its full list, as it may
          if (const auto asks = replicas.NextAsks(kA, At(now), absl::Seconds(1), 9);
              !asks.lists.empty() || !asks.digests.empty()) {
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
