// SPDX-License-Identifier: Apache-2.0
#include "common/rpc/grpc_process.h"

#include <stdlib.h>

#include <mutex>

namespace ballast {

void PrepareGrpcProcess() {
  static std::once_flag once;
  std::call_once(once, [] {
    // While no call is under way nobody but the library's backup poller drives a channel's
    // connection attempt. Its default of 5 s is how long a client would go on failing after its
    // server came back. An operator's own value wins.
    setenv("GRPC_CLIENT_CHANNEL_BACKUP_POLL_INTERVAL_MS", "100", /*overwrite=*/0);
  });
}

}  // namespace ballast
