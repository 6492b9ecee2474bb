// SPDX-License-Identifier: Apache-2.0
#include "common/rpc/grpc_log.h"

#include <grpc/support/log.h>

#include <string>

#include "common/base/log.h"

namespace ballast {

void CaptureGrpcLog() {
  gpr_set_log_function([](gpr_log_func_args* line) {
    LogDebug("grpc", {{"message", std::string(line->message)}});
  });
}

}  // namespace ballast
