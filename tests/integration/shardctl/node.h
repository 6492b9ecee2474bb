// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <map>
#include <memory>
#include <string>
#include <utility>

#include "absl/synchronization/notification.h"
#include "common/base/check.h"
#include "common/env/executor.h"
#include "common/rpc/grpc_server.h"
#include "common/rpc/shardctl_client.h"
#include "services/shardctl/control/watch_calls.h"
#include "services/shardctl/core/config_machine.h"
#include "services/shardctl/pool_service.h"
#include "services/shardctl/shardctl_service.h"
#include "tests/support/local_log.h"

namespace ballast::shardctl {

inline constexpr char kCluster[] = "00000000-0000-4000-8000-0000000000aa";
// Fails the test, decides nothing else.
inline constexpr absl::Duration kPatience = absl::Seconds(20);

// One shardctl process's worth, on a log in memory.
class Node {
 public:
  explicit Node(const std::string& listen = "127.0.0.1:0", const std::string& image = "",
                std::map<NodeId, std::string> addresses = {}) {
    if (!image.empty()) {
      CHECK_OK(machine_.RestoreImage("controller", image));
    }
    calls_ = std::make_unique<LogCalls>(
        *executor_,
        ServiceFacts{.cluster_id = kCluster, .shard_count = 16, .addresses = std::move(addresses)});
    calls_->SetPolls([this](const absl::Status& status) {
      watches_.FailAll(status);
      pool_watches_.FailAll(status);
    });
    service_ = std::make_unique<ShardctlService>(*calls_, machine_, watches_);
    pools_ = std::make_unique<PoolService>(*calls_, machine_, pool_watches_);
    auto server = GrpcServer::Start(listen, {service_.get(), pools_.get()});
    CHECK_OK(server.status());
    server_ = *std::move(server);
    OnExecutor([this] {
      log_ = std::make_unique<testing::LocalLog>(*executor_, watched_);
      calls_->Attach(*log_);
    });
  }

  ~Node() { Stop(); }

  // Returns the state, for a successor.
  std::string Stop() {
    if (server_ == nullptr) {
      return image_;
    }
    OnExecutor([this] {
      calls_->Detach();
      log_.reset();
      log::Image image;
      CHECK(image.ParseFromString(machine_.TakeImage("controller")));
      image.set_applied_index(0);  // the successor's log counts from 1 again
      image_ = image.SerializeAsString();
    });
    server_->Shutdown(absl::Seconds(5));
    server_.reset();
    executor_.reset();
    return image_;
  }

  void OnExecutor(Task task) {
    absl::Notification done;
    executor_->Post([&] {
      task();
      done.Notify();
    });
    done.WaitForNotification();
  }

  // On the executor only.
  testing::LocalLog& log() { return *log_; }
  size_t waiting() {
    size_t count = 0;
    OnExecutor([&] { count = watches_.waiting(); });
    return count;
  }
  size_t waiting_for_pools() {
    size_t count = 0;
    OnExecutor([&] { count = pool_watches_.waiting(); });
    return count;
  }
  const std::string& address() const { return server_->address(); }

 private:
  std::unique_ptr<Executor> executor_ = MakeThreadExecutor("shardctl");
  ConfigMachine machine_{16};
  WatchCalls watches_{*executor_, machine_};
  PoolWatches pool_watches_{*executor_, machine_};
  WatchedMachine watched_{machine_, watches_, pool_watches_};
  std::unique_ptr<LogCalls> calls_;
  std::unique_ptr<ShardctlService> service_;
  std::unique_ptr<PoolService> pools_;
  std::unique_ptr<testing::LocalLog> log_;
  std::unique_ptr<GrpcServer> server_;
  std::string image_;
};

inline ShardctlClientOptions ClientOf(const std::string& address) {
  return {.addresses = {address},
          .cluster_id = "",
          .attempt_timeout = absl::Seconds(5),
          .total_timeout = kPatience};
}

}  // namespace ballast::shardctl
