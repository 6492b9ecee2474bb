// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <string>

#include "absl/container/btree_map.h"
#include "absl/status/statusor.h"
#include "common/env/executor.h"
#include "common/rpc/grpc_server.h"
#include "common/rpc/unary_answer.h"
#include "protos/shardctl_service.grpc.pb.h"

namespace ballast::gateway {

// A shard controller without a will of its own: it hands the configurations that it is given to the
// masters of one group, in order, without gaps. Nothing is durable; the group lives no longer than
// this. Of ShardControl it serves GetCluster and Watch; everything else is UNIMPLEMENTED.
//
// Concurrency: thread-safe.
class GroupController {
 public:
  // Serves on a port of the loopback interface when it returns.
  static absl::StatusOr<std::unique_ptr<GroupController>> Start(const std::string& cluster_id,
                                                                uint32_t shard_count);
  // Ends waiting calls.
  ~GroupController();
  GroupController(const GroupController&) = delete;
  GroupController& operator=(const GroupController&) = delete;

  const std::string& address() const { return port_->address(); }

  // The next configuration: its version is the one before + 1, the first is 1. Kept until a caller
  // says that it has it.
  void Publish(v1::Configuration configuration);

 private:
  class Service;
  class WatchReactor;
  struct WaitingCall {
    v1::WatchRequest request;
    v1::WatchResponse* response = nullptr;
    UnaryAnswer answer;
    Executor::TimerId timer = 0;
  };

  GroupController(std::string cluster_id, uint32_t shard_count);

  // --- on the executor ---
  void OnWatch(uint64_t id, WaitingCall call);
  void Answer(uint64_t id, const absl::Status& status);
  bool HasNews(const v1::WatchRequest& request) const;

  const std::string cluster_id_;
  const uint32_t shard_count_;
  // Owned by the executor.
  uint64_t version_ = 0;
  absl::btree_map<uint64_t, v1::Configuration> kept_;  // by version
  absl::btree_map<uint64_t, WaitingCall> calls_;

  std::atomic<uint64_t> next_call_{1};
  std::unique_ptr<Service> service_;
  std::unique_ptr<Executor> executor_;
  std::unique_ptr<GrpcServer> port_;
};

}  // namespace ballast::gateway
