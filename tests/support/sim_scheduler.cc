// SPDX-License-Identifier: Apache-2.0
#include "tests/support/sim_scheduler.h"

#include <algorithm>
#include <vector>

#include "common/base/check.h"

namespace ballast::testing {

class SimScheduler::SimExecutor final : public Executor {
 public:
  SimExecutor(SimScheduler* world, absl::Duration jitter) : world_(world), jitter_(jitter) {}
  ~SimExecutor() override { world_->Drop(this); }

  void Post(Task task) override {
    absl::Duration due = world_->now_;
    if (jitter_ > absl::ZeroDuration()) {
      const uint64_t span = static_cast<uint64_t>(absl::ToInt64Nanoseconds(jitter_));
      due += absl::Nanoseconds(static_cast<int64_t>(world_->rng_.Below(span + 1)));
    }
    last_post_ = std::max(last_post_, due);
    world_->Schedule(this, last_post_, std::move(task));
  }

  TimerId RunAfter(absl::Duration delay, Task task) override {
    return world_->Schedule(this, world_->now_ + std::max(delay, absl::ZeroDuration()),
                            std::move(task));
  }

  void Cancel(TimerId id) override {
    const auto it = world_->due_by_sequence_.find(id);
    if (it == world_->due_by_sequence_.end()) {
      return;
    }
    const auto event = world_->events_.find({it->second, id});
    CHECK(event != world_->events_.end() && event->second.owner == this)
        << "a timer belongs to another executor";
    const Task doomed = std::move(event->second.task);
    world_->events_.erase(event);
    world_->due_by_sequence_.erase(it);
  }

 private:
  SimScheduler* const world_;
  const absl::Duration jitter_;
  absl::Duration last_post_ = absl::ZeroDuration();
};

std::unique_ptr<Executor> SimScheduler::MakeExecutor(absl::Duration jitter) {
  return std::make_unique<SimExecutor>(this, jitter);
}

uint64_t SimScheduler::Schedule(const SimExecutor* owner, absl::Duration due, Task task) {
  const uint64_t sequence = next_sequence_++;
  events_.emplace(EventKey{due, sequence}, Event{owner, std::move(task)});
  due_by_sequence_.emplace(sequence, due);
  return sequence;
}

void SimScheduler::Drop(const SimExecutor* owner) {
  std::vector<Task> doomed;  // destroyed last: their destructors may call back
  for (auto it = events_.begin(); it != events_.end();) {
    if (it->second.owner == owner) {
      due_by_sequence_.erase(it->first.second);
      doomed.push_back(std::move(it->second.task));
      it = events_.erase(it);
    } else {
      ++it;
    }
  }
}

bool SimScheduler::Step() {
  if (events_.empty()) {
    return false;
  }
  const auto it = events_.begin();
  now_ = std::max(now_, it->first.first);
  Task task = std::move(it->second.task);
  due_by_sequence_.erase(it->first.second);
  events_.erase(it);
  ++steps_;
  task();
  return true;
}

}  // namespace ballast::testing
