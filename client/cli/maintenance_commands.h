// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "absl/status/status.h"
#include "client/cli/command.h"

// The verbs about the cluster's state, repair, rebalancing, drains and damaged chunks.

namespace ballast::client {

absl::Status RunRebalanceCheck(Command& command);
absl::Status RunRebalancePlan(Command& command);
absl::Status RunRebalanceRun(Command& command);
absl::Status RunRebalanceStop(Command& command);
absl::Status RunRepairAll(Command& command);
absl::Status RunDrain(Command& command);
absl::Status RunUndrain(Command& command);
absl::Status RunFsck(Command& command);
absl::Status RunExplain(Command& command);
// The cluster's state, and what the masters do by themselves, if they can be asked.
absl::Status RunStatus(Command& command);

}  // namespace ballast::client
