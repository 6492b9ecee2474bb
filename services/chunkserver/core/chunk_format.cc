// SPDX-License-Identifier: Apache-2.0
#include "services/chunkserver/core/chunk_format.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "common/base/check.h"
#include "common/base/uuid.h"
#include "common/types/error.h"

namespace ballast::chunkserver {
namespace {

constexpr absl::string_view kMagic = "BLSTCHNK";

// Offsets in the header page; all integers little-endian.
constexpr size_t kVersionAt = 8;
constexpr size_t kHeaderBytesAt = 12;
constexpr size_t kClusterAt = 16;  // 36 characters, then 4 zero bytes
constexpr size_t kClusterBytes = 36;
constexpr size_t kHandleAt = 56;
constexpr size_t kLengthAt = 64;
constexpr size_t kBlockBytesAt = 72;
constexpr size_t kBlockCountAt = 76;
constexpr size_t kChunkCrcAt = 80;
constexpr size_t kTableCrcAt = 84;
constexpr size_t kFlagsAt = 88;
constexpr size_t kReservedAt = 92;  // zero up to the header's checksum
constexpr size_t kHeaderCrcAt = kChunkHeaderBytes - 4;

template <typename T>
void Put(std::string& out, size_t at, T value) {
  for (size_t i = 0; i < sizeof(T); ++i) {
    out[at + i] = static_cast<char>(value >> (8 * i));
  }
}

template <typename T>
T Get(absl::string_view in, size_t at) {
  T value = 0;
  for (size_t i = 0; i < sizeof(T); ++i) {
    value |= static_cast<T>(static_cast<unsigned char>(in[at + i])) << (8 * i);
  }
  return value;
}

absl::Status Damaged(absl::string_view text) {
  return MakeError(v1::REASON_CHECKSUM_MISMATCH, absl::StrCat("chunk file: ", text));
}

bool AllZero(absl::string_view bytes) {
  return std::all_of(bytes.begin(), bytes.end(), [](char c) { return c == 0; });
}

}  // namespace

std::string EncodeChunkPrefix(const ChunkHeader& header) {
  CHECK(header.length_bytes >= 1 && header.length_bytes <= kChunkBytesMax) << header.length_bytes;
  CHECK(IsUuid(header.cluster_id)) << header.cluster_id;
  CHECK_NE(header.handle.value(), 0u);
  std::string out(kChunkPrefixBytes, '\0');
  for (size_t i = 0; i < header.blocks.size(); ++i) {
    Put(out, kChunkHeaderBytes + 4 * i, header.blocks[i].value);
  }
  const Crc32c table_crc = ComputeCrc32c(absl::string_view(out).substr(kChunkHeaderBytes));
  kMagic.copy(out.data(), kMagic.size());
  Put(out, kVersionAt, kChunkFormatVersion);
  Put(out, kHeaderBytesAt, static_cast<uint32_t>(kChunkHeaderBytes));
  header.cluster_id.copy(out.data() + kClusterAt, kClusterBytes);
  Put(out, kHandleAt, header.handle.value());
  Put(out, kLengthAt, uint64_t{header.length_bytes});
  Put(out, kBlockBytesAt, static_cast<uint32_t>(kBlockBytes));
  Put(out, kBlockCountAt, static_cast<uint32_t>(header.blocks.size()));
  Put(out, kChunkCrcAt, CombineBlocks(header.blocks, header.length_bytes).value);
  Put(out, kTableCrcAt, table_crc.value);
  Put(out, kFlagsAt, uint32_t{0});
  Put(out, kHeaderCrcAt, ComputeCrc32c(absl::string_view(out).substr(0, kHeaderCrcAt)).value);
  return out;
}

absl::StatusOr<ChunkHeader> DecodeChunkPrefix(absl::string_view prefix, uint64_t file_bytes) {
  if (prefix.size() < kChunkPrefixBytes) {
    return Damaged(absl::StrCat("only ", prefix.size(), " bytes, shorter than its header"));
  }
  if (prefix.substr(0, kMagic.size()) != kMagic) {
    return Damaged("it does not begin with the magic bytes");
  }
  // The checksum sits at the same place in every version, so that an unknown version is believed
  // only if it really was written.
  if (Get<uint32_t>(prefix, kHeaderCrcAt) != ComputeCrc32c(prefix.substr(0, kHeaderCrcAt)).value) {
    return Damaged("the header's checksum does not fit");
  }
  const uint32_t version = Get<uint32_t>(prefix, kVersionAt);
  if (version != kChunkFormatVersion) {
    return absl::FailedPreconditionError(absl::StrCat(
        "chunk file: format version ", version, ", this build knows only ", kChunkFormatVersion));
  }
  // From here on a wrong field means that a wrong writer made it; it is refused all the same.
  ChunkHeader header;
  header.cluster_id = std::string(prefix.substr(kClusterAt, kClusterBytes));
  header.handle = ChunkHandle(Get<uint64_t>(prefix, kHandleAt));
  const uint64_t length = Get<uint64_t>(prefix, kLengthAt);
  if (Get<uint32_t>(prefix, kHeaderBytesAt) != kChunkHeaderBytes ||
      Get<uint32_t>(prefix, kBlockBytesAt) != kBlockBytes || Get<uint32_t>(prefix, kFlagsAt) != 0 ||
      !IsUuid(header.cluster_id) ||
      !AllZero(prefix.substr(kClusterAt + kClusterBytes, kHandleAt - kClusterAt - kClusterBytes)) ||
      !AllZero(prefix.substr(kReservedAt, kHeaderCrcAt - kReservedAt)) ||
      header.handle.value() == 0 || length < 1 || length > kChunkBytesMax ||
      Get<uint32_t>(prefix, kBlockCountAt) != BlockCount(length)) {
    return Damaged("a header field is out of its range");
  }
  header.length_bytes = static_cast<uint32_t>(length);
  if (file_bytes != kChunkPrefixBytes + length) {
    return Damaged(absl::StrCat("it is ", file_bytes, " bytes long, its header says ",
                                kChunkPrefixBytes + length));
  }
  const absl::string_view table = prefix.substr(kChunkHeaderBytes, kChunkTableBytes);
  if (Get<uint32_t>(prefix, kTableCrcAt) != ComputeCrc32c(table).value) {
    return Damaged("the checksum of its block table does not fit");
  }
  const uint64_t count = BlockCount(length);
  header.blocks.reserve(count);
  for (uint64_t i = 0; i < count; ++i) {
    header.blocks.push_back(Crc32c{Get<uint32_t>(table, 4 * i)});
  }
  header.crc32c = Crc32c{Get<uint32_t>(prefix, kChunkCrcAt)};
  if (!AllZero(table.substr(4 * count)) || header.crc32c != CombineBlocks(header.blocks, length)) {
    return Damaged("its block table and its whole checksum contradict each other");
  }
  return header;
}

absl::Status VerifyBlocks(const ChunkHeader& header, uint64_t first_block, absl::string_view data) {
  for (uint64_t block = first_block; !data.empty(); ++block) {
    CHECK_LT(block, header.blocks.size());
    const uint64_t bytes = BlockLength(header.length_bytes, block);
    CHECK_GE(data.size(), bytes);
    if (ComputeCrc32c(data.substr(0, bytes)) != header.blocks[block]) {
      return MakeError(
          v1::REASON_CHECKSUM_MISMATCH,
          absl::StrCat("chunk ", header.handle.ToString(), ": the stored bytes of block ", block,
                       " do not fit their checksum"));
    }
    data.remove_prefix(bytes);
  }
  return absl::OkStatus();
}

}  // namespace ballast::chunkserver
