// SPDX-License-Identifier: Apache-2.0
#include "common/rpc/status_bridge.h"

#include <string>

#include "common/types/error.h"
#include "protos/errors.pb.h"

namespace ballast {
namespace {

constexpr char kDetailUrl[] = "type.googleapis.com/ballast.v1.ErrorDetail";
constexpr size_t kMessageBytes = 1024;

}  // namespace

grpc::Status ToGrpc(const absl::Status& status) {
  if (status.ok()) {
    return grpc::Status::OK;
  }
  const auto code = static_cast<grpc::StatusCode>(status.code());
  std::string message(status.message().substr(0, kMessageBytes));
  const auto detail = DetailOf(status);
  if (!detail.has_value()) {
    return grpc::Status(code, message);
  }
  v1::StatusDetails details;
  details.set_code(static_cast<int>(status.code()));
  details.set_message(message);
  auto* packed = details.add_details();
  packed->set_type_url(kDetailUrl);
  packed->set_value(detail->SerializeAsString());
  return grpc::Status(code, message, details.SerializeAsString());
}

absl::Status FromGrpc(const grpc::Status& status) {
  if (status.ok()) {
    return absl::OkStatus();
  }
  v1::StatusDetails details;
  if (details.ParseFromString(status.error_details())) {
    for (const auto& packed : details.details()) {
      v1::ErrorDetail detail;
      if (packed.type_url() == kDetailUrl && detail.ParseFromString(packed.value()) &&
          CodeOf(detail.reason()) == static_cast<absl::StatusCode>(status.error_code())) {
        return MakeError(detail, status.error_message());
      }
    }
  }
  return absl::Status(static_cast<absl::StatusCode>(status.error_code()), status.error_message());
}

}  // namespace ballast
