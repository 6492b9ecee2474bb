// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "absl/container/btree_map.h"
#include "absl/functional/any_invocable.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "common/base/byte_units.h"
#include "common/env/executor.h"
#include "common/raft/state_machine.h"
#include "protos/shardctl_service.pb.h"
#include "services/shardctl/core/config_machine.h"

namespace ballast::shardctl {

struct WatchLimits {
  size_t calls_max = 4096;  // calls that wait; more are refused
  absl::Duration wait_max = absl::Seconds(30);
  int configurations_max = 64;              // in one answer
  size_t configuration_bytes_max = MiB(2);  // in one answer, but always at least one
};

// Watch calls that wait for news.
//
// Guarantees: a call is answered as soon as the machine has news for it, else empty when its time
// is over; answers hold configurations in order from the caller's next, without gaps. Every call is
// answered, or its Done destroyed, exactly once.
// Concurrency: everything on `executor`. Lifetime: `executor` must have ended before this is
// destroyed; what still waits then is destroyed unanswered.
class WatchCalls {
 public:
  using Done = absl::AnyInvocable<void(absl::StatusOr<v1::WatchResponse>)>;

  WatchCalls(Executor& executor, const ConfigMachine& machine, WatchLimits limits = {});

  // `id` is the caller's name for the call, not in use. RESOURCE_EXHAUSTED / OVERLOADED goes to
  // `done` when too many wait. `done` may run inside.
  void Add(uint64_t id, const v1::WatchRequest& request, Done done);

  // The caller has gone: answers CANCELLED if the call still waits.
  void Remove(uint64_t id);

  // The machine may have changed. Answers whom it concerns in a task of its own, so that a burst of
  // changes wakes everybody once.
  void OnChange();

  // Answers everybody with an error.
  void FailAll(const absl::Status& status);

  size_t waiting() const { return calls_.size(); }

 private:
  struct Call {
    v1::WatchRequest request;
    Done done;
    Executor::TimerId timer;
  };

  bool HasNews(const v1::WatchRequest& request) const;
  v1::WatchResponse AnswerTo(const v1::WatchRequest& request);
  void Finish(uint64_t id, absl::StatusOr<v1::WatchResponse> answer);
  void Wake();

  Executor& executor_;
  const ConfigMachine& machine_;
  const WatchLimits limits_;
  absl::btree_map<uint64_t, Call> calls_;
  bool wake_posted_ = false;
  v1::Registry registry_;  // the machine's as of the last answer that needed it
};

// The machine as the log sees it: tells WatchCalls of every change.
class WatchedMachine final : public StateMachine {
 public:
  WatchedMachine(ConfigMachine& machine, WatchCalls& calls) : machine_(machine), calls_(calls) {}

  std::string Apply(RaftIndex index, absl::string_view command) override;
  std::vector<std::string> ImageNames() const override { return machine_.ImageNames(); }
  std::string TakeImage(const std::string& name) const override { return machine_.TakeImage(name); }
  absl::Status RestoreImage(const std::string& name, absl::string_view image) override;
  void Reset() override;

 private:
  ConfigMachine& machine_;
  WatchCalls& calls_;
};

}  // namespace ballast::shardctl
