// SPDX-License-Identifier: Apache-2.0
#include "gateway/backend_starter.h"

#include <utility>

namespace ballast::gateway {

BackendStarter::BackendStarter(Factory factory)
    : backend_(nullptr), thread_([this, make = std::move(factory)] {
        auto backend = make();
        absl::MutexLock lock(&mutex_);
        backend_ = std::move(backend);
        ended_ = true;
      }) {}

BackendStarter::~BackendStarter() { thread_.join(); }

absl::StatusOr<ClusterBackend*> BackendStarter::Wait() {
  absl::MutexLock lock(&mutex_);
  mutex_.Await(absl::Condition(&ended_));
  if (!backend_.ok()) {
    return backend_.status();
  }
  return backend_->get();
}

ClusterBackend* BackendStarter::IfReady() {
  absl::MutexLock lock(&mutex_);
  return ended_ && backend_.ok() ? backend_->get() : nullptr;
}

}  // namespace ballast::gateway
