// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <optional>
#include <string>
#include <vector>

#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "common/base/byte_units.h"
#include "common/base/steady_time.h"
#include "gateway/core/request.h"

namespace ballast::gateway {

struct InboxLimits {
  // The messages queued and the one at work, as bytes of their text. A single one of any size
  // fits, but alone.
  size_t bytes_max = MiB(4);
  size_t count_max = 20000;
  // From when on the message at work counts as slow.
  absl::Duration slow_after = absl::Milliseconds(500);
};

struct InboxItem {
  Message message;
  SteadyTime read_at;
  size_t bytes = 0;  // of its text
};

// The messages that were read and wait for their turn: one thread reads and puts them in, another
// takes one at a time and works on it. In order, bounded.
//
// While the message at work is slow, the servers whose heartbeats wait are owed a sign that they
// live: TakeOverdue names each waiting heartbeat once. Never otherwise, so that what comes before
// a heartbeat does not see it.
//
// Thread-safe; blocks only where said. Takes times as arguments.
class Inbox {
 public:
  explicit Inbox(const InboxLimits& limits = {}) : limits_(limits) {}

  // --- the reader --------------------------------------------------------------------------------
  // Waits until `bytes` more fit, or the time is over: false.
  bool WaitForRoom(size_t bytes, absl::Duration timeout) const;
  // After WaitForRoom. Dropped if the inbox is stopped.
  void Put(InboxItem item);
  // No more will come; what is there is still worked on.
  void Close();
  // Servers of waiting heartbeats that were not named before, if the message at work is slow.
  std::vector<std::string> TakeOverdue(SteadyTime now);
  // Nothing waits and nothing is at work.
  bool IsIdle() const;

  // --- the worker --------------------------------------------------------------------------------
  // Waits for the next message, which is then at work. Null: closed and empty, or stopped.
  std::optional<InboxItem> Take();
  // When work on it really begins, and that it is over.
  void Begin(SteadyTime now);
  void Done();
  bool HasWaiting() const;

  // --- anybody -----------------------------------------------------------------------------------
  // What waits is dropped; Take returns null from now on.
  void Stop();

 private:
  bool Fits(size_t bytes) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  const InboxLimits limits_;
  mutable absl::Mutex mutex_;
  std::deque<InboxItem> waiting_ ABSL_GUARDED_BY(mutex_);
  size_t named_ ABSL_GUARDED_BY(mutex_) = 0;  // so many of waiting_, from the front, were named
  size_t bytes_ ABSL_GUARDED_BY(mutex_) = 0;  // waiting and at work
  bool at_work_ ABSL_GUARDED_BY(mutex_) = false;
  size_t work_bytes_ ABSL_GUARDED_BY(mutex_) = 0;
  std::optional<SteadyTime> begun_ ABSL_GUARDED_BY(mutex_);
  bool closed_ ABSL_GUARDED_BY(mutex_) = false;
  bool stopped_ ABSL_GUARDED_BY(mutex_) = false;
};

}  // namespace ballast::gateway
