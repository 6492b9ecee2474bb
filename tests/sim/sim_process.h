// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <string>
#include <utility>

#include "absl/time/time.h"
#include "common/env/executor.h"
#include "tests/support/sim_scheduler.h"

namespace ballast::testing {

// One process of a simulated world: all its executors can be stopped together, as by SIGSTOP, and
// what came due meanwhile then runs at once, in order, before anything newer.
//
// Concurrency: one thread. Lifetime: outlives its executors; `sim` outlives it. Destroying the
// executors is the process's end: their tasks are dropped unrun.
class SimProcess {
 public:
  SimProcess(SimScheduler& sim, std::string name);
  ~SimProcess();
  SimProcess(const SimProcess&) = delete;
  SimProcess& operator=(const SimProcess&) = delete;

  const std::string& name() const { return name_; }

  // A serial executor: tasks run in the order of their posts, timers when due.
  std::unique_ptr<Executor> MakeExecutor();

  void Pause();
  void Resume();
  bool paused() const { return paused_; }

  // How long this process has run since it began, pauses left out but for the first moment of each,
  // which no process can tell from being busy.
  absl::Duration RunningTime() const;
  void SetMoment(absl::Duration moment) { moment_ = moment; }

  // Called after each task of this process. Null: nobody.
  void SetAfterTurn(std::function<void()> after_turn) { after_turn_ = std::move(after_turn); }

 private:
  class ProcessExecutor;
  struct Held {
    ProcessExecutor* owner;
    Executor::TimerId id;
    Task task;
  };
  // Runs the task now, or keeps it while the process stands still.
  void RunOrHold(ProcessExecutor* owner, Executor::TimerId id, Task task);
  void DrainOne();
  void Turn(Task task);

  SimScheduler& sim_;
  const std::string name_;
  const std::shared_ptr<SimProcess*> alive_;
  const absl::Duration born_;
  absl::Duration moment_ = absl::ZeroDuration();
  absl::Duration paused_for_ = absl::ZeroDuration();  // beyond the moments
  absl::Duration paused_at_ = absl::ZeroDuration();
  bool paused_ = false;
  bool draining_ = false;
  std::deque<Held> held_;
  std::function<void()> after_turn_;
};

}  // namespace ballast::testing
