// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <string>
#include <vector>

#include "common/base/byte_units.h"
#include "common/raft/state_machine.h"
#include "protos/pool_service.pb.h"
#include "protos/shardctl_service.pb.h"
#include "services/shardctl/control/long_polls.h"
#include "services/shardctl/core/config_machine.h"

namespace ballast::shardctl {

struct WatchLimits {
  size_t calls_max = LongPollLimits().calls_max;
  absl::Duration wait_max = LongPollLimits().wait_max;
  int configurations_max = 64;              // in one answer
  size_t configuration_bytes_max = MiB(2);  // in one answer, but always at least one
};

// Watch calls. Answers hold configurations in order from the caller's next, without gaps; when the
// time is over, nothing new.
class WatchCalls final : public LongPolls<v1::WatchRequest, v1::WatchResponse> {
 public:
  WatchCalls(Executor& executor, const ConfigMachine& machine, WatchLimits limits = {})
      : LongPolls(executor, {limits.calls_max, limits.wait_max}),
        machine_(machine),
        limits_(limits) {}

 private:
  bool HasNews(const v1::WatchRequest& request) const override;
  absl::StatusOr<v1::WatchResponse> AnswerTo(const v1::WatchRequest& request) override;

  const ConfigMachine& machine_;
  const WatchLimits limits_;
  v1::Registry registry_;  // the machine's as of the last answer that needed it
};

// WatchPool calls.
class PoolWatches final : public LongPolls<v1::WatchPoolRequest, v1::WatchPoolResponse> {
 public:
  PoolWatches(Executor& executor, const ConfigMachine& machine)
      : LongPolls(executor, {}), machine_(machine) {}

 private:
  bool HasNews(const v1::WatchPoolRequest& request) const override;
  absl::StatusOr<v1::WatchPoolResponse> AnswerTo(const v1::WatchPoolRequest& request) override;

  const ConfigMachine& machine_;
};

// The machine as the log sees it: tells those who wait of every change.
class WatchedMachine final : public StateMachine {
 public:
  WatchedMachine(ConfigMachine& machine, WatchCalls& calls, PoolWatches& pools)
      : machine_(machine), calls_(calls), pools_(pools) {}

  std::string Apply(RaftIndex index, absl::string_view command) override;
  std::vector<std::string> ImageNames() const override { return machine_.ImageNames(); }
  std::string TakeImage(const std::string& name) const override { return machine_.TakeImage(name); }
  absl::Status RestoreImage(const std::string& name, absl::string_view image) override;
  void Reset() override;

 private:
  void OnChange();

  ConfigMachine& machine_;
  WatchCalls& calls_;
  PoolWatches& pools_;
};

}  // namespace ballast::shardctl
