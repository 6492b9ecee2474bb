// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <grpcpp/support/status.h>

#include "absl/status/status.h"

namespace ballast {

// absl::Status <-> grpc::Status, with v1::ErrorDetail in the standard details trailer. Codes map
// one to one. Messages longer than 1 KiB are cut, since they travel in an HTTP/2 header.
grpc::Status ToGrpc(const absl::Status& status);

// The detail is taken from the trailer if it can be parsed; a status of a library or a foreign
// server simply has none. Hostile bytes are ignored.
absl::Status FromGrpc(const grpc::Status& status);

}  // namespace ballast
