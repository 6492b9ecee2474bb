// SPDX-License-Identifier: Apache-2.0
#include "services/master/control/move_call.h"
#include "services/master/core/balance.h"
#include "services/master/master_service.h"
#include "services/master/master_service_calls.h"

// Moves of replicas, and whether any are called for.

namespace ballast::master {

grpc::ServerUnaryReactor* MasterService::MoveReplicas(Context* context,
                                                      const v1::MoveReplicasRequest* request,
                                                      v1::MoveReplicasResponse* response) {
  return AsLeader(context, Check(*request), [this, request, response](UnaryAnswer answer) mutable {
    // Behind a barrier, so that a leader that was deposed unknowingly denies no replica's
    // existence.
    proposer_.log()->ReadBarrier(
        [this, request, response, answer = std::move(answer)](absl::Status barrier) mutable {
          if (!barrier.ok()) {
            answer.Finish(WithHint(barrier));
            return;
          }
          RunMoves(mover_, *request, *response,
                   [this, answer = std::move(answer)](const absl::Status& status) mutable {
                     answer.Finish(WithHint(status));
                   });
        });
  });
}

grpc::ServerUnaryReactor* MasterService::CheckBalance(Context* context,
                                                      const v1::CheckBalanceRequest*,
                                                      v1::CheckBalanceResponse* response) {
  return AsLeader(context, absl::OkStatus(), [this, response](UnaryAnswer answer) {
    *response = ballast::master::CheckBalance(view_.ServerStatuses());
    answer.Finish(absl::OkStatus());
  });
}

}  // namespace ballast::master
