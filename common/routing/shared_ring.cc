// SPDX-License-Identifier: Apache-2.0
#include "common/routing/shared_ring.h"

#include <sched.h>

#include <utility>

namespace ballast {

void SharedRing::AwaitNoReaders(int epoch) const {
  while (arrivals_[epoch].count.load() != 0) {
    sched_yield();
  }
}

// All atomics are sequentially consistent, which the argument needs: a reader that counted itself
// in before the writer looked is waited for; one that comes later sees the new `current_`.
void SharedRing::Replace(HashRing ring) {
  auto fresh = std::make_shared<const HashRing>(std::move(ring));
  while (writing_.exchange(true)) {
    sched_yield();
  }
  const int old = current_.load();
  rings_[1 - old] = fresh;  // nobody reads it: the last Replace waited for that
  current_.store(1 - old);
  // Readers of the old ring have counted themselves in in either epoch. The next epoch is empty but
  // for stragglers; once it is, new readers go there, and the present one drains for good.
  const int epoch = epoch_.load();
  AwaitNoReaders(1 - epoch);
  epoch_.store(1 - epoch);
  AwaitNoReaders(epoch);
  rings_[old] = std::move(fresh);
  writing_.store(false);
}

}  // namespace ballast
