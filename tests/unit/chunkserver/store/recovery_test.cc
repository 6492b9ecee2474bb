// SPDX-License-Identifier: Apache-2.0
// Crashes at every step, and whatever the start-up scan can meet.
#include "services/chunkserver/store/recovery.h"

#include <algorithm>
#include <atomic>
#include <deque>
#include <functional>
#include <map>
#include <set>
#include <utility>
#include <vector>

#include "absl/synchronization/mutex.h"
#include "common/env/executor.h"
#include "gtest/gtest.h"
#include "tests/support/status_matchers.h"
#include "tests/unit/chunkserver/store/store_fixture.h"

namespace ballast::chunkserver {
namespace {

using ::ballast::testing::HasReason;
using ::ballast::testing::IsOkAndHolds;
using ::ballast::testing::MemFileSystem;
using ::ballast::testing::StatusIs;

void WriteWhole(FileSystem& fs, const std::string& path, absl::string_view content) {
  ASSERT_OK_AND_ASSIGN(const auto file, fs.Open(path, OpenMode::kCreate));
  ASSERT_OK(file->Truncate(0));
  ASSERT_OK(file->WriteAt(0, content));
}

// A small life: writes of known and unknown length, an abandoned one, deletes. What was
// acknowledged is recorded as it happens.
struct Life {
  std::map<ChunkHandle, std::string> acknowledged;
  std::map<ChunkHandle, std::string> attempted;  // all bytes ever offered for a handle
  std::set<ChunkHandle> deleting;                // a delete was asked for and not acknowledged

  void Run(ChunkStore& store) {
    for (uint64_t i = 1; i <= 4; ++i) {
      const ChunkHandle handle(ShardId(2), i);
      const std::string data = RandomBytes(30000 * i, i);
      attempted[handle] = data;
      if (WriteChunk(store, handle, data, i % 2 == 0 ? data.size() : 0).ok()) {
        acknowledged[handle] = data;
      }
    }
    if (auto writer = store.StartWrite(ChunkHandle(ShardId(2), 9), 5000); writer.ok()) {
      (*writer)->Append(Blocks(RandomBytes(5000, 9))).IgnoreError();
    }
    for (const uint64_t i : {2, 3}) {
      const ChunkHandle handle(ShardId(2), i);
      if (acknowledged.count(handle) != 0) {
        acknowledged.erase(handle);
        deleting.insert(handle);
        if (store.Delete(handle, 0).ok()) {
          deleting.erase(handle);
          attempted.erase(handle);
        }
      }
    }
  }
};

TEST(RecoveryTest, AcknowledgedChunksSurviveACrashAtEveryStep) {
  uint64_t points = 0;
  for (uint64_t n = 1;; ++n) {
    for (uint64_t seed = 0; seed < 4; ++seed) {
      SCOPED_TRACE(::testing::Message() << "crash at operation " << n << ", seed " << seed);
      MemFileSystem fs;
      ASSERT_OK(FormatFolder(fs, kFolder, kCluster, kServer));
      ASSERT_OK_AND_ASSIGN(auto store, OpenStore(fs));
      Life life;
      fs.FailAfter(n);
      life.Run(*store);
      store.reset();
      points = n;
      if (!fs.failed()) {
        ASSERT_GT(points, 30u);
        return;
      }
      Rng rng(n * 1000 + seed);
      fs.Crash(seed == 0 ? nullptr : &rng);
      ASSERT_OK_AND_ASSIGN(store, OpenStore(fs));
      for (const auto& [handle, data] : life.acknowledged) {
        ASSERT_THAT(ReadWhole(*store, handle), IsOkAndHolds(data)) << handle;
      }
      for (const auto& [handle, data] : life.attempted) {
        const auto got = ReadWhole(*store, handle);
        if (got.ok()) {
          ASSERT_EQ(*got, data) << "an unacknowledged chunk must be whole or absent: " << handle;
        } else {
          ASSERT_THAT(got, HasReason(v1::REASON_CHUNK_NOT_FOUND)) << handle;
        }
      }
      ASSERT_EQ(store->Usage().corrupt_count, 0u);
      ASSERT_TRUE(fs.List("/cs/staging")->empty());
      // And it goes on working.
      ASSERT_OK(WriteChunk(*store, ChunkHandle(ShardId(7), 1), "after the crash"));
    }
  }
}

TEST(RecoveryTest, AcknowledgedDeletesSurviveACrash) {
  MemFileSystem fs;
  ASSERT_OK(FormatFolder(fs, kFolder, kCluster, kServer));
  ASSERT_OK_AND_ASSIGN(auto store, OpenStore(fs));
  Life life;
  life.Run(*store);
  fs.Crash(nullptr);
  ASSERT_OK_AND_ASSIGN(store, OpenStore(fs));
  EXPECT_EQ(store->Usage().chunk_count, life.acknowledged.size());
}

class RecoveryScanTest : public ::testing::Test {
 protected:
  void SetUp() override {
    ASSERT_OK(FormatFolder(fs_, kFolder, kCluster, kServer));
    ASSERT_OK_AND_ASSIGN(auto store, OpenStore(fs_));
    ASSERT_OK(WriteChunk(*store, kGood, "good"));
    ASSERT_OK(WriteChunk(*store, kBad, data_));
    path_ = store->layout().ChunkFile(kBad);
  }
  // Scans; the good chunk must be served whatever else there is.
  RecoveryReport Scan() {
    store_ = std::make_unique<ChunkStore>(fs_, StoreOptions());
    const auto report = RecoverChunks(*store_, nullptr);
    EXPECT_OK(report);
    EXPECT_THAT(ReadWhole(*store_, kGood), IsOkAndHolds("good"));
    return *report;
  }

