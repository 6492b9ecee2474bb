// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

#include "common/routing/hash_ring.h"
#include "protos/pool_service.pb.h"

namespace ballast::client {

// The ring drawn as a circle of letters, each standing for the server that owns that place, and a
// table of servers with weight and share. For people; UTF-8.
std::string PoolText(const v1::Pool& pool, const HashRing& ring);

std::string PoolListText(const v1::ListPoolsResponse& pools);

}  // namespace ballast::client
