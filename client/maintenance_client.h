// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "client/metadata_client.h"
#include "protos/master_service.pb.h"

namespace ballast::client {

// What the groups of masters do by themselves with chunks and servers, and an operator's words in
// it (protos/maintenance.proto, docs/protocols/healing.md).
//
// Concurrency: thread-safe; calls block. Ownership: `metadata` outlives it. Failure: as
// MetadataClient; with several groups, the first one that fails.
class MaintenanceClient {
 public:
  explicit MaintenanceClient(MetadataClient& metadata) : metadata_(metadata) {}

  struct OfGroup {
    uint32_t group = 0;
    v1::GetMaintenanceResponse maintenance;
  };
  absl::StatusOr<std::vector<OfGroup>> State(uint32_t moves_shown, const CallControl& control);

  // One answer a group.
  absl::StatusOr<std::vector<v1::RebalanceState>> Plan(uint32_t moves_shown,
                                                       const CallControl& control);
  absl::StatusOr<std::vector<v1::RebalanceState>> Start(const CallControl& control);
  absl::StatusOr<std::vector<v1::RebalanceState>> Stop(const CallControl& control);
  // Repair everything, although many servers are silent.
  absl::Status RepairAll(const CallControl& control);

  // Asks the group that knows: of the key, of the handle's shard, any for a server.
  absl::StatusOr<v1::ExplainResponse> Explain(const v1::ExplainRequest& request,
                                              const CallControl& control);

  // Looks through all chunks of all groups; `found` gets each page. Returns how many were looked
  // at.
  absl::StatusOr<uint64_t> Fsck(const std::function<void(const v1::FsckResponse&)>& found,
                                const CallControl& control);
  absl::Status PurgeQuarantined(uint64_t handle, const std::string& server_id,
                                const CallControl& control);

 private:
  absl::StatusOr<GroupId> GroupOfShard(ShardId shard);

  MetadataClient& metadata_;
};

}  // namespace ballast::client
