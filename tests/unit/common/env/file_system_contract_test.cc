// SPDX-License-Identifier: Apache-2.0
// What file_system.h promises, asked of the machine's file system and of its twin in memory.
#include <stdlib.h>

#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "common/env/file_system.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/support/mem_file_system.h"
#include "tests/support/status_matchers.h"

namespace ballast {
namespace {

using ballast::testing::IsOk;
using ballast::testing::IsOkAndHolds;
using ballast::testing::MemFileSystem;
using ballast::testing::StatusIs;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

enum class Kind { kPosix, kMemory };

class FileSystemContractTest : public ::testing::TestWithParam<Kind> {
 protected:
  void SetUp() override {
    if (GetParam() == Kind::kPosix) {
      std::string name = ::testing::TempDir() + "/file_system_XXXXXX";
      ASSERT_NE(mkdtemp(name.data()), nullptr);
      root_ = name;
    } else {
      root_ = "/disk";
      ASSERT_OK(memory_.CreateDir(root_));
    }
  }
  void TearDown() override {
    if (GetParam() == Kind::kPosix) {
      std::filesystem::remove_all(root_);
    }
  }

  FileSystem& fs() { return GetParam() == Kind::kPosix ? PosixFileSystem() : memory_; }
  std::string Path(absl::string_view name) const { return JoinPath(root_, name); }
  void Write(absl::string_view name, absl::string_view data) {
    ASSERT_OK_AND_ASSIGN(const auto file, fs().Open(Path(name), OpenMode::kCreate));
    ASSERT_OK(file->Truncate(0));
    ASSERT_OK(file->WriteAt(0, data));
  }
  std::string Read(absl::string_view name) {
    const auto data = ReadFile(fs(), Path(name));
    return data.ok() ? *data : data.status().ToString();
  }

