// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "common/env/executor.h"
#include "common/env/file_system.h"
#include "common/raft/loopback_transport.h"
#include "common/raft/member_folder.h"
#include "common/raft/raft_log.h"
#include "common/rpc/grpc_server.h"
#include "services/shardctl/control/watch_calls.h"
#include "services/shardctl/core/config_machine.h"
#include "services/shardctl/options.h"
#include "services/shardctl/pool_service.h"
#include "services/shardctl/shardctl_service.h"

namespace ballast::shardctl {

// Makes the folder and its empty log. Returns the cluster id. Codes as FormatMemberFolder, and
// INVALID_ARGUMENT for more than one voter: the transport between voters is not built yet.
absl::StatusOr<std::string> Format(FileSystem& fs, const Options& options);

// A whole shard controller in one object: folder, log, machine, service, port.
//
// Start order: lock the folder, listen (calls get NOT_READY), recover the log, serve. Stop order:
// detach the service from the log (waiting calls are answered), end the log, shut the port down,
// end the executors, release the folder.
// Thread-safe.
class Server {
 public:
  // Serves when it returns. `on_failure` is called once, on a thread of the server, when its disk
  // has failed: the process should end.
  //   NOT_FOUND             the folder is not formatted
  //   FAILED_PRECONDITION   another process has it, or it is another service's
  //   DATA_LOSS             it is damaged
  //   UNAVAILABLE           the port is taken
  static absl::StatusOr<std::unique_ptr<Server>> Start(
      FileSystem& fs, const Options& options, std::function<void(const absl::Status&)> on_failure);

  ~Server();
  Server(const Server&) = delete;
  Server& operator=(const Server&) = delete;

  // host:port with the real port.
  const std::string& address() const { return port_->address(); }
  const MemberIdentity& identity() const { return folder_->identity(); }

 private:
  explicit Server(std::unique_ptr<MemberFolder> folder);
  absl::Status OpenLog(FileSystem& fs, std::function<void(const absl::Status&)> on_failure);
  // Runs the task on the executor and waits for it.
  void OnExecutor(Task task);

  const std::unique_ptr<MemberFolder> folder_;
  std::unique_ptr<Executor> executor_;  // of the log and all that stands on it
  std::unique_ptr<Executor> disk_;
  ConfigMachine machine_;
  WatchCalls watches_;
  PoolWatches pool_watches_;
  WatchedMachine watched_;
  LogCalls calls_;
  ShardctlService service_;
  PoolService pools_;
  LoopbackTransport transport_;
  std::unique_ptr<GrpcServer> port_;
  std::unique_ptr<RaftLog> log_;  // used on the executor
};

}  // namespace ballast::shardctl
