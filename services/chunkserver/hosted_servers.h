// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/synchronization/mutex.h"
#include "common/env/executor.h"
#include "common/env/file_system.h"
#include "common/rpc/bulk_channel.h"
#include "common/rpc/grpc_server.h"
#include "protos/chunkserver_control_service.pb.h"
#include "services/chunkserver/chunk_data_service.h"
#include "services/chunkserver/control/chunk_copier.h"
#include "services/chunkserver/control/command_runner.h"
#include "services/chunkserver/control/grpc_chunk_sources.h"
#include "services/chunkserver/control/post_gate.h"
#include "services/chunkserver/store/chunk_store.h"
#include "services/chunkserver/store/server_identity.h"
#include "services/chunkserver/store_directory.h"

namespace ballast::chunkserver {

struct HostedServersOptions {
  std::string cluster_id;
  std::string listen = "127.0.0.1:0";
  int disk_threads = 8;       // shared by all servers
  size_t streams_max = 256;   // of all servers together
  ChunkCopierOptions copier;  // of each server
};

// One server to be hosted.
struct HostedServer {
  std::string server_id;  // UUID
  std::string folder;     // formatted if it is not yet; its parent exists
  uint64_t capacity_bytes = 0;
  // As ChunkStoreOptions: capacity_bytes holds whatever the disk's size is.
  bool capacity_is_nominal = false;
};

// Many whole chunk servers behind one port, for a process that speaks for them to masters: each has
// a folder, a store and a command queue of its own; port, disk threads and connections are shared.
// They send no heartbeats. What masters order is given to Execute; what is to be reported is read
// from store().
//
// Guarantees: those of ChunkStore and CommandRunner, for each server. Concurrency: thread-safe;
// methods that block say so. Lifetime: `fs` outlives it.
// Start order: Start listens; requests for a server get UNKNOWN_SERVER until its AddServer has
// returned. Stop order (the destructor, which blocks): refuse new calls, cancel copies, wait for
// running calls (briefly, then cancel) and copies, end commands, end disk work, release the
// folders. Commands that are still waiting then are dropped, and their callbacks are destroyed
// uncalled.
class HostedServers {
 public:
  //   INVALID_ARGUMENT   no such address, or the cluster id is no UUID
  //   UNAVAILABLE        the port is taken
  static absl::StatusOr<std::unique_ptr<HostedServers>> Start(FileSystem& fs,
                                                              const HostedServersOptions& options);
  ~HostedServers();
  HostedServers(const HostedServers&) = delete;
  HostedServers& operator=(const HostedServers&) = delete;

  // host:port with the real port: the address of every server here.
  const std::string& address() const { return port_->address(); }

  // Formats the folder if need be, counts the start, reads what is there and serves it. Blocks on
  // the disk. Not to be called for two servers of the same folder at once.
  //   ALREADY_EXISTS        the server is hosted here already
  //   FAILED_PRECONDITION   the folder is another server's or cluster's, or in use
  //   INVALID_ARGUMENT      the id is no UUID; a nominal capacity of 0
  //   DATA_LOSS             the folder is damaged
  absl::Status AddServer(const HostedServer& server);

  // Carries out commands for this server. `on_result` is called once for each, in the order in
  // which they end, on a thread of this object; it must not block. A command that is waiting or
  // running already is not carried out twice, and answers all who gave it.
  //   NOT_FOUND / UNKNOWN_SERVER   no such server; on_result is not called
  absl::Status Execute(absl::string_view server_id, std::vector<v1::Command> commands,
                       std::function<void(const v1::CommandResult&)> on_result);

  // The server's chunks, space and reports; valid as long as this object. Null: no such server.
  ChunkStore* store(absl::string_view server_id) const;
  // The number of the server's start; 0: no such server.
  uint64_t boot_epoch(absl::string_view server_id) const;

 private:
  struct Hosted;

  HostedServers(FileSystem& fs, const HostedServersOptions& options);
  PostBlocking PostBlockingWork();
  Hosted* Find(absl::string_view server_id) const ABSL_LOCKS_EXCLUDED(mu_);

  FileSystem& fs_;
  const std::string cluster_id_;
  const ChunkCopierOptions copier_options_;
  BulkChannelPool channels_{kIdleConnections, kConnectTimeout};
  GrpcChunkSources sources_;
  StoreDirectory directory_;
  mutable absl::Mutex mu_;
  // Added, never removed; what is in it is used on control_.
  std::map<std::string, std::unique_ptr<Hosted>, std::less<>> servers_ ABSL_GUARDED_BY(mu_);
  std::unique_ptr<Executor> control_;  // command queues; nothing that blocks
  std::shared_ptr<PostGate> gate_;     // leads to control_
  std::unique_ptr<ThreadPool> disk_;
  std::unique_ptr<ChunkDataService> service_;
  std::unique_ptr<GrpcServer> port_;
};

}  // namespace ballast::chunkserver
