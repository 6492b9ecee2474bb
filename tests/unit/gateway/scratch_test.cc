// SPDX-License-Identifier: Apache-2.0
// The embedded cluster's folder and the file system that never syncs in it.
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <memory>
#include <string>

#include "common/base/byte_units.h"
#include "gateway/scratch_folder.h"
#include "gateway/unsynced_file_system.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/support/mem_file_system.h"
#include "tests/support/status_matchers.h"

namespace ballast::gateway {
namespace {

using ::ballast::testing::IsOkAndHolds;
using ::ballast::testing::MemFileSystem;
using ::ballast::testing::StatusIs;
using ::testing::StartsWith;

TEST(ScratchFolderTest, IsRemovedWithAllThatIsInIt) {
  std::string path;
  {
    ASSERT_OK_AND_ASSIGN(const auto folder, ScratchFolder::Make(::testing::TempDir()));
    path = folder->path();
    EXPECT_THAT(path, StartsWith(JoinPath(::testing::TempDir(), "ballast-gateway-")));
    FileSystem& fs = PosixFileSystem();
    ASSERT_OK(fs.CreateDir(JoinPath(path, "below")));
    ASSERT_OK(WriteFileAtomically(fs, JoinPath(path, "below/file"), "x"));
  }
  EXPECT_THAT(PosixFileSystem().Exists(path), IsOkAndHolds(false));
}

TEST(ScratchFolderTest, OnlyItsUserMayReadIt) {
  ASSERT_OK_AND_ASSIGN(const auto folder, ScratchFolder::Make(::testing::TempDir()));
  struct stat facts = {};
  ASSERT_EQ(stat(folder->path().c_str(), &facts), 0);
  EXPECT_EQ(facts.st_mode & 0777, 0700u);
}

TEST(ScratchFolderTest, TwoAreNeverTheSame) {
  ASSERT_OK_AND_ASSIGN(const auto one, ScratchFolder::Make(::testing::TempDir()));
  ASSERT_OK_AND_ASSIGN(const auto two, ScratchFolder::Make(::testing::TempDir()));
  EXPECT_NE(one->path(), two->path());
}

TEST(ScratchFolderTest, WhatAKilledProcessLeftIsRemovedByTheNextAndNothingElse) {
  ASSERT_OK_AND_ASSIGN(const auto parent, ScratchFolder::Make(::testing::TempDir()));
  const std::string foreign = JoinPath(parent->path(), "ballast-gateway-old");
  ASSERT_OK(PosixFileSystem().CreateDir(foreign));  // without a lock: nobody knows whose it is
  ASSERT_OK_AND_ASSIGN(const auto living, ScratchFolder::Make(parent->path()));
  const pid_t child = fork();
  if (child == 0) {
    const auto left = ScratchFolder::Make(parent->path());
    _exit(left.ok() ? 0 : 1);  // as if killed: nothing is cleaned up
  }
  int status = 0;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  ASSERT_EQ(status, 0);
  const auto folders = [&] {
    const auto all = std::filesystem::directory_iterator(parent->path());
    return std::count_if(begin(all), end(all), [](const auto& it) { return it.is_directory(); });
  };
  EXPECT_EQ(folders(), 3);
  ASSERT_OK_AND_ASSIGN(const auto next, ScratchFolder::Make(parent->path()));
  EXPECT_EQ(folders(), 3);
  EXPECT_THAT(PosixFileSystem().Exists(living->path()), IsOkAndHolds(true));
  EXPECT_THAT(PosixFileSystem().Exists(foreign), IsOkAndHolds(true));
}

TEST(ScratchFolderTest, AParentThatIsMissingIsTheCallersMistake) {
  EXPECT_THAT(ScratchFolder::Make("/no/such/folder"), StatusIs(absl::StatusCode::kInvalidArgument));
}

TEST(UnsyncedFileSystemTest, ReadsWhatItWroteButNothingIsDurable) {
  MemFileSystem disk;
  UnsyncedFileSystem fs(disk);
  ASSERT_OK(fs.CreateDir("/d"));
  ASSERT_OK(WriteFileAtomically(fs, "/d/file", "content"));
  EXPECT_THAT(ReadFile(fs, "/d/file"), IsOkAndHolds("content"));
  disk.Crash(nullptr);
  EXPECT_THAT(disk.Exists("/d/file"), IsOkAndHolds(false));
}

TEST(UnsyncedFileSystemTest, AllocateOnlySetsTheLength) {
  ASSERT_OK_AND_ASSIGN(const auto folder, ScratchFolder::Make(::testing::TempDir()));
  UnsyncedFileSystem fs(PosixFileSystem());
  const std::string path = JoinPath(folder->path(), "file");
  ASSERT_OK_AND_ASSIGN(const auto file, fs.Open(path, OpenMode::kCreate));
  ASSERT_OK(file->WriteAt(0, "abc"));
  ASSERT_OK(file->Allocate(MiB(64)));
  EXPECT_THAT(fs.FileSize(path), IsOkAndHolds(MiB(64)));
  ASSERT_OK(file->Allocate(10));
  EXPECT_THAT(fs.FileSize(path), IsOkAndHolds(MiB(64)));
  struct stat facts = {};
  ASSERT_EQ(stat(path.c_str(), &facts), 0);
  EXPECT_LT(facts.st_blocks * 512, static_cast<int64_t>(MiB(1)));
  char head[4] = {};
  EXPECT_THAT(file->ReadAt(0, 4, head), IsOkAndHolds(4u));
  EXPECT_EQ(std::string(head, 4), std::string("abc\0", 4));
}

}  // namespace
}  // namespace ballast::gateway
