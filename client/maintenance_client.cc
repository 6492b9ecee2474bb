// SPDX-License-Identifier: Apache-2.0
#include "client/maintenance_client.h"

#include <utility>

#include "common/base/status_macros.h"
#include "common/routing/shard_router.h"

namespace ballast::client {

absl::StatusOr<std::vector<MaintenanceClient::OfGroup>> MaintenanceClient::State(
    uint32_t moves_shown, const CallControl& control) {
  ASSIGN_OR_RETURN(const std::vector<GroupId> groups, metadata_.routing().Groups());
  v1::GetMaintenanceRequest request;
  request.set_moves_shown(moves_shown);
  std::vector<OfGroup> all;
  for (const GroupId group : groups) {
    ASSIGN_OR_RETURN(auto response,
                     metadata_.AskLeader<v1::GetMaintenanceResponse>(group, request, control));
    all.push_back({group.value(), std::move(response)});
  }
  return all;
}

absl::StatusOr<std::vector<v1::RebalanceState>> MaintenanceClient::Plan(
    uint32_t moves_shown, const CallControl& control) {
  ASSIGN_OR_RETURN(const std::vector<GroupId> groups, metadata_.routing().Groups());
  v1::PlanRebalanceRequest request;
  request.set_moves_shown(moves_shown);
  std::vector<v1::RebalanceState> all;
  for (const GroupId group : groups) {
    ASSIGN_OR_RETURN(const auto response,
                     metadata_.AskLeader<v1::PlanRebalanceResponse>(group, request, control));
    all.push_back(response.plan());
  }
  return all;
}

absl::StatusOr<std::vector<v1::RebalanceState>> MaintenanceClient::Start(
    const CallControl& control) {
  ASSIGN_OR_RETURN(const std::vector<GroupId> groups, metadata_.routing().Groups());
  std::vector<v1::RebalanceState> all;
  for (const GroupId group : groups) {
    ASSIGN_OR_RETURN(const auto response, metadata_.AskLeader<v1::StartRebalanceResponse>(
                                              group, v1::StartRebalanceRequest(), control));
    all.push_back(response.state());
  }
  return all;
}

absl::StatusOr<std::vector<v1::RebalanceState>> MaintenanceClient::Stop(
    const CallControl& control) {
  ASSIGN_OR_RETURN(const std::vector<GroupId> groups, metadata_.routing().Groups());
  std::vector<v1::RebalanceState> all;
  for (const GroupId group : groups) {
    ASSIGN_OR_RETURN(const auto response, metadata_.AskLeader<v1::StopRebalanceResponse>(
                                              group, v1::StopRebalanceRequest(), control));
    all.push_back(response.state());
  }
  return all;
}

absl::Status MaintenanceClient::RepairAll(const CallControl& control) {
  ASSIGN_OR_RETURN(const std::vector<GroupId> groups, metadata_.routing().Groups());
  for (const GroupId group : groups) {
    RETURN_IF_ERROR(metadata_
                        .AskLeader<v1::ReleaseLossBreakerResponse>(
                            group, v1::ReleaseLossBreakerRequest(), control)
                        .status());
  }
  return absl::OkStatus();
}

absl::StatusOr<GroupId> MaintenanceClient::GroupOfShard(ShardId shard) {
  ASSIGN_OR_RETURN(const Route route, metadata_.routing().Find(Target(shard)));
  return route.group;
}

absl::StatusOr<v1::ExplainResponse> MaintenanceClient::Explain(const v1::ExplainRequest& request,
                                                               const CallControl& control) {
  GroupId group;
  if (request.what_case() == v1::ExplainRequest::kKey) {
    ASSIGN_OR_RETURN(const uint32_t shards, metadata_.routing().ShardCount());
    ASSIGN_OR_RETURN(group, GroupOfShard(ShardOfKey(request.key(), shards)));
  } else if (request.what_case() == v1::ExplainRequest::kHandle) {
    ASSIGN_OR_RETURN(group, GroupOfShard(ChunkHandle(request.handle()).shard()));
  } else {
    ASSIGN_OR_RETURN(const std::vector<GroupId> groups, metadata_.routing().Groups());
    if (groups.empty()) {
      return absl::FailedPreconditionError("no group has joined the cluster yet");
    }
    group = groups.front();
  }
  return metadata_.AskLeader<v1::ExplainResponse>(group, request, control);
}

absl::StatusOr<uint64_t> MaintenanceClient::Fsck(
    const std::function<void(const v1::FsckResponse&)>& found, const CallControl& control) {
  ASSIGN_OR_RETURN(const std::vector<GroupId> groups, metadata_.routing().Groups());
  uint64_t examined = 0;
  for (const GroupId group : groups) {
    v1::FsckRequest request;
    for (bool more = true; more;) {
      ASSIGN_OR_RETURN(const auto page,
                       metadata_.AskLeader<v1::FsckResponse>(group, request, control));
      examined += page.chunks_examined();
      found(page);
      more = page.more();
      request.set_after_handle(page.next_after());
    }
  }
  return examined;
}

absl::Status MaintenanceClient::PurgeQuarantined(uint64_t handle, const std::string& server_id,
                                                 const CallControl& control) {
  ASSIGN_OR_RETURN(const GroupId group, GroupOfShard(ChunkHandle(handle).shard()));
  v1::PurgeQuarantinedRequest request;
  request.set_handle(handle);
  request.set_server_id(server_id);
  return metadata_.AskLeader<v1::PurgeQuarantinedResponse>(group, request, control).status();
}

}  // namespace ballast::client
