// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

#include "protos/chunkserver_control_service.pb.h"
#include "services/master/control/heartbeat_intake.h"
#include "services/master/control/live_view.h"

namespace ballast::master {

// Where commands to chunk servers go out: gives each its id and fence, notes it as under way and
// puts it into the server's outbox. Who decides derives orders anew at every look and need not know
// what was sent.
//
// Concurrency: on the executor. Ownership: references outlive it.
class OrderDesk {
 public:
  OrderDesk(LiveView& view, HeartbeatIntake& intake) : view_(view), intake_(intake) {}

  // `command` has a handle and an order. Returns its id; 0 if it was not taken: the same order is
  // under way, the server has `limit` orders of its kind, or cannot be reached now. It leaves with
  // the next HeartbeatIntake::Flush or reply. Requires: this node leads.
  uint64_t Order(ServerIndex server, v1::Command command, size_t limit);

 private:
  LiveView& view_;
  HeartbeatIntake& intake_;
};

}  // namespace ballast::master
