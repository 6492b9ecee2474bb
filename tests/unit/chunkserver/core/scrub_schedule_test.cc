// SPDX-License-Identifier: Apache-2.0
#include "services/chunkserver/core/scrub_schedule.h"

#include <algorithm>
#include <map>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "common/base/rng.h"
#include "common/types/limits.h"
#include "gtest/gtest.h"
#include "tests/support/hex_example.h"
#include "tests/support/status_matchers.h"

namespace ballast::chunkserver {
namespace {

using ::ballast::testing::StatusIs;

constexpr uint32_t kDay = 86400;

// A store whose chunks are only facts, verified at the planned rate. Time may be scaled: `bytes`
// stand for whatever is on a disk.
class Store {
 public:
  struct Chunk {
    uint64_t bytes;
    bool verified = false;
    uint32_t verified_s = 0;
  };

  // Runs for `span`, planning anew every ten minutes at the latest. `factor`: of time.
  template <typename Factor>
  void Run(uint32_t span, uint32_t period, Factor factor) {
    const double end = now + span;
    while (now < end) {
      const ScrubPlan plan = Plan(period);
      note = plan.note;
      const double planned = now;
      for (const ScrubPlan::Item& item : plan.batch) {
        // The longest pieces first to pass are still small against the ten minutes.
        now += static_cast<double>(item.bytes) / static_cast<double>(plan.Rate(factor(now)));
        Verify(item.handle);
        if (now > planned + 600 || now > end) {
          break;
        }
      }
      if (plan.batch.empty()) {
        now += 600;
      }
    }
  }
  ScrubPlan Plan(uint32_t period) const {
    ScrubPlanner planner(at_start, static_cast<uint32_t>(now), absl::Seconds(period));
    for (const auto& [handle, chunk] : chunks) {
      planner.Add(ScrubCandidate{.handle = ChunkHandle(handle),
                                 .bytes = chunk.bytes,
                                 .verified = chunk.verified,
                                 .verified_s = chunk.verified_s});
    }
    return planner.Finish();
  }
  void Verify(ChunkHandle handle) {
    Chunk& chunk = chunks.at(handle.value());
    // The truth of this test: restarts do not make it forget.
    const double last = last_truly.count(handle.value()) != 0 ? last_truly[handle.value()] : 0;
    worst_age = std::max(worst_age, now - last);
    last_truly[handle.value()] = now;
    chunk.verified = true;
    chunk.verified_s = static_cast<uint32_t>(now);
    bytes_read += static_cast<double>(chunk.bytes);
  }
  void Seal(uint64_t handle, uint64_t bytes) {
    chunks[handle] =
        Chunk{.bytes = bytes, .verified = true, .verified_s = static_cast<uint32_t>(now)};
    last_truly[handle] = now;
  }
  void Restart() {
    at_start = *ScrubNote::Decode(note.Encode());
    now = at_start.clock_s;
    for (auto& [handle, chunk] : chunks) {
      chunk.verified = false;
    }
  }
  double OldestAge() const {
    double oldest = 0;
    for (const auto& [handle, chunk] : chunks) {
      const auto it = last_truly.find(handle);
      oldest = std::max(oldest, now - (it == last_truly.end() ? 0 : it->second));
    }
    return oldest;
  }