  const ChunkHandle kGood{ShardId(1), 0x10};
  const ChunkHandle kBad{ShardId(1), 0x110};  // in the same sub-folder
  const std::string data_ = RandomBytes(100000, 1);
  MemFileSystem fs_;
  std::string path_;
  std::unique_ptr<ChunkStore> store_;
};

TEST_F(RecoveryScanTest, ADamagedHeaderIsKeptAndReportedCorrupt) {
  ASSERT_OK(fs_.FlipBit(path_, 70, 1));
  EXPECT_EQ(Scan().corrupt, 1u);
  EXPECT_THAT(store_->Open(kBad), HasReason(v1::REASON_CHECKSUM_MISMATCH));
  EXPECT_EQ(store_->Stat(kBad)->state, ReplicaState::kCorrupt);
  EXPECT_THAT(store_->Verify(kBad), HasReason(v1::REASON_CHECKSUM_MISMATCH));
  EXPECT_OK(store_->Delete(kBad, 0));
}

TEST_F(RecoveryScanTest, ACutFileIsCorrupt) {
  for (const uint64_t size :
       {kChunkPrefixBytes + 99999, kChunkPrefixBytes, uint64_t{100}, uint64_t{0}}) {
    {
      ASSERT_OK_AND_ASSIGN(const auto file, fs_.Open(path_, OpenMode::kReadWrite));
      ASSERT_OK(file->Truncate(size));
    }
    EXPECT_EQ(Scan().corrupt, 1u) << size;
  }
}

TEST_F(RecoveryScanTest, AForeignClustersChunkIsQuarantined) {
  ChunkHeader header{.cluster_id = kOtherCluster,
                     .handle = kBad,
                     .length_bytes = 1,
                     .crc32c = {},
                     .blocks = {ComputeCrc32c("x")}};
  WriteWhole(fs_, path_, EncodeChunkPrefix(header) + "x");
  EXPECT_EQ(Scan().quarantined, 1u);
  EXPECT_THAT(store_->Open(kBad), HasReason(v1::REASON_CHUNK_NOT_FOUND));
  EXPECT_EQ(fs_.List("/cs/quarantine")->size(), 1u);
}

TEST_F(RecoveryScanTest, AChunkUnderAnotherNameIsQuarantined) {
  ASSERT_OK(fs_.Rename(path_, StoreLayout(kFolder).ChunkFile(ChunkHandle(ShardId(1), 0x210))));
  EXPECT_EQ(Scan().quarantined, 1u);
}

TEST_F(RecoveryScanTest, AChunkInAnotherFolderIsQuarantined) {
  ASSERT_OK(fs_.CreateDir("/cs/chunks/00"));
  ASSERT_OK(fs_.Rename(path_, "/cs/chunks/00/" + kBad.ToString()));
  EXPECT_EQ(Scan().quarantined, 1u);
}

TEST_F(RecoveryScanTest, StrangeNamesAreLeftAlone) {
  WriteWhole(fs_, "/cs/chunks/10/README", "hello");
  WriteWhole(fs_, "/cs/chunks/notes", "hello");
  WriteWhole(fs_, "/cs/chunks/10/000100000000001G", "hello");
  WriteWhole(fs_, "/cs/chunks/10/0000000000000000", "hello");
  EXPECT_EQ(Scan().strays, 4u);
  EXPECT_TRUE(*fs_.Exists("/cs/chunks/10/README"));
}

TEST_F(RecoveryScanTest, ANewerFormatIsLeftAlone) {
  std::string prefix = *ReadFile(fs_, path_);
  prefix[8] = 2;
  const Crc32c crc = ComputeCrc32c(absl::string_view(prefix).substr(0, 4092));
  for (size_t i = 0; i < 4; ++i) {
    prefix[4092 + i] = static_cast<char>(crc.value >> (8 * i));
  }
  WriteWhole(fs_, path_, prefix);
  EXPECT_EQ(Scan().unknown_version, 1u);
  EXPECT_THAT(store_->Open(kBad), HasReason(v1::REASON_CHUNK_NOT_FOUND));
  EXPECT_THAT(WriteChunk(*store_, kBad, "x"), HasReason(v1::REASON_CHUNK_EXISTS))
      << "its file is never overwritten";
}

TEST_F(RecoveryScanTest, WhatUnfinishedWritesLeftIsRemoved) {
  WriteWhole(fs_, "/cs/staging/0001000000000999.1", "half");
  EXPECT_EQ(Scan().staging_removed, 1u);
}

// Chunks that rot while their server is away: nobody is there to notice.
class RotTest : public ::testing::Test {
 protected:
  enum class Rot { kNone, kFlip, kCut, kGrown, kZeroed, kSwapped, kGone, kEnd };

