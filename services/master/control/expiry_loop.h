// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <vector>

#include "absl/time/time.h"
#include "common/env/executor.h"
#include "services/master/control/proposer.h"
#include "services/master/core/master_machine.h"

namespace ballast::master {

// While this node leads, proposes the end of what is due by group time: unrenewed drafts, doomed
// chunks, idle sessions. Every command checks again at apply whether it is due, so a proposal that
// comes late, twice or from a deposed leader does no harm.
//
// Each tick proposes for as many shards as fit its limits, going round; the next tick waits until
// all are answered. So expiry neither crowds clients out nor makes an entry that takes long to
// apply.
//
// Concurrency: everything on the executor. Ownership: as Proposer.
class ExpiryLoop {
 public:
  struct Options {
    absl::Duration tick = absl::Seconds(1);
    size_t commands_max = 64;      // a tick
    uint64_t handles_max = 16384;  // doomed chunks that one tick may remove, all shards together
  };

  ExpiryLoop(Executor& executor, const MasterMachine& machine, Proposer& proposer, Options options)
      : executor_(executor), machine_(machine), proposer_(proposer), options_(options) {}

  void Start();
  void Stop();
  // Setting of the cluster; 1 h until told.
  void SetSessionIdle(uint64_t idle_ms) { session_idle_ms_ = idle_ms; }

 private:
  void Arm();
  void Tick();
  void ProposeFor(const Shard& shard, uint64_t now_ms, uint64_t& handles_left);
  void Propose(mlog::Command command);

  Executor& executor_;
  const MasterMachine& machine_;
  Proposer& proposer_;
  const Options options_;
  uint64_t session_idle_ms_ = 3'600'000;
  Executor::TimerId timer_ = 0;
  bool running_ = false;
  ShardId next_;            // to look at first in the next tick
  size_t outstanding_ = 0;  // proposals without an answer
};

}  // namespace ballast::master
