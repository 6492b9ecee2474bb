// SPDX-License-Identifier: Apache-2.0
#include "common/base/crc32c.h"

#include <isa-l/crc.h>

#include <algorithm>
#include <array>
#include <climits>

namespace ballast {
namespace {

constexpr uint32_t kPolynomialReflected = 0x82F63B78;

// Product of two polynomials modulo the CRC polynomial, both in reflected form, where bit 31 is
// the coefficient of x^0.
constexpr uint32_t MultiplyModulo(uint32_t a, uint32_t b) {
  uint32_t product = 0;
  for (uint32_t bit = 0x80000000; bit != 0; bit >>= 1) {
    if ((a & bit) != 0) {
      product ^= b;
    }
    b = (b & 1) != 0 ? (b >> 1) ^ kPolynomialReflected : b >> 1;
  }
  return product;
}

// kPowers[k] = x^(8 * 2^k): shifting a CRC by 2^k bytes is one multiplication.
constexpr std::array<uint32_t, 64> MakePowers() {
  std::array<uint32_t, 64> powers{};
  uint32_t p = 0x00800000;  // x^8
  for (auto& slot : powers) {
    slot = p;
    p = MultiplyModulo(p, p);
  }
  return powers;
}
constexpr std::array<uint32_t, 64> kPowers = MakePowers();

}  // namespace

Crc32c ExtendCrc32c(Crc32c crc_of_a, absl::string_view b) {
  // crc32_iscsi does neither inversion and takes a non-const pointer and an int length.
  uint32_t state = ~crc_of_a.value;
  const char* p = b.data();
  size_t left = b.size();
  while (left > 0) {
    const size_t n = std::min<size_t>(left, 1 << 30);
    state = crc32_iscsi(reinterpret_cast<unsigned char*>(const_cast<char*>(p)), static_cast<int>(n),
                        state);
    p += n;
    left -= n;
  }
  return Crc32c{~state};
}

Crc32c ComputeCrc32c(absl::string_view data) { return ExtendCrc32c(Crc32c{0}, data); }

Crc32c ConcatCrc32c(Crc32c crc_of_a, Crc32c crc_of_b, uint64_t b_bytes) {
  uint32_t shifted = crc_of_a.value;
  for (int k = 0; b_bytes != 0; ++k, b_bytes >>= 1) {
    if ((b_bytes & 1) != 0) {
      shifted = MultiplyModulo(kPowers[k], shifted);
    }
  }
  return Crc32c{shifted ^ crc_of_b.value};
}

}  // namespace ballast
