// SPDX-License-Identifier: Apache-2.0
#include "common/raft/member_folder.h"

#include <string>

#include "common/base/rng.h"
#include "common/base/status_macros.h"
#include "gtest/gtest.h"
#include "tests/support/mem_file_system.h"
#include "tests/support/status_matchers.h"

namespace ballast {
namespace {

using ::ballast::testing::IsOk;
using ::ballast::testing::StatusIs;

constexpr char kCluster[] = "00000000-0000-4000-8000-0000000000aa";

MemberIdentity Identity() {
  MemberIdentity identity;
  identity.service = "shardctl";
  identity.cluster_id = kCluster;
  identity.shard_count = 256;
  identity.node = NodeId(2);
  identity.voters = {{NodeId(1), "127.0.0.1:1"}, {NodeId(2), "h:2"}, {NodeId(3), "[::1]:3"}};
  return identity;
}

// A log that, like the real one, refuses to be made twice.
absl::Status MakeLog(FileSystem& fs, const std::string& log_folder) {
  RETURN_IF_ERROR(fs.Open(log_folder + "/log", OpenMode::kCreateExclusive).status());
  return fs.SyncDir(log_folder);
}

absl::Status Format(FileSystem& fs, const std::string& folder, const MemberIdentity& identity) {
  return FormatMemberFolder(fs, folder, identity,
                            [&fs](const std::string& log) { return MakeLog(fs, log); });
}

class MemberFolderTest : public ::testing::Test {
 protected:
  testing::MemFileSystem fs_;
};

TEST_F(MemberFolderTest, OpensWhatFormatMade) {
  ASSERT_THAT(Format(fs_, "/f", Identity()), IsOk());
  ASSERT_OK_AND_ASSIGN(const auto folder, MemberFolder::Open(fs_, "/f", "shardctl"));
  const MemberIdentity& identity = folder->identity();
  EXPECT_EQ(identity.cluster_id, kCluster);
  EXPECT_EQ(identity.shard_count, 256u);
  EXPECT_EQ(identity.group, GroupId(0));
  EXPECT_EQ(identity.node, NodeId(2));
  EXPECT_EQ(identity.voters, Identity().voters);
  EXPECT_EQ(identity.address(), "h:2");
  EXPECT_EQ(identity.AddressOf(NodeId(9)), "");
  EXPECT_THAT(fs_.List(folder->log_folder()), testing::IsOkAndHolds(::testing::ElementsAre("log")));
}

TEST_F(MemberFolderTest, AnUnformattedFolderIsNotFound) {
  EXPECT_THAT(MemberFolder::Open(fs_, "/f", "shardctl"), StatusIs(absl::StatusCode::kNotFound));
}

TEST_F(MemberFolderTest, ASecondProcessIsKeptOut) {
  ASSERT_THAT(Format(fs_, "/f", Identity()), IsOk());
  ASSERT_OK_AND_ASSIGN(const auto folder, MemberFolder::Open(fs_, "/f", "shardctl"));
  EXPECT_THAT(MemberFolder::Open(fs_, "/f", "shardctl"),
              StatusIs(absl::StatusCode::kFailedPrecondition));
}

TEST_F(MemberFolderTest, AFolderOfAnotherServiceIsRefused) {
  ASSERT_THAT(Format(fs_, "/f", Identity()), IsOk());
  EXPECT_THAT(MemberFolder::Open(fs_, "/f", "master"),
              StatusIs(absl::StatusCode::kFailedPrecondition));
}

TEST_F(MemberFolderTest, FormatsOnlyOnceAndOnlyEmptyFolders) {
  ASSERT_THAT(Format(fs_, "/f", Identity()), IsOk());
  EXPECT_THAT(Format(fs_, "/f", Identity()), StatusIs(absl::StatusCode::kAlreadyExists));
  ASSERT_THAT(fs_.CreateDir("/g"), IsOk());
  ASSERT_THAT(WriteFileAtomically(fs_, "/g/thesis.tex", "precious"), IsOk());
  EXPECT_THAT(Format(fs_, "/g", Identity()), StatusIs(absl::StatusCode::kFailedPrecondition));
}

TEST_F(MemberFolderTest, IdentitiesThatMakeNoSenseAreRefused) {
  MemberIdentity identity = Identity();
  identity.node = NodeId(4);
  EXPECT_THAT(Format(fs_, "/f", identity), StatusIs(absl::StatusCode::kInvalidArgument));
  identity = Identity();
  identity.shard_count = 0;
  EXPECT_THAT(Format(fs_, "/f", identity), StatusIs(absl::StatusCode::kInvalidArgument));
  identity = Identity();
  identity.cluster_id = "nonsense";
  EXPECT_THAT(Format(fs_, "/f", identity), StatusIs(absl::StatusCode::kInvalidArgument));
}

TEST_F(MemberFolderTest, EveryFlippedOrMissingByteOfTheIdentityIsNoticed) {
  ASSERT_THAT(Format(fs_, "/f", Identity()), IsOk());
  ASSERT_OK_AND_ASSIGN(const std::string good, ReadFile(fs_, "/f/identity"));
  for (size_t i = 0; i < good.size(); ++i) {
    std::string bad = good;
    bad[i] ^= 1;
    ASSERT_THAT(WriteFileAtomically(fs_, "/f/identity", bad), IsOk());
    EXPECT_THAT(MemberFolder::Open(fs_, "/f", "shardctl"), StatusIs(absl::StatusCode::kDataLoss))
        << "byte " << i;
    ASSERT_THAT(WriteFileAtomically(fs_, "/f/identity", good.substr(0, i)), IsOk());
    EXPECT_THAT(MemberFolder::Open(fs_, "/f", "shardctl"), StatusIs(absl::StatusCode::kDataLoss))
        << "length " << i;
  }
}

TEST_F(MemberFolderTest, ACrashWhileFormattingLeavesAFolderThatFormatsAgain) {
  bool crashed = true;
  for (uint64_t step = 1; crashed; ++step) {
    for (const bool torn : {false, true}) {
      Rng rng(step);
      testing::MemFileSystem fs;
      fs.FailAfter(step);
      const absl::Status first = Format(fs, "/f", Identity());
      crashed = fs.failed();
      EXPECT_EQ(first.ok(), !crashed);
      fs.Crash(torn ? &rng : nullptr);
      const absl::Status second = Format(fs, "/f", Identity());
      if (!crashed) {
        EXPECT_THAT(second, StatusIs(absl::StatusCode::kAlreadyExists)) << "must be durable";
      } else {
        EXPECT_TRUE(second.ok() || second.code() == absl::StatusCode::kAlreadyExists) << second;
      }
      EXPECT_THAT(MemberFolder::Open(fs, "/f", "shardctl"), IsOk()) << "step " << step;
    }
  }
}

TEST(ParseVotersTest, TakesVotersInAnyOrder) {
  ASSERT_OK_AND_ASSIGN(const auto voters, ParseVoters({"3=c:3", "1=a:1", "2=b:2"}));
  EXPECT_EQ(voters[0], (MasterEndpoint{NodeId(1), "a:1"}));
  EXPECT_EQ(voters[2], (MasterEndpoint{NodeId(3), "c:3"}));
}

TEST(ParseVotersTest, RefusesWhatIsNoGroup) {
  for (const std::vector<std::string>& voters : std::vector<std::vector<std::string>>{
           {}, {"1=a:1", "2=b:2"}, {"a:1"}, {"1=a"}, {"0=a:1"}, {"1=a:1", "1=b:2", "2=c:3"}}) {
    EXPECT_THAT(ParseVoters(voters), StatusIs(absl::StatusCode::kInvalidArgument));
  }
}

}  // namespace
}  // namespace ballast
