// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "common/env/file_system.h"
#include "services/master/server.h"
#include "services/shardctl/server.h"

namespace ballast::gateway {

struct EmbeddedClusterOptions {
  std::string folder;  // exists, empty; in the hands of whoever made it
  // Few, so that a heartbeat's lists come in few parts.
  uint32_t shards = 16;
  absl::Duration heartbeat_interval = absl::Seconds(5);
  bool auto_rebalance = false;
};

// A whole small cluster in this process: a shard controller and one master that owns every shard,
// each behind its own port on the loopback interface, spoken to by RPC like any other.
//
// Its settings: one replica wanted and required by default, values of up to 64 KiB inline. It has
// no chunk servers: whoever uses it registers them. Concurrency: thread-safe; Start and the
// destructor block. Ownership: `fs` must outlive it.
class EmbeddedCluster {
 public:
  // Serves when it returns: the configuration may still be on its way to the master, whose clients
  // wait for it. Fails as the servers' Format and Start do.
  static absl::StatusOr<std::unique_ptr<EmbeddedCluster>> Start(
      FileSystem& fs, const EmbeddedClusterOptions& options);

  // host:port of the shard controller.
  const std::string& shardctl_address() const { return shardctl_->address(); }
  const std::string& master_address() const { return master_->address(); }
  const std::string& cluster_id() const { return shardctl_->identity().cluster_id; }

 private:
  EmbeddedCluster() = default;
  absl::Status Configure(const EmbeddedClusterOptions& options);

  std::unique_ptr<shardctl::Server> shardctl_;
  std::unique_ptr<master::Server> master_;  // uses shardctl_: ends first
};

}  // namespace ballast::gateway
