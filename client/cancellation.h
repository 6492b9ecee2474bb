// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <functional>
#include <map>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "common/env/clock.h"

namespace ballast::client {

// Tells operations under way to stop: the caller's end of a Ctrl-C.
//
// Concurrency: thread-safe. Cancel is not for signal handlers; give signals a thread of their own.
// Lifetime: must outlive the operations that were given it.
class Cancellation {
 public:
  // From now on cancelled() holds; hooks run once, on the calling thread. Idempotent.
  void Cancel();
  bool cancelled() const;

  // Blocks for `duration` or until cancelled; returns cancelled().
  bool WaitFor(absl::Duration duration) const;

  // Runs `action` when the token is cancelled while the hook lives; at once, on the constructing
  // thread, if it is cancelled already. The destructor waits for a running action. `token` may be
  // null: then the hook does nothing.
  class Hook {
   public:
    Hook(Cancellation* token, std::function<void()> action);
    ~Hook();
    Hook(const Hook&) = delete;
    Hook& operator=(const Hook&) = delete;

   private:
    Cancellation* token_;
    uint64_t id_ = 0;
  };

 private:
  mutable absl::Mutex mu_;
  bool cancelled_ ABSL_GUARDED_BY(mu_) = false;
  uint64_t next_hook_ ABSL_GUARDED_BY(mu_) = 1;
  // Run under mu_, so that a hook's destructor waits for its action; actions must not call back.
  std::map<uint64_t, std::function<void()>> hooks_ ABSL_GUARDED_BY(mu_);
};

// Time and waiting as the client's retry loops see them: the seam that lets tests run ten minutes
// of retries in no time. Thread-safe.
class Pacer {
 public:
  virtual ~Pacer() = default;
  virtual SteadyTime Now() = 0;
  // Waits; returns early if `cancel` (may be null) is cancelled.
  virtual void Wait(absl::Duration duration, const Cancellation* cancel) = 0;
};

// Real time; lives for ever.
Pacer& RealPacer();

}  // namespace ballast::client
