// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/container/btree_map.h"
#include "absl/synchronization/mutex.h"
#include "client/client.h"
#include "gateway/backends.h"
#include "gateway/chunk_adopter.h"
#include "gateway/chunk_book.h"
#include "gateway/cluster_backend.h"
#include "gateway/config_group.h"
#include "gateway/core/told_usage.h"
#include "gateway/embedded_cluster.h"
#include "gateway/heartbeat_relay.h"
#include "gateway/order_runner.h"
#include "gateway/scratch_folder.h"
#include "gateway/server_pool.h"
#include "gateway/unsynced_file_system.h"
#include "gateway/value_store.h"

namespace ballast::gateway {

// The real thing in this process (DESIGN of the gateway: docs/formats/gateway_messages.md): shard
// controller, master and chunk stores, spoken to by RPC; heartbeats are what messages say.
//
// What it adds to ClusterBackend's contract:
//   * A chunk named first in a heartbeat is adopted: an object that wants as many replicas as
//   servers
//     ever listed the chunk at once.
//   * Before the first heartbeat of a session, Move adopts what it names: servers are heard once,
//     and the source holds the chunk.
//   * Servers that take part in a move live while it lasts.
//   * Deletes in Heartbeat's orders have been carried out on the server's store when it returns;
//   copies
//     are under way. Deletes that follow from a Move are told with the source's next heartbeat.
//   * Values are at most kInlineBytesMax long. A key must not begin with kAdoptedKeyPrefix.
//
// Start order: folder, cluster, chunk endpoint, client. Stop order (the destructor, which blocks):
// calls of its own, chunk stores, client, cluster, folder. Ownership: owns all of it.
class EmbeddedBackend final : public ClusterBackend {
 public:
  static absl::StatusOr<std::unique_ptr<EmbeddedBackend>> Start(
      const EmbeddedBackendOptions& options);
  ~EmbeddedBackend() override;

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
  // A move whose words could be resolved.
  struct PlannedMove {
    size_t place = 0;  // in the call
    ChunkHandle handle;
    RelayedServer* from = nullptr;
    RelayedServer* to = nullptr;
  };

  explicit EmbeddedBackend(const EmbeddedBackendOptions& options)
      : options_(options),
        book_(options.heartbeat_interval * 3),
        usage_(options.chunk_bytes, ServerFacts().capacity_bytes) {}
  absl::Status Open();

  // The handles of names, adopting those that are new with `holder` as the only holder.
  absl::StatusOr<std::vector<ChunkHandle>> Resolve(const std::vector<std::string>& names,
                                                   RelayedServer& holder);
  std::vector<std::string> NewNames(const std::vector<std::string>& names);
  absl::Status AdoptFrom(const std::vector<std::string>& names, RelayedServer& holder);
  absl::Status GrowWanted(absl::Span<const ChunkHandle> handles, SteadyTime now);
  ServerFacts FactsOf(RelayedServer& server, const ServerHeartbeat& heartbeat);
  // Starts the group of set_config and config_update unless it runs.
  absl::Status NeedConfigGroup();
  absl::StatusOr<HeartbeatRelay::Commands> SendLists(RelayedServer& server,
                                                     const ServerFacts& facts, absl::Duration age);

  // --- moves: embedded_moves.cc ---
  absl::Status AdoptMove(const ChunkMove& move, std::set<RelayedServer*>* heard);
  absl::StatusOr<PlannedMove> Plan(const ChunkMove& move);
  void RunMoves(absl::Span<const PlannedMove> planned, std::vector<MoveOutcome>* outcomes);
  // Fetches and carries out commands of these servers, and keeps them alive, until `done`.
  template <typename Done>
  void PollUntil(const std::set<RelayedServer*>& servers, Done done);
  absl::Status InWords(const absl::Status& status, const PlannedMove& move);

  const EmbeddedBackendOptions options_;
  std::unique_ptr<ScratchFolder> scratch_;
  UnsyncedFileSystem fs_{PosixFileSystem()};
  std::unique_ptr<EmbeddedCluster> cluster_;
  std::unique_ptr<client::Client> client_;
  std::unique_ptr<ChunkAdopter> adopter_;
  ChunkBook book_;
  ToldUsage usage_ ABSL_GUARDED_BY(book_.mu);
  std::unique_ptr<HeartbeatRelay> relay_;
  std::unique_ptr<OrderRunner> runner_;
  std::unique_ptr<ValueStore> values_;
  std::unique_ptr<ServerPool> pool_;
  std::unique_ptr<ConfigGroup> config_group_;
  int group_folders_ = 0;  // begun
  bool heard_ = false;     // a heartbeat message came
};

}  // namespace ballast::gateway
