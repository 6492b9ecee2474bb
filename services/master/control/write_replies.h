// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstdint>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "common/types/ids.h"
#include "protos/master_log.pb.h"
#include "protos/master_service.pb.h"
#include "services/master/core/placement_view.h"

// What a large write is told when it begins or goes on: its handles, and where to write them.
// Shared by the unary calls and the batch. On the executor.

namespace ballast::master {

template <typename Request>
PlacementRequest ToPlacement(const Request& request, uint32_t wanted, uint32_t required) {
  PlacementRequest placement;
  placement.chunk_count = request.chunk_count();
  placement.wanted_replicas = wanted;
  placement.required_replicas = required;
  placement.chunk_bytes = request.chunk_bytes();
  placement.avoid_server_ids.assign(request.avoid_server_ids().begin(),
                                    request.avoid_server_ids().end());
  return placement;
}

// Chains for the first chunks of a write that is about to begin as `command` says; empty ones if
// the request wants no placement. Fails like PlacementView::PlaceChunks.
absl::StatusOr<std::vector<Placement>> PlaceFirstChunks(
    PlacementView& view, const v1::BeginWriteRequest& request,
    const v1::master_log::Command::BeginWrite& command);

// Pairs the handles of shard `shard` with their chains.
template <typename Response>
void AddPlacements(ShardId shard, const v1::master_log::Run& allocated,
                   std::vector<Placement> placements, Response& response) {
  const uint64_t count = std::min<uint64_t>(allocated.count(), placements.size());
  for (uint64_t i = 0; i < count; ++i) {
    v1::ChunkPlacement& chunk = *response.add_chunks();
    chunk.set_handle(ChunkHandle(shard, allocated.first_sequence() + i).value());
    for (v1::ReplicaLocation& server : placements[i]) *chunk.add_servers() = std::move(server);
  }
}

// The answer to a BeginWrite that was executed.
void FillBegun(ShardId shard, const v1::master_log::Result& result, uint32_t expiry_ms,
               std::vector<Placement> placements, v1::BeginWriteResponse& response);

}  // namespace ballast::master
