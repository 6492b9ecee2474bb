// SPDX-License-Identifier: Apache-2.0
#include "gateway/cluster_views.h"

#include <algorithm>

#include "protos/shardctl_service.pb.h"

namespace ballast::gateway {
namespace {

std::string NameOf(const std::string& name, const std::string& id) {
  return name.empty() ? id : name;
}

std::vector<BalanceReport::Row> RowsOf(
    const google::protobuf::RepeatedPtrField<v1::ServerUtilization>& servers) {
  std::vector<BalanceReport::Row> rows;
  for (const v1::ServerUtilization& server : servers) {
    rows.push_back({NameOf(server.name(), server.server_id()), server.utilization_pct()});
  }
  return rows;
}

}  // namespace

std::vector<ServerRow> RowsOf(const v1::ListServersResponse& response) {
  std::vector<ServerRow> rows;
  for (const v1::ServerStatus& server : response.servers()) {
    if (server.admin_state() == v1::SERVER_STATE_REMOVED) {
      continue;
    }
    const bool alive = server.liveness() != v1::LIVENESS_DEAD;
    rows.push_back({.server = NameOf(server.name(), server.server_id()),
                    .alive = alive,
                    .chunk_count = alive ? server.chunk_count() : 0,
                    .last_heartbeat_ms_ago = server.last_heartbeat_ms_ago()});
  }
  std::stable_sort(rows.begin(), rows.end(),
                   [](const ServerRow& a, const ServerRow& b) { return a.server < b.server; });
  return rows;
}

BalanceReport BalanceOf(const v1::CheckBalanceResponse& response) {
  BalanceReport report;
  report.average_utilization_pct = response.average_utilization_pct();
  report.overloaded = RowsOf(response.overloaded());
  report.underloaded = RowsOf(response.underloaded());
  return report;
}

}  // namespace ballast::gateway
