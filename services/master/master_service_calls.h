// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <utility>

#include "common/rpc/grpc_server.h"
#include "common/rpc/unary_answer.h"
#include "common/types/error.h"
#include "services/master/master_service.h"

// The ways a call of MasterService goes, for the files that hold its methods.

namespace ballast::master {

template <typename Work>
grpc::ServerUnaryReactor* MasterService::AsLeader(Context* context, const absl::Status& checked,
                                                  Work work) {
  const absl::Status allowed = CheckClusterId(*context, facts_.cluster_id);
  if (!allowed.ok()) return FinishNow(context, allowed);
  if (!checked.ok()) return FinishNow(context, checked);
  Reactor* reactor = context->DefaultReactor();
  executor_.Post([this,
                  answer = UnaryAnswer(
                      reactor, MakeError(v1::REASON_OUTCOME_UNKNOWN, "the master is stopping")),
                  work = std::move(work)]() mutable {
    if (absl::Status leading = CheckLeading(); !leading.ok()) {
      answer.Finish(leading);
      return;
    }
    work(std::move(answer));
  });
  return reactor;
}

template <typename Read>
grpc::ServerUnaryReactor* MasterService::ReadAsLeader(Context* context, const absl::Status& checked,
                                                      Read read) {
  return AsLeader(context, checked, [this, read = std::move(read)](UnaryAnswer answer) mutable {
    proposer_.log()->ReadBarrier(
        [this, answer = std::move(answer), read = std::move(read)](absl::Status barrier) mutable {
          answer.Finish(barrier.ok() ? read() : WithHint(barrier));
        });
  });
}

template <typename Fill>
// NOLINTNEXTLINE(performance-unnecessary-value-param): it is moved on, which 14 does not see here
void MasterService::Propose(mlog::Command command, UnaryAnswer answer, Fill fill) {
  // A shard that is served elsewhere is told without troubling the log; the machine checks again.
  if (const auto shard = machine_.Serving(ShardId(command.shard())); !shard.ok()) {
    answer.Finish(shard.status());
    return;
  }
  proposer_.Propose(std::move(command), [this, answer = std::move(answer), fill = std::move(fill)](
                                            absl::StatusOr<mlog::Result> result) mutable {
    if (!result.ok()) {
      answer.Finish(WithHint(result.status()));
      return;
    }
    absl::Status status = ToStatus(*result);
    answer.Finish(status.ok() ? fill(*result) : status);
  });
}

template <typename MakeCommand, typename Fill>
grpc::ServerUnaryReactor* MasterService::Mutate(Context* context, const absl::Status& checked,
                                                MakeCommand make_command, Fill fill) {
  mlog::Command command;
  if (checked.ok()) command = make_command();
  return AsLeader(
      context, checked,
      [this, command = std::move(command), fill = std::move(fill)](UnaryAnswer answer) mutable {
        Propose(std::move(command), std::move(answer), std::move(fill));
      });
}

}  // namespace ballast::master
