// SPDX-License-Identifier: Apache-2.0
#include "gateway/cluster_views.h"

#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "protos/shardctl_service.pb.h"

namespace ballast::gateway {
namespace {

v1::ServerStatus* Add(v1::ListServersResponse* response, const std::string& id,
                      const std::string& name, v1::Liveness liveness) {
  v1::ServerStatus* const server = response->add_servers();
  server->set_server_id(id);
  server->set_name(name);
  server->set_liveness(liveness);
  server->set_admin_state(v1::SERVER_STATE_ACTIVE);
  server->set_chunk_count(7);
  server->set_last_heartbeat_ms_ago(12);
  return server;
}

TEST(ClusterViewsTest, OnlyTheDeadAreDeadAndShowNothing) {
  v1::ListServersResponse response;
  Add(&response, "id1", "a", v1::LIVENESS_ALIVE);
  Add(&response, "id2", "b", v1::LIVENESS_SUSPECT);
  Add(&response, "id3", "c", v1::LIVENESS_UNKNOWN)->set_last_heartbeat_ms_ago(-1);
  Add(&response, "id4", "d", v1::LIVENESS_DEAD);
  const std::vector<ServerRow> rows = RowsOf(response);
  ASSERT_EQ(rows.size(), 4u);
  for (size_t i = 0; i < 3; ++i) {
    EXPECT_TRUE(rows[i].alive) << i;
    EXPECT_EQ(rows[i].chunk_count, 7u) << i;
  }
  EXPECT_EQ(rows[2].last_heartbeat_ms_ago, -1);
  EXPECT_FALSE(rows[3].alive);
  EXPECT_EQ(rows[3].chunk_count, 0u);
  EXPECT_EQ(rows[3].last_heartbeat_ms_ago, 12);
}

TEST(ClusterViewsTest, RowsComeByNameAndAServerWithoutOneIsCalledByItsId) {
  v1::ListServersResponse response;
  Add(&response, "id1", "z", v1::LIVENESS_ALIVE);
  Add(&response, "id2", "", v1::LIVENESS_ALIVE);
  Add(&response, "id3", "a", v1::LIVENESS_ALIVE);
  const std::vector<ServerRow> rows = RowsOf(response);
  ASSERT_EQ(rows.size(), 3u);
  EXPECT_EQ(rows[0].server, "a");
  EXPECT_EQ(rows[1].server, "id2");
  EXPECT_EQ(rows[2].server, "z");
}

TEST(ClusterViewsTest, RemovedServersAreNotShown) {
  v1::ListServersResponse response;
  Add(&response, "id1", "a", v1::LIVENESS_DEAD)->set_admin_state(v1::SERVER_STATE_REMOVED);
  EXPECT_TRUE(RowsOf(response).empty());
}

TEST(ClusterViewsTest, BalanceKeepsTheMastersOrder) {
  v1::CheckBalanceResponse response;
  response.set_average_utilization_pct(47.5);
  for (const char* name : {"y", "x"}) {
    v1::ServerUtilization* const server = response.add_overloaded();
    server->set_name(name);
    server->set_utilization_pct(90);
  }
  response.add_underloaded()->set_server_id("id1");
  const BalanceReport report = BalanceOf(response);
  EXPECT_EQ(report.average_utilization_pct, 47.5);
  ASSERT_EQ(report.overloaded.size(), 2u);
  EXPECT_EQ(report.overloaded[0].server, "y");
  EXPECT_EQ(report.overloaded[0].utilization_pct, 90);
  EXPECT_EQ(report.overloaded[1].server, "x");
  ASSERT_EQ(report.underloaded.size(), 1u);
  EXPECT_EQ(report.underloaded[0].server, "id1");
}

}  // namespace
}  // namespace ballast::gateway
