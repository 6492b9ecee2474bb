// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>

namespace ballast {

constexpr uint64_t KiB(uint64_t n) { return n << 10; }
constexpr uint64_t MiB(uint64_t n) { return n << 20; }
constexpr uint64_t GiB(uint64_t n) { return n << 30; }
constexpr uint64_t TiB(uint64_t n) { return n << 40; }

// ceil(a / b); b > 0. Does not overflow for any a.
constexpr uint64_t CeilDiv(uint64_t a, uint64_t b) { return a / b + (a % b != 0 ? 1 : 0); }

// "1.5 GiB", "64 KiB", "17 B": for people, three digits at most.
std::string FormatBytes(uint64_t bytes);

}  // namespace ballast
