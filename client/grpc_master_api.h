// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <string>

#include "client/master_api.h"

namespace ballast::client {

// MasterApi over gRPC: one channel a master, kept open; every call names the cluster and has a
// deadline. `cluster_id` empty: not sent.
std::unique_ptr<MasterApi> MakeGrpcMasterApi(const std::string& cluster_id);

}  // namespace ballast::client
