// SPDX-License-Identifier: Apache-2.0
#include "common/routing/replica_digest.h"

#include "common/routing/shard_router.h"
#include "gtest/gtest.h"

namespace ballast {
namespace {

constexpr ChunkHandle kHandle(0x0102030405060708);

TEST(ReplicaDigestTest, HashesSeventeenLittleEndianBytes) {
  const char bytes[] = "\x08\x07\x06\x05\x04\x03\x02\x01\x44\x33\x22\x11\xdd\xcc\xbb\xaa\x01";
  EXPECT_EQ(ReplicaHash(kHandle, {0x11223344, 0xaabbccdd, true}),
            StableHash(absl::string_view(bytes, 17)));
}

TEST(ReplicaDigestTest, HasAFixedValueForOtherLanguages) {
  EXPECT_EQ(ReplicaHash(ChunkHandle(1), {2, 3, false}), 0x9f46ee3e452ea905u);
  EXPECT_EQ(ReplicaHash(kHandle, {67108864, 0xe3069283, true}), 0x1e54f5787bb35649u);
}

TEST(ReplicaDigestTest, DoesNotDependOnOrderAndTakesBack) {
  ReplicaDigest a;
  a.Add(ChunkHandle(1), {10, 20, false});
  a.Add(ChunkHandle(2), {30, 40, false});
  ReplicaDigest b;
  b.Add(ChunkHandle(2), {30, 40, false});
  b.Add(ChunkHandle(3), {50, 60, true});
  b.Add(ChunkHandle(1), {10, 20, false});
  EXPECT_NE(a, b);
  b.Remove(ChunkHandle(3), {50, 60, true});
  EXPECT_EQ(a, b);
  EXPECT_NE(a.value(), 0u);
}

TEST(ReplicaDigestTest, EveryFactCounts) {
  const uint64_t base = ReplicaHash(kHandle, {1, 2, false});
  EXPECT_NE(base, ReplicaHash(ChunkHandle(kHandle.value() + 1), {1, 2, false}));
  EXPECT_NE(base, ReplicaHash(kHandle, {2, 2, false}));
  EXPECT_NE(base, ReplicaHash(kHandle, {1, 1, false}));
  EXPECT_NE(base, ReplicaHash(kHandle, {1, 2, true}));
}

}  // namespace
}  // namespace ballast
