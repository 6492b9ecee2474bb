// SPDX-License-Identifier: Apache-2.0
#include "common/rpc/raw_block_codec.h"

#include <algorithm>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/check.h"
#include "common/base/status_macros.h"
#include "common/types/blocks.h"
#include "common/types/error.h"
#include "common/types/limits.h"

namespace ballast {
namespace {

enum WireType : uint32_t { kVarint = 0, kFixed64 = 1, kBytes = 2, kFixed32 = 5 };

constexpr size_t kHeaderBytesMax = KiB(64);
constexpr size_t kBlocksMax = kBulkPayloadBytesMax / kBlockBytes;

// Field numbers that both messages share by design (static_asserts below).
constexpr uint32_t kDataField = 15;
static_assert(v1::WriteChunkRequest::kDataFieldNumber == kDataField);
static_assert(v1::ReadChunkResponse::kDataFieldNumber == kDataField);

absl::Status Malformed(absl::string_view what) {
  return InvalidArgument(absl::StrCat("malformed bulk message: ", what));
}

// --- reading -------------------------------------------------------------------------------------

// Reads forward through the slices of a message. Every method fails at the end of the message.
class Cursor {
 public:
  explicit Cursor(std::vector<grpc::Slice> slices) : slices_(std::move(slices)) { SkipEmpty(); }

  bool AtEnd() const { return index_ == slices_.size(); }

  bool Byte(uint8_t* out) {
    if (AtEnd()) {
      return false;
    }
    *out = slices_[index_].begin()[at_];
    Advance(1);
    return true;
  }

  bool Varint(uint64_t* out) {
    *out = 0;
    for (int shift = 0; shift < 64; shift += 7) {
      uint8_t byte = 0;
      if (!Byte(&byte)) {
        return false;
      }
      *out |= uint64_t{byte & 0x7fu} << shift;
      if ((byte & 0x80) == 0) {
        return true;
      }
    }
    return false;
  }

  bool Fixed32(uint32_t* out) {
    *out = 0;
    for (int i = 0; i < 4; ++i) {
      uint8_t byte = 0;
      if (!Byte(&byte)) {
        return false;
      }
      *out |= uint32_t{byte} << (8 * i);
    }
    return true;
  }

  // Appends the next `bytes` bytes as slices of their own, without copying.
  bool Slices(uint64_t bytes, std::vector<grpc::Slice>* out) {
    while (bytes > 0) {
      if (AtEnd()) {
        return false;
      }
      const size_t n = std::min<uint64_t>(bytes, slices_[index_].size() - at_);
      out->push_back(slices_[index_].sub(at_, at_ + n));
      Advance(n);
      bytes -= n;
    }
    return true;
  }

  bool Append(uint64_t bytes, std::string* out) {
    while (bytes > 0) {
      if (AtEnd()) {
        return false;
      }
      const size_t n = std::min<uint64_t>(bytes, slices_[index_].size() - at_);
      out->append(reinterpret_cast<const char*>(slices_[index_].begin()) + at_, n);
      Advance(n);
      bytes -= n;
    }
    return true;
  }

  bool Skip(uint64_t bytes) {
    while (bytes > 0) {
      if (AtEnd()) {
        return false;
      }
      const size_t n = std::min<uint64_t>(bytes, slices_[index_].size() - at_);
      Advance(n);
      bytes -= n;
    }
    return true;
  }

 private:
  void Advance(size_t bytes) {
    at_ += bytes;
    if (at_ == slices_[index_].size()) {
      ++index_;
      at_ = 0;
      SkipEmpty();
    }
  }
  void SkipEmpty() {
    while (index_ < slices_.size() && slices_[index_].size() == 0) {
      ++index_;
    }
  }

