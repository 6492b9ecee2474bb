// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <compare>
#include <cstdint>

#include "absl/strings/string_view.h"

namespace ballast {

// CRC32C (Castagnoli polynomial 0x1EDC6F41, reflected, initial and final inversion; RFC 3720,
// appendix B.4). The value of the empty string is 0. A type of its own, so that a checksum is
// never mistaken for a length.
struct Crc32c {
  uint32_t value = 0;
  friend constexpr auto operator<=>(const Crc32c&, const Crc32c&) = default;
};

// Checksum of `data`. ISA-L; some 30 GB/s on the development machine.
Crc32c ComputeCrc32c(absl::string_view data);

// Checksum of A+B, given the checksum of A and the bytes of B.
Crc32c ExtendCrc32c(Crc32c crc_of_a, absl::string_view b);

// Checksum of A+B, given both checksums and the length of B. O(log b_bytes), touches no data.
Crc32c ConcatCrc32c(Crc32c crc_of_a, Crc32c crc_of_b, uint64_t b_bytes);

}  // namespace ballast
