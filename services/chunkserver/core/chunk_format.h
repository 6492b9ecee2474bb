// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "common/base/crc32c.h"
#include "common/types/blocks.h"
#include "common/types/ids.h"
#include "common/types/limits.h"

// The file that holds one chunk: a header page, a page of block checksums, the data. The bytes are
// fixed for ever by docs/formats/chunk_file.md; this is its only implementation. Pure.

namespace ballast::chunkserver {

inline constexpr uint32_t kChunkFormatVersion = 1;
inline constexpr uint64_t kChunkHeaderBytes = KiB(4);
inline constexpr uint64_t kChunkTableBytes = kBlocksPerChunkMax * 4;
// Header and table: everything before the data. The data begins page-aligned.
inline constexpr uint64_t kChunkPrefixBytes = kChunkHeaderBytes + kChunkTableBytes;
static_assert(kChunkPrefixBytes == KiB(8));

// What the prefix of a chunk file says.
// Invariants: 1 <= length_bytes <= kChunkBytesMax; blocks.size() == BlockCount(length_bytes);
// crc32c == CombineBlocks(blocks, length_bytes); cluster_id is a UUID; handle != 0.
struct ChunkHeader {
  std::string cluster_id;
  ChunkHandle handle;
  uint32_t length_bytes = 0;
  Crc32c crc32c;  // of the whole data
  std::vector<Crc32c> blocks;
};

// The first kChunkPrefixBytes of the file of such a chunk. Requires the invariants of ChunkHeader,
// except that crc32c is computed here.
std::string EncodeChunkPrefix(const ChunkHeader& header);

// Reads a prefix; `file_bytes` is the length of the whole file. Any input is safe.
//   DATA_LOSS / CHECKSUM_MISMATCH   cut short, damaged anywhere, or file_bytes does not fit
//   FAILED_PRECONDITION             whole, but of a format version this build does not know
absl::StatusOr<ChunkHeader> DecodeChunkPrefix(absl::string_view prefix, uint64_t file_bytes);

// Checks `data`, which begins at block `first_block` and consists of whole blocks of the chunk (the
// chunk's last one may be short).
//   DATA_LOSS / CHECKSUM_MISMATCH naming the first block that does not fit
absl::Status VerifyBlocks(const ChunkHeader& header, uint64_t first_block, absl::string_view data);

}  // namespace ballast::chunkserver