  std::vector<grpc::Slice> slices_;
  size_t index_ = 0;
  size_t at_ = 0;  // in slices_[index_]
};

bool SkipField(Cursor& in, uint32_t wire_type) {
  uint64_t n = 0;
  switch (wire_type) {
    case kVarint:
      return in.Varint(&n);
    case kFixed64:
      return in.Skip(8);
    case kBytes:
      return in.Varint(&n) && in.Skip(n);
    case kFixed32:
      return in.Skip(4);
    default:
      return false;  // groups, which nobody writes any more
  }
}

absl::Status ReadBlocks(Cursor& in, uint32_t wire_type, std::vector<Crc32c>* blocks) {
  uint64_t bytes = 4;
  if (wire_type == kBytes && (!in.Varint(&bytes) || bytes % 4 != 0)) {
    return Malformed("block_crc32c");
  }
  for (; bytes > 0; bytes -= 4) {
    uint32_t crc = 0;
    if (!in.Fixed32(&crc)) {
      return Malformed("block_crc32c is cut short");
    }
    if (blocks->size() == kBlocksMax) {
      return Malformed("more block checksums than a message may have");
    }
    blocks->push_back(Crc32c{crc});
  }
  return absl::OkStatus();
}

// The fields of one message, told apart by number. A nested message that occurs several times is
// merged, which is what parsing the concatenation does.
struct FieldNumbers {
  uint32_t offset;
  uint32_t blocks;
  uint32_t header;  // 0: none in this message
  uint32_t finish;
};
constexpr FieldNumbers kWriteFields = {.offset = v1::WriteChunkRequest::kOffsetBytesFieldNumber,
                                       .blocks = v1::WriteChunkRequest::kBlockCrc32CFieldNumber,
                                       .header = v1::WriteChunkRequest::kHeaderFieldNumber,
                                       .finish = v1::WriteChunkRequest::kFinishFieldNumber};
constexpr FieldNumbers kReadFields = {.offset = v1::ReadChunkResponse::kOffsetBytesFieldNumber,
                                      .blocks = v1::ReadChunkResponse::kBlockCrc32CFieldNumber,
                                      .header = 0,
                                      .finish = 0};

struct Fields {
  BulkPayload payload;
  std::optional<std::string> header;
  std::optional<std::string> finish;
};

absl::Status ReadNested(Cursor& in, std::optional<std::string>* out) {
  uint64_t bytes = 0;
  if (!out->has_value()) {
    out->emplace();
  }
  if (!in.Varint(&bytes) || bytes > kHeaderBytesMax || (*out)->size() + bytes > kHeaderBytesMax ||
      !in.Append(bytes, &**out)) {
    return Malformed("a nested message is cut short or too long");
  }
  return absl::OkStatus();
}

absl::StatusOr<Fields> ReadFields(const grpc::ByteBuffer& buffer, const FieldNumbers& numbers) {
  std::vector<grpc::Slice> slices;
  if (!buffer.Dump(&slices).ok()) {
    return Malformed("no bytes");
  }
  Cursor in(std::move(slices));
  Fields fields;
  while (!in.AtEnd()) {
    uint64_t tag = 0;
    if (!in.Varint(&tag) || tag > UINT32_MAX || tag >> 3 == 0) {
      return Malformed("a field's number");
    }
    const uint32_t number = static_cast<uint32_t>(tag >> 3);
    const uint32_t wire_type = tag & 7;
    if (number == numbers.offset && wire_type == kVarint) {
      if (!in.Varint(&fields.payload.offset_bytes)) {
        return Malformed("offset_bytes");
      }
    } else if (number == numbers.blocks && (wire_type == kBytes || wire_type == kFixed32)) {
      RETURN_IF_ERROR(ReadBlocks(in, wire_type, &fields.payload.blocks));
    } else if (number == kDataField && wire_type == kBytes) {
      uint64_t bytes = 0;
      if (!in.Varint(&bytes) || bytes > kBulkPayloadBytesMax) {
        return Malformed(absl::StrCat("data has more than ", kBulkPayloadBytesMax, " bytes"));
      }
      fields.payload.data.clear();  // of a field that occurs again the last one counts
      if (!in.Slices(bytes, &fields.payload.data)) {
        return Malformed("data is cut short");
      }
    } else if (number == numbers.header && wire_type == kBytes) {
      RETURN_IF_ERROR(ReadNested(in, &fields.header));
    } else if (number == numbers.finish && wire_type == kBytes) {
      RETURN_IF_ERROR(ReadNested(in, &fields.finish));
    } else if (!SkipField(in, wire_type)) {
      return Malformed("an unknown field is cut short");
    }
  }
  return fields;
}

// --- writing -------------------------------------------------------------------------------------

void AppendVarint(std::string& out, uint64_t value) {
  for (; value >= 0x80; value >>= 7) {
    out.push_back(static_cast<char>(value | 0x80));
  }
  out.push_back(static_cast<char>(value));
}

void AppendTag(std::string& out, uint32_t number, WireType type) {
  AppendVarint(out, uint64_t{number} << 3 | type);
}

void AppendNested(std::string& out, uint32_t number, const google::protobuf::MessageLite& message) {
  AppendTag(out, number, kBytes);
  AppendVarint(out, message.ByteSizeLong());
  CHECK(message.AppendToString(&out));
}

// The fields of the payload that come before the data's bytes.
void AppendPayload(std::string& out, const FieldNumbers& numbers, const BulkPayload& payload) {
  if (payload.offset_bytes != 0) {
    AppendTag(out, numbers.offset, kVarint);
    AppendVarint(out, payload.offset_bytes);
  }
  if (!payload.blocks.empty()) {
    AppendTag(out, numbers.blocks, kBytes);
    AppendVarint(out, 4 * payload.blocks.size());
    for (const Crc32c crc : payload.blocks) {
      for (int i = 0; i < 4; ++i) {
        out.push_back(static_cast<char>(crc.value >> (8 * i)));
      }
    }
  }
}

grpc::ByteBuffer WithData(std::string& front, const BulkPayload& payload) {
  const uint64_t bytes = payload.bytes();
  CHECK_LE(bytes, kBulkPayloadBytesMax);
  if (bytes > 0) {
    AppendTag(front, kDataField, kBytes);
    AppendVarint(front, bytes);
  }
  std::vector<grpc::Slice> slices;
  slices.reserve(1 + payload.data.size());
  slices.emplace_back(front);
  slices.insert(slices.end(), payload.data.begin(), payload.data.end());
  return grpc::ByteBuffer(slices.data(), slices.size());
}

}  // namespace

uint64_t BulkPayload::bytes() const {
  uint64_t sum = 0;
  for (const grpc::Slice& slice : data) {
    sum += slice.size();
  }
  return sum;
}

std::vector<absl::string_view> BulkPayload::pieces() const {
  std::vector<absl::string_view> out;
  out.reserve(data.size());
  for (const grpc::Slice& slice : data) {
    out.emplace_back(reinterpret_cast<const char*>(slice.begin()), slice.size());
  }
  return out;
}

absl::StatusOr<WriteChunkMessage> DecodeWriteChunk(const grpc::ByteBuffer& buffer) {
  ASSIGN_OR_RETURN(Fields fields, ReadFields(buffer, kWriteFields));
  WriteChunkMessage message;
  message.payload = std::move(fields.payload);
  if (fields.header.has_value() && !message.header.emplace().ParseFromString(*fields.header)) {
    return Malformed("header");
  }
  if (fields.finish.has_value() && !message.finish.emplace().ParseFromString(*fields.finish)) {
    return Malformed("finish");
  }
  return message;
}

absl::StatusOr<BulkPayload> DecodeReadChunk(const grpc::ByteBuffer& buffer) {
  ASSIGN_OR_RETURN(Fields fields, ReadFields(buffer, kReadFields));
  return std::move(fields.payload);
}

grpc::ByteBuffer EncodeWriteChunk(const WriteChunkMessage& message) {
  std::string front;
  if (message.header.has_value()) {
    AppendNested(front, kWriteFields.header, *message.header);
  }
  AppendPayload(front, kWriteFields, message.payload);
  if (message.finish.has_value()) {
    AppendNested(front, kWriteFields.finish, *message.finish);
  }
  return WithData(front, message.payload);
}

grpc::ByteBuffer EncodeReadChunk(const BulkPayload& payload) {
  std::string front;
  AppendPayload(front, kReadFields, payload);
  return WithData(front, payload);
}

grpc::ByteBuffer SerializeMessage(const google::protobuf::MessageLite& message) {
  const grpc::Slice slice(message.SerializeAsString());
  return grpc::ByteBuffer(&slice, 1);
}

bool ParseMessage(const grpc::ByteBuffer& buffer, google::protobuf::MessageLite* message) {
  std::vector<grpc::Slice> slices;
  if (!buffer.Valid() || buffer.Length() > kHeaderBytesMax || !buffer.Dump(&slices).ok()) {
    return false;
  }
  std::string bytes;
  for (const grpc::Slice& slice : slices) {
    bytes.append(reinterpret_cast<const char*>(slice.begin()), slice.size());
  }
  return message->ParseFromString(bytes);
}

grpc::Slice SliceOf(std::unique_ptr<BufferPool::Buffer> buffer, size_t bytes) {
  CHECK_LE(bytes, buffer->size());
  BufferPool::Buffer* raw = buffer.release();
  return grpc::Slice(
      raw->data(), bytes, [](void* owner) { delete static_cast<BufferPool::Buffer*>(owner); }, raw);
}

}  // namespace ballast
