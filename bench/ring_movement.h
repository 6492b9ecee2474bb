// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "bench/ketama_reference.h"

namespace ballast::bench {

// How far what moved was from what had to, in standard deviations, summed up over changes.
struct Deviation {
  uint64_t changes = 0;
  double worst = 0;          // of one change, absolute
  double excess = 0;         // sum of (moved - optimum), parts of all keys
  double variance = 0;       // of that sum
  double aggregate() const;  // excess in standard deviations
  void Add(double moved, double optimum, double change_variance);
};

// Random joins, leaves and changes of weight on one ring, every key looked up after each.
struct ChangesResult {
  uint64_t keys = 0;
  uint64_t moved_keys = 0;
  uint64_t collateral_keys = 0;  // moved between two servers that did not change
  double optimum_keys = 0;       // what had to move: by how much the servers' parts changed
  uint32_t servers_min = 0;
  uint32_t servers_max = 0;
  double seconds = 0;
  Deviation joins;
  Deviation leaves;
  Deviation weights;
  Deviation all;
};
ChangesResult RunRandomChanges(uint64_t changes, uint64_t keys, uint64_t seed);

// One change, the same for our ring and for both kinds of ketama: where keys went.
struct Transition {
  std::string ring;
  std::string change;     // "24 -> 25 servers"
  double optimum = 0;     // parts of all keys
  double moved = 0;       //
  double collateral = 0;  // moved between two servers that did not change
};
std::vector<Transition> RunTransitions(uint64_t keys, uint32_t points);

}  // namespace ballast::bench
