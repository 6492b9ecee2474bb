// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "common/env/executor.h"

namespace ballast::chunkserver {

// The way to an executor for those who may outlive it: callbacks of gRPC and of the disk pool.
// After Close, posted tasks are dropped. Thread-safe; shared by its users.
class PostGate {
 public:
  explicit PostGate(Executor& executor) : executor_(&executor) {}

  void Post(Task task) ABSL_LOCKS_EXCLUDED(mu_) {
    absl::MutexLock lock(&mu_);
    if (executor_ != nullptr) {
      executor_->Post(std::move(task));
    }
  }

  // When it returns, nothing is posted any more.
  void Close() ABSL_LOCKS_EXCLUDED(mu_) {
    absl::MutexLock lock(&mu_);
    executor_ = nullptr;
  }

 private:
  absl::Mutex mu_;
  Executor* executor_ ABSL_GUARDED_BY(mu_);
};

}  // namespace ballast::chunkserver
