// SPDX-License-Identifier: Apache-2.0
#include "common/rpc/raw_block_codec.h"

#include <google/protobuf/unknown_field_set.h>

#include <algorithm>
#include <string>
#include <vector>

#include "common/base/rng.h"
#include "common/types/limits.h"
#include "gtest/gtest.h"
#include "tests/support/status_matchers.h"

namespace ballast {
namespace {

using ::ballast::testing::HasReason;

std::string RandomBytes(Rng& rng, size_t bytes) {
  std::string out(bytes, '\0');
  for (char& c : out) {
    c = static_cast<char>(rng.Next());
  }
  return out;
}

// The bytes cut into slices at random places, empty ones included.
grpc::ByteBuffer Cut(Rng& rng, absl::string_view bytes) {
  std::vector<grpc::Slice> slices;
  while (!bytes.empty()) {
    const size_t n = std::min<size_t>(bytes.size(), rng.Below(rng.OneIn(3) ? 3 : 30000));
    slices.emplace_back(bytes.data(), n);
    bytes.remove_prefix(n);
  }
  return grpc::ByteBuffer(slices.data(), slices.size());
}

std::string Flat(const grpc::ByteBuffer& buffer) {
  std::vector<grpc::Slice> slices;
  EXPECT_TRUE(buffer.Dump(&slices).ok());
  std::string out;
  for (const grpc::Slice& slice : slices) {
    out.append(reinterpret_cast<const char*>(slice.begin()), slice.size());
  }
  return out;
}

std::string Flat(const BulkPayload& payload) {
  std::string out;
  for (const absl::string_view piece : payload.pieces()) {
    out.append(piece.data(), piece.size());
  }
  return out;
}

v1::WriteChunkRequest RandomRequest(Rng& rng) {
  v1::WriteChunkRequest request;
  if (rng.OneIn(2)) {
    request.mutable_header()->set_handle(rng.Next());
    request.mutable_header()->set_server_id("11111111-7b0e-4d0a-9a53-0d2b1f7c8e11");
    for (uint64_t i = rng.Below(4); i > 0; --i) {
      request.mutable_header()->add_forward()->set_address("127.0.0.1:7600");
    }
  }
  request.set_offset_bytes(rng.OneIn(3) ? 0 : rng.Next() >> rng.Below(64));
  for (uint64_t i = rng.Below(17); i > 0; --i) {
    request.add_block_crc32c(static_cast<uint32_t>(rng.Next()));
  }
  if (rng.OneIn(2)) {
    request.mutable_finish()->set_length_bytes(static_cast<uint32_t>(rng.Next()));
    request.mutable_finish()->set_crc32c(static_cast<uint32_t>(rng.Next()));
  }
  request.set_data(RandomBytes(rng, rng.OneIn(4) ? 0 : rng.Below(100000)));
  return request;
}

void ExpectEqual(const WriteChunkMessage& got, const v1::WriteChunkRequest& wanted) {
  ASSERT_EQ(got.header.has_value(), wanted.has_header());
  if (wanted.has_header()) {
    EXPECT_EQ(got.header->SerializeAsString(), wanted.header().SerializeAsString());
  }
  ASSERT_EQ(got.finish.has_value(), wanted.has_finish());
  if (wanted.has_finish()) {
    EXPECT_EQ(got.finish->SerializeAsString(), wanted.finish().SerializeAsString());
  }
  EXPECT_EQ(got.payload.offset_bytes, wanted.offset_bytes());
  ASSERT_EQ(got.payload.blocks.size(), static_cast<size_t>(wanted.block_crc32c_size()));
  for (int i = 0; i < wanted.block_crc32c_size(); ++i) {
    EXPECT_EQ(got.payload.blocks[static_cast<size_t>(i)].value, wanted.block_crc32c(i));
  }
  EXPECT_EQ(Flat(got.payload), wanted.data());
}

// The fields of a serialized message as single byte strings, in another implementation's order.
std::string Shuffled(Rng& rng, const std::string& bytes) {
  google::protobuf::UnknownFieldSet fields;
  EXPECT_TRUE(fields.ParseFromString(bytes));
  std::vector<std::string> parts;
  for (int i = 0; i < fields.field_count(); ++i) {
    google::protobuf::UnknownFieldSet one;
    one.AddField(fields.field(i));
    EXPECT_TRUE(one.SerializeToString(&parts.emplace_back()));
  }
  for (size_t i = parts.size(); i > 1; --i) {
    std::swap(parts[i - 1], parts[rng.Below(i)]);
  }
  std::string out;
  for (const std::string& part : parts) {
    out += part;
  }
  return out;
}

TEST(RawBlockCodecTest, ReadsWhatGeneratedClassesWrite) {
  for (uint64_t seed = 1; seed <= 300; ++seed) {
    SCOPED_TRACE(seed);
    Rng rng(seed);
    const v1::WriteChunkRequest request = RandomRequest(rng);
    ASSERT_OK_AND_ASSIGN(const WriteChunkMessage message,
                         DecodeWriteChunk(Cut(rng, request.SerializeAsString())));
    ExpectEqual(message, request);
  }
}

TEST(RawBlockCodecTest, GeneratedClassesReadWhatItWrites) {
  for (uint64_t seed = 1; seed <= 300; ++seed) {
    SCOPED_TRACE(seed);
    Rng rng(seed);
    const v1::WriteChunkRequest request = RandomRequest(rng);
    ASSERT_OK_AND_ASSIGN(const WriteChunkMessage message,
                         DecodeWriteChunk(Cut(rng, request.SerializeAsString())));
    v1::WriteChunkRequest reread;
    ASSERT_TRUE(reread.ParseFromString(Flat(EncodeWriteChunk(message))));
    EXPECT_EQ(reread.SerializeAsString(), request.SerializeAsString());

    v1::ReadChunkResponse response;
    ASSERT_TRUE(response.ParseFromString(Flat(EncodeReadChunk(message.payload))));
    EXPECT_EQ(response.offset_bytes(), request.offset_bytes());
    EXPECT_EQ(response.data(), request.data());
    ASSERT_OK_AND_ASSIGN(const BulkPayload payload,
                         DecodeReadChunk(Cut(rng, response.SerializeAsString())));
    EXPECT_EQ(Flat(payload), request.data());
    EXPECT_EQ(payload.blocks.size(), static_cast<size_t>(request.block_crc32c_size()));
  }
}

TEST(RawBlockCodecTest, ReadsFieldsInAnyOrder) {
  for (uint64_t seed = 1; seed <= 300; ++seed) {
    SCOPED_TRACE(seed);
    Rng rng(seed);
    const v1::WriteChunkRequest request = RandomRequest(rng);
    const std::string bytes = Shuffled(rng, request.SerializeAsString());
    ASSERT_OK_AND_ASSIGN(const WriteChunkMessage message, DecodeWriteChunk(Cut(rng, bytes)));
    ExpectEqual(message, request);
  }
}

TEST(RawBlockCodecTest, RepeatedFieldsMergeAsInProtocolBuffers) {
  for (uint64_t seed = 1; seed <= 200; ++seed) {
    SCOPED_TRACE(seed);
    Rng rng(seed);
    v1::WriteChunkRequest a = RandomRequest(rng);
    v1::WriteChunkRequest b = RandomRequest(rng);
    b.clear_block_crc32c();
    const std::string bytes = a.SerializeAsString() + b.SerializeAsString();
    v1::WriteChunkRequest merged;
    ASSERT_TRUE(merged.ParseFromString(bytes));
    ASSERT_OK_AND_ASSIGN(const WriteChunkMessage message, DecodeWriteChunk(Cut(rng, bytes)));
    ExpectEqual(message, merged);
  }
}

TEST(RawBlockCodecTest, ReadsUnpackedChecksumsAndSkipsUnknownFields) {
  Rng rng(1);
  google::protobuf::UnknownFieldSet fields;
  fields.AddFixed32(3, 111);
  fields.AddVarint(1000, 5);
  fields.AddFixed64(1001, 5);
  fields.AddLengthDelimited(1002)->assign(5000, 'x');
  fields.AddFixed32(3, 222);
  fields.AddLengthDelimited(15, "data");
  std::string bytes;
  ASSERT_TRUE(fields.SerializeToString(&bytes));
  ASSERT_OK_AND_ASSIGN(const WriteChunkMessage message, DecodeWriteChunk(Cut(rng, bytes)));
  EXPECT_EQ(message.payload.blocks, (std::vector<Crc32c>{{111}, {222}}));
  EXPECT_EQ(Flat(message.payload), "data");
}

TEST(RawBlockCodecTest, RefusesEveryCutMessage) {
  Rng rng(1);
  v1::WriteChunkRequest request;
  request.mutable_header()->set_handle(1);
  request.set_offset_bytes(300);
  request.add_block_crc32c(7);
  request.set_data("some data");
  const std::string bytes = request.SerializeAsString();
  for (size_t cut = 1; cut < bytes.size(); ++cut) {
    v1::WriteChunkRequest parsed;
    const bool whole = parsed.ParseFromString(bytes.substr(0, cut));
    EXPECT_EQ(DecodeWriteChunk(Cut(rng, bytes.substr(0, cut))).ok(), whole) << cut;
  }
}

TEST(RawBlockCodecTest, BoundsWhatItTakes) {
  Rng rng(1);
  v1::WriteChunkRequest large;
  large.set_data(std::string(kBulkPayloadBytesMax + 1, 'x'));
  EXPECT_THAT(DecodeWriteChunk(Cut(rng, large.SerializeAsString())),
              HasReason(v1::REASON_INVALID_ARGUMENT));
  v1::WriteChunkRequest many;
  for (int i = 0; i < 17; ++i) {
    many.add_block_crc32c(1);
  }
  EXPECT_THAT(DecodeWriteChunk(Cut(rng, many.SerializeAsString())),
              HasReason(v1::REASON_INVALID_ARGUMENT));
  v1::WriteChunkRequest headed;
  headed.mutable_header()->set_server_id(std::string(KiB(65), 'x'));
  EXPECT_THAT(DecodeWriteChunk(Cut(rng, headed.SerializeAsString())),
              HasReason(v1::REASON_INVALID_ARGUMENT));
}

TEST(RawBlockCodecTest, SurvivesRandomBytes) {
  for (uint64_t seed = 1; seed <= 3000; ++seed) {
    Rng rng(seed);
    std::string bytes;
    if (rng.OneIn(2)) {
      bytes = RandomBytes(rng, rng.Below(200));
    } else {
      bytes = RandomRequest(rng).SerializeAsString().substr(0, 300);
      for (uint64_t i = rng.Below(5) + 1; i > 0 && !bytes.empty(); --i) {
        bytes[rng.Below(bytes.size())] = static_cast<char>(rng.Next());
      }
    }
    const grpc::ByteBuffer buffer = Cut(rng, bytes);
    DecodeWriteChunk(buffer).status().IgnoreError();
    DecodeReadChunk(buffer).status().IgnoreError();
  }
}

TEST(BufferPoolTest, ASliceKeepsItsBufferUntilTheLastReference) {
  const auto pool = BufferPool::Make(KiB(64), 1);
  auto buffer = pool->Take();
  char* const data = buffer->data();
  EXPECT_EQ(reinterpret_cast<uintptr_t>(data) % 4096, 0u);
  std::vector<grpc::Slice> parts;
  {
    const grpc::Slice slice = SliceOf(std::move(buffer), 1000);
    parts.push_back(slice.sub(100, 900));
  }
  {
    const auto other = pool->Take();
    EXPECT_NE(other->data(), data) << "it is still in use";
    parts.clear();
  }  // the pool keeps one; `data` came back first
  EXPECT_EQ(pool->Take()->data(), data);
}

}  // namespace
}  // namespace ballast
