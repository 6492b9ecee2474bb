// SPDX-License-Identifier: Apache-2.0
#include <malloc.h>

#include <limits>
#include <map>
#include <string>
#include <vector>

#include "common/base/rng.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "services/master/core/chunk_table.h"
#include "services/master/core/object_table.h"
#include "services/master/core/runs.h"

namespace ballast::master {
namespace {

using ChunkRun = Run;  // inside a TEST, Run is a method

using ::testing::ElementsAre;
using ::testing::IsEmpty;

constexpr uint64_t kEnd = std::numeric_limits<uint64_t>::max();

ObjectFacts Inline(const std::string& key, const std::string& value) {
  ObjectFacts facts;
  facts.key = key;
  facts.generation = Generation(7);
  facts.is_inline = true;
  facts.inline_data = value;
  facts.size_bytes = value.size();
  facts.crc32c = ComputeCrc32c(value);
  return facts;
}

std::vector<std::string> Keys(const ObjectTable& table, absl::string_view prefix,
                              absl::string_view after, size_t limit = 100) {
  std::vector<std::string> keys;
  table.Scan(prefix, after, [&](const ObjectRecord& record) {
    keys.emplace_back(record.key());
    return keys.size() < limit;
  });
  return keys;
}

TEST(ObjectRecordTest, GivesBackAllFactsOfAnInlineObject) {
  ObjectFacts facts = Inline("a/b", std::string("v\0w", 3));
  facts.modified_unix_ms = 99;
  facts.metadata = {{"type", "text"}, {"empty", ""}};
  const ObjectRecord record(facts);
  EXPECT_EQ(record.key(), "a/b");
  EXPECT_EQ(record.generation(), Generation(7));
  EXPECT_EQ(record.inline_data(), absl::string_view("v\0w", 3));
  EXPECT_EQ(record.crc32c(), facts.crc32c);
  EXPECT_EQ(record.modified_unix_ms(), 99u);
  EXPECT_EQ(record.metadata(), facts.metadata);
  EXPECT_THAT(record.chunks(), IsEmpty());
}

TEST(ObjectRecordTest, GivesBackAllFactsOfAChunkedObject) {
  ObjectFacts facts;
  facts.key = std::string(1024, 'k');
  facts.generation = Generation(1);
  facts.size_bytes = 300;
  facts.wanted_replicas = 3;
  facts.chunks = {{5, 2}, {9, 1}};
  facts.metadata = {{"n", std::string(4000, 'v')}};
  ObjectRecord moved = ObjectRecord(facts);
  const ObjectRecord record(std::move(moved));
  EXPECT_EQ(record.key(), facts.key);
  EXPECT_THAT(record.chunks(), ElementsAre(ChunkRun{5, 2}, ChunkRun{9, 1}));
  EXPECT_EQ(record.chunk_count(), 3u);
  EXPECT_EQ(record.size_bytes(), 300u);
  EXPECT_EQ(record.metadata(), facts.metadata);
  EXPECT_THAT(record.inline_data(), IsEmpty());
}

TEST(ObjectTableTest, ScansByPrefixAfterAKeyAndUpToALimit) {
  ObjectTable table;
  for (const char* key : {"b", "a/2", "a/1", "a", "a/", "\xc3\xa4"}) {
    table.Put(ObjectRecord(Inline(key, "")));
  }
  EXPECT_THAT(Keys(table, "", ""), ElementsAre("a", "a/", "a/1", "a/2", "b", "\xc3\xa4"));
  EXPECT_THAT(Keys(table, "a/", ""), ElementsAre("a/", "a/1", "a/2"));
  EXPECT_THAT(Keys(table, "a/", "a/"), ElementsAre("a/1", "a/2"));
  EXPECT_THAT(Keys(table, "a/", "a/1x"), ElementsAre("a/2"));
  EXPECT_THAT(Keys(table, "a/", "a"), ElementsAre("a/", "a/1", "a/2"));
  EXPECT_THAT(Keys(table, "a/", "b"), IsEmpty());
  EXPECT_THAT(Keys(table, "", "a/1", 2), ElementsAre("a/2", "b"));
}

TEST(ObjectTableTest, ReplacesAndErases) {
  ObjectTable table;
  table.Put(ObjectRecord(Inline("k", "one")));
  table.Put(ObjectRecord(Inline("k", "two")));
  EXPECT_EQ(table.size(), 1u);
  EXPECT_EQ(table.Find("k")->inline_data(), "two");
  EXPECT_TRUE(table.Erase("k"));
  EXPECT_FALSE(table.Erase("k"));
  EXPECT_EQ(table.Find("k"), nullptr);
}

TEST(RunsTest, WalksAWindowOfPositions) {
  Runs runs;
  for (uint64_t sequence : {5, 6, 7, 20, 3}) AppendRun(runs, {sequence, 1});
  EXPECT_THAT(runs, ElementsAre(ChunkRun{5, 3}, ChunkRun{20, 1}, ChunkRun{3, 1}));
  std::vector<std::pair<uint64_t, uint64_t>> seen;
  ForEachInRuns(runs, 2, 2, [&](uint64_t p, uint64_t s) { seen.emplace_back(p, s); });
  EXPECT_THAT(seen, ElementsAre(std::pair(2u, 7u), std::pair(3u, 20u)));
  seen.clear();
  ForEachInRuns(runs, 4, 9, [&](uint64_t p, uint64_t s) { seen.emplace_back(p, s); });
  EXPECT_THAT(seen, ElementsAre(std::pair(4u, 3u)));
}

constexpr ChunkFacts kFacts{kChunkBytesMax, Crc32c{0xFFFFFFFF}, kReplicasMax};

TEST(ChunkTableTest, KeepsFactsAtTheirBounds) {
  ChunkTable table;
  table.Insert(1, kFacts, {});
  table.Insert(ChunkHandle::kSequenceMax, ChunkFacts{1, Crc32c{0}, 1},
               {ServerIndex(65535), ServerIndex(1)});
  EXPECT_EQ(table.Find(1)->facts(), kFacts);
  const ChunkRecord& last = *table.Find(ChunkHandle::kSequenceMax);
  EXPECT_EQ(last.facts(), (ChunkFacts{1, Crc32c{0}, 1}));
  EXPECT_THAT(last.LoggedServers(), ElementsAre(ServerIndex(1), ServerIndex(65535)));
  EXPECT_EQ(table.Find(2), nullptr);
  EXPECT_EQ(table.Find(5000), nullptr);
}

TEST(ChunkTableTest, VisitsRangesInOrder) {
  ChunkTable table;
  for (uint64_t sequence : {700, 3, 256, 255, 511}) table.Insert(sequence, kFacts, {});
  std::vector<uint64_t> seen;
  const auto collect = [&](uint64_t sequence, const ChunkRecord&) { seen.push_back(sequence); };
  table.ForEach(0, kEnd, collect);
  EXPECT_THAT(seen, ElementsAre(3, 255, 256, 511, 700));
  seen.clear();
  table.ForEach(255, 511, collect);
  EXPECT_THAT(seen, ElementsAre(255, 256));
}

TEST(ChunkTableTest, LogsAtMostFiveServersAndDropsBeforeItAdds) {
  ChunkTable table;
  const ServerList six = {ServerIndex(1), ServerIndex(2), ServerIndex(3),
                          ServerIndex(4), ServerIndex(5), ServerIndex(6)};
  table.Insert(1, kFacts, six);
  EXPECT_EQ(table.Find(1)->LoggedServers().size(), 5u);
  EXPECT_FALSE(table.ChangeLogged(1, {ServerIndex(6)}, {ServerIndex(7)}));
  EXPECT_TRUE(table.ChangeLogged(1, {ServerIndex(6)}, {ServerIndex(1)}));
  EXPECT_EQ(table.Find(1)->FlagsOf(ServerIndex(1)), 0);
  EXPECT_EQ(table.Find(1)->FlagsOf(ServerIndex(6)), ChunkRecord::kLogged);
}

TEST(ChunkTableTest, LiveFlagsComeAndGoWithoutTouchingTheLoggedOnes) {
  ChunkTable table;
  ChunkRecord& record = table.Insert(1, kFacts, {ServerIndex(1), ServerIndex(2)});
  EXPECT_TRUE(record.SetLiveFlags(ServerIndex(2), ChunkRecord::kLive | ChunkRecord::kVerified));
  EXPECT_TRUE(record.SetLiveFlags(ServerIndex(9), ChunkRecord::kLive | ChunkRecord::kLogged));
  EXPECT_EQ(record.CountWith(ChunkRecord::kLive), 2);
  EXPECT_EQ(record.CountWith(ChunkRecord::kLogged), 2);
  table.ChangeLogged(1, {}, {ServerIndex(2)});
  EXPECT_EQ(record.FlagsOf(ServerIndex(2)), ChunkRecord::kLive | ChunkRecord::kVerified);
  record.ClearLiveView();
  EXPECT_EQ(record.FlagsOf(ServerIndex(2)), 0);
  EXPECT_EQ(record.FlagsOf(ServerIndex(9)), 0);
  EXPECT_EQ(record.FlagsOf(ServerIndex(1)), ChunkRecord::kLogged);
}

TEST(ChunkTableTest, ALoggedReplicaFindsRoomAmongLiveOnes) {
  ChunkTable table;
  ChunkRecord& record = table.Insert(1, kFacts, {});
  for (uint32_t server = 1; server <= 7; ++server) {
    EXPECT_TRUE(record.SetLiveFlags(ServerIndex(server), ChunkRecord::kLive));
  }
  EXPECT_FALSE(record.SetLiveFlags(ServerIndex(8), ChunkRecord::kLive));
  EXPECT_TRUE(table.ChangeLogged(1, {ServerIndex(8)}, {}));
  EXPECT_EQ(record.CountWith(ChunkRecord::kLive), 6);
  EXPECT_THAT(record.LoggedServers(), ElementsAre(ServerIndex(8)));
}

TEST(ChunkTableTest, AgreesWithAMapUnderRandomChange) {
  const uint64_t seed = 20240611;
  SCOPED_TRACE(seed);
  Rng rng(seed);
  ChunkTable table;
  std::map<uint64_t, ChunkFacts> model;
  for (int step = 0; step < 20000; ++step) {
    const uint64_t sequence = rng.Between(1, 2000);
    if (model.contains(sequence) ? rng.OneIn(2) : false) {
      EXPECT_TRUE(table.Erase(sequence));
      model.erase(sequence);
    } else if (!model.contains(sequence)) {
      const ChunkFacts facts{static_cast<uint32_t>(rng.Between(1, kChunkBytesMax)),
                             Crc32c{static_cast<uint32_t>(rng.Next())},
                             static_cast<uint32_t>(rng.Between(1, 5))};
      table.Insert(sequence, facts, {ServerIndex(1)});
      model[sequence] = facts;
    }
  }
  std::map<uint64_t, ChunkFacts> seen;
  table.ForEach(0, kEnd, [&](uint64_t s, const ChunkRecord& r) { seen[s] = r.facts(); });
  EXPECT_EQ(seen, model);
  EXPECT_EQ(table.size(), model.size());
}

TEST(ChunkTableTest, AChunkCostsAtMost32BytesOfMemory) {
  constexpr uint64_t kChunks = 1'000'000;
  ChunkTable table;
  const ServerList servers = {ServerIndex(1), ServerIndex(2), ServerIndex(3)};
  const size_t before = mallinfo2().uordblks + mallinfo2().hblkhd;
  for (uint64_t sequence = 1; sequence <= kChunks; ++sequence) {
    table.Insert(sequence, kFacts, servers).SetLiveFlags(ServerIndex(9), ChunkRecord::kLive);
  }
  const size_t used = mallinfo2().uordblks + mallinfo2().hblkhd - before;
  RecordProperty("bytes_per_chunk_allocated", static_cast<int>(used / kChunks));
  EXPECT_LE(table.memory_bytes(), 32 * kChunks);
  EXPECT_LE(used, 32 * kChunks);
  for (uint64_t sequence = 1; sequence <= kChunks; ++sequence) table.Erase(sequence);
  EXPECT_EQ(table.memory_bytes(), 0u);
}

TEST(ObjectTableTest, AnObjectCostsLittleMoreThanItsBytes) {
  constexpr int kObjects = 100'000;
  ObjectTable table;
  const std::string value(100, 'v');
  const size_t before = mallinfo2().uordblks + mallinfo2().hblkhd;
  for (int i = 0; i < kObjects; ++i) {
    table.Put(ObjectRecord(Inline(absl::StrCat("object/", 1'000'000 + i), value)));
  }
  const size_t used = mallinfo2().uordblks + mallinfo2().hblkhd - before;
  RecordProperty("bytes_per_object_allocated", static_cast<int>(used / kObjects));
  EXPECT_LE(used, kObjects * (114 + 80u));
}

}  // namespace
}  // namespace ballast::master