  void SetUp() override {
    ASSERT_OK(FormatFolder(fs_, kFolder, kCluster, kServer));
    ASSERT_OK_AND_ASSIGN(auto store, OpenStore(fs_));
    for (uint64_t i = 1; i <= 120; ++i) {
      const ChunkHandle handle(ShardId(i % 3), i);
      contents_[handle] = RandomBytes(1 + rng_.Below(200000), i);
      ASSERT_OK(WriteChunk(*store, handle, contents_[handle]));
    }
  }
  void Spoil(ChunkHandle handle, Rot rot) {
    const std::string path = StoreLayout(kFolder).ChunkFile(handle);
    ASSERT_OK_AND_ASSIGN(std::string file, ReadFile(fs_, path));
    switch (rot) {
      case Rot::kFlip:
        ASSERT_OK(fs_.FlipBit(path, rng_.Below(file.size()), static_cast<int>(rng_.Below(8))));
        return;
      case Rot::kCut:
        file.resize(rng_.Below(file.size()));
        break;
      case Rot::kGrown:
        file += RandomBytes(1 + rng_.Below(5000), handle.value());
        break;
      case Rot::kZeroed: {
        const uint64_t from = kChunkPrefixBytes + rng_.Below(file.size() - kChunkPrefixBytes);
        file.replace(from, file.size() - from, file.size() - from, '\0');
        break;
      }
      case Rot::kSwapped:  // whole, but another's
        file = *ReadFile(fs_, StoreLayout(kFolder).ChunkFile(ChunkHandle(3)));
        break;
      case Rot::kGone:
        ASSERT_OK(fs_.Remove(path));
        return;
      case Rot::kNone:
      case Rot::kEnd:
        return;
    }
    WriteWhole(fs_, path, file);
  }

