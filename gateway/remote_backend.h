// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/container/btree_map.h"
#include "absl/synchronization/mutex.h"
#include "client/client.h"
#include "gateway/backends.h"
#include "gateway/cluster_backend.h"
#include "gateway/core/adopted_chunks.h"
#include "gateway/heartbeat_relay.h"
#include "gateway/server_pool.h"
#include "gateway/value_store.h"

namespace ballast::gateway {

// A running cluster. What it adds to ClusterBackend's contract:
//   * Servers of heartbeats are registered under their names, with an id that cluster and name
//   decide,
//     and never get replicas. Chunks that they name by handle (16 hexadecimal digits, as
//     `ballast explain` prints them) are reported as corrupt replicas: nobody can read or check
//     them, so they must not count. Handles that the cluster cannot account for are thereby
//     quarantined. All other names are only counted, in Servers().
//   * Orders are told, not carried out: the server's next lists say what came of them.
//   * Move is for the cluster's own chunk servers, by name or id, and chunks by handle.
//   * SetConfig and UpdateConfig are UNIMPLEMENTED: the real controller numbers configurations.
//   * Keys are the objects' keys; values of any length.
//
// Connects at the first call that needs the cluster; UNAVAILABLE while it cannot be reached.
// The destructor says of its servers that they are stopping, so that another gateway may speak for
// them at once.
class RemoteBackend final : public ClusterBackend {
 public:
  explicit RemoteBackend(const RemoteBackendOptions& options) : options_(options) {}
  ~RemoteBackend() override;

  absl::StatusOr<HeartbeatOrders> Heartbeat(const ServerHeartbeat& heartbeat,
                                            absl::Duration age) override;
  void Touch(const std::string& server) override;
  absl::StatusOr<std::vector<ServerRow>> Servers() override;
  absl::StatusOr<BalanceReport> CheckBalance() override;
  absl::StatusOr<std::vector<MoveOutcome>> Move(absl::Span<const ChunkMove> moves) override;
  absl::Status SetConfig(const GroupConfiguration& config) override;
  absl::StatusOr<UpdateOutcome> UpdateConfig(const GroupConfiguration& config) override;
  absl::StatusOr<std::string> Read(const std::string& key) override;
  absl::Status Write(const std::string& key, const std::string& value) override;
  absl::Status CompareAndSet(const std::string& key, const std::string& from,
                             const std::string& to) override;
  absl::StatusOr<std::vector<std::string>> AddServer(const std::string& server,
                                                     std::optional<double> weight) override;
  absl::StatusOr<std::vector<std::string>> RemoveServer(const std::string& server) override;
  absl::StatusOr<std::vector<std::string>> Route(const std::string& key) override;

 private:
  struct Connection {
    std::unique_ptr<client::Client> client;
    std::unique_ptr<HeartbeatRelay> relay;
    std::unique_ptr<ValueStore> values;
    std::unique_ptr<ServerPool> pool;
  };

  absl::StatusOr<Connection*> Connect() ABSL_LOCKS_EXCLUDED(mu_);

  const RemoteBackendOptions options_;
  absl::Mutex mu_;
  std::unique_ptr<Connection> connection_ ABSL_GUARDED_BY(mu_);  // never replaced
  // Names in a server's last heartbeat that are no handles of this cluster.
  absl::btree_map<std::string, uint64_t> names_counted_;
};

}  // namespace ballast::gateway
