// SPDX-License-Identifier: Apache-2.0
#include "gateway/server_pool.h"

#include "common/base/status_macros.h"
#include "common/types/error.h"

namespace ballast::gateway {
namespace {

constexpr uint32_t kAllServers = 10'000;  // a pool has no more

std::vector<std::string> NamesOf(const v1::Pool& pool) {
  std::vector<std::string> names;
  for (const v1::PoolServer& server : pool.servers()) {
    names.push_back(server.id());
  }
  return names;
}

}  // namespace

absl::StatusOr<std::vector<std::string>> ServerPool::AddServer(const std::string& server,
                                                               std::optional<double> weight) {
  v1::PutPoolServerRequest put;
  put.set_pool(pool_);
  put.set_id(server);
  if (weight.has_value()) {
    put.set_weight(*weight);
  }
  auto answer = controller_.PutPoolServer(put);
  if (ReasonOf(answer.status()) == v1::REASON_POOL_NOT_FOUND) {
    v1::CreatePoolRequest create;
    create.set_name(pool_);
    RETURN_IF_ERROR(controller_.CreatePool(create).status());
    answer = controller_.PutPoolServer(put);
  }
  RETURN_IF_ERROR(answer.status());
  return NamesOf(answer->pool());
}

absl::StatusOr<std::vector<std::string>> ServerPool::RemoveServer(const std::string& server) {
  v1::RemovePoolServerRequest remove;
  remove.set_pool(pool_);
  remove.set_id(server);
  ASSIGN_OR_RETURN(const auto answer, controller_.RemovePoolServer(remove));
  return NamesOf(answer.pool());
}

absl::StatusOr<std::vector<std::string>> ServerPool::Route(const std::string& key) {
  v1::RouteRequest route;
  route.set_pool(pool_);
  route.set_key(key);
  route.set_count(kAllServers);
  const auto answer = controller_.Route(route);
  if (ReasonOf(answer.status()) == v1::REASON_POOL_NOT_FOUND) {
    return std::vector<std::string>();
  }
  RETURN_IF_ERROR(answer.status());
  return std::vector<std::string>(answer->servers().begin(), answer->servers().end());
}

}  // namespace ballast::gateway
