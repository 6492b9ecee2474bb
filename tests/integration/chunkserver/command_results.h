// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <functional>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "gtest/gtest.h"
#include "protos/chunkserver_control_service.pb.h"

namespace ballast::chunkserver {

// Results of commands as they come. Thread-safe; outlives whoever has its sink.
class CommandResults {
 public:
  std::function<void(const v1::CommandResult&)> Sink() {
    return [this](const v1::CommandResult& result) {
      absl::MutexLock lock(&mu_);
      results_.push_back(result);
    };
  }
  // All so far, once there are `count`; fails after 20 s.
  std::vector<v1::CommandResult> Await(size_t count) {
    absl::MutexLock lock(&mu_);
    const auto enough = [&]()
                            ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_) { return results_.size() >= count; };
    EXPECT_TRUE(mu_.AwaitWithTimeout(absl::Condition(&enough), absl::Seconds(20)));
    std::vector<v1::CommandResult> out = results_;
    out.resize(std::max(out.size(), count));
    return out;
  }

 private:
  absl::Mutex mu_;
  std::vector<v1::CommandResult> results_ ABSL_GUARDED_BY(mu_);
};

}  // namespace ballast::chunkserver
