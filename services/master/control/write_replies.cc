// SPDX-License-Identifier: Apache-2.0
#include "services/master/control/write_replies.h"

namespace ballast::master {

absl::StatusOr<std::vector<Placement>> PlaceFirstChunks(
    PlacementView& view, const v1::BeginWriteRequest& request,
    const v1::master_log::Command::BeginWrite& command) {
  if (request.no_placement()) return std::vector<Placement>(request.chunk_count());
  return view.PlaceChunks(
      ToPlacement(request, command.wanted_replicas(), command.required_replicas()));
}

void FillBegun(ShardId shard, const v1::master_log::Result& result, uint32_t expiry_ms,
               std::vector<Placement> placements, v1::BeginWriteResponse& response) {
  response.set_draft_id(result.draft_id());
  response.set_wanted_replicas(result.wanted_replicas());
  response.set_required_replicas(result.required_replicas());
  response.set_expiry_ms(expiry_ms);
  AddPlacements(shard, result.allocated(), std::move(placements), response);
}

}  // namespace ballast::master
