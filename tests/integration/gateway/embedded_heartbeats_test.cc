// SPDX-License-Identifier: Apache-2.0
// Heartbeats on the embedded cluster: liveness, adoption, wanted replicas, utilisation.
#include "tests/integration/gateway/embedded_fixture.h"

namespace ballast::gateway::testing {
namespace {

using EmbeddedHeartbeatsTest = EmbeddedTest;
using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::Pair;

TEST_F(EmbeddedHeartbeatsTest, AServerIsAliveWithItsChunksAfterItsFirstHeartbeat) {
  ASSERT_OK_AND_ASSIGN(const HeartbeatOrders orders, Beat("n2", {"ch_001", "ch_002"}, 30));
  EXPECT_THAT(orders.chunks_to_delete, IsEmpty());
  EXPECT_THAT(orders.chunks_to_replicate, IsEmpty());
  const ServerRow row = Row("n2");
  EXPECT_TRUE(row.alive);
  EXPECT_EQ(row.chunk_count, 2u);
  EXPECT_GE(row.last_heartbeat_ms_ago, 0);
  EXPECT_LT(row.last_heartbeat_ms_ago, 15000);
}

TEST_F(EmbeddedHeartbeatsTest, WithoutHeartbeatsThereIsNoServer) {
  EXPECT_THAT(backend_->Servers(), IsOkAndHolds(IsEmpty()));
  ASSERT_OK_AND_ASSIGN(const BalanceReport balance, backend_->CheckBalance());
  EXPECT_EQ(balance.average_utilization_pct, 0);
  EXPECT_THAT(balance.overloaded, IsEmpty());
  EXPECT_THAT(balance.underloaded, IsEmpty());
}

TEST_F(EmbeddedHeartbeatsTest, RowsComeByName) {
  for (const char* name : {"b", "a", "c"}) ASSERT_OK(Beat(name, {}));
  ASSERT_OK_AND_ASSIGN(const auto rows, backend_->Servers());
  ASSERT_EQ(rows.size(), 3u);
  EXPECT_EQ(rows[0].server, "a");
  EXPECT_EQ(rows[1].server, "b");
  EXPECT_EQ(rows[2].server, "c");
}

TEST_F(EmbeddedHeartbeatsTest, AHeartbeatReplacesTheListBefore) {
  ASSERT_OK(Beat("cs1", {"a", "b", "c"}));
  EXPECT_EQ(Row("cs1").chunk_count, 3u);
  ASSERT_OK(Beat("cs1", {"d"}));
  EXPECT_EQ(Row("cs1").chunk_count, 1u);
  ASSERT_OK(Beat("cs1", {}));
  EXPECT_EQ(Row("cs1").chunk_count, 0u);
}

TEST_F(EmbeddedHeartbeatsTest, ManyNewNamesAreAdoptedAtOnce) {
  std::vector<std::string> names;
  for (int i = 0; i < 3000; ++i) names.push_back("chunk-" + std::to_string(i));
  ASSERT_OK(Beat("cs1", names));
  ASSERT_OK(Beat("cs2", names));
  EXPECT_THAT(Counts(), ElementsAre(Pair("cs1", 3000u), Pair("cs2", 3000u)));
}

TEST_F(EmbeddedHeartbeatsTest, AChunksNameMayBeAnyText) {
  const std::vector<std::string> names = {std::string("a\0b", 3), std::string(1024, 'x'),
                                          std::string(1024, 'y'), "\n", "\xC3\xA4"};
  ASSERT_OK(Beat("cs1", names));
  EXPECT_EQ(Row("cs1").chunk_count, names.size());
  ASSERT_OK(Beat("cs2", names));
  EXPECT_EQ(Row("cs2").chunk_count, names.size());
}

TEST_F(EmbeddedHeartbeatsTest, AServersNameThatCannotBeRegisteredIsRefused) {
  EXPECT_THAT(Beat("", {}), StatusIs(absl::StatusCode::kInvalidArgument));
  EXPECT_THAT(Beat("a\nb", {}), StatusIs(absl::StatusCode::kInvalidArgument));
  EXPECT_THAT(backend_->Servers(), IsOkAndHolds(IsEmpty()));
}

TEST_F(EmbeddedHeartbeatsTest, AHeartbeatCountsFromWhenItWasSpoken) {
  ASSERT_OK(Beat("cs1", {}, 0, absl::Seconds(10)));
  EXPECT_TRUE(Row("cs1").alive);
  EXPECT_GE(Row("cs1").last_heartbeat_ms_ago, 10000);
  ASSERT_OK(Beat("cs1", {}));
  EXPECT_LT(Row("cs1").last_heartbeat_ms_ago, 10000);
}

TEST_F(EmbeddedHeartbeatsTest, TwentyPointsFromTheAverageAreOverAndUnder) {
  ASSERT_OK(Beat("cs1", {}, 78));
  ASSERT_OK(Beat("cs2", {}, 45));
  ASSERT_OK(Beat("cs3", {}, 50));
  ASSERT_OK(Beat("cs4", {}, 15));
  ASSERT_OK_AND_ASSIGN(const BalanceReport balance, backend_->CheckBalance());
  EXPECT_DOUBLE_EQ(balance.average_utilization_pct, 47);
  ASSERT_EQ(balance.overloaded.size(), 1u);
  EXPECT_EQ(balance.overloaded[0].server, "cs1");
  EXPECT_DOUBLE_EQ(balance.overloaded[0].utilization_pct, 78);
  ASSERT_EQ(balance.underloaded.size(), 1u);
  EXPECT_EQ(balance.underloaded[0].server, "cs4");
  EXPECT_DOUBLE_EQ(balance.underloaded[0].utilization_pct, 15);
}

TEST_F(EmbeddedHeartbeatsTest, AnIllServerIsAliveWithItsChunks) {
  ASSERT_OK(backend_->Heartbeat({"cs1", {"a"}, 10, "disk errors"}, absl::ZeroDuration()));
  EXPECT_TRUE(Row("cs1").alive);
  EXPECT_EQ(Row("cs1").chunk_count, 1u);
}

TEST_F(EmbeddedHeartbeatsTest, ATouchOfAnUnknownServerIsNothing) {
  backend_->Touch("nobody");
  EXPECT_THAT(backend_->Servers(), IsOkAndHolds(IsEmpty()));
}

class ShortIntervalTest : public EmbeddedTest {
 protected:
  ShortIntervalTest() { options_.heartbeat_interval = absl::Milliseconds(200); }
};

TEST_F(ShortIntervalTest, ThreeMissedHeartbeatsAreDeathAndTheNextOneIsLife) {
  ASSERT_OK(Beat("cs1", {"a", "b"}));
  ServerRow row = Row("cs1");
  ServerRow last_alive;
  ASSERT_TRUE(Eventually([&] {
    row = Row("cs1");
    last_alive = row.alive ? row : last_alive;
    return !row.alive;
  }));
  // Alive near the end of the window, dead only after it, as the master's clock has it.
  EXPECT_GE(row.last_heartbeat_ms_ago, 600);
  EXPECT_GT(last_alive.last_heartbeat_ms_ago, 400);
  EXPECT_EQ(last_alive.chunk_count, 2u);
  EXPECT_EQ(row.chunk_count, 0u);
  ASSERT_OK(Beat("cs1", {"a", "b"}));
  EXPECT_TRUE(Row("cs1").alive);
  EXPECT_EQ(Row("cs1").chunk_count, 2u);
}

TEST_F(ShortIntervalTest, TouchesKeepAServerAliveWithItsChunks) {
  ASSERT_OK(Beat("silent", {"a"}));
  ASSERT_OK(Beat("touched", {"b"}));
  ASSERT_TRUE(Eventually([&] {
    backend_->Touch("touched");
    return !Row("silent").alive;
  }));
  EXPECT_TRUE(Row("touched").alive);
  EXPECT_EQ(Row("touched").chunk_count, 1u);
}

}  // namespace
}  // namespace ballast::gateway::testing
