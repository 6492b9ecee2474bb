// SPDX-License-Identifier: Apache-2.0
// Copies from scripted sources, in virtual time.
#include "services/chunkserver/control/chunk_copier.h"

#include "gtest/gtest.h"
#include "services/chunkserver/control/copy_task.h"
#include "tests/support/mem_file_system.h"
#include "tests/support/sim_scheduler.h"
#include "tests/support/status_matchers.h"
#include "tests/unit/chunkserver/control/fake_sources.h"
#include "tests/unit/chunkserver/store/store_fixture.h"

namespace ballast::chunkserver {
namespace {

using ::ballast::testing::HasReason;
using ::ballast::testing::IsOkAndHolds;
using ::ballast::testing::MemFileSystem;
using ::ballast::testing::SimScheduler;
using ::ballast::testing::StatusIs;

constexpr char kA[] = "127.0.0.1:1";
constexpr char kB[] = "127.0.0.1:2";
constexpr char kC[] = "127.0.0.1:3";
const ChunkHandle kHandle(ShardId(1), 7);

class ChunkCopierTest : public ::testing::Test {
 protected:
  void SetUp() override {
    ASSERT_OK(FormatFolder(fs_, kFolder, kCluster, kServer));
    ASSERT_OK_AND_ASSIGN(store_, OpenStore(fs_));
    executor_ = world_.MakeExecutor();
    disk_ = world_.MakeExecutor(absl::Microseconds(200));
    Make(ChunkCopierOptions());
    for (const char* address : {kA, kB, kC}) {
      sources_.scripts[address].data = data_;
    }
  }
  void TearDown() override {
    copier_->Cancel();
    world_.RunFor(absl::Minutes(1));
    EXPECT_EQ(copier_->running(), 0u);
    EXPECT_TRUE(fs_.List("/cs/staging")->empty());
    EXPECT_EQ(store_->Usage().incoming_bytes, 0u);
  }
  void Make(const ChunkCopierOptions& options) {
    copier_ = std::make_unique<ChunkCopier>(
        *store_, [this](Task task) { disk_->Post(std::move(task)); }, sources_, *executor_, world_,
        options);
  }
  CopyOrder Order(const std::vector<std::string>& addresses) {
    CopyOrder order;
    order.handle = kHandle;
    order.length_bytes = static_cast<uint32_t>(data_.size());
    order.crc32c = ComputeCrc32c(data_);
    for (const std::string& address : addresses) {
      order.sources.emplace_back().set_address(address);
      order.sources.back().set_server_id(kServer);
    }
    return order;
  }
  // Runs it to its end.
  CopyResult Copy(CopyOrder order) {
    std::optional<CopyResult> result;
    copier_->Copy(std::move(order), [&](const CopyResult& r) { result = r; });
    EXPECT_TRUE(world_.RunUntilTrue([&] { return result.has_value(); }, absl::Hours(2)));
    return result.value_or(CopyResult{.status = absl::UnknownError("no result"), .bytes = 0});
  }
  std::vector<std::string> Asked() {
    std::vector<std::string> out;
    for (const auto& opened : sources_.opened) {
      out.push_back(opened->request.source.address());
    }
    return out;
  }

