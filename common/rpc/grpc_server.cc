// SPDX-License-Identifier: Apache-2.0
#include "common/rpc/grpc_server.h"

#include <grpcpp/ext/proto_server_reflection_plugin.h>
#include <grpcpp/health_check_service_interface.h>

#include <mutex>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "common/rpc/grpc_log.h"
#include "common/rpc/grpc_process.h"
#include "common/types/error.h"
#include "common/types/limits.h"
#include "common/types/shard_config.h"

namespace ballast {

absl::Status CheckClusterId(const grpc::ServerContextBase& context, absl::string_view cluster_id) {
  const auto& metadata = context.client_metadata();
  const auto it = metadata.find(kClusterIdMetadata);
  if (it == metadata.end()) {
    return MakeError(v1::REASON_WRONG_CLUSTER,
                     absl::StrCat("the call names no cluster; metadata ", kClusterIdMetadata,
                                  " must hold the cluster id"));
  }
  const absl::string_view named(it->second.data(), it->second.size());
  if (named != cluster_id) {
    return MakeError(
        v1::REASON_WRONG_CLUSTER,
        absl::StrCat("this server belongs to cluster ", cluster_id, ", not ", named.substr(0, 64)));
  }
  return absl::OkStatus();
}

absl::StatusOr<std::unique_ptr<GrpcServer>> GrpcServer::Start(
    const std::string& address, const std::vector<grpc::Service*>& services,
    void (*tune)(grpc::ServerBuilder&)) {
  PrepareGrpcProcess();
  static std::once_flag once;
  std::call_once(once, [] {
    CaptureGrpcLog();
    grpc::EnableDefaultHealthCheckService(true);
    grpc::reflection::InitProtoReflectionServerBuilderPlugin();
  });
  grpc::ServerBuilder builder;
  auto server = std::unique_ptr<GrpcServer>(new GrpcServer());
  builder.AddListeningPort(address, grpc::InsecureServerCredentials(), &server->port_);
  // Without this two processes could listen on one port and share its calls.
  builder.AddChannelArgument(GRPC_ARG_ALLOW_REUSEPORT, 0);
  builder.AddChannelArgument(GRPC_ARG_HTTP2_MIN_RECV_PING_INTERVAL_WITHOUT_DATA_MS, 1000);
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_PERMIT_WITHOUT_CALLS, 1);
  // It would answer every message that comes with a ping of its own, to learn how large a window
  // pays: for heartbeats, twice the work. Large messages get the window that they need anyway.
  builder.AddChannelArgument(GRPC_ARG_HTTP2_BDP_PROBE, 0);
  builder.SetMaxReceiveMessageSize(static_cast<int>(kMessageBytesMax));
  builder.SetMaxSendMessageSize(static_cast<int>(kMessageBytesMax));
  if (tune != nullptr) {
    tune(builder);
  }
  for (grpc::Service* service : services) {
    builder.RegisterService(service);
  }
  server->server_ = builder.BuildAndStart();
  if (server->server_ == nullptr || server->port_ == 0) {
    return MakeError(v1::REASON_NOT_READY,
                     absl::StrCat("cannot listen on ", address,
                                  ": the port is taken or the address is not this machine's"));
  }
  server->address_ =
      absl::StrCat(absl::string_view(address).substr(0, address.rfind(':')), ":", server->port_);
  return server;
}

GrpcServer::~GrpcServer() { Shutdown(absl::ZeroDuration()); }

void GrpcServer::SetServing(bool serving) {
  if (auto* health = server_->GetHealthCheckService()) {
    health->SetServingStatus(serving);
  }
}

void GrpcServer::Shutdown(absl::Duration grace) {
  if (server_ == nullptr) {
    return;
  }
  SetServing(false);
  server_->Shutdown(absl::ToChronoTime(absl::Now() + grace));
  server_->Wait();
  server_.reset();
}

}  // namespace ballast
