// SPDX-License-Identifier: Apache-2.0
#include "services/shardctl/shardctl_service.h"

#include <string>

#include "absl/strings/str_cat.h"
#include "common/base/check.h"
#include "services/shardctl/core/command.h"

namespace ballast::shardctl {

v1::Configuration ShardctlService::ConfigurationOf(uint64_t version) const {
  const ShardConfig* config = machine_.FindConfig(ConfigVersion(version));
  CHECK(config != nullptr) << "configuration " << version;
  return config->ToProto();
}

// --- mutations -----------------------------------------------------------------------------------

grpc::ServerUnaryReactor* ShardctlService::Join(grpc::CallbackServerContext* context,
                                                const v1::JoinRequest* request,
                                                v1::JoinResponse* response) {
  return calls_.Mutate(context, *request, [this, response](const log::Result& result) {
    *response->mutable_configuration() = ConfigurationOf(result.config_version());
  });
}

grpc::ServerUnaryReactor* ShardctlService::Leave(grpc::CallbackServerContext* context,
                                                 const v1::LeaveRequest* request,
                                                 v1::LeaveResponse* response) {
  return calls_.Mutate(context, *request, [this, response](const log::Result& result) {
    *response->mutable_configuration() = ConfigurationOf(result.config_version());
  });
}

grpc::ServerUnaryReactor* ShardctlService::Move(grpc::CallbackServerContext* context,
                                                const v1::MoveRequest* request,
                                                v1::MoveResponse* response) {
  return calls_.Mutate(context, *request, [this, response](const log::Result& result) {
    *response->mutable_configuration() = ConfigurationOf(result.config_version());
  });
}

grpc::ServerUnaryReactor* ShardctlService::RegisterChunkServer(
    grpc::CallbackServerContext* context, const v1::RegisterChunkServerRequest* request,
    v1::RegisterChunkServerResponse* response) {
  return calls_.Mutate(context, *request, [response](const log::Result& result) {
    response->set_server_index(result.server_index());
  });
}

grpc::ServerUnaryReactor* ShardctlService::SetServerState(grpc::CallbackServerContext* context,
                                                          const v1::SetServerStateRequest* request,
                                                          v1::SetServerStateResponse* response) {
  return calls_.Mutate(context, *request,
                       [this, response, server_id = request->server_id()](const log::Result&) {
                         *response->mutable_server() = ToWire(*machine_.FindServer(server_id));
                       });
}

grpc::ServerUnaryReactor* ShardctlService::UpdateSettings(grpc::CallbackServerContext* context,
                                                          const v1::UpdateSettingsRequest* request,
                                                          v1::UpdateSettingsResponse* response) {
  return calls_.Mutate(context, *request, [this, response](const log::Result&) {
    *response->mutable_settings() = ToWire(machine_.settings());
  });
}

// --- reads ---------------------------------------------------------------------------------------

grpc::ServerUnaryReactor* ShardctlService::GetCluster(grpc::CallbackServerContext* context,
                                                      const v1::GetClusterRequest*,
                                                      v1::GetClusterResponse* response) {
  response->set_cluster_id(calls_.facts().cluster_id);
  response->set_shard_count(calls_.facts().shard_count);
  return FinishNow(context, absl::OkStatus());
}

grpc::ServerUnaryReactor* ShardctlService::Query(grpc::CallbackServerContext* context,
                                                 const v1::QueryRequest* request,
                                                 v1::QueryResponse* response) {
  return calls_.Read(context, [this, version = request->version(), response]() -> absl::Status {
    const uint64_t current = machine_.current_version().value();
    if (version > current) {
      return MakeError(
          v1::REASON_UNKNOWN_VERSION,
          absl::StrCat("the current configuration is number ", current, ", not ", version));
    }
    if (current > 0) {
      *response->mutable_configuration() = ConfigurationOf(version == 0 ? current : version);
    }
    return absl::OkStatus();
  });
}

grpc::ServerUnaryReactor* ShardctlService::Watch(grpc::CallbackServerContext* context,
                                                 const v1::WatchRequest* request,
                                                 v1::WatchResponse* response) {
  return calls_.Poll(context, watches_, request, response);
}

}  // namespace ballast::shardctl