  MemFileSystem memory_;
  std::string root_;
};

TEST_P(FileSystemContractTest, OpenModesSayWhatMustExist) {
  EXPECT_THAT(fs().Open(Path("a"), OpenMode::kRead), StatusIs(absl::StatusCode::kNotFound));
  EXPECT_THAT(fs().Open(Path("a"), OpenMode::kReadWrite), StatusIs(absl::StatusCode::kNotFound));
  EXPECT_THAT(fs().Open(Path("a"), OpenMode::kCreateExclusive), IsOk());
  EXPECT_THAT(fs().Open(Path("a"), OpenMode::kCreateExclusive),
              StatusIs(absl::StatusCode::kAlreadyExists));
  EXPECT_THAT(fs().Open(Path("a"), OpenMode::kCreate), IsOk());
  EXPECT_THAT(fs().Open(Path("a"), OpenMode::kReadWrite), IsOk());
  EXPECT_THAT(fs().Open(Path("a"), OpenMode::kRead), IsOk());
  EXPECT_THAT(fs().Open(Path("no/a"), OpenMode::kCreate), StatusIs(absl::StatusCode::kNotFound));
}

TEST_P(FileSystemContractTest, ErrorsNameThePath) {
  EXPECT_THAT(std::string(fs().Open(Path("lost"), OpenMode::kRead).status().message()),
              HasSubstr(Path("lost")));
}

TEST_P(FileSystemContractTest, CreateKeepsWhatIsThere) {
  Write("a", "hello");
  ASSERT_OK(fs().Open(Path("a"), OpenMode::kCreate).status());
  EXPECT_EQ(Read("a"), "hello");
}

TEST_P(FileSystemContractTest, WritesAnywhereAndReadsZerosBetween) {
  ASSERT_OK_AND_ASSIGN(const auto file, fs().Open(Path("a"), OpenMode::kCreate));
  ASSERT_OK(file->WriteAt(6, "world"));
  ASSERT_OK(file->WriteAt(0, "hi"));
  ASSERT_OK(file->WriteAt(11, ""));
  EXPECT_THAT(file->Size(), IsOkAndHolds(11u));
  std::string out(11, 'x');
  EXPECT_THAT(file->ReadAt(0, 11, out.data()), IsOkAndHolds(11u));
  EXPECT_EQ(out, std::string("hi\0\0\0\0world", 11));
}

TEST_P(FileSystemContractTest, ReadsAreShortOnlyAtTheEnd) {
  Write("a", "0123456789");
  ASSERT_OK_AND_ASSIGN(const auto file, fs().Open(Path("a"), OpenMode::kRead));
  std::string out(20, 'x');
  EXPECT_THAT(file->ReadAt(8, 20, out.data()), IsOkAndHolds(2u));
  EXPECT_EQ(out.substr(0, 3), "89x");
  EXPECT_THAT(file->ReadAt(10, 5, out.data()), IsOkAndHolds(0u));
  EXPECT_THAT(file->ReadAt(1000, 5, out.data()), IsOkAndHolds(0u));
  EXPECT_THAT(file->ReadAt(3, 0, out.data()), IsOkAndHolds(0u));
}

TEST_P(FileSystemContractTest, TruncateCutsAndExtends) {
  Write("a", "0123456789");
  ASSERT_OK_AND_ASSIGN(const auto file, fs().Open(Path("a"), OpenMode::kReadWrite));
  ASSERT_OK(file->Truncate(4));
  EXPECT_EQ(Read("a"), "0123");
  ASSERT_OK(file->Truncate(6));
  EXPECT_EQ(Read("a"), std::string("0123\0\0", 6));
}

TEST_P(FileSystemContractTest, AllocateOnlyExtends) {
  Write("a", "0123456789");
  ASSERT_OK_AND_ASSIGN(const auto file, fs().Open(Path("a"), OpenMode::kReadWrite));
  ASSERT_OK(file->Allocate(5));
  EXPECT_THAT(file->Size(), IsOkAndHolds(10u));
  ASSERT_OK(file->Allocate(12));
  EXPECT_EQ(Read("a"), std::string("0123456789\0\0", 12));
}

TEST_P(FileSystemContractTest, SyncsAndHintsSucceed) {
  ASSERT_OK_AND_ASSIGN(const auto file, fs().Open(Path("a"), OpenMode::kCreate));
  ASSERT_OK(file->WriteAt(0, "x"));
  file->StartWriteback(0, 1);
  EXPECT_OK(file->Sync());
  EXPECT_OK(fs().SyncDir(root_));
  EXPECT_THAT(fs().SyncDir(Path("no")), StatusIs(absl::StatusCode::kNotFound));
}

TEST_P(FileSystemContractTest, RenameReplaces) {
  Write("a", "new");
  Write("b", "old");
  ASSERT_OK(fs().Rename(Path("a"), Path("b")));
  EXPECT_EQ(Read("b"), "new");
  EXPECT_THAT(fs().Exists(Path("a")), IsOkAndHolds(false));
  EXPECT_THAT(fs().Rename(Path("a"), Path("b")), StatusIs(absl::StatusCode::kNotFound));
  EXPECT_THAT(fs().Rename(Path("b"), Path("no/b")), StatusIs(absl::StatusCode::kNotFound));
  EXPECT_EQ(Read("b"), "new");
}

TEST_P(FileSystemContractTest, RenameToItselfChangesNothing) {
  Write("a", "same");
  EXPECT_OK(fs().Rename(Path("a"), Path("a")));
  EXPECT_EQ(Read("a"), "same");
}

TEST_P(FileSystemContractTest, AnOpenFileFollowsItsRename) {
  ASSERT_OK_AND_ASSIGN(const auto file, fs().Open(Path("a"), OpenMode::kCreate));
  ASSERT_OK(fs().Rename(Path("a"), Path("b")));
  ASSERT_OK(file->WriteAt(0, "later"));
  EXPECT_EQ(Read("b"), "later");
}

TEST_P(FileSystemContractTest, RenameExclusiveNeverReplaces) {
  Write("a", "new");
  Write("b", "old");
  EXPECT_THAT(fs().RenameExclusive(Path("a"), Path("b")),
              StatusIs(absl::StatusCode::kAlreadyExists));
  EXPECT_EQ(Read("a"), "new");
  EXPECT_EQ(Read("b"), "old");
  ASSERT_OK(fs().RenameExclusive(Path("a"), Path("c")));
  EXPECT_EQ(Read("c"), "new");
  EXPECT_THAT(fs().RenameExclusive(Path("a"), Path("d")), StatusIs(absl::StatusCode::kNotFound));
}

TEST_P(FileSystemContractTest, RemovesFilesAndEmptyFoldersOnly) {
  Write("a", "x");
  ASSERT_OK(fs().Remove(Path("a")));
  EXPECT_THAT(fs().Remove(Path("a")), StatusIs(absl::StatusCode::kNotFound));
  ASSERT_OK(fs().CreateDir(Path("dir")));
  Write("dir/a", "x");
  EXPECT_THAT(fs().Remove(Path("dir")), StatusIs(absl::StatusCode::kAlreadyExists));
  ASSERT_OK(fs().Remove(Path("dir/a")));
  EXPECT_OK(fs().Remove(Path("dir")));
  EXPECT_THAT(fs().Exists(Path("dir")), IsOkAndHolds(false));
}

TEST_P(FileSystemContractTest, ARemovedFileStaysReadableWhileOpen) {
  Write("a", "x");
  ASSERT_OK_AND_ASSIGN(const auto file, fs().Open(Path("a"), OpenMode::kRead));
  ASSERT_OK(fs().Remove(Path("a")));
  char byte = 0;
  EXPECT_THAT(file->ReadAt(0, 1, &byte), IsOkAndHolds(1u));
  EXPECT_EQ(byte, 'x');
}

TEST_P(FileSystemContractTest, CreateDirIsIdempotent) {
  EXPECT_OK(fs().CreateDir(Path("dir")));
  EXPECT_OK(fs().CreateDir(Path("dir")));
  EXPECT_THAT(fs().CreateDir(Path("no/dir")), StatusIs(absl::StatusCode::kNotFound));
  Write("file", "x");
  EXPECT_THAT(fs().CreateDir(Path("file")), StatusIs(absl::StatusCode::kAlreadyExists));
}

TEST_P(FileSystemContractTest, ListsNamesSortedOneLevelDeep) {
  ASSERT_OK(fs().CreateDir(Path("dir")));
  EXPECT_THAT(fs().List(Path("dir")), IsOkAndHolds(IsEmpty()));
  Write("dir/b", "");
  Write("dir/a", "");
  ASSERT_OK(fs().CreateDir(Path("dir/c")));
  Write("dir/c/deep", "");
  Write("dirt", "");
  EXPECT_THAT(fs().List(Path("dir")), IsOkAndHolds(ElementsAre("a", "b", "c")));
  EXPECT_THAT(fs().List(Path("no")), StatusIs(absl::StatusCode::kNotFound));
  EXPECT_THAT(fs().List(Path("dirt")), StatusIs(absl::StatusCode::kInternal));
}

TEST_P(FileSystemContractTest, SizesAndExistence) {
  Write("a", "12345");
  EXPECT_THAT(fs().Exists(Path("a")), IsOkAndHolds(true));
  EXPECT_THAT(fs().Exists(Path("no/a")), IsOkAndHolds(false));
  EXPECT_THAT(fs().Exists(Path("a/b")), IsOkAndHolds(false));
  EXPECT_THAT(fs().FileSize(Path("a")), IsOkAndHolds(5u));
  EXPECT_THAT(fs().FileSize(Path("no")), StatusIs(absl::StatusCode::kNotFound));
}

TEST_P(FileSystemContractTest, ALockExcludesASecondOne) {
  ASSERT_OK_AND_ASSIGN(auto lock, fs().Lock(Path("LOCK")));
  EXPECT_THAT(fs().Exists(Path("LOCK")), IsOkAndHolds(true));
  EXPECT_THAT(fs().Lock(Path("LOCK")), StatusIs(absl::StatusCode::kFailedPrecondition));
  EXPECT_OK(fs().Lock(Path("OTHER")).status());
  lock.reset();
  EXPECT_OK(fs().Lock(Path("LOCK")).status());
  EXPECT_THAT(fs().Lock(Path("no/LOCK")), StatusIs(absl::StatusCode::kNotFound));
}

TEST_P(FileSystemContractTest, SpaceIsWithinTheCapacity) {
  ASSERT_OK_AND_ASSIGN(const SpaceInfo space, fs().Space(root_));
  EXPECT_GT(space.capacity_bytes, 0u);
  EXPECT_LE(space.free_bytes, space.capacity_bytes);
}

TEST_P(FileSystemContractTest, WriteFileAtomicallyReplacesTheWholeFile) {
  ASSERT_OK(WriteFileAtomically(fs(), Path("id"), "a long first version"));
  EXPECT_EQ(Read("id"), "a long first version");
  ASSERT_OK(WriteFileAtomically(fs(), Path("id"), "short"));
  EXPECT_EQ(Read("id"), "short");
  EXPECT_THAT(fs().List(root_), IsOkAndHolds(ElementsAre("id")));
  EXPECT_THAT(WriteFileAtomically(fs(), Path("no/id"), "x"), StatusIs(absl::StatusCode::kNotFound));
}

TEST_P(FileSystemContractTest, WriteFileAtomicallyOverwritesALeftOver) {
  Write("id.tmp", "a long left-over of a crash");
  ASSERT_OK(WriteFileAtomically(fs(), Path("id"), "new"));
  EXPECT_EQ(Read("id"), "new");
}

TEST_P(FileSystemContractTest, ReadFileIsBounded) {
  Write("a", "12345");
  EXPECT_THAT(ReadFile(fs(), Path("a"), 5), IsOkAndHolds("12345"));
  EXPECT_THAT(ReadFile(fs(), Path("a"), 4), StatusIs(absl::StatusCode::kResourceExhausted));
  EXPECT_THAT(ReadFile(fs(), Path("b")), StatusIs(absl::StatusCode::kNotFound));
}

INSTANTIATE_TEST_SUITE_P(Both, FileSystemContractTest,
                         ::testing::Values(Kind::kPosix, Kind::kMemory), [](const auto& kind) {
                           return kind.param == Kind::kPosix ? "Posix" : "Memory";
                         });

TEST(PathTest, JoinsAndParts) {
  EXPECT_EQ(JoinPath("a", "b"), "a/b");
  EXPECT_EQ(JoinPath("/", "b"), "/b");
  EXPECT_EQ(ParentPath("a/b/c"), "a/b");
  EXPECT_EQ(ParentPath("/a"), "/");
  EXPECT_EQ(ParentPath("a"), ".");
}

}  // namespace
}  // namespace ballast
