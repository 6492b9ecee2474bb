// SPDX-License-Identifier: Apache-2.0
#include "client/pool_ring.h"

#include <utility>
#include <vector>

namespace ballast::client {

absl::StatusOr<HashRing> RingOf(const v1::Pool& pool) {
  std::vector<HashRing::Server> servers;
  for (const v1::PoolServer& server : pool.servers()) {
    servers.push_back({server.id(), server.points()});
  }
  return HashRing::Make(std::move(servers));
}

}  // namespace ballast::client
