// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

#include "absl/time/time.h"
#include "common/base/rng.h"

// How often a chunk was read lately, in one byte.
//
// A chunk's *heat* is the number of its reads, each halved with every half-life that has passed
// since: heat = sum over reads of 2^-(age / half-life). It is kept as a code of one byte on a
// logarithmic scale, code = 8 * log2(1 + heat): 0 is "not read", 8 one read, 53 a hundred, 255 some
// 4 billion. A step is 9 %, fine enough to order chunks by.
//
// Time is counted in whole half-lives (*heat epochs*) from any fixed beginning: reads within one
// epoch weigh the same. All functions are pure.

namespace ballast::master {

// Reads weigh half as much after this time.
inline constexpr absl::Duration kHeatHalfLife = absl::Hours(1);

// The code of a heat; rounded to the nearest, at most 255.
uint8_t HeatCode(double heat);

// The heat that a code stands for.
double HeatOfCode(uint8_t code);

// The code after `epochs` more half-lives.
uint8_t DecayedHeat(uint8_t code, uint32_t epochs);

// The code after `reads` more reads. Rounds up or down by chance, so that single reads of a hot
// chunk count on average.
uint8_t HeatedBy(uint8_t code, uint64_t reads, Rng& rng);

}  // namespace ballast::master
