// SPDX-License-Identifier: Apache-2.0
// A shard that nobody owns, as heartbeats, maintenance and clients' reads see it.
#include "gmock/gmock.h"
#include "tests/unit/master/control/heartbeat_world.h"

namespace ballast::master {
namespace {

using ::ballast::testing::HasReason;
using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::UnorderedElementsAre;

class FrozenShardTest : public HeartbeatWorld {
 protected:
  // The next configuration: shard 0 is owned by this group, or by nobody.
  void SetShardZero(bool owned) {
    ShardConfig config;
    config.version = ConfigVersion(++version_);
    config.owners.assign(kShards, GroupId(1));
    config.owners[0] = GroupId(owned ? 1 : 0);
    poller_.OnConfiguration(config);
    sim_.RunFor(absl::Milliseconds(10));
    ASSERT_EQ(machine_.config_version(), config.version);
  }
  uint64_t version_ = 1;
};

TEST_F(FrozenShardTest, NothingIsDeletedAskedForOrReadUntilItComesBack) {
  StartServers(2);
  const Written kept = Store({1, 2});
  const Written gone = Store({1, 2});
  sim_.RunFor(absl::Seconds(6));
  SetShardZero(false);
  const int resends = server(1).resends;
  server(1).Put(ChunkHandle(ShardId(0), 999));  // what it reports of the shard is nobody's business
  sim_.RunFor(absl::Seconds(60));
  EXPECT_THAT(server(1).commands, IsEmpty());
  EXPECT_EQ(server(1).resends, resends);
  EXPECT_EQ(status(1).chunk_count(), 0u);
  EXPECT_EQ(status(1).quarantined_count(), 0u);
  EXPECT_THAT(machine_.Serving(ShardId(0)), HasReason(v1::REASON_WRONG_GROUP));
  EXPECT_EQ(machine_.FindShard(ShardId(0))->chunks().size(), 2u);

  SetShardZero(true);
  EXPECT_THAT(Readable(kept.handle), UnorderedElementsAre(1, 2)) << "as logged, until reported";
  EXPECT_EQ(view_.FenceOf(ShardId(0)).config_version(), 3u);
  sim_.RunFor(absl::Seconds(30));
  EXPECT_GT(server(1).resends, resends) << "its list is to be sent anew";
  EXPECT_EQ(status(2).chunk_count(), 2u);
  EXPECT_THAT(server(2).commands, IsEmpty());
  Abort(gone);
  sim_.RunFor(absl::Seconds(30));
  ASSERT_EQ(server(2).commands.size(), 1u);
  EXPECT_EQ(server(2).commands[0].handle(), gone.handle.value());
  EXPECT_EQ(server(2).commands[0].fence().config_version(), 3u) << "fenced by when it came back";
  EXPECT_TRUE(server(2).Holds(kept.handle));
}

TEST_F(FrozenShardTest, ADeadServersReplicasAreNotLostByFreezing) {
  StartServers(2);
  const Written written = Store({1, 2});
  sim_.RunFor(absl::Seconds(6));
  SetShardZero(false);
  server(2).Disconnect();
  sim_.RunFor(absl::Seconds(60));
  SetShardZero(true);
  sim_.RunFor(absl::Seconds(30));
  EXPECT_THAT(Logged(written.handle), ElementsAre(1, 2));
  EXPECT_THAT(Readable(written.handle), ElementsAre(1));
}

}  // namespace
}  // namespace ballast::master
