// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <memory>
#include <thread>

#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "gateway/cluster_backend.h"

namespace ballast::gateway {

// Makes the backend on a thread of its own, from construction on, so that messages which need
// none are answered meanwhile. Owns it. Thread-safe.
class BackendStarter {
 public:
  using Factory = std::function<absl::StatusOr<std::unique_ptr<ClusterBackend>>()>;

  explicit BackendStarter(Factory factory);
  // Waits for the factory, then destroys what it made.
  ~BackendStarter();

  // Waits for it. An error: it could not be made, now and for ever.
  absl::StatusOr<ClusterBackend*> Wait();
  // Null while it is not there. Never blocks.
  ClusterBackend* IfReady();

 private:
  absl::Mutex mutex_;
  bool ended_ ABSL_GUARDED_BY(mutex_) = false;
  absl::StatusOr<std::unique_ptr<ClusterBackend>> backend_ ABSL_GUARDED_BY(mutex_);
  std::thread thread_;
};

}  // namespace ballast::gateway
