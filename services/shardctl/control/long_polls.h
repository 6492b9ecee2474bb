// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <utility>
#include <vector>

#include "absl/container/btree_map.h"
#include "absl/functional/any_invocable.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "common/base/check.h"
#include "common/env/executor.h"
#include "common/types/error.h"

namespace ballast::shardctl {

struct LongPollLimits {
  size_t calls_max = 4096;  // calls that wait; more are refused
  absl::Duration wait_max = absl::Seconds(30);
};

// Calls that wait for news: WatchCalls and PoolWatches say what news is. `Request` has wait_ms.
//
// Guarantees: a call is answered as soon as there is news for it, else when its time is over; every
// call is answered, or its Done destroyed, exactly once.
// Concurrency: everything on `executor`. Lifetime: `executor` must have ended before this is
// destroyed; what still waits then is destroyed unanswered.
template <typename RequestType, typename AnswerType>
class LongPolls {
 public:
  using Request = RequestType;
  using Answer = AnswerType;
  using Done = absl::AnyInvocable<void(absl::StatusOr<Answer>)>;

  LongPolls(Executor& executor, LongPollLimits limits) : executor_(executor), limits_(limits) {}
  virtual ~LongPolls() = default;

  // `id` is the caller's name for the call, not in use. RESOURCE_EXHAUSTED / OVERLOADED goes to
  // `done` when too many wait. `done` may run inside.
  void Add(uint64_t id, const Request& request, Done done) {
    CHECK(!calls_.contains(id));
    if (HasNews(request)) {
      done(AnswerTo(request));
      return;
    }
    if (calls_.size() >= limits_.calls_max) {
      v1::ErrorDetail detail;
      detail.set_reason(v1::REASON_OVERLOADED);
      detail.set_retry_after_ms(1000);
      done(MakeError(detail, "too many calls wait for news"));
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

  // The caller has gone: answers CANCELLED if the call still waits.
  void Remove(uint64_t id) {
    if (calls_.contains(id)) {
      Finish(id, absl::CancelledError("the caller has gone"));
    }
  }

  // There may be news. Answers whom it concerns in a task of its own, so that a burst of changes
  // wakes everybody once.
  void OnChange() {
    if (!std::exchange(wake_posted_, true)) {
      executor_.Post([this] { Wake(); });
    }
  }

  // Answers everybody with an error.
  void FailAll(const absl::Status& status) {
    while (!calls_.empty()) {
      Finish(calls_.begin()->first, status);
    }
  }

  size_t waiting() const { return calls_.size(); }

 private:
  struct Call {
    Request request;
    Done done;
    Executor::TimerId timer;
  };

  virtual bool HasNews(const Request& request) const = 0;
  virtual absl::StatusOr<Answer> AnswerTo(const Request& request) = 0;

  void Finish(uint64_t id, absl::StatusOr<Answer> answer) {
    const auto it = calls_.find(id);
    Call call = std::move(it->second);
    calls_.erase(it);
    executor_.Cancel(call.timer);
    call.done(std::move(answer));
  }

  void Wake() {
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

  Executor& executor_;
  const LongPollLimits limits_;
  absl::btree_map<uint64_t, Call> calls_;
  bool wake_posted_ = false;
};

}  // namespace ballast::shardctl
