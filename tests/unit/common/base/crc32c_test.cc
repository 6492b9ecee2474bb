// SPDX-License-Identifier: Apache-2.0
#include "common/base/crc32c.h"

#include <cstdint>
#include <string>

#include "absl/strings/escaping.h"
#include "common/base/rng.h"
#include "gtest/gtest.h"

namespace ballast {
namespace {

// Bit by bit, from the definition.
uint32_t SlowCrc32c(absl::string_view data) {
  uint32_t crc = 0xFFFFFFFF;
  for (const char c : data) {
    crc ^= static_cast<uint8_t>(c);
    for (int bit = 0; bit < 8; ++bit) {
      crc = (crc >> 1) ^ ((crc & 1) != 0 ? 0x82F63B78 : 0);
    }
  }
  return ~crc;
}

std::string RandomBytes(Rng& rng, size_t bytes) {
  std::string data(bytes, '\0');
  for (char& c : data) {
    c = static_cast<char>(rng.Next());
  }
  return data;
}

TEST(Crc32cTest, AgreesWithRfc3720AppendixB4) {
  std::string up(32, '\0');
  std::string down(32, '\0');
  for (int i = 0; i < 32; ++i) {
    up[i] = static_cast<char>(i);
    down[i] = static_cast<char>(31 - i);
  }
  const std::string iscsi_read = absl::HexStringToBytes(
      "01c00000000000000000000000000000140000000000040000000014000000182800000000000000"
      "0200000000000000");
  ASSERT_EQ(iscsi_read.size(), 48u);
  EXPECT_EQ(ComputeCrc32c(std::string(32, '\0')).value, 0x8A9136AAu);
  EXPECT_EQ(ComputeCrc32c(std::string(32, '\xFF')).value, 0x62A8AB43u);
  EXPECT_EQ(ComputeCrc32c(up).value, 0x46DD794Eu);
  EXPECT_EQ(ComputeCrc32c(down).value, 0x113FDB5Cu);
  EXPECT_EQ(ComputeCrc32c(iscsi_read).value, 0xD9963A56u);
}

TEST(Crc32cTest, HasTheUsualCheckValues) {
  EXPECT_EQ(ComputeCrc32c("").value, 0u);
  EXPECT_EQ(ComputeCrc32c("a").value, 0xC1D04330u);
  EXPECT_EQ(ComputeCrc32c("123456789").value, 0xE3069283u);
}

TEST(Crc32cTest, AgreesWithTheDefinitionAtEveryLengthAndAlignment) {
  Rng rng(1);
  const std::string data = RandomBytes(rng, 600);
  for (size_t begin = 0; begin < 9; ++begin) {
    for (size_t bytes = 0; bytes + begin <= data.size(); ++bytes) {
      const absl::string_view part = absl::string_view(data).substr(begin, bytes);
      ASSERT_EQ(ComputeCrc32c(part).value, SlowCrc32c(part)) << begin << "+" << bytes;
    }
  }
}

TEST(Crc32cTest, ExtendAndConcatAgreeWithTheWhole) {
  const uint64_t seed = 7;
  SCOPED_TRACE(seed);
  Rng rng(seed);
  for (int i = 0; i < 300; ++i) {
    const std::string a = RandomBytes(rng, rng.Below(5000));
    const std::string b = RandomBytes(rng, rng.OneIn(4) ? 0 : rng.Below(70000));
    const Crc32c whole = ComputeCrc32c(a + b);
    ASSERT_EQ(ExtendCrc32c(ComputeCrc32c(a), b), whole);
    ASSERT_EQ(ConcatCrc32c(ComputeCrc32c(a), ComputeCrc32c(b), b.size()), whole);
  }
}

TEST(Crc32cTest, ConcatIsAssociativeForLengthsBeyondMemory) {
  // Lengths alone matter: (a+b)+c = a+(b+c), also where b and c are exabytes.
  const Crc32c a{0x12345678};
  const Crc32c b{0x9ABCDEF0};
  const Crc32c c{0x0F1E2D3C};
  const uint64_t b_bytes = (uint64_t{1} << 62) + 12345;
  const uint64_t c_bytes = (uint64_t{1} << 61) + 678;
  EXPECT_EQ(ConcatCrc32c(ConcatCrc32c(a, b, b_bytes), c, c_bytes),
            ConcatCrc32c(a, ConcatCrc32c(b, c, c_bytes), b_bytes + c_bytes));
}

TEST(Crc32cTest, EverySingleBitFlipIsSeen) {
  Rng rng(3);
  std::string data = RandomBytes(rng, 512);
  const Crc32c good = ComputeCrc32c(data);
  for (size_t bit = 0; bit < data.size() * 8; ++bit) {
    data[bit / 8] = static_cast<char>(data[bit / 8] ^ (1 << (bit % 8)));
    ASSERT_NE(ComputeCrc32c(data), good) << bit;
    data[bit / 8] = static_cast<char>(data[bit / 8] ^ (1 << (bit % 8)));
  }
}

}  // namespace
}  // namespace ballast
