// SPDX-License-Identifier: Apache-2.0
#include "client/request_identity.h"

#include "gtest/gtest.h"

namespace ballast::client {
namespace {

constexpr ShardId kShard(5);
const SessionId kSession(ChunkHandle(kShard, 77).value());

TEST(RequestIdentityTest, AsksForASessionBeforeTheFirstRequest) {
  RequestIdentity identity;
  EXPECT_FALSE(identity.Begin(kShard).has_value());
  EXPECT_TRUE(identity.Adopt(kShard, kSession));
  EXPECT_TRUE(identity.Begin(kShard).has_value());
  EXPECT_FALSE(identity.Begin(ShardId(6)).has_value());
}

TEST(RequestIdentityTest, SequencesCountFromOneAndAreNeverUsedTwice) {
  RequestIdentity identity;
  identity.Adopt(kShard, kSession);
  for (uint64_t n = 1; n <= 5; ++n) {
    const auto request = identity.Begin(kShard);
    EXPECT_EQ(request->session_id(), kSession.value());
    EXPECT_EQ(request->sequence(), n);
    identity.Finish(*request);
  }
}

TEST(RequestIdentityTest, FirstIncompleteIsTheOldestRequestUnderWay) {
  RequestIdentity identity;
  identity.Adopt(kShard, kSession);
  const auto one = identity.Begin(kShard);
  const auto two = identity.Begin(kShard);
  EXPECT_EQ(one->first_incomplete(), 1u);
  EXPECT_EQ(two->first_incomplete(), 1u);
  identity.Finish(*two);
  EXPECT_EQ(identity.Begin(kShard)->first_incomplete(), 1u);
  identity.Finish(*one);
  EXPECT_EQ(identity.Begin(kShard)->first_incomplete(), 3u);
}

TEST(RequestIdentityTest, KeepsTheSessionItHas) {
  RequestIdentity identity;
  EXPECT_TRUE(identity.Adopt(kShard, kSession));
  EXPECT_FALSE(identity.Adopt(kShard, SessionId(ChunkHandle(kShard, 78).value())));
  EXPECT_EQ(identity.Begin(kShard)->session_id(), kSession.value());
}

TEST(RequestIdentityTest, ExpiringAnOldSessionLeavesTheNewOne) {
  RequestIdentity identity;
  identity.Adopt(kShard, kSession);
  const auto old_request = identity.Begin(kShard);
  identity.Expire(kSession);
  EXPECT_FALSE(identity.Begin(kShard).has_value());
  const SessionId newer(ChunkHandle(kShard, 99).value());
  identity.Adopt(kShard, newer);
  identity.Expire(kSession);  // told twice
  identity.Finish(*old_request);
  EXPECT_EQ(identity.Begin(kShard)->session_id(), newer.value());
}

TEST(RequestIdentityTest, TakeAllForgetsAllSessions) {
  RequestIdentity identity;
  identity.Adopt(kShard, kSession);
  EXPECT_EQ(identity.TakeAll(), std::vector<SessionId>{kSession});
  EXPECT_FALSE(identity.Begin(kShard).has_value());
}

}  // namespace
}  // namespace ballast::client
