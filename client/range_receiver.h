// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <grpcpp/support/byte_buffer.h>

#include <cstdint>

#include "absl/status/status.h"
#include "client/chunk_io.h"
#include "common/base/crc32c.h"

namespace ballast::client {

// Takes the messages of one ReadChunk stream: checks that they continue each other and that their
// bytes fit their checksums, and hands over what lies in the range that was asked for.
//
// Concurrency: none.
class RangeReceiver {
 public:
  // length_bytes 0: to the end, wherever that is.
  RangeReceiver(uint64_t offset_bytes, uint64_t length_bytes);

  // Nothing of a message reaches `sink` unless all of it fits.
  //   DATA_LOSS / CHECKSUM_MISMATCH   the bytes were changed on their way
  //   INTERNAL                        the server broke the protocol
  //   otherwise what `sink` returned
  absl::Status Take(const grpc::ByteBuffer& message, ChunkSink sink);

  uint64_t delivered_bytes() const { return delivered_; }
  Crc32c crc32c() const { return crc_; }

 private:
  const uint64_t begin_;
  const uint64_t end_;   // of the range
  uint64_t next_;        // offset at which the next message must begin
  bool at_end_ = false;  // a short block has come: nothing may follow
  uint64_t delivered_ = 0;
  Crc32c crc_;
};

}  // namespace ballast::client
