// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <thread>

#include "absl/time/time.h"
#include "client/cancellation.h"
#include "client/object_writer.h"
#include "common/env/clock.h"

namespace ballast::client {

// Keeps a line about `progress` on standard error from construction to destruction, then removes
// it. Does nothing unless `shown`. Owns a thread.
class ProgressBar {
 public:
  ProgressBar(bool shown, std::string label, const Progress& progress);
  ~ProgressBar();
  ProgressBar(const ProgressBar&) = delete;
  ProgressBar& operator=(const ProgressBar&) = delete;

 private:
  void Run();

  const std::string label_;
  const Progress& progress_;
  const SteadyTime begin_;
  Cancellation done_;
  std::thread thread_;  // not joinable unless shown
};

}  // namespace ballast::client
