// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "client/client.h"
#include "protos/master_service.pb.h"

// What both kinds of backend ask of masters in the same way.

namespace ballast::gateway {

// All chunk servers, as the first group's leader sees them. Fails like the client's reads.
absl::StatusOr<v1::ListServersResponse> ListServers(client::Client& client);

// The deadline of a call of so many moves: a good while, and what a slow network needs for each
// chunk.
absl::Duration MovesTimeout(size_t moves);

}  // namespace ballast::gateway
