// SPDX-License-Identifier: Apache-2.0
#include "services/master/core/balance.h"

#include <algorithm>
#include <vector>

#include "protos/shardctl_service.pb.h"

namespace ballast::master {
namespace {

bool Counts(const v1::ServerStatus& server) {
  return server.admin_state() == v1::SERVER_STATE_ACTIVE &&
         (server.liveness() == v1::LIVENESS_ALIVE || server.liveness() == v1::LIVENESS_SUSPECT);
}

void Append(const v1::ServerStatus& server,
            google::protobuf::RepeatedPtrField<v1::ServerUtilization>* list) {
  v1::ServerUtilization* const entry = list->Add();
  entry->set_server_id(server.server_id());
  entry->set_name(server.name());
  entry->set_utilization_pct(server.utilization_pct());
}

}  // namespace

v1::CheckBalanceResponse CheckBalance(absl::Span<const v1::ServerStatus> servers) {
  std::vector<const v1::ServerStatus*> counted;
  double sum = 0;
  for (const v1::ServerStatus& server : servers) {
    if (Counts(server)) {
      counted.push_back(&server);
      sum += server.utilization_pct();
    }
  }
  const double average = counted.empty() ? 0 : sum / static_cast<double>(counted.size());
  std::stable_sort(counted.begin(), counted.end(),
                   [](const v1::ServerStatus* a, const v1::ServerStatus* b) {
                     return a->utilization_pct() > b->utilization_pct();
                   });
  v1::CheckBalanceResponse response;
  response.set_average_utilization_pct(average);
  response.set_threshold_points(kBalanceThresholdPoints);
  for (const v1::ServerStatus* server : counted) {
    if (server->utilization_pct() > average + kBalanceThresholdPoints) {
      Append(*server, response.mutable_overloaded());
    }
  }
  // Emptiest first; equally empty ones stay in the order given.
  std::stable_sort(counted.begin(), counted.end(),
                   [](const v1::ServerStatus* a, const v1::ServerStatus* b) {
                     return a->utilization_pct() < b->utilization_pct();
                   });
  for (const v1::ServerStatus* server : counted) {
    if (server->utilization_pct() < average - kBalanceThresholdPoints) {
      Append(*server, response.mutable_underloaded());
    }
  }
  return response;
}

}  // namespace ballast::master
