// SPDX-License-Identifier: Apache-2.0
#include "services/master/core/loss_breaker.h"

#include <algorithm>

namespace ballast::master {

void LossBreaker::OnDead(ServerIndex server, double capacity_share, SteadyTime silent_since,
                         SteadyTime now) {
  OnBack(server);
  const auto after =
      std::upper_bound(silent_.begin(), silent_.end(), silent_since,
                       [](SteadyTime time, const Silent& other) { return time < other.since; });
  silent_.insert(after, {server, capacity_share, silent_since});
  if (open() || ShouldOpen()) {
    open_until_ = now + limits_.hold;
  }
}

void LossBreaker::OnBack(ServerIndex server) {
  std::erase_if(silent_, [server](const Silent& silent) { return silent.server == server; });
  if (silent_.empty()) {
    open_until_.reset();
  }
}

void LossBreaker::Tick(SteadyTime now) {
  if (open() && now >= *open_until_) {
    Release();
  }
}

void LossBreaker::Release() {
  open_until_.reset();
  silent_.clear();
}

// Some window of `within` has enough of them.
bool LossBreaker::ShouldOpen() const {
  auto first = silent_.begin();
  double share = 0;
  for (auto last = silent_.begin(); last != silent_.end(); ++last) {
    share += last->share;
    for (; last->since - first->since > limits_.within; ++first) {
      share -= first->share;
    }
    const auto servers = static_cast<size_t>(last - first) + 1;
    // What was taken off again may leave a hair.
    if (servers >= limits_.servers_min && share >= limits_.capacity_share - 1e-9) {
      return true;
    }
  }
  return false;
}

}  // namespace ballast::master
