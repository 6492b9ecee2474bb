// SPDX-License-Identifier: Apache-2.0
#include "gateway/config_group.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "client/cancellation.h"
#include "client/grpc_master_api.h"
#include "common/base/log.h"
#include "common/base/status_macros.h"
#include "common/base/uuid.h"
#include "common/types/error.h"
#include "common/types/limits.h"

namespace ballast::gateway {
namespace {

constexpr uint32_t kGroup = 1;
constexpr uint32_t kNode = 1;
constexpr char kAnyPort[] = "127.0.0.1:0";
constexpr char kLoneVoter[] = "1=127.0.0.1:1";  // see embedded_cluster.cc
constexpr absl::Duration kApplyPatience = absl::Seconds(10);
constexpr absl::Duration kPauseMin = absl::Microseconds(200);
constexpr absl::Duration kPauseMax = absl::Milliseconds(10);

absl::Status CheckShards(const GroupConfiguration& config) {
  for (const uint32_t shard : config.shards) {
    if (shard >= kShardsMax) {
      return InvalidArgument(absl::StrCat("shards are 0 to ", kShardsMax - 1, ", not ", shard));
    }
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<std::unique_ptr<ConfigGroup>> ConfigGroup::Start(FileSystem& fs,
                                                                const std::string& folder) {
  auto group = std::unique_ptr<ConfigGroup>(new ConfigGroup());
  const std::string cluster_id = MakeUuid();
  ASSIGN_OR_RETURN(group->controller_, GroupController::Start(cluster_id, kShardsMax));
  master::Options options;
  options.folder = folder;
  options.cluster_id = cluster_id;
  options.shards = kShardsMax;
  options.group = kGroup;
  options.node_id = kNode;
  options.voters = {kLoneVoter};
  options.listen = kAnyPort;
  options.shardctl = {group->controller_->address()};
  RETURN_IF_ERROR(master::Format(fs, options));
  ASSIGN_OR_RETURN(
      group->master_, master::Server::Start(fs, options, [](const absl::Status& status) {
        LogError("gateway.config_group_failed", {{"error", std::string(status.message())}});
      }));
  group->api_ = client::MakeGrpcMasterApi(cluster_id);
  return group;
}

absl::Status ConfigGroup::Set(const GroupConfiguration& config) {
  return Carry(history_.JudgeSet(config.version, config.shards), config);
}

absl::StatusOr<UpdateOutcome> ConfigGroup::Update(const GroupConfiguration& config) {
  const ConfigHistory::Verdict verdict = history_.JudgeUpdate(config.version, config.shards);
  if (verdict != ConfigHistory::Verdict::kRefuse) {
    RETURN_IF_ERROR(Carry(verdict, config));
  }
  return UpdateOutcome{.applied = verdict != ConfigHistory::Verdict::kRefuse,
                       .current_version = history_.version()};
}

absl::Status ConfigGroup::Carry(ConfigHistory::Verdict verdict, const GroupConfiguration& config) {
  RETURN_IF_ERROR(CheckShards(config));
  if (verdict == ConfigHistory::Verdict::kChange) {
    v1::Configuration next;
    next.set_version(history_.internal() + 1);
    next.mutable_shard_owner()->Resize(static_cast<int>(kShardsMax), 0);
    for (const uint32_t shard : config.shards) {
      next.set_shard_owner(static_cast<int>(shard), kGroup);
    }
    v1::GroupInfo& group = *next.add_groups();
    group.set_group_id(kGroup);
    v1::MasterAddress& member = *group.add_masters();
    member.set_node_id(kNode);
    member.set_address(master_->address());
    controller_->Publish(std::move(next));
    // Decided; also if the group takes its time.
    history_.Record(config.version, config.shards);
  }
  return WaitApplied();
}

absl::Status ConfigGroup::WaitApplied() {
  client::Pacer& pacer = client::RealPacer();
  const SteadyTime end = pacer.Now() + kApplyPatience;
  absl::Duration pause = kPauseMin;
  while (true) {
    const auto status = Status();
    if (status.ok() && status->config_version() >= history_.internal()) {
      return absl::OkStatus();
    }
    if (pacer.Now() >= end) {
      return absl::UnavailableError("the group has not applied the configuration in time");
    }
    pacer.Wait(pause, nullptr);
    pause = std::min(pause * 2, kPauseMax);
  }
}

absl::StatusOr<v1::GetGroupStatusResponse> ConfigGroup::Status() {
  v1::GetGroupStatusResponse response;
  RETURN_IF_ERROR(api_->Call(master_->address(), client::CallContext(), v1::GetGroupStatusRequest(),
                             &response));
  return response;
}

}  // namespace ballast::gateway
