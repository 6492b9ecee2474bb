// SPDX-License-Identifier: Apache-2.0
#include "gateway/core/replica_lists.h"

#include <vector>

#include "common/base/uuid.h"
#include "gateway/core/server_id.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace ballast::gateway {
namespace {

constexpr ReplicaFacts kFacts{.length_bytes = 1000, .crc32c = 7};

TEST(ReplicaListsTest, EachShardGetsOneWholeListWithItsDigest) {
  const std::vector<HeldReplica> held = {{ChunkHandle(ShardId(2), 1)},
                                         {ChunkHandle(ShardId(2), 5), /*corrupt=*/true},
                                         {ChunkHandle(ShardId(9), 1)}};
  v1::Heartbeat heartbeat;
  FillLists(held, kFacts, heartbeat.mutable_shards());
  ASSERT_EQ(heartbeat.shards_size(), 2);
  const v1::ShardReport& first = heartbeat.shards(0);
  EXPECT_EQ(first.shard(), 2u);
  EXPECT_TRUE(first.full_begin());
  EXPECT_TRUE(first.full_end());
  EXPECT_EQ(first.replica_count(), 2u);
  ASSERT_EQ(first.replicas_size(), 2);
  EXPECT_EQ(first.replicas(0).length_bytes(), 1000u);
  EXPECT_TRUE(first.replicas(0).verified());
  EXPECT_TRUE(first.replicas(1).corrupt());
  EXPECT_FALSE(first.replicas(1).verified());
  ReplicaDigest digest;
  digest.Add(held[0].handle, kFacts);
  digest.Add(held[1].handle, {.length_bytes = 1000, .crc32c = 7, .corrupt = true});
  EXPECT_EQ(first.digest(), digest.value());
  EXPECT_EQ(heartbeat.shards(1).shard(), 9u);
  EXPECT_EQ(heartbeat.shards(1).replica_count(), 1u);
}

TEST(ReplicaListsTest, NothingHeldIsNoList) {
  v1::Heartbeat heartbeat;
  FillLists({}, kFacts, heartbeat.mutable_shards());
  EXPECT_EQ(heartbeat.shards_size(), 0);
}

TEST(ServerIdTest, IsAUuidThatOnlyClusterAndNameDecide) {
  const std::string id = ServerIdOf("cluster-1", "cs1");
  EXPECT_TRUE(IsUuid(id)) << id;
  EXPECT_EQ(id, ServerIdOf("cluster-1", "cs1"));
  EXPECT_NE(id, ServerIdOf("cluster-1", "cs2"));
  EXPECT_NE(id, ServerIdOf("cluster-2", "cs1"));
}

TEST(ServerIdTest, NeverChanges) {
  // Gateways of all versions must speak for the same server.
  EXPECT_EQ(ServerIdOf("00000000-0000-4000-8000-000000000001", "cs1"),
            "79ced3f8-fd1b-8d69-9088-faf25197ae8e");
}

}  // namespace
}  // namespace ballast::gateway
