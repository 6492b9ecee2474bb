// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <grpcpp/server.h>
#include <grpcpp/server_builder.h>
#include <grpcpp/server_context.h>

#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"

namespace ballast {

// Metadata key that names the cluster in every call (protos/README.md).
inline constexpr char kClusterIdMetadata[] = "ballast-cluster-id";

// OK if the call names `cluster_id`; otherwise FAILED_PRECONDITION / WRONG_CLUSTER. A call that
// names none is refused too.
absl::Status CheckClusterId(const grpc::ServerContextBase& context, absl::string_view cluster_id);

// One process's RPC port: the given services, gRPC health (serving from the start for the empty
// service name until SetServing(false)) and reflection.
//
// Thread-safe. The services must outlive it.
class GrpcServer {
 public:
  // Listens on `address` ("127.0.0.1:7500"; port 0 picks one). A taken port is UNAVAILABLE with a
  // one-line text; ports are never shared between processes.
  // `tune`, if given, may set further channel arguments (bulk_channel.h).
  static absl::StatusOr<std::unique_ptr<GrpcServer>> Start(
      const std::string& address, const std::vector<grpc::Service*>& services,
      void (*tune)(grpc::ServerBuilder&) = nullptr);

  // Shuts down at once if Shutdown was not called.
  ~GrpcServer();
  GrpcServer(const GrpcServer&) = delete;
  GrpcServer& operator=(const GrpcServer&) = delete;

  int port() const { return port_; }
  // host:port with the real port.
  const std::string& address() const { return address_; }

  // What health checks answer.
  void SetServing(bool serving);

  // Stops accepting, waits up to `grace` for running calls, cancels the rest and waits for them.
  // Services must answer or finish cancelled calls. Idempotent.
  void Shutdown(absl::Duration grace);

 private:
  GrpcServer() = default;
  std::unique_ptr<grpc::Server> server_;
  std::string address_;
  int port_ = 0;
};

}  // namespace ballast
