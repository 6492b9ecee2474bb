// SPDX-License-Identifier: Apache-2.0
#include "common/rpc/grpc_log.h"

#include <grpc/support/log.h>

#include <string>

#include "absl/strings/match.h"
#include "common/base/log.h"

namespace ballast {

void CaptureGrpcLog() {
  gpr_set_log_function([](gpr_log_func_args* line) {
    // What it calls an error is mostly a peer that went; but before it aborts it says why.
    if (absl::StrContains(line->message, "assertion failed")) {
      LogError("grpc.assertion_failed", {{"file", std::string(line->file)},
                                         {"line", line->line},
                                         {"message", std::string(line->message)}});
    } else {
      LogDebug("grpc", {{"message", std::string(line->message)}});
    }
  });
}

}  // namespace ballast
