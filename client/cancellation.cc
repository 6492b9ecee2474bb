// SPDX-License-Identifier: Apache-2.0
#include "client/cancellation.h"

#include <utility>

namespace ballast::client {

void Cancellation::Cancel() {
  absl::MutexLock lock(&mu_);
  if (cancelled_) {
    return;
  }
  cancelled_ = true;
  for (auto& [id, action] : hooks_) {
    action();
  }
}

bool Cancellation::cancelled() const {
  absl::MutexLock lock(&mu_);
  return cancelled_;
}

bool Cancellation::WaitFor(absl::Duration duration) const {
  absl::MutexLock lock(&mu_);
  mu_.AwaitWithTimeout(absl::Condition(&cancelled_), duration);
  return cancelled_;
}

Cancellation::Hook::Hook(Cancellation* token, std::function<void()> action) : token_(token) {
  if (token_ == nullptr) {
    return;
  }
  absl::MutexLock lock(&token_->mu_);
  if (token_->cancelled_) {
    action();
    token_ = nullptr;
    return;
  }
  id_ = token_->next_hook_++;
  token_->hooks_.emplace(id_, std::move(action));
}

Cancellation::Hook::~Hook() {
  if (token_ != nullptr) {
    absl::MutexLock lock(&token_->mu_);
    token_->hooks_.erase(id_);
  }
}

namespace {

class SystemPacer final : public Pacer {
 public:
  SteadyTime Now() override { return RealClock().SteadyNow(); }

  void Wait(absl::Duration duration, const Cancellation* cancel) override {
    if (cancel != nullptr) {
      cancel->WaitFor(duration);
      return;
    }
    static const Cancellation* const kNever = new Cancellation;
    kNever->WaitFor(duration);
  }
};

}  // namespace

Pacer& RealPacer() {
  static SystemPacer* const pacer = new SystemPacer;
  return *pacer;
}

}  // namespace ballast::client
