// SPDX-License-Identifier: Apache-2.0
#include "services/master/core/leader_state.h"

#include "gtest/gtest.h"
#include "tests/unit/master/core/fake_catalog.h"

namespace ballast::master {
namespace {

constexpr ServerIndex kServer(1);
constexpr ShardId kShard(0);

SteadyTime At(double seconds) { return SteadyTime::FromOrigin(absl::Seconds(seconds)); }

v1::Registry RegistryOfOne() {
  v1::Registry registry;
  registry.set_version(1);
  v1::RegisteredServer& server = *registry.add_servers();
  server.set_server_index(kServer.value());
  server.set_server_id("00000000-0000-4000-8000-000000000001");
  server.set_boot_epoch(1);
  server.set_state(v1::SERVER_STATE_ACTIVE);
  *registry.mutable_settings() = DefaultSettings();
  return registry;
}

TEST(LeaderStateTest, NoShardIsSettledBeforeTheRegistryComesNorByThatItCame) {
  FakeCatalog catalog(1);
  ServerDirectory directory;
  LeaderState leader(RaftTerm(1), catalog, directory, At(0));
  EXPECT_FALSE(leader.IsSettled(kShard)) << "a tick before the registry came";
  ASSERT_TRUE(directory.Set(RegistryOfOne()));
  leader.OnRegistryChanged(At(0));
  EXPECT_FALSE(leader.IsSettled(kShard)) << "the server has a full window to report";
  double now = 0;
  while (leader.liveness.state(kServer) != LivenessState::kDead) {
    ASSERT_LT(now, 60);
    leader.liveness.Tick(At(now += 0.1));
    EXPECT_EQ(leader.IsSettled(kShard), leader.liveness.state(kServer) == LivenessState::kDead);
  }
  EXPECT_GT(now, 14);
}

}  // namespace
}  // namespace ballast::master
