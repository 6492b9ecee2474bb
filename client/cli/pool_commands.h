// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "absl/status/status.h"
#include "client/cli/command.h"

// The verbs about routing pools.

namespace ballast::client {

absl::Status RunPoolCreate(Command& command);
absl::Status RunPoolDelete(Command& command);
absl::Status RunPoolList(Command& command);
absl::Status RunPoolShow(Command& command);
absl::Status RunPoolAdd(Command& command);
absl::Status RunPoolRemove(Command& command);
absl::Status RunPoolDrain(Command& command);
absl::Status RunPoolUndrain(Command& command);
absl::Status RunPoolRoute(Command& command);

}  // namespace ballast::client
