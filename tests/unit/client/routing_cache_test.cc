// SPDX-License-Identifier: Apache-2.0
#include "client/routing_cache.h"

#include "gtest/gtest.h"
#include "tests/support/status_matchers.h"
#include "tests/unit/client/fake_cluster.h"

namespace ballast::client {
namespace {

using ::ballast::testing::HasReason;
using ::ballast::testing::StatusIs;

class RoutingCacheTest : public ::testing::Test {
 protected:
  std::string AddressOf(const Target& target) {
    const auto route = routing_.Find(target);
    return route.ok() ? route->address : route.status().ToString();
  }

  // The cluster's configuration with version 2: shards 8..15 belong to group 2.
  void AddGroup() {
    v1::Configuration next = *cluster_.CurrentConfiguration();
    next.set_version(2);
    for (int shard = 8; shard < 16; ++shard) {
      next.set_shard_owner(shard, 2);
    }
    v1::GroupInfo* const group = next.add_groups();
    group->set_group_id(2);
    group->add_masters()->set_node_id(1);
    group->mutable_masters(0)->set_address("n1:1");
    cluster_.Set(next);
  }

  FakeCluster cluster_{{"m1:1", "m2:1", "m3:1"}};
  RoutingCache routing_{cluster_};
};

TEST_F(RoutingCacheTest, FetchesOnceAndAsksTheFirstMember) {
  EXPECT_EQ(AddressOf(ShardId(3)), "m1:1");
  EXPECT_EQ(AddressOf(GroupId(1)), "m1:1");
  EXPECT_EQ(cluster_.fetches(), 1);
}

TEST_F(RoutingCacheTest, AShardThatNobodyOwnsIsAskedForAnewAndThenToBeRetried) {
  ASSERT_OK(routing_.Find(ShardId(0)));
  v1::Configuration next = *cluster_.CurrentConfiguration();
  next.set_version(2);
  next.set_shard_owner(3, 0);
  cluster_.Set(next);
  ASSERT_OK(routing_.Refresh(ConfigVersion(1)));
  const auto nobody = routing_.Find(ShardId(3));
  EXPECT_THAT(nobody, HasReason(v1::REASON_NOT_READY));
  EXPECT_EQ(nobody.status().message(), "nobody owns shard 3 in configuration 2");
  EXPECT_EQ(AddressOf(ShardId(4)), "m1:1");
  next.set_version(3);
  next.set_shard_owner(3, 1);
  cluster_.Set(next);
  EXPECT_EQ(AddressOf(ShardId(3)), "m1:1");
}

TEST_F(RoutingCacheTest, FollowsALeaderHintThatNamesAMember) {
  ASSERT_OK(routing_.Find(ShardId(0)));
  EXPECT_TRUE(routing_.LearnLeader(GroupId(1), "m3:1"));
  EXPECT_EQ(AddressOf(ShardId(0)), "m3:1");
  EXPECT_FALSE(routing_.LearnLeader(GroupId(1), "elsewhere:1"));
  EXPECT_EQ(AddressOf(ShardId(0)), "m3:1");
}

TEST_F(RoutingCacheTest, GoesRoundTheMembersThatFail) {
  const auto first = routing_.Find(ShardId(0));
  ASSERT_OK(first);
  routing_.Avoid(*first);
  EXPECT_EQ(AddressOf(ShardId(0)), "m2:1");
  routing_.Avoid(*first);  // reported by a second caller: no further step
  EXPECT_EQ(AddressOf(ShardId(0)), "m2:1");
  routing_.Avoid(*routing_.Find(ShardId(0)));
  routing_.Avoid(*routing_.Find(ShardId(0)));
  EXPECT_EQ(AddressOf(ShardId(0)), "m1:1");
}

TEST_F(RoutingCacheTest, RefreshTakesTheNewerConfiguration) {
  ASSERT_OK(routing_.Find(ShardId(9)));
  AddGroup();
  EXPECT_EQ(AddressOf(ShardId(9)), "m1:1");
  ASSERT_OK(routing_.Refresh(ConfigVersion(1)));
  EXPECT_EQ(AddressOf(ShardId(9)), "n1:1");
  EXPECT_EQ(AddressOf(ShardId(1)), "m1:1");
  const int fetches = cluster_.fetches();
  ASSERT_OK(routing_.Refresh(ConfigVersion(1)));  // newer than what the caller saw: no fetch
  EXPECT_EQ(cluster_.fetches(), fetches);
}

TEST_F(RoutingCacheTest, NeverGoesBackToAnOlderConfiguration) {
  const v1::Configuration old = *cluster_.CurrentConfiguration();
  AddGroup();
  ASSERT_OK(routing_.Find(ShardId(9)));
  cluster_.Set(old);
  ASSERT_OK(routing_.Refresh(ConfigVersion(2)));
  EXPECT_EQ(AddressOf(ShardId(9)), "n1:1");
}

TEST_F(RoutingCacheTest, WorksOnWhileTheControllerIsDown) {
  ASSERT_OK(routing_.Find(ShardId(0)));
  cluster_.FailWith(absl::UnavailableError("down"));
  EXPECT_THAT(routing_.Refresh(ConfigVersion(1)), StatusIs(absl::StatusCode::kUnavailable));
  EXPECT_EQ(AddressOf(ShardId(0)), "m1:1");
}

TEST_F(RoutingCacheTest, SaysWhatToDoBeforeTheFirstGroup) {
  v1::Configuration none;
  cluster_.Set(none);
  const auto route = routing_.Find(ShardId(0));
  EXPECT_THAT(route, StatusIs(absl::StatusCode::kFailedPrecondition));
  EXPECT_NE(route.status().message().find("ballast group join"), std::string::npos);
}

TEST_F(RoutingCacheTest, RefusesShardsAndGroupsThatAreNot) {
  EXPECT_THAT(routing_.Find(ShardId(16)), HasReason(v1::REASON_INVALID_ARGUMENT));
  EXPECT_THAT(routing_.Find(GroupId(7)), HasReason(v1::REASON_UNKNOWN_GROUP));
}

TEST_F(RoutingCacheTest, ForgetsALeaderThatLeftTheGroup) {
  ASSERT_OK(routing_.Find(ShardId(0)));
  ASSERT_TRUE(routing_.LearnLeader(GroupId(1), "m3:1"));
  v1::Configuration next = *cluster_.CurrentConfiguration();
  next.set_version(2);
  next.mutable_groups(0)->mutable_masters(2)->set_address("m4:1");
  cluster_.Set(next);
  ASSERT_OK(routing_.Refresh(ConfigVersion(1)));
  EXPECT_EQ(AddressOf(ShardId(0)), "m1:1");
}

}  // namespace
}  // namespace ballast::client
