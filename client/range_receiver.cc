// SPDX-License-Identifier: Apache-2.0
#include "client/range_receiver.h"

#include <algorithm>
#include <limits>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/base/status_macros.h"
#include "common/rpc/raw_block_codec.h"
#include "common/types/blocks.h"

namespace ballast::client {

RangeReceiver::RangeReceiver(uint64_t offset_bytes, uint64_t length_bytes)
    : begin_(offset_bytes),
      end_(length_bytes == 0 || length_bytes > std::numeric_limits<uint64_t>::max() - offset_bytes
               ? std::numeric_limits<uint64_t>::max()
               : offset_bytes + length_bytes),
      next_(offset_bytes / kBlockBytes * kBlockBytes) {}

absl::Status RangeReceiver::Take(const grpc::ByteBuffer& message, ChunkSink sink) {
  const absl::StatusOr<BulkPayload> payload = DecodeReadChunk(message);
  if (!payload.ok()) {
    return absl::InternalError(payload.status().message());
  }
  const uint64_t bytes = payload->bytes();
  if (payload->offset_bytes != next_ || at_end_ || bytes == 0 || next_ >= end_) {
    return absl::InternalError(absl::StrCat("the chunk server sent ", bytes, " bytes at offset ",
                                            payload->offset_bytes, ", where ", next_,
                                            " was to come or nothing"));
  }
  const std::vector<absl::string_view> pieces = payload->pieces();
  if (payload->blocks.size() != BlockCount(bytes)) {
    return absl::InternalError("the chunk server sent bytes without their checksums");
  }
  RETURN_IF_ERROR(VerifyPieces(pieces, payload->blocks));
  const uint64_t first = next_;
  next_ += bytes;
  at_end_ = bytes % kBlockBytes != 0;
  // Cut to the range.
  const uint64_t from = std::max(first, begin_);
  const uint64_t to = std::min(next_, end_);
  const bool is_whole = from == first && to == next_;
  if (is_whole) {
    crc_ = AppendBlocks(crc_, payload->blocks, bytes);
  }
  uint64_t at = first;
  for (absl::string_view piece : pieces) {
    const uint64_t piece_end = at + piece.size();
    if (piece_end > from && at < to) {
      const uint64_t skip = from > at ? from - at : 0;
      const absl::string_view part = piece.substr(skip, std::min(piece_end, to) - at - skip);
      RETURN_IF_ERROR(sink(part));
      delivered_ += part.size();
      if (!is_whole) {
        crc_ = ExtendCrc32c(crc_, part);
      }
    }
    at = piece_end;
  }
  return absl::OkStatus();
}

}  // namespace ballast::client
