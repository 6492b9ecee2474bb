// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <map>
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
#include "common/rpc/shardctl_watcher.h"
#include "services/master/control/config_poller.h"
#include "services/master/control/copy_engine.h"
#include "services/master/control/expiry_loop.h"
#include "services/master/control/heartbeat_intake.h"
#include "services/master/control/live_view.h"
#include "services/master/control/maintenance_desk.h"
#include "services/master/control/maintenance_loop.h"
#include "services/master/control/proposer.h"
#include "services/master/control/rebalance_loop.h"
#include "services/master/control/repair_loop.h"
#include "services/master/core/master_machine.h"
#include "services/master/heartbeat_service.h"
#include "services/master/master_service.h"
#include "services/master/options.h"

namespace ballast::master {

// Makes the folder and its empty log. Durable on return. Codes as FormatMemberFolder, and
// INVALID_ARGUMENT for more than one voter: the transport between voters is not built yet.
absl::Status Format(FileSystem& fs, const Options& options);

// A whole master in one object: folder, log, machine, live view, services, port.
//
// Start order: lock the folder, listen (calls get NOT_READY or NOT_LEADER), recover the log, serve,
// follow the shard controller, which may be down. Stop order: stop following, end heartbeat streams
// and loops, detach the services from the log, end the log, shut the port down, end the executors,
// release the folder.
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
  void Follow(const Options& options);
  // The log's role observer, on the executor.
  void OnRole(const ReplicatedLog::State& state);
  // Runs the task on the executor and waits for it.
  void OnExecutor(Task task);

  const std::unique_ptr<MemberFolder> folder_;
  const std::map<NodeId, std::string> addresses_;  // of the group's members
  std::unique_ptr<Executor> executor_;             // of the log and all that stands on it
  std::unique_ptr<Executor> disk_;
  MasterMachine machine_;
  LiveView view_;
  Proposer proposer_;
  HeartbeatIntake intake_;
  ConfigPoller poller_;
  CopyEngine copies_;
  ClusterPictures pictures_;
  CopyDesk copy_desk_;
  RepairLoop repair_;
  RebalanceLoop rebalance_;
  MaintenanceLoop maintenance_;
  MaintenanceDesk desk_;
  ExpiryLoop expiry_;
  MasterService master_service_;
  HeartbeatService heartbeat_service_;
  LoopbackTransport transport_;
  std::unique_ptr<GrpcServer> port_;
  std::unique_ptr<RaftLog> log_;  // used on the executor
  std::unique_ptr<ShardctlWatcher> watcher_;
};

}  // namespace ballast::master
