// SPDX-License-Identifier: Apache-2.0
// What only a real disk and real processes can show.
#include <signal.h>
#include <stdlib.h>
#include <sys/mount.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <string>

#include "common/base/byte_units.h"
#include "common/env/file_system.h"
#include "gtest/gtest.h"
#include "tests/support/status_matchers.h"

namespace ballast {
namespace {

using ballast::testing::IsOkAndHolds;
using ballast::testing::StatusIs;

class PosixFileSystemTest : public ::testing::Test {
 protected:
  void SetUp() override {
    std::string name = ::testing::TempDir() + "/posix_XXXXXX";
    ASSERT_NE(mkdtemp(name.data()), nullptr);
    root_ = name;
  }
  void TearDown() override { std::filesystem::remove_all(root_); }
  std::string Path(absl::string_view name) const { return JoinPath(root_, name); }

  FileSystem& fs_ = PosixFileSystem();
  std::string root_;
};

// A child process that holds the lock until its input ends.
class LockHolder {
 public:
  explicit LockHolder(const std::string& path) {
    int locked[2];
    EXPECT_EQ(pipe(locked), 0);
    child_ = fork();
    if (child_ == 0) {
      const auto lock = PosixFileSystem().Lock(path);
      const char answer = lock.ok() ? 'y' : 'n';
      if (write(locked[1], &answer, 1) != 1) {
        _exit(1);
      }
      pause();
      _exit(0);
    }
    char answer = 0;
    EXPECT_EQ(read(locked[0], &answer, 1), 1);
    got_it_ = answer == 'y';
    close(locked[0]);
    close(locked[1]);
  }
  ~LockHolder() { Kill(); }
  bool got_it() const { return got_it_; }
  void Kill() {
    if (child_ > 0) {
      kill(child_, SIGKILL);
      waitpid(child_, nullptr, 0);
      child_ = 0;
    }
  }

 private:
  pid_t child_ = 0;
  bool got_it_ = false;
};

TEST_F(PosixFileSystemTest, ALockExcludesAnotherProcessAndEndsWithIt) {
  LockHolder other(Path("LOCK"));
  ASSERT_TRUE(other.got_it());
  EXPECT_THAT(fs_.Lock(Path("LOCK")), StatusIs(absl::StatusCode::kFailedPrecondition));
  other.Kill();
  ASSERT_OK_AND_ASSIGN(const auto lock, fs_.Lock(Path("LOCK")));
  LockHolder late(Path("LOCK"));
  EXPECT_FALSE(late.got_it());
}

TEST_F(PosixFileSystemTest, AFullDiskIsResourceExhaustedEverywhere) {
  if (mount("tmpfs", root_.c_str(), "tmpfs", 0, "size=256k,nr_inodes=8") != 0) {
    GTEST_SKIP() << "no small file system to fill (mounting one needs root): "
                 << std::strerror(errno);
  }
  {
    ASSERT_OK_AND_ASSIGN(const auto file, fs_.Open(Path("a"), OpenMode::kCreate));
    EXPECT_THAT(file->WriteAt(0, std::string(MiB(1), 'x')),
                StatusIs(absl::StatusCode::kResourceExhausted));
    ASSERT_OK(file->Truncate(0));
    EXPECT_THAT(file->Allocate(MiB(1)), StatusIs(absl::StatusCode::kResourceExhausted));
    ASSERT_OK(file->Truncate(0));
    ASSERT_OK_AND_ASSIGN(const SpaceInfo space, fs_.Space(root_));
    EXPECT_EQ(space.capacity_bytes, KiB(256));
    ASSERT_OK(file->Allocate(KiB(128)));
    ASSERT_OK_AND_ASSIGN(const SpaceInfo after, fs_.Space(root_));
    EXPECT_EQ(space.free_bytes - after.free_bytes, KiB(128));
    EXPECT_OK(file->WriteAt(0, std::string(KiB(128), 'x'))) << "reserved space is there";
    absl::Status status = absl::OkStatus();
    for (int i = 0; status.ok() && i < 20; ++i) {
      status = fs_.Open(Path("f" + std::to_string(i)), OpenMode::kCreate).status();
    }
    EXPECT_THAT(status, StatusIs(absl::StatusCode::kResourceExhausted)) << "no more inodes";
  }
  EXPECT_EQ(umount(root_.c_str()), 0);
}

TEST_F(PosixFileSystemTest, WithoutPermissionIsPermissionDenied) {
  if (geteuid() == 0) {
    GTEST_SKIP() << "root may write anywhere";
  }
  ASSERT_OK(fs_.CreateDir(Path("dir")));
  std::filesystem::permissions(Path("dir"), std::filesystem::perms::none);
  EXPECT_THAT(fs_.Open(Path("dir/a"), OpenMode::kCreate),
              StatusIs(absl::StatusCode::kPermissionDenied));
  std::filesystem::permissions(Path("dir"), std::filesystem::perms::all);
}

TEST_F(PosixFileSystemTest, FilesBeyondFourGibibytesWork) {
  ASSERT_OK_AND_ASSIGN(const auto file, fs_.Open(Path("sparse"), OpenMode::kCreate));
  ASSERT_OK(file->WriteAt(GiB(5), "end"));
  EXPECT_THAT(fs_.FileSize(Path("sparse")), IsOkAndHolds(GiB(5) + 3));
  char out[3];
  EXPECT_THAT(file->ReadAt(GiB(5), 3, out), IsOkAndHolds(3u));
  EXPECT_EQ(std::string(out, 3), "end");
}

TEST_F(PosixFileSystemTest, GivesADescriptor) {
  ASSERT_OK_AND_ASSIGN(const auto file, fs_.Open(Path("a"), OpenMode::kCreate));
  EXPECT_GE(file->descriptor(), 0);
}

}  // namespace
}  // namespace ballast
