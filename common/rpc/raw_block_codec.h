// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <grpcpp/support/byte_buffer.h>
#include <grpcpp/support/slice.h>

#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "common/base/crc32c.h"
#include "common/rpc/buffer_pool.h"
#include "protos/chunkserver_data_service.pb.h"

// WriteChunkRequest and ReadChunkResponse as they lie in a grpc::ByteBuffer, without copying their
// payload. What is written is ordinary Protocol Buffers, `data` last; read is whatever any
// implementation may write: fields in any order, repeated, packed or not, unknown ones skipped.

namespace ballast {

// The payload of a bulk message: data in slices and a checksum for each of its blocks. Not
// verified.
struct BulkPayload {
  uint64_t offset_bytes = 0;
  std::vector<Crc32c> blocks;
  std::vector<grpc::Slice> data;

  uint64_t bytes() const;
  // The same bytes; valid while `data` is not touched.
  std::vector<absl::string_view> pieces() const;
};

struct WriteChunkMessage {
  std::optional<v1::WriteChunkHeader> header;
  std::optional<v1::WriteChunkFinish> finish;
  BulkPayload payload;
};

// Decoding. Any input is safe; memory beyond the message's own is bounded by its checksums.
//   INVALID_ARGUMENT   no such message, or more than kBulkPayloadBytesMax of data or a checksum for
//                      each block of that, or a header that is longer than 64 KiB
absl::StatusOr<WriteChunkMessage> DecodeWriteChunk(const grpc::ByteBuffer& buffer);
absl::StatusOr<BulkPayload> DecodeReadChunk(const grpc::ByteBuffer& buffer);

// Encoding. The slices of the data become part of the result by reference.
grpc::ByteBuffer EncodeWriteChunk(const WriteChunkMessage& message);
grpc::ByteBuffer EncodeReadChunk(const BulkPayload& payload);

// Small messages on raw methods, by the generated classes and with a copy.
grpc::ByteBuffer SerializeMessage(const google::protobuf::MessageLite& message);
// False for anything but such a message, or more than 64 KiB.
bool ParseMessage(const grpc::ByteBuffer& buffer, google::protobuf::MessageLite* message);

// The first `bytes` bytes of a buffer as a slice; the buffer goes back to its pool when the last
// reference to the slice is gone.
grpc::Slice SliceOf(std::unique_ptr<BufferPool::Buffer> buffer, size_t bytes);

}  // namespace ballast
