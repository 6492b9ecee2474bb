// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "common/env/clock.h"
#include "common/env/executor.h"
#include "common/types/shard_config.h"
#include "protos/chunkserver_control_service.pb.h"
#include "protos/shardctl_service.pb.h"
#include "services/chunkserver/control/command_runner.h"
#include "services/chunkserver/control/group_session.h"
#include "services/chunkserver/control/master_stream.h"
#include "services/chunkserver/control/post_gate.h"
#include "services/chunkserver/store/chunk_store.h"
#include "services/chunkserver/store/server_identity.h"

namespace ballast::chunkserver {

struct HeartbeaterOptions {
  std::string zone;
  std::string address;                         // host:port under which others reach this server
  uint64_t incarnation = 0;                    // random per process
  absl::Duration interval = absl::Seconds(5);  // until the registry says otherwise
};

// Speaks for this server to all masters: one session per group of the current configuration.
//
// Guarantees: heartbeats never wait for the disk: what blocks (space, commands, fences) runs on the
// pool and comes back as a task. DUPLICATE_SERVER, STALE_BOOT and WRONG_CLUSTER end up in
// `on_fatal`, once, and nothing is sent afterwards. Concurrency: lives on one executor; every
// method and callback runs there. Lifetime: everything it is given outlives it; the gate is closed
// and the executor ended before it is destroyed.
class Heartbeater {
 public:
  struct Callbacks {
    // The masters do not know this server: register it (again). Called at most once until
    // OnRegistered.
    std::function<void()> register_server;
    std::function<void(const absl::Status&)> on_fatal;
    // The cluster's settings, when they are known and when they change.
    std::function<void(const v1::Settings&)> on_settings;
  };

  Heartbeater(HeartbeaterOptions options, Executor& executor, Clock& clock,
              std::shared_ptr<PostGate> gate, ChunkStore& store, ServerIdentity& identity,
              FenceTable fences, PostBlocking post_blocking, ChunkCopier& copier,
              TrafficControl& traffic, MasterStreams& streams, Callbacks callbacks);
  ~Heartbeater();

  // Begins: registers, and heartbeats once a configuration is known.
  void Start();
  void OnRegistered();
  void OnConfiguration(const ShardConfig& config);
  void OnRegistry(const v1::Registry& registry);
  // The store has changed.
  void OnNews();
  // Tells all masters that this server stops. Sends nothing afterwards.
  void SayStopping();

 private:
  void RefreshUsage();
  void SyncSessions();
  v1::Heartbeat MakeHeartbeat() const;
  void Fail(const absl::Status& status);

  const HeartbeaterOptions options_;
  Executor& executor_;
  const std::shared_ptr<PostGate> gate_;
  ChunkStore& store_;
  ServerIdentity& identity_;
  const PostBlocking post_blocking_;
  const Callbacks callbacks_;
  GroupSession::World world_;
  CommandRunner commands_;

  bool registered_ = false;
  bool registering_ = false;
  bool stopping_ = false;
  absl::Duration interval_;
  StoreUsage usage_;
  bool usage_known_ = false;
  std::optional<Executor::TimerId> usage_timer_;  // while none is being asked for
  ShardConfig config_;                            // version 0: none yet
  uint64_t config_version_ = 0;
  uint64_t next_source_ = 1;
  std::map<GroupId, std::unique_ptr<GroupSession>> sessions_;
};

}  // namespace ballast::chunkserver
