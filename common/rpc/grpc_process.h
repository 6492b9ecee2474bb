// SPDX-License-Identifier: Apache-2.0
#pragma once

namespace ballast {

// What of the gRPC library holds for a whole process and must be made before its first use: called
// by whatever makes a channel or a server. Idempotent, thread-safe.
//
// From then on a channel may be destroyed on any thread, also inside of a callback, and the threads
// that run gRPC's callbacks stay until the process ends.
void PrepareGrpcProcess();

}  // namespace ballast
