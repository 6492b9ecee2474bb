// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "common/base/crc32c.h"
#include "common/types/limits.h"

// A chunk's data as blocks of kBlockBytes with a CRC32C each; only the last block may be shorter.
// The same on disk and on the wire. Pure.

namespace ballast {

// Number of blocks of so many bytes.
constexpr uint64_t BlockCount(uint64_t length_bytes) {
  return (length_bytes + kBlockBytes - 1) / kBlockBytes;
}

// Length of block `index`; index < BlockCount(length_bytes).
constexpr uint64_t BlockLength(uint64_t length_bytes, uint64_t index) {
  const uint64_t left = length_bytes - index * kBlockBytes;
  return left < kBlockBytes ? left : kBlockBytes;
}

// The checksum of the whole from those of its blocks. Requires BlockCount(length_bytes) blocks.
Crc32c CombineBlocks(absl::Span<const Crc32c> blocks, uint64_t length_bytes);

// The checksum of prefix + blocks; prefix has whole blocks, or is empty. As above.
Crc32c AppendBlocks(Crc32c prefix, absl::Span<const Crc32c> blocks, uint64_t length_bytes);

// Checks bytes that lie in pieces, cut anywhere, against one checksum per block.
//   INVALID_ARGUMENT                 the number of checksums is not that of the blocks
//   DATA_LOSS / CHECKSUM_MISMATCH    bytes and checksums differ
absl::Status VerifyPieces(absl::Span<const absl::string_view> pieces,
                          absl::Span<const Crc32c> blocks);

}  // namespace ballast
