// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <utility>

#include "common/env/executor.h"
#include "common/raft/replicated_log.h"
#include "common/raft/state_machine.h"

namespace ballast::testing {

// A ReplicatedLog of one in memory, always leader unless told otherwise: for tests of what stands
// on a log. Nothing is durable. Concurrency and callbacks as ReplicatedLog says.
class LocalLog final : public ReplicatedLog {
 public:
  LocalLog(Executor& owner, StateMachine& machine) : owner_(owner), machine_(machine) {
    state_.role = Role::kLeader;
    state_.term = RaftTerm(1);
    state_.leader = NodeId(1);
  }

  void Propose(std::string command, ProposeCallback done) override;
  void ReadBarrier(ReadCallback done) override;
  State state() const override { return state_; }
  void SetRoleObserver(RoleObserver observer) override;
  void TakeSnapshot(absl::AnyInvocable<void(absl::Status)> done) override;

  // Becomes follower (of `leader`, if not 0) or leader of a new term. On the executor.
  void SetRole(Role role, NodeId leader = NodeId(0));

  // The next proposal is refused (`applied` false) or applied, and answered OUTCOME_UNKNOWN.
  void LoseNextReply(bool applied) {
    lose_reply_ = true;
    apply_lost_ = applied;
  }

 private:
  Executor& owner_;
  StateMachine& machine_;
  State state_;
  RoleObserver observer_;
  bool lose_reply_ = false;
  bool apply_lost_ = false;
};

}  // namespace ballast::testing
