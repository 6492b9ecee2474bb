// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <vector>

#include "absl/functional/any_invocable.h"
#include "absl/status/status.h"
#include "protos/master_service.pb.h"
#include "services/master/control/proposer.h"
#include "services/master/core/placement_view.h"

namespace ballast::master {

// What a batch works on. All outlive it.
struct BatchTools {
  const MasterMachine* machine = nullptr;
  PlacementView* view = nullptr;
  Proposer* proposer = nullptr;
};

// Runs the operations of a checked request and fills `response` with an outcome for each.
//
// Operations on one key take effect in list order. They run in rounds: a round ends before the
// first operation that reads a key the round has written, or writes one that it has read. In a
// round all reads come first, behind one read barrier, and all mutations are proposed in one turn.
// Servers for a begin_write are chosen before its round's mutations are proposed; one that finds
// none has that outcome and is not proposed. A batch without such conflicts, the usual one, is a
// single round with at most one log entry.
//
// `commands` has the command of each mutation at its place. `done` gets OK when all have an
// outcome, or the failure that ended the batch as a whole (NOT_LEADER, OUTCOME_UNKNOWN,
// OVERLOADED); then mutations may have been executed. Concurrency: on the executor. Lifetime:
// request and response live until `done` runs or is destroyed; it is destroyed unrun if the log
// drops what it waits for.
void RunBatch(const BatchTools& tools, const v1::BatchRequest& request,
              std::vector<mlog::Command> commands, v1::BatchResponse& response,
              absl::AnyInvocable<void(absl::Status)> done);

}  // namespace ballast::master
