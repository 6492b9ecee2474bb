// SPDX-License-Identifier: Apache-2.0
#include "common/env/executor.h"

#include <pthread.h>

#include <algorithm>
#include <condition_variable>
#include <deque>
#include <map>
#include <mutex>
#include <optional>
#include <thread>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "common/base/check.h"
#include "common/env/clock.h"

namespace ballast {
namespace {

void NameThisThread(const std::string& name) {
  pthread_setname_np(pthread_self(), name.substr(0, 15).c_str());
}

// Wakes one thread that waits for it. Abseil's waits with a timeout end by the wall clock: one that
// is set back by an hour would let every timer come an hour late. This one ends by the steady
// clock.
class Alarm {
 public:
  // The wait that is under way, or else the next one, ends.
  void Ring() {
    // Notified with the lock held: whoever it wakes may end the executor, and this with it.
    const std::lock_guard<std::mutex> lock(mu_);
    rung_ = true;
    condition_.notify_one();
  }

  // Until Ring or `at_most` is over; may also end earlier.
  void Wait(absl::Duration at_most) {
    std::unique_lock<std::mutex> lock(mu_);
    condition_.wait_for(lock, absl::ToChronoNanoseconds(std::min(at_most, kWaitMax)),
                        [this] { return rung_; });
    rung_ = false;
  }

 private:
  static constexpr absl::Duration kWaitMax = absl::Hours(1);

  std::mutex mu_;  // a leaf
  std::condition_variable condition_;
  bool rung_ = false;
};

class ThreadExecutor final : public Executor {
 public:
  explicit ThreadExecutor(const std::string& name)
      : thread_([this, name] {
          NameThisThread(name);
          Loop();
        }) {}

  ~ThreadExecutor() override {
    {
      absl::MutexLock lock(&mu_);
      stopping_ = true;
    }
    alarm_.Ring();
    CHECK(std::this_thread::get_id() != thread_.get_id()) << "an executor cannot destroy itself";
    thread_.join();
  }

  void Post(Task task) override {
    bool ring = false;
    {
      absl::MutexLock lock(&mu_);
      ready_.push_back(Ready{.timer = 0, .task = std::move(task)});
      ring = std::exchange(asleep_, false);
    }
    if (ring) {
      alarm_.Ring();
    }
  }

  TimerId RunAfter(absl::Duration delay, Task task) override {
    const SteadyTime due = RealClock().SteadyNow() + delay;
    TimerId id = 0;
    bool ring = false;
    {
      absl::MutexLock lock(&mu_);
      id = next_timer_++;
      timers_.emplace(std::make_pair(due.SinceOrigin(), id), std::move(task));
      due_by_id_.emplace(id, due.SinceOrigin());
      ring = due.SinceOrigin() < watched_due_ && std::exchange(asleep_, false);
    }
    if (ring) {
      alarm_.Ring();
    }
    return id;
  }

  void Cancel(TimerId id) override {
    Task doomed;  // destroyed outside the lock: its destructor may call back
    absl::MutexLock lock(&mu_);
    const auto it = due_by_id_.find(id);
    if (it == due_by_id_.end()) {
      // Due and queued behind the running task, finished, or never known.
      const auto queued = std::find_if(ready_.begin(), ready_.end(),
                                       [id](const Ready& r) { return id != 0 && r.timer == id; });
      if (queued != ready_.end()) {
        doomed = std::move(queued->task);
        ready_.erase(queued);
      }
      return;
    }
    const auto timer = timers_.find(std::make_pair(it->second, id));
    doomed = std::move(timer->second);
    timers_.erase(timer);
    due_by_id_.erase(it);
  }

 private:
  void Loop() {
    while (true) {
      Task task;
      std::optional<absl::Duration> due;  // nothing to do until then
      {
        absl::MutexLock lock(&mu_);
        asleep_ = false;
        if (stopping_) {
          return;
        }
        QueueDueTimers();
        if (ready_.empty()) {
          due = timers_.empty() ? absl::InfiniteDuration() : timers_.begin()->first.first;
          watched_due_ = *due;
          asleep_ = true;
        } else {
          task = std::move(ready_.front().task);
          ready_.pop_front();
        }
      }
      if (due.has_value()) {
        alarm_.Wait(*due - RealClock().SteadyNow().SinceOrigin());
      } else {
        task();
      }
    }
  }

  // Due timers join the end of the queue, so that neither they nor posted tasks can starve the
  // other.
  void QueueDueTimers() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_) {
    if (timers_.empty()) {
      return;
    }
    const absl::Duration now = RealClock().SteadyNow().SinceOrigin();
    while (!timers_.empty() && timers_.begin()->first.first <= now) {
      const TimerId id = timers_.begin()->first.second;
      ready_.push_back(Ready{.timer = id, .task = std::move(timers_.begin()->second)});
      due_by_id_.erase(id);
      timers_.erase(timers_.begin());
    }
  }

  struct Ready {
    TimerId timer;  // 0: posted
    Task task;
  };

  absl::Mutex mu_;
  bool stopping_ ABSL_GUARDED_BY(mu_) = false;
  std::deque<Ready> ready_ ABSL_GUARDED_BY(mu_);
  std::map<std::pair<absl::Duration, TimerId>, Task> timers_ ABSL_GUARDED_BY(mu_);
  std::map<TimerId, absl::Duration> due_by_id_ ABSL_GUARDED_BY(mu_);
  // The thread waits at the alarm, or is about to; whoever sets it to false rings.
  bool asleep_ ABSL_GUARDED_BY(mu_) = false;
  absl::Duration watched_due_ ABSL_GUARDED_BY(mu_) = absl::InfiniteDuration();  // while asleep
  TimerId next_timer_ ABSL_GUARDED_BY(mu_) = 1;
  Alarm alarm_;
  std::thread thread_;  // last: starts when everything above exists
};

}  // namespace

std::unique_ptr<Executor> MakeThreadExecutor(const std::string& name) {
  return std::make_unique<ThreadExecutor>(name);
}

struct ThreadPool::State {
  absl::Mutex mu;
  bool stopping ABSL_GUARDED_BY(mu) = false;
  std::deque<Task> ready ABSL_GUARDED_BY(mu);
  std::vector<std::thread> threads;

  bool HasWork() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu) { return stopping || !ready.empty(); }

  void Loop() {
    while (true) {
      Task task;
      {
        absl::MutexLock lock(&mu);
        mu.Await(absl::Condition(this, &State::HasWork));
        if (stopping) {
          return;
        }
        task = std::move(ready.front());
        ready.pop_front();
      }
      task();
    }
  }
};

ThreadPool::ThreadPool(const std::string& name, int threads) : state_(std::make_unique<State>()) {
  CHECK_GT(threads, 0);
  for (int i = 0; i < threads; ++i) {
    state_->threads.emplace_back([state = state_.get(), name] {
      NameThisThread(name);
      state->Loop();
    });
  }
}

ThreadPool::~ThreadPool() {
  {
    absl::MutexLock lock(&state_->mu);
    state_->stopping = true;
  }
  for (std::thread& thread : state_->threads) {
    thread.join();
  }
}

void ThreadPool::Post(Task task) {
  absl::MutexLock lock(&state_->mu);
  state_->ready.push_back(std::move(task));
}

}  // namespace ballast
