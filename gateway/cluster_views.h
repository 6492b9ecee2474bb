// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <vector>

#include "gateway/cluster_backend.h"
#include "protos/master_service.pb.h"

// What masters answer, in the messages' words. A server is called by its name, or by its id if it
// has none. Pure.

namespace ballast::gateway {

// By name; servers that were removed are not shown. A server is dead only when the masters say so:
// one that a new leader has not heard yet is not.
std::vector<ServerRow> RowsOf(const v1::ListServersResponse& response);

BalanceReport BalanceOf(const v1::CheckBalanceResponse& response);

}  // namespace ballast::gateway
