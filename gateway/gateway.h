// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "common/env/clock.h"
#include "gateway/backend_starter.h"
#include "gateway/inbox.h"
#include "gateway/standard_streams.h"

namespace ballast::gateway {

// The gateway as a filter: messages in, replies out, in input order, until the input ends.
//
// Two threads: one reads ahead into a bounded inbox and says on standard error what is no message;
// the caller's carries messages out. A reply is written out before the next message that needs the
// cluster is begun, and whenever no message waits.
struct GatewayOptions {
  int input_fd = 0;
  int output_fd = 1;
  InboxLimits inbox;
};

// Returns the exit code: 0 when the input ended and all replies are out, or after `stop` when the
// message at work was answered (what waited is dropped); 1 when input or output broke.
// SIGPIPE must be ignored.
int RunGateway(const GatewayOptions& options, BackendStarter& backend, Clock& clock,
               StopEvent& stop);

}  // namespace ballast::gateway
