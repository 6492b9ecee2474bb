// SPDX-License-Identifier: Apache-2.0
#include "services/master/core/balance.h"

#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "protos/shardctl_service.pb.h"

namespace ballast::master {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

v1::ServerStatus Server(const std::string& name, double pct,
                        v1::Liveness liveness = v1::LIVENESS_ALIVE,
                        v1::ServerState state = v1::SERVER_STATE_ACTIVE) {
  v1::ServerStatus server;
  server.set_server_id("id-" + name);
  server.set_name(name);
  server.set_utilization_pct(pct);
  server.set_liveness(liveness);
  server.set_admin_state(state);
  return server;
}

std::vector<std::string> Names(
    const google::protobuf::RepeatedPtrField<v1::ServerUtilization>& list) {
  std::vector<std::string> names;
  for (const auto& server : list) names.push_back(server.name());
  return names;
}

TEST(BalanceTest, NobodyIsBalanced) {
  const auto balance = CheckBalance({});
  EXPECT_EQ(balance.average_utilization_pct(), 0);
  EXPECT_EQ(balance.threshold_points(), 20);
  EXPECT_THAT(balance.overloaded(), IsEmpty());
  EXPECT_THAT(balance.underloaded(), IsEmpty());
}

TEST(BalanceTest, MoreThanTwentyPointsFromTheAverageIsOutOfBalance) {
  const std::vector<v1::ServerStatus> servers = {Server("a", 20), Server("b", 90), Server("c", 70),
                                                 Server("d", 30), Server("e", 95), Server("f", 10),
                                                 Server("g", 50), Server("h", 35)};
  const auto balance = CheckBalance(servers);
  EXPECT_EQ(balance.average_utilization_pct(), 50);
  EXPECT_THAT(Names(balance.overloaded()), ElementsAre("e", "b")) << "70 is not above 70";
  EXPECT_THAT(Names(balance.underloaded()), ElementsAre("f", "a")) << "30 is not below 30";
  EXPECT_EQ(balance.overloaded(0).server_id(), "id-e");
  EXPECT_EQ(balance.overloaded(0).utilization_pct(), 95);
}

TEST(BalanceTest, DeadUnknownDrainingAndRemovedServersDoNotCount) {
  v1::ServerStatus relayed = Server("relayed", 10);
  relayed.set_no_placement(true);
  const std::vector<v1::ServerStatus> servers = {
      Server("alive", 10),
      Server("suspect", 90, v1::LIVENESS_SUSPECT),
      Server("dead", 100, v1::LIVENESS_DEAD),
      Server("unknown", 100, v1::LIVENESS_UNKNOWN),
      Server("draining", 100, v1::LIVENESS_ALIVE, v1::SERVER_STATE_DRAINING),
      Server("removed", 100, v1::LIVENESS_DEAD, v1::SERVER_STATE_REMOVED),
      relayed,
      Server("more", 10)};
  const auto balance = CheckBalance(servers);
  EXPECT_EQ(balance.average_utilization_pct(), 30);
  EXPECT_THAT(Names(balance.overloaded()), ElementsAre("suspect"));
  EXPECT_THAT(Names(balance.underloaded()), IsEmpty()) << "10 is not below 10";
}

}  // namespace
}  // namespace ballast::master