  Rng rng_{23};
  MemFileSystem fs_;
  std::map<ChunkHandle, std::string> contents_;
};

TEST_F(RotTest, AServerBackAfterAWeekServesNoRottenByteAndReportsWhatIsCorrupt) {
  std::map<ChunkHandle, Rot> rot;
  for (const auto& [handle, data] : contents_) {
    if (handle != ChunkHandle(3)) {
      rot[handle] = static_cast<Rot>(rng_.Below(static_cast<uint64_t>(Rot::kEnd)));
      Spoil(handle, rot[handle]);
    }
    // Zeros over zeros do not spoil; these data are random, but their last byte may be one.
    ASSERT_TRUE(rot[handle] != Rot::kZeroed || data.back() != 0);
  }
  ASSERT_OK_AND_ASSIGN(const auto store, OpenStore(fs_));
  // Before anything was verified: the right bytes, or none.
  for (const auto& [handle, data] : contents_) {
    const absl::StatusOr<ReplicaFacts> facts = store->Stat(handle);
    EXPECT_TRUE(!facts.ok() || facts->state != ReplicaState::kVerified);
    if (handle.sequence() % 2 == 0) {
      const absl::StatusOr<std::string> read = ReadWhole(*store, handle);
      EXPECT_EQ(read.ok(), rot[handle] == Rot::kNone) << handle;
      EXPECT_TRUE(!read.ok() || *read == data);
    }
  }
  std::set<ChunkHandle> damaged;
  for (const auto& [handle, data] : contents_) {
    store->Verify(handle).IgnoreError();
    const absl::StatusOr<ReplicaFacts> facts = store->Stat(handle);
    const absl::StatusOr<std::string> read = ReadWhole(*store, handle);
    if (rot[handle] == Rot::kNone) {
      EXPECT_EQ(facts->state, ReplicaState::kVerified);
      EXPECT_THAT(read, IsOkAndHolds(data));
    } else if (rot[handle] == Rot::kGone || rot[handle] == Rot::kSwapped) {
      EXPECT_THAT(facts, HasReason(v1::REASON_CHUNK_NOT_FOUND)) << "not listed: repaired";
    } else {
      damaged.insert(handle);
      EXPECT_EQ(facts->state, ReplicaState::kCorrupt) << handle;
      EXPECT_THAT(read, HasReason(v1::REASON_CHECKSUM_MISMATCH));
      EXPECT_TRUE(*fs_.Exists(store->layout().ChunkFile(handle))) << "kept";
    }
  }
  EXPECT_GT(damaged.size(), 30u);
  const auto reporter = store->AddReporter();
  store->StartReports(reporter, {ShardId(0), ShardId(1), ShardId(2)});
  google::protobuf::RepeatedPtrField<v1::ShardReport> reports;
  store->BuildReports(reporter, 10000, 10, true, &reports);
  store->RemoveReporter(reporter);
  std::set<ChunkHandle> told;
  for (const v1::ShardReport& report : reports) {
    for (const v1::ReplicaReport& replica : report.replicas()) {
      if (replica.corrupt()) {
        told.insert(ChunkHandle(replica.handle()));
      }
    }
  }
  EXPECT_EQ(told, damaged);
}

// Many folders, and something wrong in several of them.
class ParallelScanTest : public ::testing::Test {
 protected:
  static constexpr uint64_t kChunks = 600;

  void SetUp() override {
    ASSERT_OK(FormatFolder(fs_, kFolder, kCluster, kServer));
    ASSERT_OK_AND_ASSIGN(auto store, OpenStore(fs_));
    for (uint64_t i = 1; i <= kChunks; ++i) {
      ASSERT_OK(WriteChunk(*store, ChunkHandle(ShardId(1), i), RandomBytes(i, i)));
    }
    for (const uint64_t i : {3, 77, 300}) {
      ASSERT_OK(fs_.FlipBit(store->layout().ChunkFile(ChunkHandle(ShardId(1), i)), 70, 1));
    }
    WriteWhole(fs_, "/cs/chunks/10/README", "hello");
    WriteWhole(fs_, "/cs/staging/0001000000000999.1", "half");
  }

