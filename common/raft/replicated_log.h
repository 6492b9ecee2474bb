// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "absl/functional/any_invocable.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "common/types/ids.h"

namespace ballast {

// What a service knows of consensus. One log = one group; 1, 3 or 5 voters, and nothing here
// depends on how many.
//
// Relations: 0 <= applied <= committed <= last; a term has at most one leader.
//
// Concurrency: all methods are called on the log's executor, and all callbacks run there, never
// inside the call that received them.
// Lifetime: callbacks that have not run when the log is destroyed are destroyed unrun.
class ReplicatedLog {
 public:
  struct Applied {
    RaftIndex index;
    std::string result;  // what StateMachine::Apply returned
  };
  // OK: the command is committed (durable on a majority) and applied here.
  // UNAVAILABLE / NOT_LEADER: refused before it was written; certainly not applied, ever.
  // UNAVAILABLE / OUTCOME_UNKNOWN: leadership was lost meanwhile; it may still be applied.
  // INVALID_ARGUMENT: longer than kLogEntryBytesMax.
  // RESOURCE_EXHAUSTED: too many proposals wait; not written.
  using ProposeCallback = absl::AnyInvocable<void(absl::StatusOr<Applied>)>;
  // OK: everything acknowledged before the call is applied here, and this node led at some moment
  // since the call. Otherwise UNAVAILABLE / NOT_LEADER.
  using ReadCallback = absl::AnyInvocable<void(absl::Status)>;

  enum class Role { kFollower, kCandidate, kLeader };

  struct State {
    Role role = Role::kFollower;
    RaftTerm term;
    std::optional<NodeId> leader;  // as far as this node knows
    RaftIndex committed;
    RaftIndex applied;
    RaftIndex last;
    uint64_t wal_syncs = 0;  // fdatasync calls since start, for "fsyncs per put"
  };

  // Told on the executor whenever (role, term) changes. A leader that is told so has applied
  // everything committed in earlier terms (it may serve at once).
  using RoleObserver = absl::AnyInvocable<void(const State&)>;

  virtual ~ReplicatedLog() = default;

  // Commands proposed in one turn of the executor share one log write and one fsync.
  virtual void Propose(std::string command, ProposeCallback done) = 0;

  // Linearizable read without a disk write (read index). Calls that wait share one round.
  virtual void ReadBarrier(ReadCallback done) = 0;

  virtual State state() const = 0;

  // One observer; called once soon after it is set, then at every change.
  virtual void SetRoleObserver(RoleObserver observer) = 0;

  // Starts a snapshot now unless one is under way (it also happens by itself by log size). `done`
  // when its manifest is durable.
  virtual void TakeSnapshot(absl::AnyInvocable<void(absl::Status)> done) = 0;
};

}  // namespace ballast
