// SPDX-License-Identifier: Apache-2.0
#include "services/chunkserver/control/gate_chain.h"

#include <algorithm>
#include <utility>

#include "common/base/check.h"
#include "common/types/limits.h"

namespace ballast::chunkserver {

std::shared_ptr<GateChain> GateChain::Make(std::vector<std::shared_ptr<TrafficGate>> gates) {
  CHECK(!gates.empty());
  return std::shared_ptr<GateChain>(new GateChain(std::move(gates)));
}

uint64_t GateChain::PieceBytes() const {
  uint64_t bytes = gates_.front()->PieceBytes();
  for (const std::shared_ptr<TrafficGate>& gate : gates_) {
    bytes = std::min(bytes, gate->PieceBytes());
  }
  return std::max(bytes / 2 / kBlockBytes, uint64_t{1}) * kBlockBytes;
}

bool GateChain::PassLocked(Ticket ticket, Waiting& waiting) {
  for (; waiting.at < gates_.size(); ++waiting.at) {
    const std::optional<Ticket> waits =
        gates_[waiting.at]->Ask(waiting.bytes, [weak = weak_from_this(), ticket] {
          if (const auto self = weak.lock()) {
            self->OnPassed(ticket);
          }
        });
    if (waits.has_value()) {
      waiting.ticket = *waits;
      return false;
    }
  }
  return true;
}

std::optional<GateChain::Ticket> GateChain::Ask(uint64_t bytes, Task granted) {
  absl::MutexLock lock(&mu_);
  const Ticket ticket = next_ticket_++;
  Waiting waiting;
  waiting.bytes = bytes;
  if (PassLocked(ticket, waiting)) {
    return std::nullopt;
  }
  waiting.granted = std::move(granted);
  waiting_.emplace(ticket, std::move(waiting));
  return ticket;
}

void GateChain::OnPassed(Ticket ticket) {
  Task granted;
  {
    absl::MutexLock lock(&mu_);
    const auto it = waiting_.find(ticket);
    if (it == waiting_.end()) {
      return;  // cancelled
    }
    ++it->second.at;
    if (!PassLocked(ticket, it->second)) {
      return;
    }
    granted = std::move(it->second.granted);
    waiting_.erase(it);
  }
  granted();
}

void GateChain::Cancel(Ticket ticket) {
  Task dropped;  // destroyed outside the lock
  absl::MutexLock lock(&mu_);
  const auto it = waiting_.find(ticket);
  if (it != waiting_.end()) {
    gates_[it->second.at]->Cancel(it->second.ticket);
    dropped = std::move(it->second.granted);
    waiting_.erase(it);
  }
}

}  // namespace ballast::chunkserver
