// SPDX-License-Identifier: Apache-2.0
#include "services/master/core/heat.h"

#include <algorithm>
#include <array>
#include <cmath>

namespace ballast::master {
namespace {

constexpr double kStepsPerDoubling = 8;
constexpr int kCodes = 256;

double ExactCode(double heat) {
  return std::min(kStepsPerDoubling * std::log2(1 + heat), double{kCodes - 1});
}

struct Tables {
  std::array<double, kCodes> heat;      // of each code
  std::array<uint8_t, kCodes> decayed;  // each code after one half-life
};

const Tables& GetTables() {
  static const Tables tables = [] {
    Tables made;
    for (int code = 0; code < kCodes; ++code) {
      made.heat[code] = std::exp2(code / kStepsPerDoubling) - 1;
    }
    for (int code = 0; code < kCodes; ++code) {
      const auto half = static_cast<uint8_t>(std::lround(ExactCode(made.heat[code] / 2)));
      // Rounding must not keep a chunk warm for ever.
      made.decayed[code] = code == 0 ? 0 : std::min<uint8_t>(half, static_cast<uint8_t>(code - 1));
    }
    return made;
  }();
  return tables;
}

}  // namespace

uint8_t HeatCode(double heat) { return static_cast<uint8_t>(std::lround(ExactCode(heat))); }

double HeatOfCode(uint8_t code) { return GetTables().heat[code]; }

uint8_t DecayedHeat(uint8_t code, uint32_t epochs) {
  const Tables& tables = GetTables();
  for (; epochs > 0 && code > 0; --epochs) {
    code = tables.decayed[code];
  }
  return code;
}

uint8_t HeatedBy(uint8_t code, uint64_t reads, Rng& rng) {
  const double exact = ExactCode(GetTables().heat[code] + static_cast<double>(reads));
  const double below = std::floor(exact);
  const bool up = rng.Fraction() < exact - below;
  return static_cast<uint8_t>(std::min(below + (up ? 1 : 0), double{kCodes - 1}));
}

}  // namespace ballast::master