  double now = 0;
  ScrubNote at_start;
  ScrubNote note;
  std::map<uint64_t, Chunk> chunks;
  std::map<uint64_t, double> last_truly;
  double worst_age = 0;
  double bytes_read = 0;
};

double Unhindered(double) { return 1; }

TEST(ScrubScheduleTest, EveryChunkIsVerifiedWithinThePeriod) {
  // From a byte to nearly 40 TB, in a week and in a day.
  for (const uint32_t period : {7 * kDay, kDay}) {
    for (const uint64_t chunk_bytes : {uint64_t{1}, MiB(1), MiB(64), GiB(40)}) {
      for (const size_t count : {1, 40, 900}) {
        if (period == kDay && chunk_bytes == GiB(40)) {
          continue;  // beyond the ceiling
        }
        Store store;
        for (size_t i = 0; i < count; ++i) {
          store.chunks[i + 1] = Store::Chunk{.bytes = chunk_bytes};
        }
        store.Run(3 * period, period, Unhindered);
        EXPECT_LE(store.worst_age, period) << period << " " << chunk_bytes << " " << count;
        EXPECT_LE(store.OldestAge(), period) << period << " " << chunk_bytes << " " << count;
        // And not much oftener than asked for: a chunk is at least half a period old.
        EXPECT_LE(store.bytes_read, 7.01 * static_cast<double>(count * chunk_bytes));
      }
    }
  }
}

TEST(ScrubScheduleTest, ClientsThatAreHinderedForDaysDoNotBreakTheDeadline) {
  Store store;
  for (size_t i = 0; i < 2000; ++i) {
    store.chunks[i + 1] = Store::Chunk{.bytes = GiB(1)};
  }
  store.Run(28 * kDay, 7 * kDay,
            [](double now) { return static_cast<int64_t>(now / kDay) % 3 == 0 ? 1.0 : 0.1; });
  EXPECT_LE(store.worst_age, 7 * kDay);
  EXPECT_LE(store.OldestAge(), 7 * kDay);
}

TEST(ScrubScheduleTest, NewChunksCountAsVerifiedAtTheirSeal) {
  Store store;
  store.chunks[1] = Store::Chunk{.bytes = MiB(1)};
  store.Run(kDay, 7 * kDay, Unhindered);
  store.Seal(2, MiB(1));
  ScrubPlan plan = store.Plan(7 * kDay);
  EXPECT_TRUE(plan.batch.empty());
  store.now += 3.6 * kDay;
  plan = store.Plan(7 * kDay);
  ASSERT_EQ(plan.batch.size(), 2u);
  EXPECT_EQ(plan.batch[0].handle, ChunkHandle(1)) << "the oldest verification first";
}

TEST(ScrubScheduleTest, TheBucketWithTheOldestComesFirstAndWhole) {
  Store store;
  Rng rng(5);
  std::map<uint64_t, uint32_t> oldest;
  std::map<uint64_t, size_t> sizes;
  for (uint64_t i = 1; i <= 3 * ScrubPlanner::kBatchMax; ++i) {
    const auto verified_s = static_cast<uint32_t>(rng.Below(kDay));
    store.chunks[i] = Store::Chunk{.bytes = 1, .verified = true, .verified_s = verified_s};
    const auto [it, is_new] = oldest.emplace(i % kScrubBuckets, verified_s);
    it->second = std::min(it->second, verified_s);
    ++sizes[i % kScrubBuckets];
  }
  store.now = 20 * kDay;
  const ScrubPlan plan = store.Plan(7 * kDay);
  ASSERT_EQ(plan.batch.size(), ScrubPlanner::kBatchMax);
  std::vector<uint64_t> order;
  std::map<uint64_t, size_t> seen;
  for (const ScrubPlan::Item& item : plan.batch) {
    const uint64_t bucket = item.handle.value() % kScrubBuckets;
    if (order.empty() || order.back() != bucket) {
      order.push_back(bucket);
    }
    ++seen[bucket];
  }
  EXPECT_EQ(order.size(), seen.size()) << "each in one piece";
  for (size_t i = 1; i < order.size(); ++i) {
    EXPECT_LE(oldest[order[i - 1]], oldest[order[i]]);
    EXPECT_EQ(seen[order[i - 1]], sizes[order[i - 1]]);
  }
  for (const auto& [bucket, verified_s] : oldest) {
    EXPECT_TRUE(seen.count(bucket) != 0 || verified_s >= oldest[order.back()]);
  }
}

TEST(ScrubScheduleTest, ItGoesOnWhereItWasAfterARestart) {
  const uint32_t period = 7 * kDay;
  Store store;
  Rng rng(9);
  for (size_t i = 0; i < 5000; ++i) {
    store.chunks[rng.Next() >> 16] = Store::Chunk{.bytes = MiB(512)};
  }
  for (int i = 0; i < 20; ++i) {
    store.Run(kDay + static_cast<uint32_t>(rng.Below(kDay)), period, Unhindered);
    store.Restart();
    EXPECT_LE(store.OldestAge(), 1.05 * period);
  }
  EXPECT_LE(store.worst_age, 1.05 * period) << "but for what is done twice after each restart";
}

TEST(ScrubScheduleTest, ARestartNeverMakesAChunkYounger) {
  Store store;
  for (uint64_t i = 1; i <= 600; ++i) {
    store.chunks[i] = Store::Chunk{.bytes = 1, .verified = true, .verified_s = 1000};
  }
  store.now = 5000;
  store.chunks[7].verified_s = 3;
  store.Seal(1000, 1);
  const ScrubNote note = store.Plan(kDay).note;
  EXPECT_EQ(note.clock_s, 5000u);
  for (const auto& [handle, chunk] : store.chunks) {
    EXPECT_LE(note.oldest_s[handle % 256], chunk.verified_s);
  }
  EXPECT_EQ(note.oldest_s[7], 3u);
  EXPECT_EQ(note.oldest_s[8], 1000u);
}

TEST(ScrubScheduleTest, UrgencyDoesNotYield) {
  Store store;
  store.chunks[1] = Store::Chunk{.bytes = GiB(1), .verified = true, .verified_s = 0};
  store.now = 0.5 * kDay;
  ScrubPlan plan = store.Plan(kDay);
  EXPECT_FALSE(plan.urgent);
  EXPECT_EQ(plan.Rate(0.1), plan.Rate(1) / 10);
  store.now = 0.95 * kDay;
  plan = store.Plan(kDay);
  EXPECT_TRUE(plan.urgent);
  EXPECT_EQ(plan.Rate(0.1), plan.Rate(1));
}

TEST(ScrubScheduleTest, WhatIsLateIsMadeGoodWithoutABurst) {
  Store store;
  for (uint64_t i = 1; i <= 1000; ++i) {
    store.Seal(i, GiB(4));
  }
  store.now = 30 * kDay;  // as when the period was 60 days until now
  const ScrubPlan plan = store.Plan(7 * kDay);
  EXPECT_TRUE(plan.urgent);
  EXPECT_TRUE(plan.behind);
  const double average = 1000.0 * GiB(4) / (7 * kDay);
  EXPECT_GE(plan.wanted_rate, 2 * average) << "it catches up";
  EXPECT_LE(plan.wanted_rate, 6 * average);
  store.Run(7 * kDay, 7 * kDay, Unhindered);
  EXPECT_LE(store.OldestAge(), 7 * kDay);
  EXPECT_FALSE(store.Plan(7 * kDay).behind);
}

TEST(ScrubScheduleTest, TheWorkIsSpreadEvenlyOverThePeriod) {
  Store store;
  for (uint64_t i = 1; i <= 2000; ++i) {
    store.Seal(i, GiB(2));  // all at once, so that all are due at once
  }
  store.Run(14 * kDay, 7 * kDay, Unhindered);
  double most = 0;
  double least = 1e300;
  for (int day = 0; day < 30; ++day) {
    const double before = store.bytes_read;
    store.Run(kDay, 7 * kDay, Unhindered);
    most = std::max(most, store.bytes_read - before);
    least = std::min(least, store.bytes_read - before);
  }
  EXPECT_LE(most, 1.3 * least);
  EXPECT_LE(store.worst_age, 7 * kDay);
}

TEST(ScrubScheduleTest, WhatWasCorruptBeforeTheStartComesFirstUntilItIsKnown) {
  Store store;
  for (uint64_t i = 1; i <= 1000; ++i) {
    store.chunks[i] = Store::Chunk{.bytes = MiB(1)};
  }
  ScrubPlanner before(ScrubNote(), 100, absl::Hours(24));
  before.AddCorrupt(ChunkHandle(700));
  before.AddCorrupt(ChunkHandle(900));
  store.at_start = *ScrubNote::Decode(before.Finish().note.Encode());
  store.now = 200;
  ScrubPlan plan = store.Plan(kDay);
  ASSERT_EQ(plan.batch.size(), 1000u) << "each once";
  EXPECT_EQ(plan.batch[0].handle, ChunkHandle(700));
  EXPECT_EQ(plan.batch[1].handle, ChunkHandle(900));
  EXPECT_EQ(plan.note.corrupt, (std::vector<ChunkHandle>{ChunkHandle(700), ChunkHandle(900)}));
  store.Verify(ChunkHandle(700));  // the disk has changed its mind
  plan = store.Plan(kDay);
  EXPECT_EQ(plan.batch[0].handle, ChunkHandle(900));
  EXPECT_EQ(plan.note.corrupt, std::vector<ChunkHandle>{ChunkHandle(900)});
}

TEST(ScrubScheduleTest, TheNoteIsBoundedHoweverMuchIsCorrupt) {
  ScrubPlanner planner(ScrubNote(), 100, absl::Hours(24));
  for (uint64_t i = 1; i <= 3 * ScrubNote::kCorruptMax; ++i) {
    planner.AddCorrupt(ChunkHandle(i));
  }
  const ScrubNote note = planner.Finish().note;
  EXPECT_EQ(note.corrupt.size(), ScrubNote::kCorruptMax);
  EXPECT_OK(ScrubNote::Decode(note.Encode()));
}

TEST(ScrubScheduleTest, TheRateHasAFloorAndACeiling) {
  Store store;
  EXPECT_EQ(store.Plan(kDay).Rate(1), ScrubPlanner::kRateFloor);
  store.chunks[1] = Store::Chunk{.bytes = uint64_t{1} << 50};
  EXPECT_EQ(store.Plan(kDay).Rate(1), ScrubPlanner::kRateCeiling);
}

TEST(ScrubNoteTest, SurvivesItsEncoding) {
  ScrubNote note;
  note.clock_s = 4'000'000'000;
  for (size_t i = 0; i < kScrubBuckets; ++i) {
    note.oldest_s[i] = static_cast<uint32_t>(i * 1000);
  }
  note.corrupt = {ChunkHandle(5), ChunkHandle(uint64_t{7} << 48)};
  const std::string bytes = note.Encode();
  EXPECT_EQ(bytes.size(), 8u + 4 + 256 * 4 + 4 + 2 * 8 + 4);
  ASSERT_OK_AND_ASSIGN(const ScrubNote decoded, ScrubNote::Decode(bytes));
  EXPECT_EQ(decoded.clock_s, note.clock_s);
  EXPECT_EQ(decoded.oldest_s, note.oldest_s);
  EXPECT_EQ(decoded.corrupt, note.corrupt);
}

TEST(ScrubNoteTest, IsAsTheDocumentSays) {
  ScrubNote note;
  note.clock_s = 5000;
  note.oldest_s[2] = 1000;
  note.corrupt = {ChunkHandle(ShardId(1), 5)};
  std::string dump;
  bool skipping = false;
  for (const absl::string_view line :
       absl::StrSplit(testing::HexDump(note.Encode()), '\n', absl::SkipEmpty())) {
    const bool is_zero = line.substr(10).find_first_not_of("0 ") == absl::string_view::npos;
    absl::StrAppend(&dump, is_zero ? (skipping ? "" : "*\n") : absl::StrCat(line, "\n"));
    skipping = is_zero;
  }
  EXPECT_EQ(dump, testing::HexExample("docs/formats/chunk_server_folder.md", "scrub"));
}

TEST(ScrubNoteTest, DamageIsFound) {
  const std::string bytes = ScrubNote().Encode();
  for (size_t i = 0; i < bytes.size(); ++i) {
    std::string damaged = bytes;
    damaged[i] = static_cast<char>(damaged[i] ^ 0x40);
    EXPECT_THAT(ScrubNote::Decode(damaged), StatusIs(absl::StatusCode::kDataLoss)) << i;
    EXPECT_THAT(ScrubNote::Decode(bytes.substr(0, i)), StatusIs(absl::StatusCode::kDataLoss)) << i;
  }
  ScrubNote beyond;
  beyond.oldest_s[3] = 1;
  EXPECT_THAT(ScrubNote::Decode(beyond.Encode()), StatusIs(absl::StatusCode::kDataLoss));
  ScrubNote unordered;
  unordered.corrupt = {ChunkHandle(2), ChunkHandle(1)};
  EXPECT_THAT(ScrubNote::Decode(unordered.Encode()), StatusIs(absl::StatusCode::kDataLoss));
  ScrubNote many;
  for (uint64_t i = 1; i <= ScrubNote::kCorruptMax + 1; ++i) {
    many.corrupt.emplace_back(i);
  }
  EXPECT_THAT(ScrubNote::Decode(many.Encode()), StatusIs(absl::StatusCode::kDataLoss));
}

}  // namespace
}  // namespace ballast::chunkserver
