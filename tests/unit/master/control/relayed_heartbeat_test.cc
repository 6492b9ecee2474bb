// SPDX-License-Identifier: Apache-2.0
// Servers that somebody else speaks for: never placed on, heartbeats of some age, polls for
// commands.
#include "gmock/gmock.h"
#include "tests/unit/master/control/heartbeat_world.h"

namespace ballast::master {
namespace {

using ::ballast::testing::HasReason;
using ::testing::HasSubstr;

using NoPlacementTest = HeartbeatWorld;

TEST_F(NoPlacementTest, NothingIsPlacedOnAServerRegisteredSoAndRefusalsSayWhy) {
  servers_.push_back(std::make_unique<FakeChunkServer>(intake_, 1));
  servers_.push_back(std::make_unique<FakeChunkServer>(intake_, 2));
  server(2).no_placement = true;
  SetRegistry();
  Configure(1);
  for (uint32_t s : {1u, 2u}) {
    server(s).Connect();
    server(s).Beat(kShards);
  }
  for (int i = 0; i < 20; ++i) {
    ASSERT_OK_AND_ASSIGN(const auto chains, view_.PlaceChunks({1, 2, 1, 1000, {}}));
    ASSERT_EQ(chains[0].size(), 1u);
    EXPECT_EQ(chains[0][0].server_index(), 1u);
  }
  const absl::Status refused = view_.PlaceChunks({1, 2, 2, 1000, {}}).status();
  EXPECT_THAT(refused, HasReason(v1::REASON_TOO_FEW_SERVERS));
  EXPECT_THAT(
      refused.message(),
      HasSubstr("2 registered, 2 alive, 0 suspect, 0 dead, 1 registered without placement"));
  EXPECT_EQ(status(2).name(), "name-2");
  EXPECT_TRUE(status(2).no_placement());
  EXPECT_FALSE(status(1).no_placement());
}

TEST_F(NoPlacementTest, AServerThatMayNotBeUsedIsNotWaitedFor) {
  StartServers(1);
  servers_.push_back(std::make_unique<FakeChunkServer>(intake_, 2));  // never heard
  SetRegistry();
  EXPECT_THAT(view_.PlaceChunks({1, 2, 2, 1000, {}}), HasReason(v1::REASON_NOT_READY));
  server(2).no_placement = true;
  SetRegistry();
  EXPECT_THAT(view_.PlaceChunks({1, 2, 2, 1000, {}}), HasReason(v1::REASON_TOO_FEW_SERVERS));
}

}  // namespace
}  // namespace ballast::master
