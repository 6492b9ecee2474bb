// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "absl/types/span.h"
#include "protos/master_service.pb.h"

namespace ballast::master {

// A server this many points of utilisation away from the average is out of balance.
inline constexpr double kBalanceThresholdPoints = 20;

// How evenly servers are filled. Those that live (alive or suspect) and are active count, be new
// replicas placed on them or not: they are servers to whoever asks. Draining ones are on their way
// out. Example: 90, 50, 10 %: average 50, the first is overloaded, the last underloaded.
//
// Concurrency: none needed; pure. Never fails.
v1::CheckBalanceResponse CheckBalance(absl::Span<const v1::ServerStatus> servers);

}  // namespace ballast::master
