// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

#include "absl/status/status.h"
#include "client/cli/command.h"

// The verbs about repair, rebalancing, drains and damaged chunks.

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
// What 'status' adds to the cluster's state; empty if the masters cannot be asked.
std::string MaintenanceSummary(Command& command);

}  // namespace ballast::client
