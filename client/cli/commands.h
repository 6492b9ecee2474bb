// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "client/cancellation.h"
#include "client/cli/cli_options.h"

namespace ballast::client {

// Does what one invocation asks for: results to standard output, notes and errors to standard
// error. Returns the exit status: 0 done, 1 failed, 130 interrupted by `cancel`.
int RunCommand(const CliOptions& options, Cancellation& cancel);

}  // namespace ballast::client
