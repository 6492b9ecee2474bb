// SPDX-License-Identifier: Apache-2.0
#pragma once

namespace ballast {

// Settings of the gRPC library that hold for a whole process and must be made before its first use:
// called by whatever makes a channel or a server. Idempotent, thread-safe.
void PrepareGrpcProcess();

}  // namespace ballast
