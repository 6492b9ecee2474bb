// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <vector>

#include "absl/functional/any_invocable.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "common/env/clock.h"
#include "common/env/executor.h"
#include "common/raft/replicated_log.h"
#include "services/master/core/master_machine.h"

namespace ballast::master {

// Turns commands into log entries. Commands proposed in one turn of the executor, and in the turns
// already queued behind it, share an entry; every entry is stamped with group time.
//
// Group time is the largest stamp applied when this node became leader, plus its steady clock's
// time since. A step of more than 10 s between two looks at the clock counts as 10 s: a leader that
// stood still does not hold others to deadlines they could not meet. So somebody must ask NowMs at
// least every 10 s (ExpiryLoop does).
//
// Concurrency: everything on `executor`; callbacks run there, never inside the call.
// Ownership: executor, clock, machine and log outlive it, but for the executor's queued tasks,
// which must not run after its end. Callbacks that have not run then are destroyed unrun.
class Proposer {
 public:
  // The command's outcome once applied; or
  //   UNAVAILABLE / NOT_LEADER, NOT_READY, RESOURCE_EXHAUSTED / OVERLOADED, INVALID_ARGUMENT (too
  //   long): certainly not executed
  //   UNAVAILABLE / OUTCOME_UNKNOWN: perhaps executed
  using Done = absl::AnyInvocable<void(absl::StatusOr<mlog::Result>)>;

  Proposer(Executor& executor, Clock& clock, const MasterMachine& machine)
      : executor_(executor), clock_(clock), machine_(machine) {}

  // `log` drives the machine. Null: no longer; what waits is answered NOT_READY.
  void Attach(ReplicatedLog* log);
  ReplicatedLog* log() const { return log_; }

  // To be called from the log's role observer.
  void OnRole(const ReplicatedLog::State& state);
  // True while this node leads and has applied everything of earlier terms.
  bool leading() const { return leading_; }

  // Group time for a decision now. Never goes back while this node leads.
  uint64_t NowMs();

  void Propose(mlog::Command command, Done done);

 private:
  struct Waiting {
    mlog::Command command;
    Done done;
  };
  void Flush();
  void Send(mlog::Entry entry, std::vector<Done> callbacks);
  void Refuse(Done done, absl::Status status);

  Executor& executor_;
  Clock& clock_;
  const MasterMachine& machine_;

  ReplicatedLog* log_ = nullptr;
  bool leading_ = false;
  uint64_t base_ms_ = 0;  // group time when this term began here
  absl::Duration since_base_ = absl::ZeroDuration();
  SteadyTime last_look_;
  std::vector<Waiting> waiting_;
  bool flush_posted_ = false;
  size_t in_flight_ = 0;
};

}  // namespace ballast::master
