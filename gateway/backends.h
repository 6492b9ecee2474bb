// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "common/types/limits.h"
#include "gateway/cluster_backend.h"

// The two kinds of cluster behind the gateway. main.cc chooses; nothing else knows both.

namespace ballast::gateway {

struct EmbeddedBackendOptions {
  // Below which the embedded cluster makes a scratch folder for its state, removed at the end.
  // Empty: where $TMPDIR says, else /tmp.
  std::string folder;
  // Length of a chunk that is adopted by name, 1 .. kChunkBytesMax.
  uint64_t chunk_bytes = kChunkBytesMax;
  // How often the servers that messages name send heartbeats; three missed ones mean dead.
  absl::Duration heartbeat_interval = absl::Seconds(5);
  // Overfull servers are levelled in the background, as in a cluster of chunk servers
  // (core/told_usage.h says how full the servers of messages are taken to be).
  bool auto_rebalance = false;
  std::string pool = "default";  // of add_server, remove_server, get_server
};

struct RemoteBackendOptions {
  std::vector<std::string> cluster;  // HOST:PORT of shardctl's members, at least one
  std::string pool = "default";      // of add_server, remove_server, get_server
};

// Both are called on a thread of their own while messages are already being read, so they may take
// their time; what they return is used as cluster_backend.h says and destroyed before the process
// ends. On failure the text goes to every message that needs the cluster, and nothing is left
// running. Thread-safe in the sense that they share nothing with each other.

// The real thing in this process: shardctl, one master group, an endpoint for the chunk stores.
// Returns when it serves.
absl::StatusOr<std::unique_ptr<ClusterBackend>> MakeEmbeddedBackend(
    const EmbeddedBackendOptions& options);

// A running cluster. Does not wait for it to be reachable: calls then fail with UNAVAILABLE.
absl::StatusOr<std::unique_ptr<ClusterBackend>> MakeRemoteBackend(
    const RemoteBackendOptions& options);

}  // namespace ballast::gateway
