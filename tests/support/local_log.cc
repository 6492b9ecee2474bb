// SPDX-License-Identifier: Apache-2.0
#include "tests/support/local_log.h"

#include "common/types/error.h"
#include "common/types/limits.h"

namespace ballast::testing {

void LocalLog::Propose(std::string command, ProposeCallback done) {
  if (state_.role != Role::kLeader) {
    owner_.Post([done = std::move(done)]() mutable { done(NotLeaderError("")); });
    return;
  }
  if (command.size() > kLogEntryBytesMax) {
    owner_.Post([done = std::move(done)]() mutable { done(InvalidArgument("entry too long")); });
    return;
  }
  owner_.Post([this, command = std::move(command), done = std::move(done)]() mutable {
    const bool lose = std::exchange(lose_reply_, false);
    if (lose && !apply_lost_) {
      done(MakeError(v1::REASON_OUTCOME_UNKNOWN, "the reply was lost"));
      return;
    }
    state_.last = state_.last.Next();
    state_.committed = state_.last;
    ++state_.wal_syncs;
    std::string result = machine_.Apply(state_.last, command);
    state_.applied = state_.last;
    if (lose) {
      done(MakeError(v1::REASON_OUTCOME_UNKNOWN, "the reply was lost"));
    } else {
      done(Applied{.index = state_.applied, .result = std::move(result)});
    }
  });
}

void LocalLog::ReadBarrier(ReadCallback done) {
  owner_.Post([this, done = std::move(done)]() mutable {
    done(state_.role == Role::kLeader ? absl::OkStatus() : NotLeaderError(""));
  });
}

void LocalLog::SetRoleObserver(RoleObserver observer) {
  observer_ = std::move(observer);
  owner_.Post([this] {
    if (observer_) {
      observer_(state_);
    }
  });
}

void LocalLog::TakeSnapshot(absl::AnyInvocable<void(absl::Status)> done) {
  owner_.Post([done = std::move(done)]() mutable { done(absl::OkStatus()); });
}

void LocalLog::SetRole(Role role, NodeId leader) {
  state_.role = role;
  if (role == Role::kLeader) {
    state_.term = state_.term.Next();
  }
  state_.leader = leader == NodeId(0) ? std::nullopt : std::optional<NodeId>(leader);
  if (observer_) {
    observer_(state_);
  }
}

}  // namespace ballast::testing
