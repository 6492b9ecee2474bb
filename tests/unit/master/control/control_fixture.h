// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "common/base/check.h"
#include "common/base/crc32c.h"
#include "gtest/gtest.h"
#include "services/master/control/proposer.h"
#include "tests/support/local_log.h"
#include "tests/support/sim_scheduler.h"
#include "tests/unit/master/control/fake_placement_view.h"

namespace ballast::master {

// A machine of group 1 that owns all of 4 shards, on a log in memory, in virtual time.
class ControlFixture : public ::testing::Test {
 protected:
  static constexpr uint32_t kShards = 4;

  ControlFixture() {
    proposer_.Attach(&log_);
    log_.SetRoleObserver([this](const ReplicatedLog::State& state) { proposer_.OnRole(state); });
    scheduler_.RunFor(absl::Milliseconds(1));
    mlog::Command configuration;
    configuration.mutable_apply_configuration()->set_version(1);
    for (uint32_t i = 0; i < kShards; ++i) {
      configuration.mutable_apply_configuration()->add_shard_owner(1);
    }
    CHECK_EQ(Run(configuration)->code(), 0u);
  }

  // Proposes, and lets time pass until there is an answer.
  absl::StatusOr<mlog::Result> Run(mlog::Command command) {
    std::optional<absl::StatusOr<mlog::Result>> answer;
    executor_->Post([&, command = std::move(command)]() mutable {
      proposer_.Propose(std::move(command), [&](absl::StatusOr<mlog::Result> r) { answer = r; });
    });
    CHECK(scheduler_.RunUntilTrue([&] { return answer.has_value(); }, absl::Seconds(1)));
    return *std::move(answer);
  }

  uint64_t OpenSession(uint32_t shard) {
    mlog::Command command;
    command.set_shard(shard);
    command.mutable_open_session();
    return Run(command)->session_id();
  }

  // A request of a new session of the shard.
  mlog::Command Request(uint32_t shard) {
    mlog::Command command;
    command.set_shard(shard);
    command.mutable_request()->set_session_id(OpenSession(shard));
    command.mutable_request()->set_sequence(1);
    return command;
  }
  mlog::Command Put(const std::string& key, const std::string& value) {
    mlog::Command command = Request(machine_.ShardOf(key).value());
    command.mutable_put_inline()->set_key(key);
    command.mutable_put_inline()->set_value(value);
    command.mutable_put_inline()->set_crc32c(ComputeCrc32c(value).value);
    return command;
  }

  testing::SimScheduler scheduler_{1};
  std::unique_ptr<Executor> executor_ = scheduler_.MakeExecutor();
  MasterMachine machine_{GroupId(1), kShards};
  testing::LocalLog log_{*executor_, machine_};
  Proposer proposer_{*executor_, scheduler_, machine_};
  FakePlacementView view_;
};

}  // namespace ballast::master
