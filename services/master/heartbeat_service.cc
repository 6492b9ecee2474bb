// SPDX-License-Identifier: Apache-2.0
#include "services/master/heartbeat_service.h"

#include <deque>
#include <memory>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "common/rpc/grpc_server.h"
#include "common/rpc/status_bridge.h"

namespace ballast::master {
namespace {

// Replies that wait for the network; unsolicited ones beyond this are refused.
constexpr size_t kRepliesMax = 16;
// Heartbeats without news wait this long for others, so that many servers do not wake the executor
// each on their own: of what 10,000 of them cost, most is switching threads.
constexpr absl::Duration kIdleWait = absl::Milliseconds(20);

// Nothing but "still here".
bool IsIdle(const v1::Heartbeat& heartbeat) {
  return heartbeat.shards().empty() && heartbeat.results().empty() &&
         heartbeat.server_id().empty() && heartbeat.health() == v1::SERVER_HEALTH_OK;
}

}  // namespace

// Idle heartbeats on their way to the executor. Of a stream there is one at a time at most, so
// nothing overtakes anything of the same stream.
class HeartbeatService::IdleBatch {
 public:
  explicit IdleBatch(Executor& executor) : executor_(executor) {}

  // Calls `take` on the executor within kIdleWait.
  void Add(Task take) {
    absl::MutexLock lock(&mu_);
    waiting_.push_back(std::move(take));
    if (waiting_.size() == 1) {
      executor_.RunAfter(kIdleWait, [this] { Run(); });
    }
  }

 private:
  void Run() {
    std::vector<Task> tasks;
    {
      absl::MutexLock lock(&mu_);
      tasks.swap(waiting_);
    }
    for (Task& task : tasks) {
      task();
    }
  }

  Executor& executor_;
  absl::Mutex mu_;
  std::vector<Task> waiting_ ABSL_GUARDED_BY(mu_);
};

// One stream. gRPC's events come on its threads and go to the executor as tasks; the intake's
// answers come from the executor. It keeps itself alive until gRPC is done with it and the executor
// has told the intake.
class HeartbeatService::StreamReactor final
    : public grpc::ServerBidiReactor<v1::Heartbeat, v1::HeartbeatReply>,
      public HeartbeatSink {
 public:
  static StreamReactor* Start(Executor& executor, HeartbeatIntake& intake, IdleBatch& idle) {
    auto reactor = std::make_shared<StreamReactor>(executor, intake, idle);
    reactor->self_ = reactor;
    executor.Post([reactor] { reactor->stream_ = reactor->intake_.OnStreamBegan(reactor.get()); });
    reactor->StartRead(&reactor->heartbeat_);
    return reactor.get();
  }

  StreamReactor(Executor& executor, HeartbeatIntake& intake, IdleBatch& idle)
      : executor_(executor), intake_(intake), idle_(idle) {}

  // --- HeartbeatSink, on the executor ---
  void Answer(v1::HeartbeatReply reply) override {
    absl::MutexLock lock(&mu_);
    if (!finished_) {
      Enqueue(std::move(reply));
      StartRead(&heartbeat_);
    }
  }
  bool Push(v1::HeartbeatReply reply) override {
    absl::MutexLock lock(&mu_);
    if (finished_ || replies_.size() >= kRepliesMax) {
      return false;
    }
    Enqueue(std::move(reply));
    return true;
  }
  void Close(const absl::Status& status) override { FinishOnce(ToGrpc(status)); }

  // --- gRPC's threads ---
  void OnReadDone(bool ok) override {
    if (!ok) {
      FinishOnce(grpc::Status::OK);
      return;
    }
    auto heartbeat = std::make_shared<v1::Heartbeat>();
    heartbeat->Swap(&heartbeat_);
    const bool idle = IsIdle(*heartbeat);
    Task take = [reactor = self_, heartbeat = std::move(heartbeat)]() mutable {
      reactor->intake_.OnStreamHeartbeat(reactor->stream_, std::move(heartbeat));
    };
    if (idle) {
      idle_.Add(std::move(take));
    } else {
      executor_.Post(std::move(take));
    }
  }
  void OnWriteDone(bool ok) override {
    absl::MutexLock lock(&mu_);
    replies_.pop_front();
    if (finished_) {
      Finish(status_);
    } else if (!ok) {
      replies_.clear();  // the read fails, too, and finishes
    } else if (!replies_.empty()) {
      StartWrite(&replies_.front());
    }
  }
  void OnCancel() override { FinishOnce(grpc::Status::CANCELLED); }
  void OnDone() override {
    executor_.Post(
        [reactor = std::move(self_)] { reactor->intake_.OnStreamEnded(reactor->stream_); });
  }

 private:
  void Enqueue(v1::HeartbeatReply reply) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_) {
    replies_.push_back(std::move(reply));
    if (replies_.size() == 1) {
      StartWrite(&replies_.front());
    }
  }
  // Finishes once, now or after the write that is under way; nothing is started afterwards.
  void FinishOnce(grpc::Status status) {
    absl::MutexLock lock(&mu_);
    if (std::exchange(finished_, true)) {
      return;
    }
    if (replies_.empty()) {
      Finish(status);
    } else {
      status_ = std::move(status);
    }
  }

