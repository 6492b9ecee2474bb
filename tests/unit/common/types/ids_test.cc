// SPDX-License-Identifier: Apache-2.0
#include "common/types/ids.h"

#include <sstream>

#include "common/types/limits.h"
#include "gtest/gtest.h"

namespace ballast {
namespace {

TEST(ChunkHandleTest, KeepsShardAndSequenceApart) {
  const ChunkHandle handle(ShardId(0xABCD), 0x123456789ABC);
  EXPECT_EQ(handle.value(), 0xABCD123456789ABCu);
  EXPECT_EQ(handle.shard(), ShardId(0xABCD));
  EXPECT_EQ(handle.sequence(), 0x123456789ABCu);
  EXPECT_EQ(ChunkHandle(handle.value()), handle);
}

TEST(ChunkHandleTest, HoldsTheLastShardAndTheLastSequence) {
  const ChunkHandle last(ShardId(kShardsMax - 1), ChunkHandle::kSequenceMax);
  EXPECT_EQ(last.value(), ~uint64_t{0});
  EXPECT_EQ(last.shard(), ShardId(kShardsMax - 1));
  EXPECT_EQ(last.sequence(), ChunkHandle::kSequenceMax);
}

TEST(ChunkHandleTest, PrintsSixteenHexDigitsInOrderOfValue) {
  EXPECT_EQ(ChunkHandle(ShardId(1), 1).ToString(), "0001000000000001");
  EXPECT_EQ(ChunkHandle().ToString(), "0000000000000000");
  std::ostringstream out;
  out << ChunkHandle(ShardId(0xFFFF), 255);
  EXPECT_EQ(out.str(), "ffff0000000000ff");
  EXPECT_LT(ChunkHandle(ShardId(1), ChunkHandle::kSequenceMax), ChunkHandle(ShardId(2), 1));
}

}  // namespace
}  // namespace ballast
