// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "absl/status/status.h"
#include "protos/master_service.pb.h"
#include "services/master/core/master_machine.h"
#include "services/master/core/placement_view.h"

// Answers to reads, from the machine's state as it is: the caller has made sure that it is recent
// enough (ReplicatedLog::ReadBarrier). Statuses as master_service.proto says for each call.

namespace ballast::master {

absl::Status ReadObject(const MasterMachine& machine, const PlacementView& view,
                        const v1::GetObjectRequest& request, v1::GetObjectResponse& response);

absl::Status ReadChunks(const MasterMachine& machine, const PlacementView& view,
                        const v1::GetChunksRequest& request, v1::GetChunksResponse& response);

// Pages end early where more would not fit a message.
void ReadList(const MasterMachine& machine, const v1::ListObjectsRequest& request,
              v1::ListObjectsResponse& response);

}  // namespace ballast::master
