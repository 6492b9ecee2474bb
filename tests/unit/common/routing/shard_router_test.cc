// SPDX-License-Identifier: Apache-2.0
#include "common/routing/shard_router.h"

#include <cstdint>
#include <string>
#include <vector>

#include "gtest/gtest.h"

namespace ballast {
namespace {

// The test data of the XXH64 specification: bytes from a multiplicative generator.
TEST(StableHashTest, AgreesWithThePublishedVectors) {
  std::string data;
  uint32_t generator = 2654435761;
  for (int i = 0; i < 222; ++i) {
    data.push_back(static_cast<char>(generator >> 24));
    generator *= generator;
  }
  const absl::string_view view = data;
  EXPECT_EQ(StableHash(view.substr(0, 0)), 0xEF46DB3751D8E999u);
  EXPECT_EQ(StableHash(view.substr(0, 1)), 0x4FCE394CC88952D8u);
  EXPECT_EQ(StableHash(view.substr(0, 14)), 0xCFFA8DB881BC3A3Du);
  EXPECT_EQ(StableHash(view.substr(0, 222)), 0x9DD507880DEBB03Du);
}

struct Vector {
  std::string key;
  uint64_t hash;
  uint32_t of_7;
  uint32_t of_256;
  uint32_t of_65536;
};

// Computed from the specification by an independent implementation. These never change: a key
// whose shard changed would be lost.
TEST(ShardOfKeyTest, IsFixedForEver) {
  const std::vector<Vector> vectors = {
      {"a", 0xD24EC4F1A98C6E5B, 6, 91, 28251},
      {"abc", 0x44BC2CF5AD770999, 0, 153, 2457},
      {"key-0", 0x12DAF06715FFA373, 2, 115, 41843},
      {"key-1", 0xDAB069F200681A9E, 1, 158, 6814},
      {"key-2", 0x65C46C67CF688E28, 4, 40, 36392},
      {"photos/2024/summer.jpg", 0x9283E667B319B14B, 2, 75, 45387},
      {"héllo wörld", 0x60041BFEC530413C, 6, 60, 16700},
      {"日本/東京", 0x0E5903943E79FDE1, 2, 225, 64993},
      {"\U0010FFFF", 0xA284A618C6D56514, 2, 20, 25876},
      {"0123456789abcdef0123456789abcdef", 0x642A94958E71E6C5, 5, 197, 59077},
      {"0123456789abcdef0123456789abcdef0", 0xE87684F08D6D0816, 2, 22, 2070},
      {std::string(1024, 'x'), 0x0797881285F20EE3, 2, 227, 3811},
  };
  for (const Vector& v : vectors) {
    EXPECT_EQ(StableHash(v.key), v.hash) << v.key;
    EXPECT_EQ(ShardOfKey(v.key, 1), ShardId(0)) << v.key;
    EXPECT_EQ(ShardOfKey(v.key, 7), ShardId(v.of_7)) << v.key;
    EXPECT_EQ(ShardOfKey(v.key, 256), ShardId(v.of_256)) << v.key;
    EXPECT_EQ(ShardOfKey(v.key, 65536), ShardId(v.of_65536)) << v.key;
  }
}

TEST(ShardOfKeyTest, SpreadsKeysEvenly) {
  std::vector<int> keys(256, 0);
  for (int i = 0; i < 256 * 100; ++i) {
    ++keys.at(ShardOfKey("user/" + std::to_string(i) + "/photo", 256).value());
  }
  for (const int count : keys) {
    EXPECT_GT(count, 50);
    EXPECT_LT(count, 160);
  }
}

TEST(ShardOfKeyDeathTest, NeedsAShard) { EXPECT_DEATH(ShardOfKey("a", 0), "shard_count > 0"); }

}  // namespace
}  // namespace ballast
