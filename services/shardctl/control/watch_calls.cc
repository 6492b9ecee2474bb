// SPDX-License-Identifier: Apache-2.0
#include "services/shardctl/control/watch_calls.h"

#include <algorithm>
#include <utility>

#include "common/base/check.h"
#include "common/types/error.h"
#include "common/types/limits.h"

namespace ballast::shardctl {

WatchCalls::WatchCalls(Executor& executor, const ConfigMachine& machine, WatchLimits limits)
    : executor_(executor), machine_(machine), limits_(limits) {}

void WatchCalls::Add(uint64_t id, const v1::WatchRequest& request, Done done) {
  CHECK(!calls_.contains(id));
  if (HasNews(request)) {
    done(AnswerTo(request));
    return;
  }
  if (calls_.size() >= limits_.calls_max) {
    v1::ErrorDetail detail;
    detail.set_reason(v1::REASON_OVERLOADED);
    detail.set_retry_after_ms(1000);
    done(MakeError(detail, "too many Watch calls wait"));
    return;
  }
  const absl::Duration wait = std::min(absl::Milliseconds(request.wait_ms()), limits_.wait_max);
  Call& call = calls_[id];
  call.request = request;
  call.done = std::move(done);
  call.timer = executor_.RunAfter(wait, [this, id] {
    const auto it = calls_.find(id);
    if (it != calls_.end()) {
      Finish(id, AnswerTo(it->second.request));
    }
  });
}

void WatchCalls::Remove(uint64_t id) {
  if (calls_.contains(id)) {
    Finish(id, absl::CancelledError("the caller has gone"));
  }
}

void WatchCalls::OnChange() {
  if (!std::exchange(wake_posted_, true)) {
    executor_.Post([this] { Wake(); });
  }
}

void WatchCalls::Wake() {
  wake_posted_ = false;
  std::vector<uint64_t> concerned;
  for (const auto& [id, call] : calls_) {
    if (HasNews(call.request)) {
      concerned.push_back(id);
    }
  }
  for (const uint64_t id : concerned) {
    const auto it = calls_.find(id);
    if (it != calls_.end()) {
      Finish(id, AnswerTo(it->second.request));
    }
  }
}

void WatchCalls::FailAll(const absl::Status& status) {
  while (!calls_.empty()) {
    Finish(calls_.begin()->first, status);
  }
}

void WatchCalls::Finish(uint64_t id, absl::StatusOr<v1::WatchResponse> answer) {
  const auto it = calls_.find(id);
  Call call = std::move(it->second);
  calls_.erase(it);
  executor_.Cancel(call.timer);
  call.done(std::move(answer));
}

bool WatchCalls::HasNews(const v1::WatchRequest& request) const {
  return machine_.current_version().value() > request.after_config_version() ||
         machine_.registry_version() != request.registry_version();
}

v1::WatchResponse WatchCalls::AnswerTo(const v1::WatchRequest& request) {
  v1::WatchResponse answer;
  answer.set_config_version(machine_.current_version().value());
  size_t bytes = 0;
  for (uint64_t n = request.after_config_version();
       n < machine_.current_version().value() &&
       answer.configurations_size() < limits_.configurations_max &&
       bytes < limits_.configuration_bytes_max;
       ++n) {
    v1::Configuration* configuration = answer.add_configurations();
    *configuration = machine_.FindConfig(ConfigVersion(n + 1))->ToProto();
    bytes += configuration->ByteSizeLong();
  }
  if (machine_.registry_version() != request.registry_version()) {
    if (registry_.version() != machine_.registry_version()) {
      registry_ = machine_.RegistryProto();
    }
    // What does not fit comes with the next call, which is answered at once.
    if (answer.ByteSizeLong() + registry_.ByteSizeLong() + KiB(1) <= kMessageBytesMax) {
      *answer.mutable_registry() = registry_;
    }
  }
  return answer;
}

std::string WatchedMachine::Apply(RaftIndex index, absl::string_view command) {
  std::string result = machine_.Apply(index, command);
  calls_.OnChange();
  return result;
}

absl::Status WatchedMachine::RestoreImage(const std::string& name, absl::string_view image) {
  const absl::Status status = machine_.RestoreImage(name, image);
  calls_.OnChange();
  return status;
}

void WatchedMachine::Reset() {
  machine_.Reset();
  calls_.OnChange();
}

}  // namespace ballast::shardctl
