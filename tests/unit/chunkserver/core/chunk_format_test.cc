// SPDX-License-Identifier: Apache-2.0
#include "services/chunkserver/core/chunk_format.h"

#include <fstream>
#include <sstream>
#include <string>

#include "absl/strings/str_format.h"
#include "common/base/rng.h"
#include "gtest/gtest.h"
#include "tests/support/status_matchers.h"

namespace ballast::chunkserver {
namespace {

using ::ballast::testing::HasReason;
using ::ballast::testing::StatusIs;

constexpr char kCluster[] = "6f1c0c52-7b0e-4d0a-9a53-0d2b1f7c8e11";

std::string RandomBytes(size_t bytes, uint64_t seed) {
  Rng rng(seed);
  std::string out(bytes, '\0');
  for (char& c : out) {
    c = static_cast<char>(rng.Next());
  }
  return out;
}

ChunkHeader HeaderOf(absl::string_view data, uint64_t handle) {
  ChunkHeader header;
  header.cluster_id = kCluster;
  header.handle = ChunkHandle(handle);
  header.length_bytes = static_cast<uint32_t>(data.size());
  for (size_t at = 0; at < data.size(); at += kBlockBytes) {
    header.blocks.push_back(ComputeCrc32c(data.substr(at, kBlockBytes)));
  }
  return header;
}

// The rows of a hex dump that are not all zero, the form in the format's document.
std::string HexDump(absl::string_view bytes) {
  std::string out;
  for (size_t at = 0; at < bytes.size(); at += 16) {
    const absl::string_view row = bytes.substr(at, 16);
    if (row.find_first_not_of('\0') == absl::string_view::npos) {
      continue;
    }
    absl::StrAppendFormat(&out, "%08x ", at);
    for (const char c : row) {
      absl::StrAppendFormat(&out, " %02x", static_cast<unsigned char>(c));
    }
    out += "\n";
  }
  return out;
}

TEST(ChunkFormatTest, DecodesWhatItEncodes) {
  for (const size_t bytes :
       {size_t{1}, size_t{65535}, size_t{65536}, size_t{65537}, size_t{300000}}) {
    const std::string data = RandomBytes(bytes, bytes);
    const std::string prefix = EncodeChunkPrefix(HeaderOf(data, 0x0007000000000abc));
    ASSERT_EQ(prefix.size(), kChunkPrefixBytes);
    ASSERT_OK_AND_ASSIGN(const ChunkHeader header,
                         DecodeChunkPrefix(prefix, kChunkPrefixBytes + bytes));
    EXPECT_EQ(header.cluster_id, kCluster);
    EXPECT_EQ(header.handle, ChunkHandle(ShardId(7), 0xabc));
    EXPECT_EQ(header.length_bytes, bytes);
    EXPECT_EQ(header.crc32c, ComputeCrc32c(data));
    EXPECT_OK(VerifyBlocks(header, 0, data));
  }
}

TEST(ChunkFormatTest, DetectsEveryFlippedBitOfHeaderAndTable) {
  const std::string data = RandomBytes(200000, 1);
  const std::string prefix = EncodeChunkPrefix(HeaderOf(data, 42));
  for (size_t byte = 0; byte < prefix.size(); ++byte) {
    std::string damaged = prefix;
    damaged[byte] = static_cast<char>(damaged[byte] ^ (1 << (byte % 8)));
    ASSERT_THAT(DecodeChunkPrefix(damaged, kChunkPrefixBytes + data.size()),
                HasReason(v1::REASON_CHECKSUM_MISMATCH))
        << "byte " << byte;
  }
}

TEST(ChunkFormatTest, DetectsEveryFlippedByteOfTheData) {
  const std::string data = RandomBytes(kBlockBytes + 777, 2);
  ASSERT_OK_AND_ASSIGN(
      const ChunkHeader header,
      DecodeChunkPrefix(EncodeChunkPrefix(HeaderOf(data, 42)), kChunkPrefixBytes + data.size()));
  for (size_t byte = 0; byte < data.size(); byte += 97) {
    std::string damaged = data;
    damaged[byte] = static_cast<char>(damaged[byte] ^ 0x10);
    ASSERT_THAT(VerifyBlocks(header, 0, damaged), HasReason(v1::REASON_CHECKSUM_MISMATCH)) << byte;
  }
}

TEST(ChunkFormatTest, RefusesALengthThatDoesNotFit) {
  const std::string data = RandomBytes(1000, 3);
  const std::string prefix = EncodeChunkPrefix(HeaderOf(data, 42));
  for (const uint64_t size : {uint64_t{0}, kChunkPrefixBytes, kChunkPrefixBytes + 999,
                              kChunkPrefixBytes + 1001, uint64_t{1} << 63}) {
    EXPECT_THAT(DecodeChunkPrefix(prefix, size), HasReason(v1::REASON_CHECKSUM_MISMATCH)) << size;
  }
  for (size_t cut = 0; cut < prefix.size(); cut += 511) {
    EXPECT_THAT(DecodeChunkPrefix(absl::string_view(prefix).substr(0, cut), cut),
                HasReason(v1::REASON_CHECKSUM_MISMATCH));
  }
}

TEST(ChunkFormatTest, TellsANewerVersionFromDamage) {
  std::string prefix = EncodeChunkPrefix(HeaderOf("x", 42));
  prefix[8] = 2;
  const Crc32c crc = ComputeCrc32c(absl::string_view(prefix).substr(0, 4092));
  for (int i = 0; i < 4; ++i) {
    prefix[4092 + static_cast<size_t>(i)] = static_cast<char>(crc.value >> (8 * i));
  }
  EXPECT_THAT(DecodeChunkPrefix(prefix, kChunkPrefixBytes + 1),
              StatusIs(absl::StatusCode::kFailedPrecondition));
}

TEST(ChunkFormatTest, SurvivesRandomInput) {
  Rng rng(4);
  const std::string good = EncodeChunkPrefix(HeaderOf("hello", 42));
  for (int round = 0; round < 2000; ++round) {
    std::string bytes = good;
    for (uint64_t i = rng.Below(20) + 1; i > 0; --i) {
      bytes[rng.Below(128)] = static_cast<char>(rng.Next());
    }
    const Crc32c crc = ComputeCrc32c(absl::string_view(bytes).substr(0, 4092));
    for (int i = 0; i < 4; ++i) {  // past the checksum, to the checks behind it
      bytes[4092 + static_cast<size_t>(i)] = static_cast<char>(crc.value >> (8 * i));
    }
    DecodeChunkPrefix(bytes, rng.Next()).status().IgnoreError();
  }
}

TEST(ChunkFormatTest, TheDocumentShowsExactlyWhatIsWritten) {
  constexpr absl::string_view kData = "Ballast keeps itself level.\n";
  const std::string file =
      EncodeChunkPrefix(HeaderOf(kData, ChunkHandle(ShardId(3), 17).value())) + std::string(kData);
  std::ifstream in("docs/formats/chunk_file.md");
  ASSERT_TRUE(in) << "run it from the top of the tree";
  std::stringstream document;
  document << in.rdbuf();
  EXPECT_NE(document.str().find(HexDump(file)), std::string::npos)
      << "docs/formats/chunk_file.md should contain:\n"
      << HexDump(file);
}

}  // namespace
}  // namespace ballast::chunkserver
