// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/types/error.h"
#include "services/master/core/placement_view.h"

namespace ballast::master {

// A PlacementView of so many servers "server-1", "server-2", ... that are all alike: chunks go to
// the first ones that are not to be avoided; live replicas are the logged ones.
class FakePlacementView final : public PlacementView {
 public:
  static v1::ReplicaLocation Location(uint32_t index) {
    v1::ReplicaLocation location;
    location.set_server_id(absl::StrCat("server-", index));
    location.set_address(absl::StrCat("127.0.0.1:", 7600 + index));
    location.set_server_index(index);
    return location;
  }

  absl::StatusOr<std::vector<Placement>> PlaceChunks(const PlacementRequest& request) override {
    requests.push_back(request);
    Placement chain;
    for (uint32_t index = 1; index <= servers; ++index) {
      v1::ReplicaLocation location = Location(index);
      bool avoid = false;
      for (const std::string& id : request.avoid_server_ids) avoid |= id == location.server_id();
      if (!avoid && chain.size() < request.wanted_replicas) chain.push_back(std::move(location));
    }
    if (chain.size() < request.required_replicas) {
      return MakeError(v1::REASON_TOO_FEW_SERVERS, "too few servers");
    }
    return std::vector<Placement>(request.chunk_count, chain);
  }
  std::vector<v1::ReplicaLocation> LiveReplicas(ChunkHandle,
                                                const ChunkRecord& record) const override {
    std::vector<v1::ReplicaLocation> replicas;
    for (ServerIndex server : record.LoggedServers()) replicas.push_back(Location(server.value()));
    return replicas;
  }
  void ReportBadReplica(ChunkHandle handle, absl::string_view server_id,
                        v1::ReportBadReplicaRequest::Problem problem) override {
    complaints.push_back(absl::StrCat(handle.ToString(), " ", server_id, " ", problem));
  }
  std::vector<v1::ServerStatus> ServerStatuses() const override {
    std::vector<v1::ServerStatus> statuses(servers);
    for (uint32_t i = 0; i < servers; ++i) statuses[i].set_server_index(i + 1);
    return statuses;
  }
  Health ChunkHealth() const override { return {5, 6}; }

  uint32_t servers = 3;
  std::vector<PlacementRequest> requests;
  std::vector<std::string> complaints;
};

}  // namespace ballast::master
