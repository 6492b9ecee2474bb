// SPDX-License-Identifier: Apache-2.0
#include "common/types/blocks.h"

#include "absl/strings/str_cat.h"
#include "common/base/check.h"
#include "common/types/error.h"

namespace ballast {

Crc32c AppendBlocks(Crc32c prefix, absl::Span<const Crc32c> blocks, uint64_t length_bytes) {
  CHECK_EQ(blocks.size(), BlockCount(length_bytes));
  Crc32c crc = prefix;
  for (size_t i = 0; i < blocks.size(); ++i) {
    crc = ConcatCrc32c(crc, blocks[i], BlockLength(length_bytes, i));
  }
  return crc;
}

Crc32c CombineBlocks(absl::Span<const Crc32c> blocks, uint64_t length_bytes) {
  return AppendBlocks(Crc32c{}, blocks, length_bytes);
}

absl::Status VerifyPieces(absl::Span<const absl::string_view> pieces,
                          absl::Span<const Crc32c> blocks) {
  uint64_t bytes = 0;
  for (const absl::string_view piece : pieces) {
    bytes += piece.size();
  }
  if (blocks.size() != BlockCount(bytes)) {
    return InvalidArgument(absl::StrCat(bytes, " bytes of data with ", blocks.size(),
                                        " block checksums, not ", BlockCount(bytes)));
  }
  size_t piece = 0;
  size_t at = 0;  // in pieces[piece]
  for (size_t block = 0; block < blocks.size(); ++block) {
    uint64_t left = BlockLength(bytes, block);
    Crc32c crc;
    while (left > 0) {
      const absl::string_view part = pieces[piece].substr(at, left);
      crc = ExtendCrc32c(crc, part);
      left -= part.size();
      at += part.size();
      if (at == pieces[piece].size()) {
        ++piece;
        at = 0;
      }
    }
    if (crc != blocks[block]) {
      return MakeError(v1::REASON_CHECKSUM_MISMATCH,
                       absl::StrCat("block ", block, " of a message was changed on its way here"));
    }
  }
  return absl::OkStatus();
}

}  // namespace ballast
