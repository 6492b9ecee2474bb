// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "absl/functional/any_invocable.h"
#include "absl/status/status.h"
#include "protos/master_service.pb.h"
#include "services/master/core/replica_mover.h"

namespace ballast::master {

// OK, or INVALID_ARGUMENT naming the field.
absl::Status Check(const v1::MoveReplicasRequest& request);

// Makes all moves of a checked request, at the same time as far as their limits allow, and calls
// `done` once when all have ended: OK with `response` filled, or, if this node stopped leading
// meanwhile, with NOT_LEADER or NOT_READY if nothing was begun, otherwise OUTCOME_UNKNOWN.
//
// Concurrency: on the executor; `done` runs there, never inside the call. Request and response
// live until then.
void RunMoves(ReplicaMover& mover, const v1::MoveReplicasRequest& request,
              v1::MoveReplicasResponse& response, absl::AnyInvocable<void(absl::Status)> done);

}  // namespace ballast::master
