// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "common/types/ids.h"
#include "protos/common.pb.h"
#include "protos/master_service.pb.h"
#include "services/master/core/chunk_table.h"

namespace ballast::master {

// Servers for new chunks that are asked for in one call.
struct PlacementRequest {
  uint32_t chunk_count = 0;                   // 0..256
  uint32_t wanted_replicas = 0;               // 1..5
  uint32_t required_replicas = 0;             // 1..wanted; with fewer servers the call fails
  uint32_t chunk_bytes = 0;                   // expected length of each chunk, 1..64 MiB
  std::vector<std::string> avoid_server_ids;  // not used, if that leaves enough
};

// A chain: where the replicas of one new chunk go, first server first.
using Placement = std::vector<v1::ReplicaLocation>;

// What the metadata service asks of whoever tracks the chunk servers. All answers are of this
// leader's memory and may be outdated; nothing durable follows from them.
//
// Concurrency: all methods are called on the master's executor.
class PlacementView {
 public:
  virtual ~PlacementView() = default;

  // One chain for each of request.chunk_count chunks: required..wanted different servers, shorter
  // than wanted only if there are not enough.
  //   FAILED_PRECONDITION / TOO_FEW_SERVERS   fewer usable servers than required
  //   RESOURCE_EXHAUSTED / NO_SPACE           enough servers, too few with room
  // Both are also told for chunk_count 0, so that a write that cannot succeed is not begun.
  virtual absl::StatusOr<std::vector<Placement>> PlaceChunks(const PlacementRequest& request) = 0;

  // Live replicas of a chunk, best first. Empty: none now.
  virtual std::vector<v1::ReplicaLocation> LiveReplicas(ChunkHandle handle,
                                                        const ChunkRecord& record) const = 0;

  // A reader's complaint; triggers verification, nothing else. Unknown names are ignored.
  virtual void ReportBadReplica(ChunkHandle handle, absl::string_view server_id,
                                v1::ReportBadReplicaRequest::Problem problem) = 0;

  // Every registered chunk server, by index.
  virtual std::vector<v1::ServerStatus> ServerStatuses() const = 0;

  struct Health {
    uint64_t chunks_without_live_replica = 0;
    uint64_t chunks_below_wanted = 0;
  };
  virtual Health ChunkHealth() const = 0;
};

}  // namespace ballast::master
