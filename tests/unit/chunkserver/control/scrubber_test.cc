// SPDX-License-Identifier: Apache-2.0
// Scrubbing of a store in memory, in virtual time.
#include "services/chunkserver/control/scrubber.h"

#include <algorithm>
#include <set>

#include "gtest/gtest.h"
#include "services/chunkserver/store/recovery.h"
#include "tests/support/mem_file_system.h"
#include "tests/support/sim_scheduler.h"
#include "tests/support/status_matchers.h"
#include "tests/unit/chunkserver/store/store_fixture.h"

namespace ballast::chunkserver {
namespace {

using ::ballast::testing::HasReason;
using ::ballast::testing::MemFileSystem;
using ::ballast::testing::SimScheduler;

constexpr char kNote[] = "/cs/scrub";

ChunkHandle Handle(uint64_t i) { return ChunkHandle(ShardId(1), i); }

class ScrubberTest : public ::testing::Test {
 protected:
  void SetUp() override { ASSERT_OK(FormatFolder(*fs_, kFolder, kCluster, kServer)); }
  void TearDown() override { Stop(); }

  // Chunks that were there before this start.
  void Fill(uint64_t count, uint64_t bytes) {
    ASSERT_OK_AND_ASSIGN(const auto store, OpenStore(*fs_));
    for (uint64_t i = 1; i <= count; ++i) {
      ASSERT_OK(WriteChunk(*store, Handle(i), RandomBytes(bytes, i)));
    }
  }
  void Start(absl::Duration period, absl::Duration plan_interval = absl::Minutes(10)) {
    ChunkStoreOptions options = StoreOptions();
    options.on_news = [this] { ++news_; };
    store_ = std::make_unique<ChunkStore>(*fs_, options);
    StartScrubber(period, plan_interval);
    ASSERT_OK(RecoverChunks(*store_, nullptr).status());
  }
  void StartScrubber(absl::Duration period, absl::Duration plan_interval) {
    executor_ = world_.MakeExecutor();
    disk_ = world_.MakeExecutor(absl::Milliseconds(1));
    gate_ = std::make_shared<PostGate>(*executor_);
    ScrubberOptions options;
    options.note_file = kNote;
    options.period = period;
    options.plan_interval = plan_interval;
    scrubber_ = std::make_unique<Scrubber>(
        options, *executor_, world_, gate_, *store_,
        [this](Task task) { disk_->Post(std::move(task)); }, [this] { return factor_; });
    started_ = world_.SteadyNow();
    executor_->Post([this] { scrubber_->Start(); });
  }
  void Stop() {
    if (scrubber_ != nullptr) {
      gate_->Close();
      executor_.reset();
      scrubber_.reset();
      world_.RunFor(absl::Seconds(1));  // what the disk still does
      disk_.reset();
      store_.reset();
    }
  }
  std::set<ChunkHandle> InState(ReplicaState state) {
    std::set<ChunkHandle> out;
    for (const auto& [handle, facts] : store_->List(ChunkHandle(0), 100000)) {
      if (facts.state == state) {
        out.insert(handle);
      }
    }
    return out;
  }
  size_t VerifiedCount() { return InState(ReplicaState::kVerified).size(); }

