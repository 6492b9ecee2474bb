// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <grpcpp/server_context.h>
#include <grpcpp/support/server_callback.h>

#include <deque>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "common/rpc/bulk_channel.h"
#include "common/rpc/grpc_server.h"
#include "common/rpc/status_bridge.h"
#include "protos/chunkserver_control_service.grpc.pb.h"
#include "tests/support/status_matchers.h"

namespace ballast::chunkserver {

// The end of heartbeat streams that a master would be: answers each and keeps all. Thread-safe.
class FakeMaster final : public v1::ChunkServerControl::CallbackService {
 public:
  FakeMaster() : port_(*GrpcServer::Start("127.0.0.1:0", {this})) {}
  ~FakeMaster() override { Stop(); }

  const std::string& address() const { return port_->address(); }
  void Stop() {
    if (port_ != nullptr) {
      port_->Shutdown(absl::ZeroDuration());
    }
  }

  // The next streams end at once with this.
  void Refuse(absl::Status status) {
    absl::MutexLock lock(&mu_);
    refusal_ = std::move(status);
  }
  // Goes out with the next answer.
  void Order(const v1::Command& command) {
    absl::MutexLock lock(&mu_);
    orders_.push_back(command);
  }
  // Waits until `done` holds of all heartbeats received so far; false after 20 s.
  bool Await(std::function<bool(const std::vector<v1::Heartbeat>&)> done) {
    absl::MutexLock lock(&mu_);
    const auto holds = [this, &done]()
                           ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_) { return done(received_); };
    return mu_.AwaitWithTimeout(absl::Condition(&holds), absl::Seconds(20));
  }

  grpc::ServerBidiReactor<v1::Heartbeat, v1::HeartbeatReply>* HeartbeatStream(
      grpc::CallbackServerContext* context) override {
    EXPECT_NE(context->client_metadata().find(kClusterIdMetadata),
              context->client_metadata().end());
    return new Stream(*this);
  }

 private:
  class Stream final : public grpc::ServerBidiReactor<v1::Heartbeat, v1::HeartbeatReply> {
   public:
    explicit Stream(FakeMaster& master) : master_(master) {
      absl::Status refusal;
      {
        absl::MutexLock lock(&master_.mu_);
        refusal = master_.refusal_;
      }
      if (refusal.ok()) {
        StartRead(&heartbeat_);
      } else {
        Finish(ToGrpc(refusal));
      }
    }

   private:
    void OnReadDone(bool ok) override {
      if (!ok) {
        Finish(grpc::Status::OK);
        return;
      }
      reply_.Clear();
      reply_.set_sequence(heartbeat_.sequence());
      {
        absl::MutexLock lock(&master_.mu_);
        master_.received_.push_back(heartbeat_);
        for (const v1::Command& order : master_.orders_) {
          *reply_.add_commands() = order;
        }
        master_.orders_.clear();
      }
      heartbeat_.Clear();
      StartWrite(&reply_);
    }
    void OnWriteDone(bool ok) override {
      if (ok) {
        StartRead(&heartbeat_);
      } else {
        Finish(grpc::Status::CANCELLED);
      }
    }
    void OnDone() override { delete this; }

    FakeMaster& master_;
    v1::Heartbeat heartbeat_;
    v1::HeartbeatReply reply_;
  };

  absl::Mutex mu_;
  absl::Status refusal_ ABSL_GUARDED_BY(mu_);
  std::vector<v1::Command> orders_ ABSL_GUARDED_BY(mu_);
  std::vector<v1::Heartbeat> received_ ABSL_GUARDED_BY(mu_);
  std::unique_ptr<GrpcServer> port_;
};

}  // namespace ballast::chunkserver
