// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "common/env/executor.h"
#include "common/env/file_system.h"
#include "common/rpc/bulk_channel.h"
#include "common/rpc/grpc_server.h"
#include "common/rpc/shardctl_client.h"
#include "common/rpc/shardctl_watcher.h"
#include "services/chunkserver/chunk_data_service.h"
#include "services/chunkserver/control/chunk_copier.h"
#include "services/chunkserver/control/grpc_chunk_sources.h"
#include "services/chunkserver/control/grpc_master_streams.h"
#include "services/chunkserver/control/heartbeater.h"
#include "services/chunkserver/control/post_gate.h"
#include "services/chunkserver/control/scrubber.h"
#include "services/chunkserver/control/traffic_control.h"
#include "services/chunkserver/options.h"
#include "services/chunkserver/store/chunk_store.h"
#include "services/chunkserver/store/server_identity.h"

namespace ballast::chunkserver {

// Makes the folder of a new server; returns its id. Codes as FormatFolder; without a cluster id in
// the options also what asking shardctl can give.
absl::StatusOr<std::string> Format(FileSystem& fs, const Options& options);

// A whole chunk server in one object: folder, store, data service, port, heartbeats.
//
// Start order: lock the folder and count the boot, listen (bulk calls get NOT_READY), register and
// heartbeat (LOADING), scan the folder, serve. It needs neither shardctl nor masters to serve
// bytes. Stop order: refuse new calls, tell the masters, cancel copies, wait for calls (briefly,
// then cancel) and for copies, end heartbeats, end scrubbing and disk work, release the folder.
// Thread-safe.
class Server {
 public:
  // Listens when it returns; the scan goes on behind it. `on_failure` is called at most once, on a
  // thread of the server, when the process should end: another holder of the id, another cluster, a
  // folder that cannot be scanned.
  //   NOT_FOUND             the folder is not formatted
  //   INVALID_ARGUMENT      an option is wrong
  //   FAILED_PRECONDITION   another process has the folder
  //   DATA_LOSS             it is damaged
  //   UNAVAILABLE           the port is taken
  static absl::StatusOr<std::unique_ptr<Server>> Start(
      FileSystem& fs, const Options& options, std::function<void(const absl::Status&)> on_failure);

  ~Server();
  Server(const Server&) = delete;
  Server& operator=(const Server&) = delete;

  // host:port with the real port.
  const std::string& address() const { return port_->address(); }
  const ServerIdentity& identity() const { return *identity_; }
  ChunkStore& store() { return *store_; }

 private:
  Server(std::unique_ptr<ServerIdentity> identity, const Options& options,
         std::function<void(const absl::Status&)> on_failure);
  void StartControl(const Options& options, FenceTable fences);
  void Register();
  void Scan();
  void Fail(const absl::Status& status);
  // Runs the task on the heartbeats' executor and waits for it.
  void OnControl(Task task);

  const std::unique_ptr<ServerIdentity> identity_;
  const std::function<void(const absl::Status&)> on_failure_;
  std::atomic<bool> failed_{false};
  std::atomic<bool> stopping_{false};
  std::atomic<bool> news_posted_{false};

  std::unique_ptr<Executor> control_;     // heartbeats; nothing that blocks
  std::shared_ptr<PostGate> gate_;        // leads to control_
  std::unique_ptr<Executor> pacer_;       // lets bytes pass that are under a limit
  std::shared_ptr<PostGate> pacer_gate_;  // leads to pacer_
  std::unique_ptr<TrafficControl> traffic_;
  BulkChannelPool channels_{kIdleConnections, kConnectTimeout};
  std::unique_ptr<ChunkStore> store_;
  StoreDirectory directory_;  // of one
  const size_t scan_helpers_;
  std::unique_ptr<ThreadPool> disk_;
  std::unique_ptr<ChunkDataService> service_;
  std::unique_ptr<GrpcServer> port_;
  std::unique_ptr<GrpcChunkSources> sources_;
  std::unique_ptr<ChunkCopier> copier_;
  std::unique_ptr<Scrubber> scrubber_;  // used on pacer_
  std::unique_ptr<GrpcMasterStreams> streams_;
  std::unique_ptr<ShardctlClient> shardctl_;
  v1::RegisterChunkServerRequest registration_;
  std::unique_ptr<Heartbeater> heartbeater_;  // used on control_
  std::unique_ptr<ShardctlWatcher> watcher_;
  std::unique_ptr<Executor> registrar_;  // calls to shardctl, which block
  std::unique_ptr<Executor> scan_;
};

}  // namespace ballast::chunkserver