  SimScheduler world_{3};
  std::unique_ptr<MemFileSystem> fs_ = std::make_unique<MemFileSystem>();
  double factor_ = 1;
  int news_ = 0;
  SteadyTime started_;
  std::unique_ptr<ChunkStore> store_;
  std::unique_ptr<Executor> executor_;
  std::unique_ptr<Executor> disk_;
  std::shared_ptr<PostGate> gate_;
  std::unique_ptr<Scrubber> scrubber_;
};

TEST_F(ScrubberTest, EveryChunkIsVerifiedWithinThePeriodWhateverTheWallClockDoes) {
  const absl::Duration period = absl::Hours(24);
  for (const auto& [count, bytes] :
       std::vector<std::pair<uint64_t, uint64_t>>{{0, 0}, {1, 1}, {7, 300000}, {400, 3000}}) {
    fs_ = std::make_unique<MemFileSystem>();
    ASSERT_OK(FormatFolder(*fs_, kFolder, kCluster, kServer));
    Fill(count, bytes);
    Start(period);
    world_.RunFor(period);
    EXPECT_EQ(VerifiedCount(), count);
    for (int hour = 0; hour < 60; ++hour) {
      world_.JumpWallClock(absl::Hours(24 * 365) * (hour % 2 == 0 ? 1 : -1));
      world_.RunFor(absl::Hours(1));
      const double now_s = absl::ToDoubleSeconds(world_.SteadyNow() - started_);
      for (const auto& chunk : store_->ListVerifications(ChunkHandle(0), 100000)) {
        EXPECT_LE(now_s - chunk.verified_s, absl::ToDoubleSeconds(period));
      }
    }
    // No more than every half period, either.
    EXPECT_LE(scrubber_->read_bytes(), 8 * count * ScrubCost(bytes));
    Stop();
  }
}

TEST_F(ScrubberTest, AFlippedBitIsFoundMarkedAndReported) {
  Fill(20, 150000);
  ASSERT_OK(fs_->FlipBit(StoreLayout(kFolder).ChunkFile(Handle(5)), kChunkPrefixBytes + 140000, 3));
  ASSERT_OK(fs_->FlipBit(StoreLayout(kFolder).ChunkFile(Handle(9)), kChunkPrefixBytes + 1, 0));
  Start(absl::Hours(24));
  const auto reporter = store_->AddReporter();
  store_->StartReports(reporter, {ShardId(1)});
  google::protobuf::RepeatedPtrField<v1::ShardReport> reports;
  store_->BuildReports(reporter, 1000, 10, false, &reports);
  news_ = 0;
  world_.RunFor(absl::Hours(24));
  EXPECT_EQ(store_->Stat(Handle(5))->state, ReplicaState::kCorrupt);
  EXPECT_EQ(store_->Stat(Handle(9))->state, ReplicaState::kCorrupt);
  EXPECT_EQ(VerifiedCount(), 18u);
  EXPECT_EQ(store_->Usage().corrupt_count, 2u);
  EXPECT_GE(news_, 20) << "masters are told of each";
  reports.Clear();
  store_->BuildReports(reporter, 1000, 10, false, &reports);
  size_t corrupt = 0;
  for (const v1::ShardReport& report : reports) {
    for (const v1::ReplicaReport& replica : report.replicas()) {
      corrupt += replica.corrupt() ? 1 : 0;
    }
  }
  EXPECT_EQ(corrupt, 2u);
  EXPECT_THAT(store_->Open(Handle(5)), HasReason(v1::REASON_CHECKSUM_MISMATCH));
  store_->RemoveReporter(reporter);
}

TEST_F(ScrubberTest, ReadsAsSlowlyAsItMay) {
  Fill(4, MiB(2));
  Start(absl::Hours(24));
  world_.RunFor(absl::Seconds(4));
  EXPECT_LT(VerifiedCount(), 4u);
  EXPECT_LE(scrubber_->read_bytes(), 4 * ScrubPlanner::kRateFloor + MiB(2));
  world_.RunFor(absl::Seconds(8));
  EXPECT_EQ(VerifiedCount(), 4u);
}

TEST_F(ScrubberTest, YieldsToClientsFromOnePieceToTheNext) {
  Fill(4, MiB(4));
  Start(absl::Hours(24));
  world_.RunFor(absl::Seconds(3));
  factor_ = 0.1;
  world_.RunFor(absl::Seconds(2));
  const uint64_t before = scrubber_->read_bytes();
  world_.RunFor(absl::Seconds(60));
  EXPECT_LE(scrubber_->read_bytes() - before, 60 * ScrubPlanner::kRateFloor / 10 + MiB(1));
  EXPECT_GT(scrubber_->read_bytes(), before);
  factor_ = 1;
  world_.RunFor(absl::Seconds(40));
  EXPECT_EQ(VerifiedCount(), 4u);
}

TEST_F(ScrubberTest, NewChunksCountAsVerifiedAtTheirSeal) {
  Start(absl::Hours(24));
  world_.RunFor(absl::Hours(30));
  ASSERT_OK(WriteChunk(*store_, Handle(1), RandomBytes(100000, 1)));
  world_.RunFor(absl::Hours(11));
  EXPECT_EQ(scrubber_->read_bytes(), 0u);
  world_.RunFor(absl::Hours(12));
  EXPECT_EQ(scrubber_->read_bytes(), ScrubCost(100000));
}

TEST_F(ScrubberTest, WaitsForTheStartUpScan) {
  Fill(3, 1000);
  store_ = std::make_unique<ChunkStore>(*fs_, StoreOptions());
  StartScrubber(absl::Hours(24), absl::Minutes(10));
  world_.RunFor(absl::Minutes(5));
  EXPECT_EQ(scrubber_->read_bytes(), 0u);
  ASSERT_OK(RecoverChunks(*store_, nullptr).status());
  world_.RunFor(absl::Minutes(1));
  EXPECT_EQ(VerifiedCount(), 3u);
}

TEST_F(ScrubberTest, ARestartGoesOnWithTheOldest) {
  Fill(200, 300000);  // a minute's work
  Start(absl::Hours(24), absl::Seconds(5));
  world_.RunFor(absl::Seconds(31));
  const std::set<ChunkHandle> before = InState(ReplicaState::kVerified);
  EXPECT_GT(before.size(), 50u);
  EXPECT_LT(before.size(), 150u);
  Stop();
  fs_->Crash(nullptr);
  Start(absl::Hours(24), absl::Seconds(5));
  world_.RunFor(absl::Seconds(20));
  const std::set<ChunkHandle> after = InState(ReplicaState::kVerified);
  EXPECT_GT(after.size(), 40u);
  size_t again = 0;
  for (const ChunkHandle handle : after) {
    again += before.count(handle);
  }
  EXPECT_LE(again, 25u) << "only what was verified after the last note";
}

TEST_F(ScrubberTest, WhatWasCorruptBeforeARestartIsSoonKnownAgain) {
  Fill(200, 300000);
  const ChunkHandle damaged = Handle(150);
  ASSERT_OK(fs_->FlipBit(StoreLayout(kFolder).ChunkFile(damaged), kChunkPrefixBytes + 7, 1));
  Start(absl::Hours(24));
  world_.RunFor(absl::Hours(1));
  ASSERT_EQ(InState(ReplicaState::kCorrupt), std::set<ChunkHandle>{damaged});
  for (int restart = 0; restart < 3; ++restart) {
    Stop();
    fs_->Crash(nullptr);
    Start(absl::Hours(24));
    ASSERT_EQ(store_->Stat(damaged)->state, ReplicaState::kUnverified) << "a scan reads headers";
    if (restart == 1) {  // dies with the note written and nothing read: that forgets nothing
      bool noted = false;
      fs_->SetObserver(
          [&](const std::string& what) { noted = noted || what == "sync folder /cs"; });
      EXPECT_TRUE(world_.RunUntilTrue([&] { return noted; }, absl::Minutes(1)));
      fs_->SetObserver(nullptr);
      EXPECT_EQ(InState(ReplicaState::kCorrupt).size(), 0u);
      continue;
    }
    world_.RunFor(absl::Seconds(5));  // less than a tenth of what reading everything takes
    EXPECT_EQ(InState(ReplicaState::kCorrupt), std::set<ChunkHandle>{damaged});
  }
}

TEST_F(ScrubberTest, ManySmallChunksAreNotReadInABurst) {
  Fill(1000, 10);
  Start(absl::Hours(24));
  world_.RunFor(absl::Seconds(10));
  EXPECT_LE(VerifiedCount(), 60u);
  EXPECT_GE(VerifiedCount(), 30u);
}

TEST_F(ScrubberTest, ADamagedNoteIsAsGoodAsNone) {
  Fill(3, 1000);
  Start(absl::Hours(24));
  world_.RunFor(absl::Minutes(30));
  Stop();
  ASSERT_TRUE(*fs_->Exists(kNote));
  ASSERT_OK(fs_->FlipBit(kNote, 20, 1));
  Start(absl::Hours(24));
  world_.RunFor(absl::Minutes(30));
  EXPECT_EQ(VerifiedCount(), 3u);
  ASSERT_OK_AND_ASSIGN(const std::string bytes, ReadFile(*fs_, kNote));
  EXPECT_OK(ScrubNote::Decode(bytes)) << "and replaced";
}

TEST_F(ScrubberTest, AShorterPeriodHoldsAtOnce) {
  Fill(3, 1000);
  Start(absl::Hours(24 * 365));
  world_.RunFor(absl::Hours(1));
  EXPECT_EQ(scrubber_->read_bytes(), 3 * ScrubCost(1000));
  executor_->Post([this] { scrubber_->SetPeriod(absl::Hours(1)); });
  world_.RunFor(absl::Minutes(1));
  EXPECT_EQ(scrubber_->read_bytes(), 6 * ScrubCost(1000));
}

TEST_F(ScrubberTest, WhatIsDeletedMeanwhileIsPassedOver) {
  Fill(10, 200000);
  Start(absl::Hours(24));
  world_.RunFor(absl::Milliseconds(300));
  for (uint64_t i = 1; i <= 8; ++i) {
    ASSERT_OK(store_->Delete(Handle(i), 0));
  }
  world_.RunFor(absl::Minutes(1));
  EXPECT_EQ(VerifiedCount(), 2u);
  EXPECT_EQ(store_->Usage().chunk_count, 2u);
}

TEST_F(ScrubberTest, MayBeStoppedAtAnyStep) {
  Fill(3, MiB(1) + 5);
  for (int steps = 0; steps < 60; ++steps) {
    Start(absl::Hours(24));
    for (int i = 0; i < steps; ++i) {
      world_.Step();
    }
    Stop();
  }
  ASSERT_OK_AND_ASSIGN(const auto store, OpenStore(*fs_));
  EXPECT_EQ(store->Usage().chunk_count, 3u);
  EXPECT_EQ(store->Usage().corrupt_count, 0u);
}

}  // namespace
}  // namespace ballast::chunkserver
