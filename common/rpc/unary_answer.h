// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <grpcpp/server_context.h>
#include <grpcpp/support/server_callback.h>

#include <utility>

#include "absl/status/status.h"
#include "common/rpc/status_bridge.h"

namespace ballast {

// The answer to one unary call: finishes it exactly once, with what it is told or, if it is dropped
// unanswered (with a callback that never ran), with `if_dropped`. Movable, so that it travels with
// the work. Request and response of the call live until then.
class UnaryAnswer {
 public:
  UnaryAnswer(grpc::ServerUnaryReactor* reactor, absl::Status if_dropped)
      : reactor_(reactor), if_dropped_(std::move(if_dropped)) {}
  UnaryAnswer(UnaryAnswer&& other) noexcept
      : reactor_(std::exchange(other.reactor_, nullptr)),
        if_dropped_(std::move(other.if_dropped_)) {}
  UnaryAnswer& operator=(UnaryAnswer&&) = delete;
  ~UnaryAnswer() {
    if (reactor_ != nullptr) Finish(if_dropped_);
  }
  // Once.
  void Finish(const absl::Status& status) {
    std::exchange(reactor_, nullptr)->Finish(ToGrpc(status));
  }

 private:
  grpc::ServerUnaryReactor* reactor_;
  absl::Status if_dropped_;
};

// For calls that are answered without leaving gRPC's thread.
inline grpc::ServerUnaryReactor* FinishNow(grpc::CallbackServerContext* context,
                                           const absl::Status& status) {
  grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
  reactor->Finish(ToGrpc(status));
  return reactor;
}

}  // namespace ballast
