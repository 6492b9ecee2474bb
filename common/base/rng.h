// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

#include "common/base/check.h"

namespace ballast {

// Seedable generator with the same sequence on every compiler and library: xoshiro256** (Blackman
// and Vigna, 2018), seeded by splitmix64. Passed by reference to whatever needs chance; nothing in
// a core owns one. Not for secrets. Not thread-safe.
class Rng {
 public:
  explicit Rng(uint64_t seed) {
    for (uint64_t& word : state_) {
      seed += 0x9E3779B97F4A7C15;
      uint64_t z = seed;
      z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9;
      z = (z ^ (z >> 27)) * 0x94D049BB133111EB;
      word = z ^ (z >> 31);
    }
  }

  uint64_t Next() {
    const uint64_t result = Rotl(state_[1] * 5, 7) * 9;
    const uint64_t t = state_[1] << 17;
    state_[2] ^= state_[0];
    state_[3] ^= state_[1];
    state_[1] ^= state_[2];
    state_[0] ^= state_[3];
    state_[2] ^= t;
    state_[3] = Rotl(state_[3], 45);
    return result;
  }

  // Uniform in [0, bound); bound > 0. Exact (rejection), not merely close to uniform.
  uint64_t Below(uint64_t bound) {
    CHECK_GT(bound, 0u);
    const uint64_t limit = ~uint64_t{0} - ~uint64_t{0} % bound;
    uint64_t draw = Next();
    while (draw >= limit) {
      draw = Next();
    }
    return draw % bound;
  }

  // Uniform in [low, high], both included; low <= high.
  uint64_t Between(uint64_t low, uint64_t high) {
    CHECK_LE(low, high);
    const uint64_t span = high - low;
    return span == ~uint64_t{0} ? Next() : low + Below(span + 1);
  }

  // True once in `n` draws on average; n > 0.
  bool OneIn(uint64_t n) { return Below(n) == 0; }

  // Uniform in [0, 1).
  double Fraction() { return static_cast<double>(Next() >> 11) * 0x1.0p-53; }

 private:
  static uint64_t Rotl(uint64_t x, int k) { return (x << k) | (x >> (64 - k)); }
  uint64_t state_[4];
};

}  // namespace ballast