  MemFileSystem fs_;
};

TEST_F(ParallelScanTest, SeveralFilesAreReadAtATimeAndFoundAsByOne) {
  absl::Mutex mu;
  size_t opening = 0;
  bool met = false;
  HookedFileSystem meeting(fs_, [&] {  // waits until four are here at once
    absl::MutexLock lock(&mu);
    ++opening;
    met = met || opening == 4;
    mu.AwaitWithTimeout(absl::Condition(&met), absl::Seconds(20));
    --opening;
    return absl::OkStatus();
  });
  ThreadPool disk("disk", 3);
  ChunkStore store(meeting, StoreOptions());
  ASSERT_OK_AND_ASSIGN(
      const RecoveryReport report,
      RecoverChunks(store, nullptr, 3, [&](Task task) { disk.Post(std::move(task)); }));
  EXPECT_TRUE(met);
  EXPECT_EQ(report.chunks, kChunks);
  EXPECT_EQ(report.corrupt, 3u);
  EXPECT_EQ(report.strays, 1u);
  EXPECT_EQ(report.staging_removed, 1u);
  EXPECT_EQ(store.Usage().chunk_count, kChunks);
  for (uint64_t i = 1; i <= kChunks; ++i) {
    ASSERT_OK_AND_ASSIGN(const ReplicaFacts facts, store.Stat(ChunkHandle(ShardId(1), i)));
    EXPECT_EQ(facts.state == ReplicaState::kCorrupt, i == 3 || i == 77 || i == 300) << i;
  }
}

TEST_F(ParallelScanTest, HelpersThatNeverRunAreNotWaitedFor) {
  std::vector<Task> posted;
  {
    ChunkStore store(fs_, StoreOptions());
    ASSERT_OK_AND_ASSIGN(
        const RecoveryReport report,
        RecoverChunks(store, nullptr, 5, [&](Task task) { posted.push_back(std::move(task)); }));
    EXPECT_EQ(report.chunks, kChunks);
  }
  ASSERT_EQ(posted.size(), 5u);
  for (size_t i = 0; i < posted.size(); ++i) {
    posted[i]();  // the store is gone
  }
  EXPECT_EQ(posted.size(), 5u);
}

TEST_F(ParallelScanTest, AHelpersTaskIsOneFolderSoThatOtherWorkComesInBetween) {
  std::deque<Task> posted;
  size_t opened = 0;
  size_t most = 0;
  size_t tasks = 0;
  bool inside = false;
  HookedFileSystem hooked(fs_, [&] {
    ++opened;
    if (!inside && !posted.empty()) {
      inside = true;
      const size_t before = opened;
      Task task = std::move(posted.front());
      posted.pop_front();
      task();
      most = std::max(most, opened - before);
      ++tasks;
      inside = false;
    }
    return absl::OkStatus();
  });
  ChunkStore store(hooked, StoreOptions());
  ASSERT_OK_AND_ASSIGN(
      const RecoveryReport report,
      RecoverChunks(store, nullptr, 1, [&](Task task) { posted.push_back(std::move(task)); }));
  EXPECT_EQ(report.chunks, kChunks);
  EXPECT_GT(tasks, 100u);
  EXPECT_LE(most, kChunks / 256 + 1);
}

TEST_F(ParallelScanTest, AStoppedScanServesNothing) {
  const std::atomic<bool> stop{true};
  ThreadPool disk("disk", 2);
  ChunkStore store(fs_, StoreOptions());
  EXPECT_THAT(RecoverChunks(store, &stop, 2, [&](Task task) { disk.Post(std::move(task)); }),
              StatusIs(absl::StatusCode::kCancelled));
  EXPECT_FALSE(store.serving());
}

class ServerIdentityTest : public ::testing::Test {
 protected:
  MemFileSystem fs_;
};

TEST_F(ServerIdentityTest, CountsEveryStartDurably) {
  ASSERT_OK(FormatFolder(fs_, kFolder, kCluster, kServer));
  for (uint64_t epoch = 1; epoch <= 3; ++epoch) {
    {
      ASSERT_OK_AND_ASSIGN(const auto identity, ServerIdentity::Open(fs_, kFolder));
      EXPECT_EQ(identity->boot_epoch(), epoch);
      EXPECT_EQ(identity->server_id(), kServer);
      EXPECT_EQ(identity->cluster_id(), kCluster);
    }
    fs_.Crash(nullptr);
  }
}

TEST_F(ServerIdentityTest, TheDocumentShowsTheIdentityFile) {
  ASSERT_OK(FormatFolder(fs_, kFolder, kCluster, kServer));
  ASSERT_OK_AND_ASSIGN(const std::string document,
                       ReadFile(PosixFileSystem(), "docs/formats/chunk_server_folder.md"));
  EXPECT_NE(document.find(*ReadFile(fs_, "/cs/identity")), std::string::npos);
}

TEST_F(ServerIdentityTest, OneProcessPerFolder) {
  ASSERT_OK(FormatFolder(fs_, kFolder, kCluster, kServer));
  ASSERT_OK_AND_ASSIGN(auto first, ServerIdentity::Open(fs_, kFolder));
  EXPECT_THAT(ServerIdentity::Open(fs_, kFolder), StatusIs(absl::StatusCode::kFailedPrecondition));
  first.reset();
  ASSERT_OK_AND_ASSIGN(first, ServerIdentity::Open(fs_, kFolder));
  EXPECT_EQ(first->boot_epoch(), 2u) << "the refused start counted nothing";
}

TEST_F(ServerIdentityTest, AnUnformattedFolderIsRefused) {
  EXPECT_THAT(ServerIdentity::Open(fs_, kFolder), StatusIs(absl::StatusCode::kNotFound));
  ASSERT_OK(fs_.CreateDir(kFolder));
  EXPECT_THAT(ServerIdentity::Open(fs_, kFolder), StatusIs(absl::StatusCode::kNotFound));
}

TEST_F(ServerIdentityTest, FormatsOnlyEmptyFolders) {
  ASSERT_OK(fs_.CreateDir(kFolder));
  WriteWhole(fs_, "/cs/thesis.tex", "precious");
  EXPECT_THAT(FormatFolder(fs_, kFolder, kCluster, kServer),
              StatusIs(absl::StatusCode::kFailedPrecondition));
  ASSERT_OK(fs_.Remove("/cs/thesis.tex"));
  ASSERT_OK(FormatFolder(fs_, kFolder, kCluster, kServer));
  EXPECT_THAT(FormatFolder(fs_, kFolder, kCluster, kServer),
              StatusIs(absl::StatusCode::kAlreadyExists));
  EXPECT_THAT(FormatFolder(fs_, "/other", "not a uuid", kServer),
              HasReason(v1::REASON_INVALID_ARGUMENT));
}

TEST_F(ServerIdentityTest, AFormatCanBeRepeatedAfterACrashAtEveryStep) {
  for (uint64_t n = 1;; n += 5) {
    MemFileSystem fs;
    fs.FailAfter(n);
    const bool done = FormatFolder(fs, kFolder, kCluster, kServer).ok();
    if (done && !fs.failed()) {
      return;
    }
    Rng rng(n);
    fs.Crash(&rng);
    if (!ServerIdentity::Open(fs, kFolder).ok()) {
      ASSERT_OK(FormatFolder(fs, kFolder, kCluster, kServer)) << "crash at operation " << n;
      ASSERT_OK(ServerIdentity::Open(fs, kFolder));
    }
    ASSERT_OK(OpenStore(fs));
  }
}

TEST_F(ServerIdentityTest, DamagedFilesAreRefused) {
  ASSERT_OK(FormatFolder(fs_, kFolder, kCluster, kServer));
  for (const char* name : {"/cs/identity", "/cs/boot_epoch"}) {
    for (uint64_t byte = 0; byte < *fs_.FileSize(name); byte += 3) {
      ASSERT_OK(fs_.FlipBit(name, byte, 2));
      EXPECT_THAT(ServerIdentity::Open(fs_, kFolder), StatusIs(absl::StatusCode::kDataLoss))
          << name << " byte " << byte;
      ASSERT_OK(fs_.FlipBit(name, byte, 2));
    }
  }
}

TEST_F(ServerIdentityTest, FencesSurviveACrash) {
  ASSERT_OK(FormatFolder(fs_, kFolder, kCluster, kServer));
  ASSERT_OK_AND_ASSIGN(auto identity, ServerIdentity::Open(fs_, kFolder));
  ASSERT_OK_AND_ASSIGN(FenceTable fences, identity->LoadFences());
  fences.Admit(ShardId(4), FencePair{ConfigVersion(2), RaftTerm(3)});
  ASSERT_OK(identity->StoreFences(fences.Encode()));
  fs_.Crash(nullptr);
  identity.reset();
  ASSERT_OK_AND_ASSIGN(identity, ServerIdentity::Open(fs_, kFolder));
  ASSERT_OK_AND_ASSIGN(const FenceTable reread, identity->LoadFences());
  EXPECT_EQ(reread.Highest(ShardId(4)), (FencePair{ConfigVersion(2), RaftTerm(3)}));
}

}  // namespace
}  // namespace ballast::chunkserver
