// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "absl/functional/any_invocable.h"
#include "absl/time/time.h"

namespace ballast {

using Task = absl::AnyInvocable<void()>;

// Runs tasks one after another, in the order in which they were posted. One executor owns one
// piece of state, which therefore needs no lock (STYLE: one owner per state).
//
// Concurrency: all methods may be called from any thread, also from a running task. A task never
// runs inside Post or RunAfter.
// Lifetime: tasks that have not begun when the executor is destroyed are destroyed unrun; the
// destructor waits for the running one. Nothing may be posted during or after destruction.
class Executor {
 public:
  using TimerId = uint64_t;

  virtual ~Executor() = default;

  virtual void Post(Task task) = 0;

  // Runs `task` once after at least `delay`. Timers that are due run in order of their due times.
  virtual TimerId RunAfter(absl::Duration delay, Task task) = 0;

  // A timer that has not begun will not run. Unknown and finished ids are ignored.
  virtual void Cancel(TimerId id) = 0;
};

// One thread of its own, named `name` (15 characters at most are visible in tools).
std::unique_ptr<Executor> MakeThreadExecutor(const std::string& name);

// Runs tasks on any of `threads` threads, in no particular order: for blocking disk work.
// Post never blocks; the number of queued tasks is bounded by whoever posts.
// Lifetime: as Executor.
class ThreadPool {
 public:
  ThreadPool(const std::string& name, int threads);
  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;
  void Post(Task task);

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace ballast
