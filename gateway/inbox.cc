// SPDX-License-Identifier: Apache-2.0
#include "gateway/inbox.h"

#include <utility>

#include "common/base/check.h"

namespace ballast::gateway {

bool Inbox::Fits(size_t bytes) const {
  return (bytes_ == 0 || bytes_ + bytes <= limits_.bytes_max) &&
         waiting_.size() < limits_.count_max;
}

bool Inbox::WaitForRoom(size_t bytes, absl::Duration timeout) const {
  const auto ready = [this, bytes]()
                         ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) { return stopped_ || Fits(bytes); };
  absl::MutexLock lock(&mutex_);
  return ready() || mutex_.AwaitWithTimeout(absl::Condition(&ready), timeout);
}

void Inbox::Put(InboxItem item) {
  absl::MutexLock lock(&mutex_);
  CHECK(!closed_);
  if (!stopped_) {
    bytes_ += item.bytes;
    waiting_.push_back(std::move(item));
  }
}

void Inbox::Close() {
  absl::MutexLock lock(&mutex_);
  closed_ = true;
}

std::vector<std::string> Inbox::TakeOverdue(SteadyTime now) {
  std::vector<std::string> servers;
  absl::MutexLock lock(&mutex_);
  if (!begun_.has_value() || now - *begun_ < limits_.slow_after) {
    return servers;
  }
  for (; named_ < waiting_.size(); ++named_) {
    const auto* request = std::get_if<HeartbeatRequest>(&waiting_[named_].message.request);
    if (request != nullptr) {
      servers.push_back(request->heartbeat.server);
    }
  }
  return servers;
}

bool Inbox::IsIdle() const {
  absl::MutexLock lock(&mutex_);
  return waiting_.empty() && !at_work_;
}

std::optional<InboxItem> Inbox::Take() {
  const auto ready = [this]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    return stopped_ || closed_ || !waiting_.empty();
  };
  absl::MutexLock lock(&mutex_);
  CHECK(!at_work_);
  mutex_.Await(absl::Condition(&ready));
  if (stopped_ || waiting_.empty()) {
    return std::nullopt;
  }
  InboxItem item = std::move(waiting_.front());
  waiting_.pop_front();
  named_ -= named_ > 0 ? 1 : 0;
  at_work_ = true;
  work_bytes_ = item.bytes;
  return item;
}

void Inbox::Begin(SteadyTime now) {
  absl::MutexLock lock(&mutex_);
  CHECK(at_work_);
  begun_ = now;
}

void Inbox::Done() {
  absl::MutexLock lock(&mutex_);
  CHECK(at_work_);
  at_work_ = false;
  begun_.reset();
  bytes_ -= work_bytes_;
}

bool Inbox::HasWaiting() const {
  absl::MutexLock lock(&mutex_);
  return !waiting_.empty();
}

void Inbox::Stop() {
  absl::MutexLock lock(&mutex_);
  stopped_ = true;
  for (const InboxItem& item : waiting_) {
    bytes_ -= item.bytes;
  }
  waiting_.clear();
  named_ = 0;
}

}  // namespace ballast::gateway
