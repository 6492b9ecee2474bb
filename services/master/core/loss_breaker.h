// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <deque>
#include <optional>

#include "absl/time/time.h"
#include "common/base/steady_time.h"
#include "common/types/ids.h"

namespace ballast::master {

struct LossLimits {
  size_t servers_min = 3;        // at least so many
  double capacity_share = 0.25;  // holding together at least this much of the cluster's capacity
  absl::Duration within = absl::Minutes(1);  // fell silent within this time
  absl::Duration hold = absl::Minutes(10);   // then only last copies are repaired for so long
};

// Tells a failure of machines from a failure of whatever they share (a switch, a power feed, the
// master's own network): when many servers fall silent together they will probably come back
// together, and copying everything they held would cost more than it saves.
//
//            >= servers_min silent within `within`, with >= capacity_share of the capacity
//   closed  ------------------------------------------------------------------------------> open
//           <------------------------------------------------------------------------------
//             `hold` after the last server fell silent in the open state, Release, or all are back
//
// While it is open only chunks with one replica left are repaired. Smaller losses never open it.
// Pure; time is an argument. Concurrency: none.
class LossBreaker {
 public:
  explicit LossBreaker(LossLimits limits = {}) : limits_(limits) {}

  // A server is dead: it holds `capacity_share` (0..1) of all registered capacity and was last
  // heard at `silent_since`.
  void OnDead(ServerIndex server, double capacity_share, SteadyTime silent_since, SteadyTime now);
  // It lives again, or was removed.
  void OnBack(ServerIndex server);
  void Tick(SteadyTime now);
  // An operator knows better. Servers that are silent now do not open it again.
  void Release();

  bool open() const { return open_until_.has_value(); }
  // When it closes by itself; none while closed.
  std::optional<SteadyTime> open_until() const { return open_until_; }
  size_t silent_count() const { return silent_.size(); }

 private:
  struct Silent {
    ServerIndex server;
    double share = 0;
    SteadyTime since;
  };
  bool ShouldOpen() const;

  LossLimits limits_;
  std::deque<Silent> silent_;  // by time
  std::optional<SteadyTime> open_until_;
};

}  // namespace ballast::master
