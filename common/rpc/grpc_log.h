// SPDX-License-Identifier: Apache-2.0
#pragma once

namespace ballast {

// From the first call on, what gRPC itself logs (taken ports, refused connections) goes to our log
// at level debug: callers learn the same from a status, in one line. Thread-safe.
void CaptureGrpcLog();

}  // namespace ballast
