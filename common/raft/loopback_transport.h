// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

#include "common/raft/transport.h"

namespace ballast {

// The transport of a group of one voter: there is nobody to talk to.
class LoopbackTransport final : public RaftTransport {
 public:
  void Send(NodeId, std::string) override {}
  void SetReceiver(Receiver) override {}
};

}  // namespace ballast