  const std::string data_ = RandomBytes(MiB(5) + 333, 1);
  SimScheduler world_{1};
  MemFileSystem fs_;
  std::unique_ptr<ChunkStore> store_;
  std::unique_ptr<Executor> disk_;
  std::unique_ptr<Executor> executor_;
  FakeSources sources_{world_};
  std::unique_ptr<ChunkCopier> copier_;
};

TEST_F(ChunkCopierTest, ACopyIsWholeVerifiedAndDurable) {
  const CopyResult result = Copy(Order({kA, kB}));
  EXPECT_OK(result.status);
  EXPECT_EQ(result.bytes, data_.size());
  EXPECT_EQ(Asked(), std::vector<std::string>{kA});
  EXPECT_EQ(store_->Stat(kHandle)->state, ReplicaState::kVerified);
  fs_.Crash(nullptr);
  ASSERT_OK_AND_ASSIGN(store_, OpenStore(fs_));
  EXPECT_THAT(ReadWhole(*store_, kHandle), IsOkAndHolds(data_));
  Make(ChunkCopierOptions());
}

TEST_F(ChunkCopierTest, AsksForTheServerMeantWithADeadlineOfAtMostAnHour) {
  ASSERT_OK(Copy(Order({kA})).status);
  const SourceRequest& request = sources_.opened[0]->request;
  EXPECT_EQ(request.source.server_id(), kServer);
  EXPECT_EQ(request.handle, kHandle);
  EXPECT_LE(request.timeout, absl::Hours(1));
  EXPECT_FALSE(request.new_connection);
}

TEST_F(ChunkCopierTest, ChunksOfEveryLengthArrive) {
  for (const size_t bytes :
       {size_t{1}, size_t{kBlockBytes}, size_t{KiB(512)}, size_t{KiB(512) + 1}, size_t{MiB(2)}}) {
    const std::string data = RandomBytes(bytes, bytes);
    sources_.scripts[kA].data = data;
    CopyOrder order = Order({kA});
    order.handle = ChunkHandle(ShardId(2), bytes);
    order.length_bytes = static_cast<uint32_t>(bytes);
    order.crc32c = ComputeCrc32c(data);
    EXPECT_OK(Copy(order).status);
    EXPECT_THAT(ReadWhole(*store_, order.handle), IsOkAndHolds(data));
  }
}

TEST_F(ChunkCopierTest, WhateverIsWrongWithASourceTheNextIsAsked) {
  const auto scripts = {
      +[](FakeSources::Script& s) {
        s.end = MakeError(v1::REASON_CHUNK_NOT_FOUND, "no");
        s.messages_max = 0;
      },
      +[](FakeSources::Script& s) {
        s.end = absl::UnavailableError("died");
        s.messages_max = 4;
      },
      +[](FakeSources::Script& s) { s.messages_max = 4; },  // ends early and says all is well
      +[](FakeSources::Script& s) { s.messages_max = 0; },
      +[](FakeSources::Script& s) { s.bad_message = 3; },
      +[](FakeSources::Script& s) { s.skewed_bytes = kBlockBytes; },
      +[](FakeSources::Script& s) { s.data += "more"; },
      +[](FakeSources::Script& s) { s.data.pop_back(); },
      +[](FakeSources::Script& s) { s.data[MiB(1)] ^= 1; },  // with checksums to fit
      +[](FakeSources::Script& s) { s.stall_after = 0; },
      +[](FakeSources::Script& s) { s.stall_after = 5; },
  };
  uint64_t number = 0;
  for (const auto& script : scripts) {
    sources_.opened.clear();
    sources_.scripts[kA] = FakeSources::Script();
    sources_.scripts[kA].data = data_;
    script(sources_.scripts[kA]);
    CopyOrder order = Order({kA, kB});
    order.handle = ChunkHandle(ShardId(1), ++number);
    const CopyResult result = Copy(order);
    EXPECT_OK(result.status) << number;
    EXPECT_EQ(result.bytes, data_.size());
    EXPECT_EQ(Asked(), (std::vector<std::string>{kA, kB})) << number;
    EXPECT_THAT(ReadWhole(*store_, order.handle), IsOkAndHolds(data_)) << number;
  }
}

TEST_F(ChunkCopierTest, TellsWhichSourceFailedWhy) {
  sources_.scripts[kA].messages_max = 2;
  sources_.scripts[kA].end = absl::UnavailableError("died");
  sources_.scripts[kB].bad_message = 0;
  sources_.scripts[kC].stall_after = 1;
  const CopyResult result = Copy(Order({kA, kB, kC}));
  EXPECT_THAT(result.status, HasReason(v1::REASON_COPY_FAILED));
  EXPECT_EQ(result.status.code(), absl::StatusCode::kUnavailable);
  EXPECT_EQ(result.bytes, 0u);
  for (const char* part : {"127.0.0.1:1: died", "127.0.0.1:2: ", "127.0.0.1:3: nothing came"}) {
    EXPECT_NE(result.status.message().find(part), std::string::npos) << result.status;
  }
  EXPECT_THAT(store_->Stat(kHandle), HasReason(v1::REASON_CHUNK_NOT_FOUND));
}

TEST_F(ChunkCopierTest, AWrongChecksumInTheOrderIsBelievedOverTheSources) {
  CopyOrder order = Order({kA, kB});
  order.crc32c.value ^= 1;
  EXPECT_THAT(Copy(order).status, HasReason(v1::REASON_COPY_FAILED));
  EXPECT_EQ(Asked(), (std::vector<std::string>{kA, kB}));
}

TEST_F(ChunkCopierTest, ADeadIdleConnectionIsReplacedBeforeTheNextSourceIsAsked) {
  sources_.scripts[kA].idle_connection = true;
  EXPECT_OK(Copy(Order({kA, kB})).status);
  EXPECT_EQ(Asked(), (std::vector<std::string>{kA, kA}));
  EXPECT_TRUE(sources_.opened[1]->request.new_connection);
}

TEST_F(ChunkCopierTest, HoldingItAlreadyIsDoneAndMovesNothing) {
  ASSERT_OK(WriteChunk(*store_, kHandle, data_));
  const CopyResult result = Copy(Order({kA}));
  EXPECT_OK(result.status);
  EXPECT_EQ(result.bytes, 0u);
  EXPECT_TRUE(sources_.opened.empty());
}

TEST_F(ChunkCopierTest, NeverReplacesWhatIsHere) {
  ASSERT_OK(WriteChunk(*store_, kHandle, "something else"));
  EXPECT_THAT(Copy(Order({kA})).status, HasReason(v1::REASON_CHUNK_EXISTS));
  EXPECT_THAT(ReadWhole(*store_, kHandle), IsOkAndHolds("something else"));
  // A damaged replica of the same facts is not the chunk, and is not replaced either.
  const ChunkHandle damaged(ShardId(1), 8);
  ASSERT_OK(WriteChunk(*store_, damaged, data_));
  ASSERT_OK(fs_.FlipBit(store_->layout().ChunkFile(damaged), kChunkPrefixBytes + 9, 1));
  EXPECT_FALSE(store_->Verify(damaged).ok());
  CopyOrder order = Order({kA});
  order.handle = damaged;
  EXPECT_THAT(Copy(order).status, HasReason(v1::REASON_CHUNK_EXISTS));
  EXPECT_TRUE(sources_.opened.empty());
}

TEST_F(ChunkCopierTest, AFullDiskIsToldBeforeAnyBytesMove) {
  store_ = nullptr;
  ASSERT_OK_AND_ASSIGN(store_, OpenStore(fs_, MiB(4)));
  Make(ChunkCopierOptions());
  EXPECT_THAT(Copy(Order({kA, kB})).status, HasReason(v1::REASON_NO_SPACE));
  EXPECT_TRUE(sources_.opened.empty());
}

TEST_F(ChunkCopierTest, AFileSystemWithoutRoomIsToldBeforeAnyBytesMove) {
  for (const uint64_t missing : {uint64_t{1}, data_.size() / 2, data_.size()}) {
    fs_.SetSpace(ChunkFileBytesOnDisk(data_.size()) - missing);
    EXPECT_THAT(Copy(Order({kA, kB})).status, HasReason(v1::REASON_NO_SPACE));
    EXPECT_TRUE(sources_.opened.empty());
    EXPECT_TRUE(fs_.List("/cs/staging")->empty());
    EXPECT_EQ(store_->Usage().chunk_count, 0u);
    EXPECT_EQ(store_->Usage().incoming_bytes, 0u);
    EXPECT_TRUE(store_->healthy()) << "a full disk is not a broken one";
  }
  fs_.SetSpace(GiB(1));
  EXPECT_OK(Copy(Order({kA, kB})).status) << "it takes the chunk once there is room";
}

TEST_F(ChunkCopierTest, ADiskThatFailsIsNotTheSourcesFault) {
  sources_.scripts[kA].on_message = [this] { fs_.FailSyncs("staging"); };
  const CopyResult result = Copy(Order({kA, kB}));
  EXPECT_THAT(result.status, HasReason(v1::REASON_COPY_FAILED));
  EXPECT_EQ(Asked(), std::vector<std::string>{kA});
  EXPECT_NE(result.status.message().find("on this server"), std::string::npos);
  EXPECT_THAT(store_->Stat(kHandle), HasReason(v1::REASON_CHUNK_NOT_FOUND));
}

TEST_F(ChunkCopierTest, ASlowDiskHoldsTheSourceBack) {
  bool stuck = true;
  std::vector<Task> waiting;
  copier_ = std::make_unique<ChunkCopier>(
      *store_,
      [&](Task task) {
        if (stuck && !sources_.opened.empty()) {
          waiting.push_back(std::move(task));
        } else {
          disk_->Post(std::move(task));
        }
      },
      sources_, *executor_, world_, ChunkCopierOptions());
  std::optional<CopyResult> result;
  copier_->Copy(Order({kA}), [&](const CopyResult& r) { result = r; });
  world_.RunFor(absl::Minutes(5));
  EXPECT_FALSE(result.has_value()) << "a slow disk is not a stalled source";
  ASSERT_EQ(sources_.opened.size(), 1u);
  EXPECT_EQ(sources_.opened[0]->messages_asked, CopyTask::kHeldMax);
  EXPECT_EQ(waiting.size(), 1u) << "one piece of work at a time";
  stuck = false;
  for (Task& task : waiting) {
    disk_->Post(std::move(task));
  }
  EXPECT_TRUE(world_.RunUntilTrue([&] { return result.has_value(); }, absl::Minutes(1)));
  EXPECT_OK(result->status);
}

TEST_F(ChunkCopierTest, ASlowSourceIsGivenItsTime) {
  sources_.scripts[kA].message_delay = absl::Seconds(19);
  EXPECT_OK(Copy(Order({kA, kB})).status);
  EXPECT_EQ(Asked(), std::vector<std::string>{kA});
}

TEST_F(ChunkCopierTest, CancelledCopiesEndSoonAndLeaveNothing) {
  std::vector<absl::Status> results;
  const auto note = [&](const CopyResult& r) { results.push_back(r.status); };
  sources_.scripts[kB].stall_after = 2;
  const auto gate = BandwidthGate::Make(*executor_, world_, 1);
  for (uint64_t i = 1; i <= 3; ++i) {
    CopyOrder order = Order({i == 2 ? kB : kA, kC});
    order.handle = ChunkHandle(ShardId(1), i);
    order.gate = i == 3 ? gate : nullptr;  // waits there for a day
    copier_->Copy(order, note);
  }
  world_.RunFor(absl::Milliseconds(5));
  EXPECT_EQ(copier_->running(), 3u);
  copier_->Cancel();
  world_.RunFor(absl::Seconds(1));
  EXPECT_EQ(copier_->running(), 0u);
  copier_->Copy(Order({kA}), note);
  ASSERT_EQ(results.size(), 4u);
  for (const absl::Status& status : results) {
    EXPECT_THAT(status, StatusIs(absl::StatusCode::kCancelled));
  }
  EXPECT_EQ(store_->Usage().chunk_count, 0u);
  EXPECT_TRUE(fs_.List("/cs/staging")->empty());
}

TEST_F(ChunkCopierTest, CopiesThatShareAGateShareItsRate) {
  const uint64_t rate = 20'000'000;
  const auto gate = BandwidthGate::Make(*executor_, world_, rate);
  size_t done = 0;
  for (uint64_t i = 1; i <= 8; ++i) {
    CopyOrder order = Order({kA});
    order.handle = ChunkHandle(ShardId(1), i);
    order.gate = gate;
    copier_->Copy(order, [&](const CopyResult& r) {
      EXPECT_OK(r.status);
      ++done;
    });
  }
  const SteadyTime begin = world_.SteadyNow();
  ASSERT_TRUE(world_.RunUntilTrue([&] { return done == 8; }, absl::Minutes(1)));
  const double seconds = absl::ToDoubleSeconds(world_.SteadyNow() - begin);
  const double wanted = static_cast<double>(8 * data_.size()) / static_cast<double>(rate);
  EXPECT_GE(seconds, wanted * 0.95);
  EXPECT_LE(seconds, wanted * 1.1);
}

TEST_F(ChunkCopierTest, ANewRateHoldsForCopiesUnderWay) {
  const auto gate = BandwidthGate::Make(*executor_, world_, 100'000);
  std::optional<CopyResult> result;
  CopyOrder order = Order({kA});
  order.gate = gate;
  copier_->Copy(order, [&](const CopyResult& r) { result = r; });
  world_.RunFor(absl::Seconds(5));
  EXPECT_FALSE(result.has_value());
  gate->SetRate(0);
  world_.RunFor(absl::Seconds(1));
  ASSERT_TRUE(result.has_value());
  EXPECT_OK(result->status);
}

TEST_F(ChunkCopierTest, WaitingAtTheGateIsNoStall) {
  const auto gate = BandwidthGate::Make(*executor_, world_, 1000);  // a message takes a minute
  CopyOrder order = Order({kA});
  sources_.scripts[kA].data = data_.substr(0, MiB(1));
  order.length_bytes = static_cast<uint32_t>(MiB(1));
  order.crc32c = ComputeCrc32c(sources_.scripts[kA].data);
  order.gate = gate;
  EXPECT_OK(Copy(order).status);
  EXPECT_EQ(Asked().size(), 1u);
}

}  // namespace
}  // namespace ballast::chunkserver
