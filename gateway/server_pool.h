// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "common/rpc/shardctl_client.h"
#include "protos/pool_service.pb.h"

namespace ballast::gateway {

// The routing pool of the messages add_server, remove_server and get_server: one of the cluster's
// pools, made when the first server is added. Everybody who routes over it by its specification
// (docs/protocols/hash_ring.md) or by the Pools service is sent the same way.
//
// Concurrency: one call at a time; calls block. Ownership: `controller` outlives it.
// Failure: the shard controller's errors. NOT_FOUND: no such server.
class ServerPool {
 public:
  ServerPool(ShardctlClient& controller, std::string pool)
      : controller_(controller), pool_(std::move(pool)) {}

  // A server that is there already keeps its weight unless one is given. The servers after it.
  absl::StatusOr<std::vector<std::string>> AddServer(const std::string& server,
                                                     std::optional<double> weight);
  absl::StatusOr<std::vector<std::string>> RemoveServer(const std::string& server);
  // In the order of preference for the key; empty if there are none.
  absl::StatusOr<std::vector<std::string>> Route(const std::string& key);

 private:
  ShardctlClient& controller_;
  const std::string pool_;
};

}  // namespace ballast::gateway
