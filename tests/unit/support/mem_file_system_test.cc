// SPDX-License-Identifier: Apache-2.0
// The crash model that all crash tests stand on.
#include "tests/support/mem_file_system.h"

#include <memory>
#include <set>
#include <string>
#include <vector>

#include "common/base/rng.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/support/status_matchers.h"

namespace ballast::testing {
namespace {

using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::UnorderedElementsAre;

std::string Content(MemFileSystem& fs, const std::string& path) {
  const auto data = ReadFile(fs, path);
  return data.ok() ? *data
                   : "(" + std::string(absl::StatusCodeToString(data.status().code())) + ")";
}

// A file "/f" with durable content and name.
std::unique_ptr<File> MakeDurable(MemFileSystem& fs, const std::string& content) {
  auto file = *fs.Open("/f", OpenMode::kCreate);
  EXPECT_OK(file->WriteAt(0, content));
  EXPECT_OK(file->Sync());
  EXPECT_OK(fs.SyncDir("/"));
  return file;
}

TEST(MemFileSystemTest, SyncedBytesAndNamesSurvive) {
  for (uint64_t seed = 0; seed < 20; ++seed) {
    MemFileSystem fs;
    MakeDurable(fs, "kept");
    Rng rng(seed);
    fs.Crash(&rng);
    EXPECT_EQ(Content(fs, "/f"), "kept") << "seed " << seed;
  }
}

TEST(MemFileSystemTest, NothingUnsyncedSurvivesAHarshCrash) {
  MemFileSystem fs;
  const auto file = MakeDurable(fs, "old");
  ASSERT_OK(file->WriteAt(0, "new and longer"));
  ASSERT_OK_AND_ASSIGN(const auto other, fs.Open("/g", OpenMode::kCreate));
  ASSERT_OK(other->WriteAt(0, "x"));
  ASSERT_OK(other->Sync());
  fs.Crash(nullptr);
  EXPECT_EQ(Content(fs, "/f"), "old");
  EXPECT_THAT(fs.Files(), ElementsAre("/f")) << "bytes were synced, the name was not";
}

TEST(MemFileSystemTest, ANameMaySurviveWithoutItsBytes) {
  MemFileSystem fs;
  ASSERT_OK_AND_ASSIGN(const auto file, fs.Open("/f", OpenMode::kCreate));
  ASSERT_OK(file->WriteAt(0, "bytes"));
  ASSERT_OK(fs.SyncDir("/"));
  fs.Crash(nullptr);
  EXPECT_EQ(Content(fs, "/f"), "");
}

TEST(MemFileSystemTest, AnySubsetOfUnsyncedWritesMaySurvive) {
  std::set<std::string> seen;
  for (uint64_t seed = 0; seed < 200; ++seed) {
    MemFileSystem fs;
    const auto file = MakeDurable(fs, "...");
    ASSERT_OK(file->WriteAt(0, "a"));
    ASSERT_OK(file->WriteAt(1, "b"));
    ASSERT_OK(file->WriteAt(2, "c"));
    Rng rng(seed);
    fs.Crash(&rng);
    seen.insert(Content(fs, "/f"));
  }
  EXPECT_THAT(seen, UnorderedElementsAre("...", "a..", ".b.", "..c", "ab.", "a.c", ".bc", "abc"));
}

TEST(MemFileSystemTest, WritesAreTornOnlyAtSectorsOfTheFile) {
  std::set<size_t> lengths;
  for (uint64_t seed = 0; seed < 400; ++seed) {
    MemFileSystem fs;
    const auto file = MakeDurable(fs, "");
    ASSERT_OK(file->WriteAt(100, std::string(2000, 'x')));
    Rng rng(seed);
    fs.Crash(&rng);
    lengths.insert(Content(fs, "/f").size());
  }
  EXPECT_THAT(lengths, UnorderedElementsAre(0, 512, 1024, 1536, 2100));
}

TEST(MemFileSystemTest, AWriteWithinASectorIsNeverTorn) {
  for (uint64_t seed = 0; seed < 200; ++seed) {
    MemFileSystem fs;
    const auto file = MakeDurable(fs, std::string(512, '.'));
    ASSERT_OK(file->WriteAt(0, std::string(512, 'x')));
    Rng rng(seed);
    fs.Crash(&rng);
    const std::string content = Content(fs, "/f");
    EXPECT_TRUE(content == std::string(512, '.') || content == std::string(512, 'x')) << seed;
  }
}

TEST(MemFileSystemTest, RenamesAreAtomic) {
  std::set<std::vector<std::string>> seen;
  for (uint64_t seed = 0; seed < 50; ++seed) {
    MemFileSystem fs;
    MakeDurable(fs, "new");
    ASSERT_OK_AND_ASSIGN(const auto old, fs.Open("/g", OpenMode::kCreate));
    ASSERT_OK(fs.SyncDir("/"));
    ASSERT_OK(fs.Rename("/f", "/g"));
    Rng rng(seed);
    fs.Crash(&rng);
    seen.insert(fs.Files());
    EXPECT_EQ(Content(fs, fs.Files().front()), "new");
  }
  EXPECT_THAT(seen, UnorderedElementsAre(ElementsAre("/f", "/g"), ElementsAre("/g")));
}

TEST(MemFileSystemTest, AFileNeverEndsWithTwoNames) {
  for (uint64_t seed = 0; seed < 100; ++seed) {
    MemFileSystem fs;
    MakeDurable(fs, "x");
    ASSERT_OK(fs.Rename("/f", "/g"));
    ASSERT_OK(fs.Rename("/g", "/h"));
    Rng rng(seed);
    fs.Crash(&rng);
    EXPECT_EQ(fs.Files().size(), 1u) << "seed " << seed;
  }
}

TEST(MemFileSystemTest, SyncOfTheNewFolderSettlesARenameAcrossFolders) {
  MemFileSystem fs;
  ASSERT_OK(fs.CreateDir("/staging"));
  ASSERT_OK(fs.CreateDir("/chunks"));
  ASSERT_OK(fs.SyncDir("/"));
  ASSERT_OK_AND_ASSIGN(const auto file, fs.Open("/staging/x", OpenMode::kCreate));
  ASSERT_OK(fs.Rename("/staging/x", "/chunks/x"));
  ASSERT_OK(fs.SyncDir("/chunks"));
  ASSERT_OK(fs.SyncDir("/staging"));
  fs.Crash(nullptr);
  EXPECT_THAT(fs.Files(), ElementsAre("/chunks/x"));
}

TEST(MemFileSystemTest, ANameTakenAgainIsNotLostWithTheOldRename) {
  MemFileSystem fs;
  ASSERT_OK(fs.CreateDir("/a"));
  ASSERT_OK(fs.CreateDir("/b"));
  ASSERT_OK(fs.SyncDir("/"));
  ASSERT_OK_AND_ASSIGN(const auto first, fs.Open("/a/x", OpenMode::kCreate));
  ASSERT_OK(fs.SyncDir("/a"));
  ASSERT_OK(fs.Rename("/a/x", "/b/x"));
  ASSERT_OK_AND_ASSIGN(const auto second, fs.Open("/a/x", OpenMode::kCreate));
  ASSERT_OK(fs.SyncDir("/a"));
  ASSERT_OK(fs.SyncDir("/b"));
  fs.Crash(nullptr);
  EXPECT_THAT(fs.Files(), ElementsAre("/a/x", "/b/x"));
}

TEST(MemFileSystemTest, WhatIsBelowALostFolderIsLost) {
  MemFileSystem fs;
  ASSERT_OK(fs.CreateDir("/dir"));
  ASSERT_OK_AND_ASSIGN(const auto file, fs.Open("/dir/f", OpenMode::kCreate));
  ASSERT_OK(file->Sync());
  ASSERT_OK(fs.SyncDir("/dir"));
  fs.Crash(nullptr);
  EXPECT_THAT(fs.Files(), IsEmpty());
  EXPECT_THAT(fs.Exists("/dir"), IsOkAndHolds(false));
}

TEST(MemFileSystemTest, ARemovalMayBeUndoneByACrash) {
  MemFileSystem fs;
  MakeDurable(fs, "back");
  ASSERT_OK(fs.Remove("/f"));
  fs.Crash(nullptr);
  EXPECT_EQ(Content(fs, "/f"), "back");
  ASSERT_OK(fs.Remove("/f"));
  ASSERT_OK(fs.SyncDir("/"));
  fs.Crash(nullptr);
  EXPECT_THAT(fs.Files(), IsEmpty());
}

TEST(MemFileSystemTest, ACrashKillsOpenFilesAndFreesLocks) {
  MemFileSystem fs;
  const auto file = MakeDurable(fs, "x");
  ASSERT_OK_AND_ASSIGN(auto dead_lock, fs.Lock("/LOCK"));
  fs.Crash(nullptr);
  char byte = 0;
  EXPECT_THAT(file->ReadAt(0, 1, &byte), StatusIs(absl::StatusCode::kDataLoss));
  EXPECT_THAT(file->WriteAt(0, "y"), StatusIs(absl::StatusCode::kDataLoss));
  EXPECT_THAT(file->Sync(), StatusIs(absl::StatusCode::kDataLoss));
  ASSERT_OK_AND_ASSIGN(const auto lock, fs.Lock("/LOCK"));
  dead_lock.reset();
  EXPECT_THAT(fs.Lock("/LOCK"), StatusIs(absl::StatusCode::kFailedPrecondition))
      << "a dead lock's end must not free the new one";
}

// The steps of one run, for the tests of FailAfter and the observer.
absl::Status RunSteps(MemFileSystem& fs) {
  auto file = fs.Open("/f", OpenMode::kCreate);
  if (!file.ok()) {
    return file.status();
  }
  for (const auto& step : {(*file)->WriteAt(0, "abc"), (*file)->Sync(), fs.SyncDir("/"),
                           fs.Rename("/f", "/g"), fs.SyncDir("/")}) {
    if (!step.ok()) {
      return step;
    }
  }
  return absl::OkStatus();
}

TEST(MemFileSystemTest, ObserverSeesEveryMutationBeforeItHappens) {
  MemFileSystem fs;
  std::vector<std::string> seen;
  fs.SetObserver([&](const std::string& what) { seen.push_back(what); });
  ASSERT_OK(RunSteps(fs));
  EXPECT_THAT(seen, ElementsAre("create /f", "write /f 0+3", "sync /f", "sync folder /",
                                "rename /f /g", "sync folder /"));
  EXPECT_EQ(fs.operations(), seen.size());
}

TEST(MemFileSystemTest, FailAfterStopsAtEveryPointAndCrashClearsIt) {
  MemFileSystem clean;
  ASSERT_OK(RunSteps(clean));
  const uint64_t points = clean.operations();
  for (uint64_t n = 1; n <= points; ++n) {
    MemFileSystem fs;
    fs.FailAfter(n);
    EXPECT_FALSE(fs.failed());
    EXPECT_THAT(RunSteps(fs), StatusIs(absl::StatusCode::kDataLoss)) << n;
    EXPECT_TRUE(fs.failed());
    fs.Crash(nullptr);
    EXPECT_FALSE(fs.failed());
    EXPECT_EQ(Content(fs, "/f"), n <= 4 ? "(NOT_FOUND)" : "abc") << n;
    EXPECT_OK(RunSteps(fs)) << n;
    EXPECT_EQ(Content(fs, "/g"), "abc") << n;
  }
}

TEST(MemFileSystemTest, AFailedOperationChangesNothing) {
  MemFileSystem fs;
  const auto file = MakeDurable(fs, "old");
  fs.FailAfter(1);
  EXPECT_FALSE(file->WriteAt(0, "new").ok());
  EXPECT_FALSE(fs.Rename("/f", "/g").ok());
  EXPECT_FALSE(fs.Remove("/f").ok());
  EXPECT_FALSE(fs.Open("/h", OpenMode::kCreate).ok());
  EXPECT_EQ(Content(fs, "/f"), "old");
  EXPECT_THAT(fs.Files(), ElementsAre("/f"));
}

TEST(MemFileSystemTest, FailedSyncsMakeNothingDurable) {
  MemFileSystem fs;
  const auto file = MakeDurable(fs, "old");
  fs.FailSyncs("f");
  ASSERT_OK(file->WriteAt(0, "new"));
  EXPECT_THAT(file->Sync(), StatusIs(absl::StatusCode::kDataLoss));
  fs.Crash(nullptr);
  EXPECT_EQ(Content(fs, "/f"), "old");
}

TEST(MemFileSystemTest, AFullDiskRefusesAndRemovalFrees) {
  MemFileSystem fs;
  fs.SetSpace(10);
  ASSERT_OK_AND_ASSIGN(const auto file, fs.Open("/f", OpenMode::kCreate));
  ASSERT_OK(file->WriteAt(0, "12345678"));
  EXPECT_THAT(file->WriteAt(8, "9ab"), StatusIs(absl::StatusCode::kResourceExhausted));
  EXPECT_THAT(file->Allocate(11), StatusIs(absl::StatusCode::kResourceExhausted));
  EXPECT_OK(file->WriteAt(0, "overwrite")) << "nine bytes fit";
  ASSERT_OK_AND_ASSIGN(const SpaceInfo space, fs.Space("/"));
  EXPECT_EQ(space.free_bytes, 1u);
  ASSERT_OK(fs.Remove("/f"));
  ASSERT_OK_AND_ASSIGN(const SpaceInfo freed, fs.Space("/"));
  EXPECT_EQ(freed.free_bytes, 10u);
}

TEST(MemFileSystemTest, AFlippedBitStaysAfterACrash) {
  MemFileSystem fs;
  MakeDurable(fs, "abc");
  ASSERT_OK(fs.FlipBit("/f", 1, 0));
  EXPECT_EQ(Content(fs, "/f"), "acc");
  fs.Crash(nullptr);
  EXPECT_EQ(Content(fs, "/f"), "acc");
  EXPECT_THAT(fs.FlipBit("/f", 3, 0), StatusIs(absl::StatusCode::kNotFound));
  EXPECT_THAT(fs.FlipBit("/no", 0, 0), StatusIs(absl::StatusCode::kNotFound));
}

TEST(MemFileSystemTest, WriteFileAtomicallyLeavesTheOldOrTheNewFile) {
  for (uint64_t n = 1;; ++n) {
    for (uint64_t seed = 0; seed < 8; ++seed) {
      MemFileSystem fs;
      ASSERT_OK(WriteFileAtomically(fs, "/id", "old"));
      fs.FailAfter(n);
      const absl::Status wrote = WriteFileAtomically(fs, "/id", "new!");
      Rng rng(seed);
      fs.Crash(seed == 0 ? nullptr : &rng);
      const std::string content = Content(fs, "/id");
      EXPECT_TRUE(content == "old" || content == "new!") << content << " at " << n << "/" << seed;
      if (wrote.ok()) {
        EXPECT_EQ(content, "new!") << "durable on return";
        if (seed == 7) {
          EXPECT_GT(n, 5u);
          return;
        }
      }
    }
  }
}

TEST(MemFileSystemTest, SameSeedSameCrash) {
  const auto run = [](uint64_t seed) {
    MemFileSystem fs;
    const auto file = MakeDurable(fs, "");
    for (int i = 0; i < 50; ++i) {
      EXPECT_OK(file->WriteAt(static_cast<uint64_t>(i) * 700, std::string(700, 'x')));
      EXPECT_OK(fs.Open("/n" + std::to_string(i), OpenMode::kCreate).status());
    }
    Rng rng(seed);
    fs.Crash(&rng);
    return std::make_pair(Content(fs, "/f"), fs.Files());
  };
  EXPECT_EQ(run(4), run(4));
  EXPECT_NE(run(4), run(5));
}

}  // namespace
}  // namespace ballast::testing
