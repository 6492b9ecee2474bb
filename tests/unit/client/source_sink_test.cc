// SPDX-License-Identifier: Apache-2.0
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <sstream>
#include <thread>

#include "client/sink.h"
#include "client/source.h"
#include "gtest/gtest.h"
#include "tests/support/status_matchers.h"

namespace ballast::client {
namespace {

using ::ballast::testing::StatusIs;

class SourceSinkTest : public ::testing::Test {
 protected:
  SourceSinkTest() {
    std::string name = ::testing::TempDir() + "source_sink_XXXXXX";
    folder_ = ::mkdtemp(name.data());
  }
  ~SourceSinkTest() override { std::filesystem::remove_all(folder_); }

  std::string Path(const std::string& name) const { return folder_ + "/" + name; }

  static void WriteFile(const std::string& path, const std::string& bytes) {
    std::ofstream(path, std::ios::binary) << bytes;
  }

  static std::string Content(const std::string& path) {
    std::ostringstream out;
    out << std::ifstream(path, std::ios::binary).rdbuf();
    return out.str();
  }

  std::string ReadAll(Source& source, size_t step) {
    std::string all;
    std::string buffer(step, '\0');
    while (true) {
      const auto n = source.ReadAt(all.size(), buffer.data(), step, never_);
      if (!n.ok()) {
        return n.status().ToString();
      }
      all.append(buffer, 0, *n);
      if (*n < step) {
        return all;
      }
    }
  }

  std::string folder_;
  Cancellation never_;
};

TEST_F(SourceSinkTest, AFileIsRereadableAndUnchanged) {
  WriteFile(Path("f"), "hello world");
  ASSERT_OK_AND_ASSIGN(const auto source, OpenFileSource(Path("f")));
  EXPECT_TRUE(source->rereadable());
  EXPECT_EQ(source->size_bytes(), 11u);
  char out[5];
  EXPECT_EQ(*source->ReadAt(6, out, 5, never_), 5u);
  EXPECT_EQ(std::string(out, 5), "world");
  EXPECT_EQ(ReadAll(*source, 3), "hello world");
  EXPECT_OK(source->CheckUnchanged());
}

TEST_F(SourceSinkTest, AFileThatGrowsShrinksOrIsWrittenToIsNoticed) {
  WriteFile(Path("f"), "hello world");
  ASSERT_OK_AND_ASSIGN(const auto source, OpenFileSource(Path("f")));
  WriteFile(Path("f"), "hello world and more");
  EXPECT_THAT(source->CheckUnchanged(), StatusIs(absl::StatusCode::kFailedPrecondition));
  WriteFile(Path("f"), "hell");
  EXPECT_THAT(source->CheckUnchanged(), StatusIs(absl::StatusCode::kFailedPrecondition));
  WriteFile(Path("f"), "HELLO WORLD");
  const timespec times[2] = {{1, 0}, {1, 0}};
  ASSERT_EQ(::utimensat(AT_FDCWD, Path("f").c_str(), times, 0), 0);
  EXPECT_THAT(source->CheckUnchanged(), StatusIs(absl::StatusCode::kFailedPrecondition));
}

TEST_F(SourceSinkTest, FilesThatCannotBeReadAreNamed) {
  const auto missing = OpenFileSource(Path("missing"));
  EXPECT_THAT(missing, StatusIs(absl::StatusCode::kNotFound));
  EXPECT_NE(missing.status().message().find("missing"), std::string::npos);
  EXPECT_THAT(OpenFileSource(folder_), StatusIs(absl::StatusCode::kInvalidArgument));
}

TEST_F(SourceSinkTest, AFileOfUnknownLengthIsReadToItsEnd) {
  ASSERT_OK_AND_ASSIGN(const auto source, OpenFileSource("/proc/self/status"));
  EXPECT_FALSE(source->rereadable());
  EXPECT_NE(ReadAll(*source, 100).find("VmRSS"), std::string::npos);
}

TEST_F(SourceSinkTest, APipeIsReadOnceInFullSteps) {
  int fds[2];
  ASSERT_EQ(::pipe(fds), 0);
  std::thread writer([&] {
    for (const char* part : {"ab", "c", "defg"}) {
      ASSERT_GT(::write(fds[1], part, strlen(part)), 0);
    }
    ::close(fds[1]);
  });
  ASSERT_OK_AND_ASSIGN(const auto source, MakeDescriptorSource(fds[0], "pipe"));
  EXPECT_FALSE(source->rereadable());
  EXPECT_EQ(source->size_bytes(), std::nullopt);
  EXPECT_EQ(ReadAll(*source, 3), "abcdefg");
  writer.join();
  ::close(fds[0]);
}

TEST_F(SourceSinkTest, ABlockedPipeNoticesCancellation) {
  int fds[2];
  ASSERT_EQ(::pipe(fds), 0);
  ASSERT_OK_AND_ASSIGN(const auto source, MakeDescriptorSource(fds[0], "pipe"));
  Cancellation cancel;
  cancel.Cancel();
  char out[1];
  EXPECT_THAT(source->ReadAt(0, out, 1, cancel), StatusIs(absl::StatusCode::kCancelled));
  ::close(fds[0]);
  ::close(fds[1]);
}

TEST_F(SourceSinkTest, AFileAppearsWholeOrNotAtAll) {
  WriteFile(Path("out"), "old");
  {
    ASSERT_OK_AND_ASSIGN(const auto sink, CreateFileSink(Path("out")));
    EXPECT_TRUE(sink->unordered());
    ASSERT_OK(sink->WriteAt(3, "def"));
    ASSERT_OK(sink->WriteAt(0, "abc"));
    EXPECT_EQ(Content(Path("out")), "old");
    ASSERT_OK(sink->Finish());
  }
  EXPECT_EQ(Content(Path("out")), "abcdef");
  {
    ASSERT_OK_AND_ASSIGN(const auto sink, CreateFileSink(Path("out")));
    ASSERT_OK(sink->WriteAt(0, "partial"));
  }
  EXPECT_EQ(Content(Path("out")), "abcdef");
  ASSERT_EQ(::unlink(Path("out").c_str()), 0);
  EXPECT_EQ(::rmdir(folder_.c_str()), 0) << "a partial file was left";
}

TEST_F(SourceSinkTest, DevicesAreWrittenInPlace) {
  ASSERT_OK_AND_ASSIGN(const auto sink, CreateFileSink("/dev/null"));
  EXPECT_FALSE(sink->unordered());
  EXPECT_OK(sink->WriteAt(0, "abc"));
  EXPECT_OK(sink->Finish());
}

TEST_F(SourceSinkTest, FilesThatCannotBeCreatedAreNamed) {
  EXPECT_THAT(CreateFileSink(Path("no/folder")), StatusIs(absl::StatusCode::kNotFound));
  EXPECT_THAT(CreateFileSink(folder_), StatusIs(absl::StatusCode::kInvalidArgument));
}

TEST_F(SourceSinkTest, AStringSinkHasALimit) {
  std::string out;
  const auto sink = MakeStringSink(&out, 5);
  ASSERT_OK(sink->WriteAt(0, "12345"));
  EXPECT_THAT(sink->WriteAt(5, "6"), StatusIs(absl::StatusCode::kResourceExhausted));
}

}  // namespace
}  // namespace ballast::client
