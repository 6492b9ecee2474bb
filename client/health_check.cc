// SPDX-License-Identifier: Apache-2.0
#include "client/health_check.h"

#include <google/protobuf/wrappers.pb.h>
#include <grpcpp/client_context.h>
#include <grpcpp/generic/generic_stub.h>
#include <grpcpp/impl/codegen/proto_utils.h>

#include "absl/strings/str_cat.h"
#include "absl/synchronization/notification.h"
#include "common/rpc/channel_pool.h"
#include "common/rpc/status_bridge.h"

namespace ballast::client {
namespace {

constexpr char kCheckMethod[] = "/grpc.health.v1.Health/Check";
constexpr int kServing = 1;  // grpc.health.v1.HealthCheckResponse.SERVING

// The proto of gRPC's health service is not packaged. Its request is a text in field 1 (empty: the
// whole server), its reply an enum in field 1: on the wire the same as these well-known messages.
using HealthCheckRequest = google::protobuf::StringValue;
using HealthCheckResponse = google::protobuf::Int32Value;

}  // namespace

absl::Status CheckHealth(const std::string& address, absl::Duration timeout) {
  grpc::TemplatedGenericStub<HealthCheckRequest, HealthCheckResponse> stub(MakeChannel(address));
  grpc::ClientContext context;
  PrepareContext(context, "", timeout);
  const HealthCheckRequest request;
  HealthCheckResponse response;
  grpc::Status status;
  absl::Notification done;
  stub.UnaryCall(&context, kCheckMethod, grpc::StubOptions(), &request, &response,
                 [&](grpc::Status result) {
                   status = std::move(result);
                   done.Notify();
                 });
  done.WaitForNotification();
  if (!status.ok()) {
    return FromGrpc(status);
  }
  if (response.value() != kServing) {
    return absl::UnavailableError(absl::StrCat(address, " does not serve now"));
  }
  return absl::OkStatus();
}

}  // namespace ballast::client
