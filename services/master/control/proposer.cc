// SPDX-License-Identifier: Apache-2.0
#include "services/master/control/proposer.h"

#include <algorithm>
#include <string>
#include <utility>

#include "common/base/check.h"
#include "common/types/error.h"
#include "common/types/limits.h"

namespace ballast::master {
namespace {

constexpr absl::Duration kStepMax = absl::Seconds(10);
// Room for the entry's own fields and each command's tag and length.
constexpr size_t kEntryOverheadBytes = 32;
constexpr size_t kCommandOverheadBytes = 8;

absl::Status NotServing() {
  return NotReadyError("the master is starting or stopping", absl::Milliseconds(100));
}

}  // namespace

void Proposer::Attach(ReplicatedLog* log) {
  log_ = log;
  if (log != nullptr) return;
  leading_ = false;
  for (Waiting& one : std::exchange(waiting_, {})) Refuse(std::move(one.done), NotServing());
}

void Proposer::OnRole(const ReplicatedLog::State& state) {
  const bool leads = state.role == ReplicatedLog::Role::kLeader;
  if (leads && !leading_) {
    base_ms_ = machine_.group_time_ms();
    since_base_ = absl::ZeroDuration();
    last_look_ = clock_.SteadyNow();
  }
  leading_ = leads && log_ != nullptr;
}

uint64_t Proposer::NowMs() {
  if (!leading_) return machine_.group_time_ms();
  const SteadyTime now = clock_.SteadyNow();
  since_base_ += std::clamp(now - last_look_, absl::ZeroDuration(), kStepMax);
  last_look_ = now;
  return std::max(machine_.group_time_ms(),
                  base_ms_ + static_cast<uint64_t>(absl::ToInt64Milliseconds(since_base_)));
}

void Proposer::Refuse(Done done, absl::Status status) {
  executor_.Post([done = std::move(done), status = std::move(status)]() mutable { done(status); });
}

void Proposer::Propose(mlog::Command command, Done done) {
  if (log_ == nullptr) {
    Refuse(std::move(done), NotServing());
    return;
  }
  if (in_flight_ + waiting_.size() >= kCommandsInFlightMax) {
    v1::ErrorDetail detail;
    detail.set_reason(v1::REASON_OVERLOADED);
    detail.set_retry_after_ms(100);
    Refuse(std::move(done), MakeError(detail, "too many commands wait for the log"));
    return;
  }
  waiting_.push_back({std::move(command), std::move(done)});
  if (std::exchange(flush_posted_, true)) return;
  // Behind the turns that are queued already: their commands share the entry.
  executor_.Post([this] { Flush(); });
}

void Proposer::Flush() {
  flush_posted_ = false;
  mlog::Entry entry;
  std::vector<Done> callbacks;
  size_t bytes = kEntryOverheadBytes;
  for (Waiting& one : std::exchange(waiting_, {})) {
    const size_t command_bytes = one.command.ByteSizeLong() + kCommandOverheadBytes;
    if (!callbacks.empty() &&
        (bytes + command_bytes > kLogEntryBytesMax || callbacks.size() == kEntryCommandsMax)) {
      Send(std::exchange(entry, {}), std::exchange(callbacks, {}));
      bytes = kEntryOverheadBytes;
    }
    bytes += command_bytes;
    *entry.add_commands() = std::move(one.command);
    callbacks.push_back(std::move(one.done));
  }
  if (!callbacks.empty()) Send(std::move(entry), std::move(callbacks));
}

void Proposer::Send(mlog::Entry entry, std::vector<Done> callbacks) {
  if (log_ == nullptr) {
    for (Done& done : callbacks) Refuse(std::move(done), NotServing());
    return;
  }
  entry.set_stamp_ms(NowMs());
  in_flight_ += callbacks.size();
  log_->Propose(entry.SerializeAsString(),
                [this, callbacks = std::move(callbacks)](
                    absl::StatusOr<ReplicatedLog::Applied> applied) mutable {
                  in_flight_ -= callbacks.size();
                  if (!applied.ok()) {
                    for (Done& done : callbacks) done(applied.status());
                    return;
                  }
                  mlog::EntryResult results;
                  CHECK(results.ParseFromString(applied->result));
                  CHECK_EQ(static_cast<size_t>(results.results_size()), callbacks.size());
                  for (size_t i = 0; i < callbacks.size(); ++i) {
                    callbacks[i](std::move(*results.mutable_results(static_cast<int>(i))));
                  }
                });
}

}  // namespace ballast::master
