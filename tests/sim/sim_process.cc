// SPDX-License-Identifier: Apache-2.0
#include "tests/sim/sim_process.h"

#include <algorithm>
#include <map>

#include "common/base/check.h"

namespace ballast::testing {

class SimProcess::ProcessExecutor final : public Executor {
 public:
  explicit ProcessExecutor(SimProcess* process)
      : process_(process), inner_(process->sim_.MakeExecutor()) {}

  ~ProcessExecutor() override {
    // Destroyed last: what a task holds may call back.
    std::deque<Held> doomed;
    std::deque<Held>& held = process_->held_;
    for (auto it = held.begin(); it != held.end();) {
      if (it->owner == this) {
        doomed.push_back(std::move(*it));
        it = held.erase(it);
      } else {
        ++it;
      }
    }
    inner_.reset();
  }

  void Post(Task task) override {
    Start(absl::ZeroDuration(), /*is_timer=*/false, std::move(task));
  }

  TimerId RunAfter(absl::Duration delay, Task task) override {
    return Start(delay, /*is_timer=*/true, std::move(task));
  }

  void Cancel(TimerId id) override {
    const auto it = inner_ids_.find(id);
    if (it != inner_ids_.end()) {
      inner_->Cancel(it->second);
      inner_ids_.erase(it);
      return;
    }
    std::deque<Held>& held = process_->held_;
    const auto found = std::find_if(held.begin(), held.end(), [&](const Held& one) {
      return one.owner == this && one.id == id;
    });
    if (found != held.end()) {
      const Task doomed = std::move(found->task);
      held.erase(found);
    }
  }

 private:
  TimerId Start(absl::Duration delay, bool is_timer, Task task) {
    const TimerId id = ++last_id_;
    auto run = [this, id, task = std::move(task)]() mutable {
      inner_ids_.erase(id);
      process_->RunOrHold(this, id, std::move(task));
    };
    if (is_timer) {
      inner_ids_[id] = inner_->RunAfter(delay, std::move(run));
    } else {
      inner_->Post(std::move(run));
    }
    return id;
  }

  SimProcess* const process_;
  std::unique_ptr<Executor> inner_;
  TimerId last_id_ = 0;
  std::map<TimerId, TimerId> inner_ids_;  // timers that are not due yet
};

SimProcess::SimProcess(SimScheduler& sim, std::string name)
    : sim_(sim),
      name_(std::move(name)),
      alive_(std::make_shared<SimProcess*>(this)),
      born_(sim.SteadyNow().SinceOrigin()) {}

SimProcess::~SimProcess() { CHECK(held_.empty()) << name_ << " outlived by an executor"; }

std::unique_ptr<Executor> SimProcess::MakeExecutor() {
  return std::make_unique<ProcessExecutor>(this);
}

void SimProcess::Pause() {
  if (!paused_) {
    paused_ = true;
    paused_at_ = sim_.SteadyNow().SinceOrigin();
  }
}

void SimProcess::Resume() {
  if (!paused_) {
    return;
  }
  paused_ = false;
  const absl::Duration pause = sim_.SteadyNow().SinceOrigin() - paused_at_;
  paused_for_ += pause - std::min(pause, moment_);
  if (!held_.empty() && !draining_) {
    draining_ = true;
    sim_.At(absl::ZeroDuration(), [weak = std::weak_ptr<SimProcess*>(alive_)] {
      if (const auto self = weak.lock()) {
        (*self)->DrainOne();
      }
    });
  }
}

absl::Duration SimProcess::RunningTime() const {
  const absl::Duration now = paused_ ? paused_at_ : sim_.SteadyNow().SinceOrigin();
  return now - born_ - paused_for_;
}

void SimProcess::RunOrHold(ProcessExecutor* owner, Executor::TimerId id, Task task) {
  if (paused_ || draining_) {
    held_.push_back({owner, id, std::move(task)});
  } else {
    Turn(std::move(task));
  }
}

void SimProcess::DrainOne() {
  if (paused_ || held_.empty()) {
    draining_ = false;
    return;
  }
  sim_.At(absl::ZeroDuration(), [weak = std::weak_ptr<SimProcess*>(alive_)] {
    if (const auto self = weak.lock()) {
      (*self)->DrainOne();
    }
  });
  Task task = std::move(held_.front().task);
  held_.pop_front();
  Turn(std::move(task));
}

void SimProcess::Turn(Task task) {
  const std::weak_ptr<SimProcess*> weak = alive_;
  task();
  // The task may have been the process's last.
  if (const auto self = weak.lock(); self != nullptr && after_turn_) {
    after_turn_();
  }
}

}  // namespace ballast::testing
