// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <deque>

#include "common/env/executor.h"
#include "common/types/shard_config.h"
#include "services/master/control/heartbeat_intake.h"
#include "services/master/control/live_view.h"
#include "services/master/control/proposer.h"

namespace ballast::master {

// Takes what the shard controller says to where it belongs: configurations into the group's log,
// one after another and none skipped, as long as this node leads; the registry and the settings
// into the view. Members that do not lead keep the configurations that their log has not reached
// yet, so whoever leads next goes on from there.
//
// Concurrency: everything on `executor`. Ownership and lifetime: references outlive it; `executor`
// must not run its tasks after its end.
class ConfigPoller {
 public:
  ConfigPoller(Executor& executor, LiveView& view, HeartbeatIntake& intake, Proposer& proposer);

  // Called with consecutive numbers (ShardctlWatcher).
  void OnConfiguration(const ShardConfig& configuration);
  void OnRegistry(const v1::Registry& registry);

  // This node became leader.
  void OnLeading() { ProposeNext(); }

 private:
  void ProposeNext();
  void RetryLater();

  Executor& executor_;
  LiveView& view_;
  HeartbeatIntake& intake_;
  Proposer& proposer_;
  std::deque<ShardConfig> pending_;  // ascending, not applied as far as we know
  bool proposing_ = false;
  bool retry_armed_ = false;
};

}  // namespace ballast::master