  Executor& executor_;
  HeartbeatIntake& intake_;
  IdleBatch& idle_;
  std::shared_ptr<StreamReactor> self_;  // until OnDone
  v1::Heartbeat heartbeat_;              // being read
  uint64_t stream_ = 0;                  // owned by the executor

  absl::Mutex mu_;
  std::deque<v1::HeartbeatReply> replies_ ABSL_GUARDED_BY(mu_);  // the first is being written
  bool finished_ ABSL_GUARDED_BY(mu_) = false;
  grpc::Status status_ ABSL_GUARDED_BY(mu_);
};

HeartbeatService::HeartbeatService(Executor& executor, HeartbeatIntake& intake,
                                   std::string cluster_id)
    : executor_(executor),
      intake_(intake),
      cluster_id_(std::move(cluster_id)),
      idle_(std::make_unique<IdleBatch>(executor)) {}

HeartbeatService::~HeartbeatService() = default;

grpc::ServerBidiReactor<v1::Heartbeat, v1::HeartbeatReply>* HeartbeatService::HeartbeatStream(
    grpc::CallbackServerContext* context) {
  if (const absl::Status status = CheckClusterId(*context, cluster_id_); !status.ok()) {
    class Refusal final : public grpc::ServerBidiReactor<v1::Heartbeat, v1::HeartbeatReply> {
     public:
      explicit Refusal(const grpc::Status& refusal) { Finish(refusal); }
      void OnDone() override { delete this; }
    };
    return new Refusal(ToGrpc(status));
  }
  return StreamReactor::Start(executor_, intake_, *idle_);
}

grpc::ServerUnaryReactor* HeartbeatService::SendHeartbeat(grpc::CallbackServerContext* context,
                                                          const v1::Heartbeat* request,
                                                          v1::HeartbeatReply* response) {
  grpc::ServerUnaryReactor* const reactor = context->DefaultReactor();
  if (const absl::Status status = CheckClusterId(*context, cluster_id_); !status.ok()) {
    reactor->Finish(ToGrpc(status));
    return reactor;
  }
  executor_.Post([this, reactor, response, heartbeat = std::make_shared<v1::Heartbeat>(*request)] {
    intake_.OnUnaryHeartbeat(heartbeat,
                             [reactor, response](absl::StatusOr<v1::HeartbeatReply> reply) {
                               const grpc::Status status = ToGrpc(reply.status());
                               if (reply.ok()) {
                                 *response = *std::move(reply);
                               }
                               reactor->Finish(status);
                             });
  });
  return reactor;
}

}  // namespace ballast::master
