// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>

#include "common/env/executor.h"
#include "services/master/control/copy_engine.h"
#include "services/master/control/heartbeat_intake.h"
#include "services/master/control/live_view.h"
#include "services/master/control/order_desk.h"
#include "services/master/control/proposer.h"
#include "services/master/control/rebalance_loop.h"
#include "services/master/control/repair_loop.h"

namespace ballast::master {

// How much one tick may do: a tick must stay well below 2 ms.
struct MaintenanceLimits {
  size_t garbage_examined_max = 4096;   // reported replicas looked at
  size_t deletes_under_way_max = 1000;  // at one server
  size_t verifies_under_way_max = 64;   // likewise
  size_t chunks_examined_max = 2048;    // compared with their logged locations
  size_t location_changes_max = 512;    // in one log entry
};

// The leader's clockwork: every tick (an interval's fortieth) it lets liveness see the time, looks
// for garbage, for replicas that readers complained about and for logged locations that are no
// longer true, and turns what it finds into commands and log entries, a bounded number a tick; and
// it lets copies and trims (CopyEngine), repair and rebalancing see the time. It
// keeps no list of what is to be done: everything is derived anew, so nothing lost stays lost.
//
// Concurrency: everything on `executor`.
// Ownership and lifetime: references outlive it; `executor` must not run its tasks after its end
// (Stop cancels the timer).
class MaintenanceLoop {
 public:
  MaintenanceLoop(Executor& executor, LiveView& view, HeartbeatIntake& intake, Proposer& proposer,
                  CopyEngine& copies, RepairLoop& repair, RebalanceLoop& rebalance,
                  MaintenanceLimits limits = {});
  ~MaintenanceLoop() { Stop(); }

  void Start();
  void Stop();

  // One tick now, without the timer.
  void Tick();

 private:
  void Arm();
  void SeeLiveness(LeaderState& leader);
  void OrderDeletes(LeaderState& leader);
  void OrderVerifies();
  void CorrectLocations(LeaderState& leader);

  Executor& executor_;
  LiveView& view_;
  HeartbeatIntake& intake_;
  Proposer& proposer_;
  CopyEngine& copies_;
  RepairLoop& repair_;
  RebalanceLoop& rebalance_;
  OrderDesk desk_;
  const MaintenanceLimits limits_;
  Executor::TimerId timer_ = 0;
  bool running_ = false;
  size_t proposed_ = 0;  // corrections of locations that are not answered yet
};

}  // namespace ballast::master
