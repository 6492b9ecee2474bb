// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

#include "absl/status/status.h"
#include "absl/time/time.h"

namespace ballast::client {

// Asks the gRPC health service of the server at `address` (host:port) whether it serves: one try,
// for scripts and health checks of containers. Needs no cluster id. Blocks for up to `timeout`.
//   UNAVAILABLE                      nobody listens there, or the server says that it does not
//   serve DEADLINE_EXCEEDED                it is silent UNIMPLEMENTED                    whoever
//   listens there offers no health service
absl::Status CheckHealth(const std::string& address, absl::Duration timeout);

}  // namespace ballast::client
