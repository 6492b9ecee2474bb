// SPDX-License-Identifier: Apache-2.0
#include "services/chunkserver/store/chunk_store.h"

#include <thread>

#include "gtest/gtest.h"
#include "services/chunkserver/store/chunk_verification.h"
#include "tests/support/status_matchers.h"
#include "tests/unit/chunkserver/store/store_fixture.h"

namespace ballast::chunkserver {
namespace {

using ::ballast::testing::HasReason;
using ::ballast::testing::IsOkAndHolds;
using ::ballast::testing::MemFileSystem;
using ::ballast::testing::StatusIs;

const ChunkHandle kHandle(ShardId(3), 17);

class ChunkStoreTest : public ::testing::Test {
 protected:
  void SetUp() override {
    ASSERT_OK(FormatFolder(fs_, kFolder, kCluster, kServer));
    ASSERT_OK_AND_ASSIGN(store_, OpenStore(fs_));
  }
  void Reopen() {
    store_.reset();
    ASSERT_OK_AND_ASSIGN(store_, OpenStore(fs_));
  }
  std::vector<std::string> StagingFiles() { return *fs_.List("/cs/staging"); }
  std::string PathOf(ChunkHandle handle) { return store_->layout().ChunkFile(handle); }

  MemFileSystem fs_;
  std::unique_ptr<ChunkStore> store_;
};

TEST_F(ChunkStoreTest, ReturnsWhatWasWritten) {
  for (const size_t bytes :
       {size_t{1}, size_t{kBlockBytes}, size_t{kBlockBytes + 1}, size_t{700000}}) {
    const std::string data = RandomBytes(bytes, bytes);
    const ChunkHandle handle(ShardId(1), bytes);
    ASSERT_OK(WriteChunk(*store_, handle, data, bytes));
    EXPECT_THAT(ReadWhole(*store_, handle), IsOkAndHolds(data));
    EXPECT_EQ(fs_.FileSize(PathOf(handle)).value(), kChunkPrefixBytes + bytes);
  }
  EXPECT_TRUE(StagingFiles().empty());
  EXPECT_EQ(store_->Usage().incoming_bytes, 0u);
}

TEST_F(ChunkStoreTest, AChunkIsInvisibleBeforeItsCommit) {
  const std::string data = RandomBytes(100000, 1);
  ASSERT_OK_AND_ASSIGN(auto writer, store_->StartWrite(kHandle, 0));
  ASSERT_OK(writer->Append(Blocks(data)));
  ASSERT_OK(writer->Prepare(data.size(), ComputeCrc32c(data)));
  EXPECT_THAT(store_->Open(kHandle), HasReason(v1::REASON_CHUNK_NOT_FOUND));
  ASSERT_OK(writer->Commit());
  EXPECT_OK(store_->Open(kHandle));
}

TEST_F(ChunkStoreTest, AnAbandonedWriteLeavesNothing) {
  {
    ASSERT_OK_AND_ASSIGN(auto writer, store_->StartWrite(kHandle, MiB(8)));
    ASSERT_OK(writer->Append(Blocks(RandomBytes(kBlockBytes, 1))));
    EXPECT_GE(store_->Usage().incoming_bytes, MiB(8));
  }
  EXPECT_TRUE(StagingFiles().empty());
  EXPECT_EQ(store_->Usage().incoming_bytes, 0u);
  EXPECT_OK(WriteChunk(*store_, kHandle, "again"));
}

TEST_F(ChunkStoreTest, AHandleIsWrittenOnce) {
  ASSERT_OK_AND_ASSIGN(auto writer, store_->StartWrite(kHandle, 0));
  EXPECT_THAT(store_->StartWrite(kHandle, 0), HasReason(v1::REASON_CHUNK_EXISTS));
  writer.reset();
  ASSERT_OK(WriteChunk(*store_, kHandle, "one"));
  EXPECT_THAT(store_->StartWrite(kHandle, 0), HasReason(v1::REASON_CHUNK_EXISTS));
  EXPECT_THAT(ReadWhole(*store_, kHandle), IsOkAndHolds("one"));
}

TEST_F(ChunkStoreTest, RefusesBlocksThatDoNotFitTheirChecksums) {
  const std::string data = RandomBytes(kBlockBytes * 2, 1);
  const Crc32c good = ComputeCrc32c(absl::string_view(data).substr(0, kBlockBytes));
  EXPECT_THAT(VerifiedBlocks::Verify({data}, {good, good}),
              HasReason(v1::REASON_CHECKSUM_MISMATCH));
  EXPECT_THAT(VerifiedBlocks::Verify({data}, {good}), HasReason(v1::REASON_INVALID_ARGUMENT));
  EXPECT_THAT(VerifiedBlocks::Verify({}, {good}), HasReason(v1::REASON_INVALID_ARGUMENT));
}

TEST_F(ChunkStoreTest, VerifiesBlocksThatAreCutIntoPieces) {
  const std::string data = RandomBytes(kBlockBytes * 3 + 5, 1);
  Rng rng(7);
  std::vector<absl::string_view> pieces;
  for (absl::string_view left = data; !left.empty();) {
    const size_t n = std::min<size_t>(left.size(), rng.Below(50000));
    pieces.push_back(left.substr(0, n));
    left.remove_prefix(n);
  }
  ASSERT_OK_AND_ASSIGN(const VerifiedBlocks blocks,
                       VerifiedBlocks::Verify(pieces, Blocks(data).blocks()));
  ASSERT_OK_AND_ASSIGN(auto writer, store_->StartWrite(kHandle, 0));
  ASSERT_OK(writer->Append(blocks));
  ASSERT_OK(writer->Prepare(data.size(), ComputeCrc32c(data)));
  ASSERT_OK(writer->Commit());
  EXPECT_THAT(ReadWhole(*store_, kHandle), IsOkAndHolds(data));
}

TEST_F(ChunkStoreTest, RefusesAFinishThatDoesNotFit) {
  const std::string data = RandomBytes(1000, 1);
  const auto start = [&] {
    auto writer = *store_->StartWrite(kHandle, 0);
    EXPECT_OK(writer->Append(Blocks(data)));
    return writer;
  };
  EXPECT_THAT(start()->Prepare(999, ComputeCrc32c(data)), HasReason(v1::REASON_INVALID_ARGUMENT));
  EXPECT_THAT(start()->Prepare(1000, Crc32c{1}), HasReason(v1::REASON_CHECKSUM_MISMATCH));
  EXPECT_THAT((*store_->StartWrite(kHandle, 0))->Prepare(0, Crc32c{}),
              HasReason(v1::REASON_INVALID_ARGUMENT));
  EXPECT_THAT(start()->Append(Blocks(data)), HasReason(v1::REASON_INVALID_ARGUMENT))
      << "data after a short block";
}

TEST_F(ChunkStoreTest, AChunkHasAtMost64MiB) {
  ASSERT_OK_AND_ASSIGN(auto writer, store_->StartWrite(kHandle, 0));
  const std::string part = RandomBytes(MiB(16), 1);
  const VerifiedBlocks blocks = Blocks(part);
  for (int i = 0; i < 4; ++i) {
    ASSERT_OK(writer->Append(blocks));
  }
  EXPECT_THAT(writer->Append(Blocks("x")), HasReason(v1::REASON_INVALID_ARGUMENT));
  EXPECT_THAT(store_->StartWrite(ChunkHandle(9), kChunkBytesMax + 1),
              HasReason(v1::REASON_INVALID_ARGUMENT));
}

TEST_F(ChunkStoreTest, ReadsRangesOfBlocks) {
  const std::string data = RandomBytes(kBlockBytes * 5 + 100, 1);
  ASSERT_OK(WriteChunk(*store_, kHandle, data));
  ASSERT_OK_AND_ASSIGN(const auto chunk, store_->Open(kHandle));
  std::string out(kBlockBytes * 2, '\0');
  EXPECT_THAT(store_->ReadBlocks(*chunk, 4, 2, out.data()), IsOkAndHolds(kBlockBytes + 100));
  EXPECT_EQ(out.substr(0, kBlockBytes + 100), data.substr(kBlockBytes * 4));
}

TEST_F(ChunkStoreTest, OneFlippedByteAnywhereIsDetectedAndNeverReturned) {
  const std::string data = RandomBytes(kBlockBytes * 2 + 300, 1);
  Rng rng(11);
  for (int round = 0; round < 60; ++round) {
    const ChunkHandle handle(ShardId(1), static_cast<uint64_t>(round) + 1);
    ASSERT_OK(WriteChunk(*store_, handle, data));
    const uint64_t byte =
        round < 20 ? rng.Below(kChunkPrefixBytes) : kChunkPrefixBytes + rng.Below(data.size());
    ASSERT_OK(fs_.FlipBit(PathOf(handle), byte, static_cast<int>(rng.Below(8))));
    EXPECT_THAT(ReadWhole(*store_, handle), HasReason(v1::REASON_CHECKSUM_MISMATCH)) << byte;
    EXPECT_EQ(store_->Stat(handle)->state, ReplicaState::kCorrupt);
    EXPECT_TRUE(*fs_.Exists(PathOf(handle))) << "a corrupt chunk is kept";
  }
  EXPECT_EQ(store_->Usage().corrupt_count, 60u);
  // The others are served.
  ASSERT_OK(WriteChunk(*store_, kHandle, data));
  EXPECT_THAT(ReadWhole(*store_, kHandle), IsOkAndHolds(data));
}

TEST_F(ChunkStoreTest, ABadBlockDoesNotSpoilTheReadOfGoodOnesButMarksTheChunk) {
  const std::string data = RandomBytes(kBlockBytes * 3, 1);
  ASSERT_OK(WriteChunk(*store_, kHandle, data));
  ASSERT_OK_AND_ASSIGN(const auto chunk, store_->Open(kHandle));
  ASSERT_OK(fs_.FlipBit(PathOf(kHandle), kChunkPrefixBytes + kBlockBytes * 2, 0));
  std::string out(kBlockBytes, '\0');
  EXPECT_OK(store_->ReadBlocks(*chunk, 0, 1, out.data()));
  EXPECT_THAT(store_->ReadBlocks(*chunk, 2, 1, out.data()),
              HasReason(v1::REASON_CHECKSUM_MISMATCH));
  EXPECT_THAT(store_->Open(kHandle), HasReason(v1::REASON_CHECKSUM_MISMATCH));
}

TEST_F(ChunkStoreTest, AProcessOutOfDescriptorsTakesNoChunkForCorrupt) {
  const std::string data = RandomBytes(1000, 1);
  absl::Status fault;
  HookedFileSystem fs(fs_, [&] { return fault; });
  ASSERT_OK_AND_ASSIGN(const auto store, OpenStore(fs));
  ASSERT_OK(WriteChunk(*store, kHandle, data));
  fault = absl::ResourceExhaustedError("too many open files");
  EXPECT_THAT(store->Verify(kHandle), HasReason(v1::REASON_OVERLOADED));
  EXPECT_THAT(store->Open(kHandle), HasReason(v1::REASON_OVERLOADED));
  EXPECT_EQ(store->Usage().corrupt_count, 0u);
  fault = absl::OkStatus();
  EXPECT_OK(store->Verify(kHandle));
  EXPECT_THAT(ReadWhole(*store, kHandle), IsOkAndHolds(data));
}

TEST_F(ChunkStoreTest, DamageThatAReaderMeetsDuringAVerificationIsNotForgottenAtItsEnd) {
  ASSERT_OK(WriteChunk(*store_, kHandle, RandomBytes(kBlockBytes * 3, 1)));
  ASSERT_OK_AND_ASSIGN(const auto verification, ChunkVerification::Start(*store_, kHandle));
  EXPECT_THAT(verification->Step(kBlockBytes), IsOkAndHolds(false));
  ASSERT_OK(fs_.FlipBit(PathOf(kHandle), kChunkPrefixBytes + 5, 0));  // in what was read
  EXPECT_THAT(ReadWhole(*store_, kHandle), HasReason(v1::REASON_CHECKSUM_MISMATCH));
  EXPECT_THAT(verification->Step(kBlockBytes), IsOkAndHolds(false));
  EXPECT_THAT(verification->Step(kBlockBytes), HasReason(v1::REASON_CHECKSUM_MISMATCH));
  EXPECT_EQ(store_->Stat(kHandle)->state, ReplicaState::kCorrupt);
}

TEST_F(ChunkStoreTest, AVerificationTakesBackTheMarkOfAChunkThatIsWholeAgain) {
  ASSERT_OK(WriteChunk(*store_, kHandle, RandomBytes(kBlockBytes * 3, 1)));
  ASSERT_OK(fs_.FlipBit(PathOf(kHandle), kChunkPrefixBytes + 5, 0));
  EXPECT_THAT(store_->Verify(kHandle), HasReason(v1::REASON_CHECKSUM_MISMATCH));
  ASSERT_OK(fs_.FlipBit(PathOf(kHandle), kChunkPrefixBytes + 5, 0));
  EXPECT_OK(store_->Verify(kHandle));
  EXPECT_EQ(store_->Stat(kHandle)->state, ReplicaState::kVerified);
}

TEST_F(ChunkStoreTest, VerifyFindsWhatNobodyRead) {
  const std::string data = RandomBytes(MiB(2) + 5, 1);
  ASSERT_OK(WriteChunk(*store_, kHandle, data));
  Reopen();
  EXPECT_EQ(store_->Stat(kHandle)->state, ReplicaState::kUnverified);
  ASSERT_OK(store_->Verify(kHandle));
  EXPECT_EQ(store_->Stat(kHandle)->state, ReplicaState::kVerified);
  ASSERT_OK(fs_.FlipBit(PathOf(kHandle), kChunkPrefixBytes + data.size() - 1, 3));
  EXPECT_THAT(store_->Verify(kHandle), HasReason(v1::REASON_CHECKSUM_MISMATCH));
  ASSERT_OK(fs_.FlipBit(PathOf(kHandle), kChunkPrefixBytes + data.size() - 1, 3));
  ASSERT_OK(store_->Verify(kHandle)) << "a later whole check clears the mark";
  EXPECT_THAT(ReadWhole(*store_, kHandle), IsOkAndHolds(data));
}

TEST_F(ChunkStoreTest, DeletesDurablyAndOnlyTheLengthMeant) {
  ASSERT_OK(WriteChunk(*store_, kHandle, "hello"));
  EXPECT_THAT(store_->Delete(kHandle, 6), StatusIs(absl::StatusCode::kFailedPrecondition));
  EXPECT_THAT(ReadWhole(*store_, kHandle), IsOkAndHolds("hello"));
  ASSERT_OK(store_->Delete(kHandle, 5));
  EXPECT_THAT(store_->Delete(kHandle, 0), HasReason(v1::REASON_CHUNK_NOT_FOUND));
  fs_.Crash(nullptr);
  Reopen();
  EXPECT_THAT(store_->Open(kHandle), HasReason(v1::REASON_CHUNK_NOT_FOUND));
  EXPECT_EQ(store_->Usage().chunk_count, 0u);
}

TEST_F(ChunkStoreTest, AReaderFinishesAlthoughTheChunkIsDeleted) {
  const std::string data = RandomBytes(kBlockBytes * 2, 1);
  ASSERT_OK(WriteChunk(*store_, kHandle, data));
  ASSERT_OK_AND_ASSIGN(const auto chunk, store_->Open(kHandle));
  ASSERT_OK(store_->Delete(kHandle, 0));
  std::string out(kBlockBytes, '\0');
  EXPECT_OK(store_->ReadBlocks(*chunk, 1, 1, out.data()));
}

TEST_F(ChunkStoreTest, DamageInADeletedFileIsNotBlamedOnTheReplicaThatCameSince) {
  const std::string data = RandomBytes(kBlockBytes * 2, 1);
  ASSERT_OK(WriteChunk(*store_, kHandle, data));
  ASSERT_OK_AND_ASSIGN(const auto reader, store_->Open(kHandle));
  ASSERT_OK_AND_ASSIGN(const auto scrub, ChunkVerification::Start(*store_, kHandle));
  ASSERT_OK(fs_.FlipBit(PathOf(kHandle), kChunkPrefixBytes + kBlockBytes, 0));
  ASSERT_OK(store_->Delete(kHandle, 0));
  std::string out(kBlockBytes, '\0');
  EXPECT_THAT(store_->ReadBlocks(*reader, 1, 1, out.data()),
              HasReason(v1::REASON_CHECKSUM_MISMATCH));
  ASSERT_OK(WriteChunk(*store_, kHandle, data));
  EXPECT_THAT(store_->ReadBlocks(*reader, 1, 1, out.data()), IsOkAndHolds(kBlockBytes));
  EXPECT_EQ(out, data.substr(kBlockBytes));
  EXPECT_THAT(scrub->Step(MiB(1)), IsOkAndHolds(true));
  EXPECT_EQ(store_->Stat(kHandle)->state, ReplicaState::kVerified);
  // Its own damage is its own.
  ASSERT_OK(fs_.FlipBit(PathOf(kHandle), kChunkPrefixBytes + kBlockBytes, 0));
  EXPECT_THAT(store_->ReadBlocks(*reader, 1, 1, out.data()),
              HasReason(v1::REASON_CHECKSUM_MISMATCH));
  EXPECT_EQ(store_->Stat(kHandle)->state, ReplicaState::kCorrupt);
}

TEST_F(ChunkStoreTest, AFullDiskRefusesCleanlyAndFreesWhatItUsed) {
  fs_.SetSpace(MiB(20));
  ASSERT_OK(WriteChunk(*store_, kHandle, RandomBytes(MiB(10), 1), MiB(10)));
  EXPECT_THAT(store_->StartWrite(ChunkHandle(1), MiB(10)), HasReason(v1::REASON_NO_SPACE));
  // Unknown length: it fails on the way.
  EXPECT_THAT(WriteChunk(*store_, ChunkHandle(2), RandomBytes(MiB(12), 1)),
              HasReason(v1::REASON_NO_SPACE));
  EXPECT_TRUE(StagingFiles().empty());
  EXPECT_EQ(store_->Usage().incoming_bytes, 0u);
  EXPECT_TRUE(store_->healthy()) << "a full disk is no broken disk";
  EXPECT_OK(WriteChunk(*store_, ChunkHandle(3), RandomBytes(MiB(1), 1), MiB(1)));
}

TEST_F(ChunkStoreTest, TheCapacityLimitCountsReservations) {
  store_.reset();
  ASSERT_OK_AND_ASSIGN(store_, OpenStore(fs_, MiB(10)));
  ASSERT_OK_AND_ASSIGN(auto writer, store_->StartWrite(kHandle, MiB(6)));
  EXPECT_THAT(store_->StartWrite(ChunkHandle(1), MiB(6)), HasReason(v1::REASON_NO_SPACE));
  writer.reset();
  EXPECT_OK(store_->StartWrite(ChunkHandle(1), MiB(6)));
  EXPECT_EQ(store_->Usage().capacity_bytes, MiB(10));
}

TEST_F(ChunkStoreTest, AFailedSyncIsNeverAcknowledged) {
  fs_.FailSyncs("staging");
  EXPECT_THAT(WriteChunk(*store_, kHandle, "hello"), StatusIs(absl::StatusCode::kInternal));
  EXPECT_FALSE(store_->healthy());
  EXPECT_THAT(store_->Open(kHandle), HasReason(v1::REASON_CHUNK_NOT_FOUND));
}

TEST_F(ChunkStoreTest, KeepsFewFilesOpen) {
  for (uint64_t i = 1; i <= 20; ++i) {
    ASSERT_OK(WriteChunk(*store_, ChunkHandle(i), RandomBytes(100, i)));
  }
  for (int round = 0; round < 3; ++round) {
    for (uint64_t i = 1; i <= 20; ++i) {
      EXPECT_THAT(ReadWhole(*store_, ChunkHandle(i)), IsOkAndHolds(RandomBytes(100, i)));
    }
  }
}

TEST_F(ChunkStoreTest, ServesNothingBeforeItsScan) {
  ChunkStore store(fs_, StoreOptions());
  EXPECT_THAT(store.StartWrite(kHandle, 0), HasReason(v1::REASON_NOT_READY));
  EXPECT_THAT(store.Open(kHandle), HasReason(v1::REASON_NOT_READY));
}

TEST_F(ChunkStoreTest, ReportsEveryChangeToEachReporter) {
  const auto reporter = store_->AddReporter();
  const ShardId shards[] = {ShardId(3)};
  store_->StartReports(reporter, shards);
  google::protobuf::RepeatedPtrField<v1::ShardReport> reports;
  store_->BuildReports(reporter, 10, 10, false, &reports);
  EXPECT_TRUE(reports[0].full_end());
  ASSERT_OK(WriteChunk(*store_, kHandle, "hello"));
  EXPECT_TRUE(store_->HasNews(reporter));
  reports.Clear();
  store_->BuildReports(reporter, 10, 10, false, &reports);
  EXPECT_EQ(reports[0].replicas(0).handle(), kHandle.value());
  EXPECT_TRUE(reports[0].replicas(0).verified());
  ASSERT_OK(store_->Delete(kHandle, 0));
  reports.Clear();
  store_->BuildReports(reporter, 10, 10, false, &reports);
  EXPECT_EQ(reports[0].removed_handles(0), kHandle.value());
  store_->RemoveReporter(reporter);
}

TEST_F(ChunkStoreTest, ManyThreadsWriteReadAndDelete) {
  std::vector<std::thread> threads;
  for (uint64_t t = 0; t < 4; ++t) {
    threads.emplace_back([this, t] {
      for (uint64_t i = 1; i <= 12; ++i) {
        const ChunkHandle handle(ShardId(static_cast<uint32_t>(t)), i);
        const std::string data = RandomBytes(1000 * i, i);
        EXPECT_OK(WriteChunk(*store_, handle, data));
        EXPECT_THAT(ReadWhole(*store_, handle), IsOkAndHolds(data));
        store_->Open(ChunkHandle(ShardId(static_cast<uint32_t>(t + 1) % 4), i))
            .status()
            .IgnoreError();
        if (i % 2 == 0) {
          EXPECT_OK(store_->Delete(handle, 0));
        }
      }
    });
  }
  for (std::thread& thread : threads) {
    thread.join();
  }
  EXPECT_EQ(store_->Usage().chunk_count, 4u * 6);
}

TEST_F(ChunkStoreTest, AChunkOfZerosReadsBackAndVerifies) {
  for (const uint64_t bytes :
       {uint64_t{1}, kBlockBytes - 1, kBlockBytes, 3 * kBlockBytes + 5, kChunkBytesMax}) {
    const ChunkHandle handle(ShardId(2), bytes);
    ASSERT_OK(store_->CreateZeroChunk(handle, bytes));
    const std::string zeros(bytes, '\0');
    EXPECT_THAT(ReadWhole(*store_, handle), IsOkAndHolds(zeros));
    ASSERT_OK_AND_ASSIGN(const ReplicaFacts facts, store_->Verify(handle));
    EXPECT_EQ(facts.length_bytes, bytes);
    EXPECT_EQ(facts.crc32c, ComputeCrc32c(zeros));
  }
  EXPECT_GE(store_->Usage().used_bytes, kChunkBytesMax) << "counted by their length";
  EXPECT_EQ(store_->Usage().incoming_bytes, 0u);
  EXPECT_TRUE(StagingFiles().empty());
  fs_.Crash(nullptr);
  Reopen();
  EXPECT_THAT(ReadWhole(*store_, ChunkHandle(ShardId(2), 1)), IsOkAndHolds(std::string(1, '\0')));
  EXPECT_OK(store_->Verify(ChunkHandle(ShardId(2), kChunkBytesMax)));
}

TEST_F(ChunkStoreTest, RefusesZeroChunksThatAreNoneOrDoNotFit) {
  EXPECT_THAT(store_->CreateZeroChunk(kHandle, 0), HasReason(v1::REASON_INVALID_ARGUMENT));
  EXPECT_THAT(store_->CreateZeroChunk(kHandle, kChunkBytesMax + 1),
              HasReason(v1::REASON_INVALID_ARGUMENT));
  ASSERT_OK(WriteChunk(*store_, kHandle, "data"));
  EXPECT_THAT(store_->CreateZeroChunk(kHandle, 5), HasReason(v1::REASON_CHUNK_EXISTS));
  EXPECT_THAT(ReadWhole(*store_, kHandle), IsOkAndHolds("data"));
  store_ = nullptr;
  ASSERT_OK_AND_ASSIGN(store_, OpenStore(fs_, MiB(2)));
  EXPECT_THAT(store_->CreateZeroChunk(ChunkHandle(1), MiB(3)), HasReason(v1::REASON_NO_SPACE));
  EXPECT_OK(store_->CreateZeroChunk(ChunkHandle(1), MiB(1)));
  EXPECT_TRUE(StagingFiles().empty());
}

TEST_F(ChunkStoreTest, ANominalCapacityHoldsWhateverTheDiskHas) {
  fs_.SetSpace(MiB(1));
  store_ = nullptr;
  ChunkStoreOptions options = StoreOptions(GiB(1));
  options.capacity_is_nominal = true;
  store_ = std::make_unique<ChunkStore>(fs_, options);
  ASSERT_OK(RecoverChunks(*store_, nullptr));
  EXPECT_EQ(store_->Usage().capacity_bytes, GiB(1));
  EXPECT_THAT(WriteChunk(*store_, kHandle, RandomBytes(MiB(2), 1), MiB(2)),
              HasReason(v1::REASON_NO_SPACE))
      << "bytes that must be written need the disk all the same";
  EXPECT_OK(WriteChunk(*store_, kHandle, RandomBytes(1000, 1)));
}

TEST_F(ChunkStoreTest, DataWithRunsOfZerosReadBackAsWritten) {
  std::string data = RandomBytes(40 * kBlockBytes + 300, 1);
  std::fill_n(data.begin(), 2 * kBlockBytes, '\0');                         // whole blocks in front
  std::fill_n(data.begin() + 10 * kBlockBytes + 5, 3 * kBlockBytes, '\0');  // not aligned
  std::fill_n(data.begin() + 20 * kBlockBytes, 20 * kBlockBytes + 300, '\0');  // to the end
  for (const uint64_t hint : {uint64_t{0}, uint64_t{data.size()}}) {
    const ChunkHandle handle(ShardId(4), hint + 1);
    ASSERT_OK(WriteChunk(*store_, handle, data, hint));
    EXPECT_THAT(ReadWhole(*store_, handle), IsOkAndHolds(data));
    EXPECT_OK(store_->Verify(handle));
  }
  // A block that only begins with zeros, and one whose pieces are cut oddly.
  std::string odd(2 * kBlockBytes, '\0');
  odd[2 * kBlockBytes - 1] = 'x';
  ASSERT_OK_AND_ASSIGN(auto writer, store_->StartWrite(kHandle, 0));
  const absl::string_view view = odd;
  ASSERT_OK_AND_ASSIGN(const VerifiedBlocks blocks,
                       VerifiedBlocks::Verify({view.substr(0, 7), view.substr(7, kBlockBytes),
                                               view.substr(7, 0), view.substr(kBlockBytes + 7)},
                                              Blocks(odd).blocks()));
  ASSERT_OK(writer->Append(blocks));
  ASSERT_OK(writer->Prepare(odd.size(), ComputeCrc32c(odd)));
  ASSERT_OK(writer->Commit());
  EXPECT_THAT(ReadWhole(*store_, kHandle), IsOkAndHolds(odd));
}

TEST_F(ChunkStoreTest, ListsItsChunksInPages) {
  for (uint64_t i = 1; i <= 5; ++i) {
    ASSERT_OK(WriteChunk(*store_, ChunkHandle(ShardId(static_cast<uint32_t>(i % 2)), i), "x"));
  }
  std::vector<ChunkHandle> listed;
  ChunkHandle last(0);
  while (true) {
    const auto page = store_->List(last, 2);
    if (page.empty()) {
      break;
    }
    EXPECT_LE(page.size(), 2u);
    for (const auto& [handle, facts] : page) {
      EXPECT_LT(last, handle);
      EXPECT_EQ(facts.length_bytes, 1u);
      last = handle;
      listed.push_back(handle);
    }
  }
  EXPECT_EQ(listed.size(), 5u);
}

}  // namespace
}  // namespace ballast::chunkserver
