// SPDX-License-Identifier: Apache-2.0
// The service, the blocking client and the watcher together over real gRPC on port 0, on a log in
// memory.
#include <map>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/synchronization/mutex.h"
#include "absl/synchronization/notification.h"
#include "common/base/check.h"
#include "common/env/executor.h"
#include "common/rpc/channel_pool.h"
#include "common/rpc/grpc_server.h"
#include "common/rpc/shardctl_client.h"
#include "common/rpc/shardctl_watcher.h"
#include "common/rpc/status_bridge.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "services/shardctl/core/command.h"
#include "services/shardctl/pool_service.h"
#include "services/shardctl/shardctl_service.h"
#include "tests/integration/shardctl/node.h"
#include "tests/support/local_log.h"
#include "tests/support/status_matchers.h"

namespace ballast::shardctl {
namespace {

using ::ballast::testing::HasReason;
using ::ballast::testing::IsOk;
using ::ballast::testing::StatusIs;

constexpr char kOtherCluster[] = "00000000-0000-4000-8000-0000000000bb";

// What a watcher delivered, in order, across threads.
class Events {
 public:
  ShardctlWatcher::Events Callbacks() {
    return {.on_configuration =
                [this](const ShardConfig& config) {
                  absl::MutexLock lock(&mu_);
                  configs_.push_back(config.version.value());
                },
            .on_registry =
                [this](const v1::Registry& registry) {
                  absl::MutexLock lock(&mu_);
                  registries_.push_back(registry);
                },
            .on_cluster =
                [this](const v1::GetClusterResponse& facts) {
                  absl::MutexLock lock(&mu_);
                  clusters_.push_back(facts.cluster_id());
                }};
  }

  // False when patience ends first.
  bool AwaitConfig(uint64_t version) {
    absl::MutexLock lock(&mu_);
    const auto there = [&]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_) {
      return !configs_.empty() && configs_.back() >= version;
    };
    return mu_.AwaitWithTimeout(absl::Condition(&there), kPatience);
  }
  bool AwaitRegistry(uint64_t version) {
    absl::MutexLock lock(&mu_);
    const auto there = [&]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_) {
      return !registries_.empty() && registries_.back().version() >= version;
    };
    return mu_.AwaitWithTimeout(absl::Condition(&there), kPatience);
  }
  std::vector<uint64_t> configs() {
    absl::MutexLock lock(&mu_);
    return configs_;
  }
  std::vector<v1::Registry> registries() {
    absl::MutexLock lock(&mu_);
    return registries_;
  }
  std::vector<std::string> clusters() {
    absl::MutexLock lock(&mu_);
    return clusters_;
  }

 private:
  absl::Mutex mu_;
  std::vector<uint64_t> configs_ ABSL_GUARDED_BY(mu_);
  std::vector<v1::Registry> registries_ ABSL_GUARDED_BY(mu_);
  std::vector<std::string> clusters_ ABSL_GUARDED_BY(mu_);
};

ShardctlWatcherOptions WatcherOf(const std::string& address) {
  return {.addresses = {address}, .cluster_id = "", .after = ConfigVersion(0)};
}

// Every call with another port is one more configuration.
v1::JoinRequest JoinAt(int port) {
  v1::JoinRequest request;
  request.mutable_group()->set_group_id(1);
  request.mutable_group()->add_masters()->set_node_id(1);
  request.mutable_group()->mutable_masters(0)->set_address(absl::StrCat("127.0.0.1:", port));
  return request;
}

v1::RegisterChunkServerRequest RegisterOf(uint32_t n, uint64_t boot) {
  v1::RegisterChunkServerRequest request;
  request.set_server_id(absl::StrFormat("00000000-0000-4000-8000-%012x", n));
  request.set_address(absl::StrCat("127.0.0.1:", 7600 + n));
  request.set_boot_epoch(boot);
  return request;
}

TEST(ShardctlServiceTest, AnswersEveryCallThroughTheClient) {
  Node node;
  ShardctlClient client(ClientOf(node.address()));
  EXPECT_EQ(client.cluster_id(), "");
  ASSERT_OK_AND_ASSIGN(const auto nothing, client.Query(v1::QueryRequest()));
  EXPECT_FALSE(nothing.has_configuration());
  EXPECT_EQ(client.cluster_id(), kCluster);
  ASSERT_OK_AND_ASSIGN(const auto facts, client.GetCluster());
  EXPECT_EQ(facts.shard_count(), 16u);

  ASSERT_OK_AND_ASSIGN(const auto joined, client.Join(JoinAt(7500)));
  EXPECT_EQ(joined.configuration().version(), 1u);
  EXPECT_THAT(joined.configuration().shard_owner(), ::testing::Each(1u));
  v1::QueryRequest query;
  query.set_version(1);
  ASSERT_OK_AND_ASSIGN(const auto first, client.Query(query));
  EXPECT_EQ(first.configuration().SerializeAsString(), joined.configuration().SerializeAsString());
  query.set_version(2);
  EXPECT_THAT(client.Query(query), HasReason(v1::REASON_UNKNOWN_VERSION));

  ASSERT_OK_AND_ASSIGN(const auto registered, client.RegisterChunkServer(RegisterOf(1, 1)));
  EXPECT_EQ(registered.server_index(), 1u);
  ASSERT_OK_AND_ASSIGN(const auto again, client.RegisterChunkServer(RegisterOf(1, 1)));
  EXPECT_EQ(again.server_index(), 1u);
  v1::SetServerStateRequest state;
  state.set_server_id(RegisterOf(1, 1).server_id());
  state.set_state(v1::SERVER_STATE_DRAINING);
  ASSERT_OK_AND_ASSIGN(const auto drained, client.SetServerState(state));
  EXPECT_EQ(drained.server().state(), v1::SERVER_STATE_DRAINING);
  v1::UpdateSettingsRequest update;
  update.set_grace_ms(1);
  ASSERT_OK_AND_ASSIGN(const auto settings, client.UpdateSettings(update));
  EXPECT_EQ(settings.settings().grace_ms(), 1u);

  ASSERT_OK_AND_ASSIGN(const auto watched, client.Watch(v1::WatchRequest()));
  EXPECT_EQ(watched.configurations_size(), 1);
  EXPECT_EQ(watched.registry().version(), 4u);
}

TEST(ShardctlServiceTest, RefusesMalformedInputAndWhatCannotBeDoneYet) {
  Node node;
  ShardctlClient client(ClientOf(node.address()));
  EXPECT_THAT(client.Join(v1::JoinRequest()), StatusIs(absl::StatusCode::kInvalidArgument));
  EXPECT_THAT(client.RegisterChunkServer(v1::RegisterChunkServerRequest()),
              HasReason(v1::REASON_INVALID_ARGUMENT));
  v1::UpdateSettingsRequest update;
  update.set_default_replicas(99);
  EXPECT_THAT(client.UpdateSettings(update), StatusIs(absl::StatusCode::kInvalidArgument));
  EXPECT_THAT(client.SetServerState(v1::SetServerStateRequest()),
              StatusIs(absl::StatusCode::kInvalidArgument));
  ASSERT_THAT(client.Join(JoinAt(7500)), IsOk());
  v1::JoinRequest second = JoinAt(7501);
  second.mutable_group()->set_group_id(2);
  EXPECT_THAT(client.Join(second), HasReason(v1::REASON_NOT_SUPPORTED_YET));
  v1::LeaveRequest leave;
  leave.set_group_id(9);
  EXPECT_THAT(client.Leave(leave), HasReason(v1::REASON_UNKNOWN_GROUP));
}

TEST(ShardctlServiceTest, OversizedMessagesAreRefusedAndTheServerGoesOn) {
  Node node;
  const auto stub = v1::ShardControl::NewStub(MakeChannel(node.address()));
  grpc::ClientContext context;
  PrepareContext(context, kCluster, kPatience);
  v1::RegisterChunkServerRequest request = RegisterOf(1, 1);
  request.set_zone(std::string(5 << 20, 'z'));
  v1::RegisterChunkServerResponse response;
  EXPECT_FALSE(stub->RegisterChunkServer(&context, request, &response).ok());
  ShardctlClient client(ClientOf(node.address()));
  EXPECT_THAT(client.RegisterChunkServer(RegisterOf(1, 1)), IsOk());
}

TEST(ShardctlServiceTest, OnlyCallsOfThisClusterAreServed) {
  Node node;
  ShardctlClientOptions options = ClientOf(node.address());
  options.cluster_id = kOtherCluster;
  ShardctlClient stranger(options);
  EXPECT_THAT(stranger.Join(JoinAt(7500)), HasReason(v1::REASON_WRONG_CLUSTER));
  EXPECT_THAT(stranger.Query(v1::QueryRequest()), HasReason(v1::REASON_WRONG_CLUSTER));
  EXPECT_THAT(stranger.GetCluster(), HasReason(v1::REASON_WRONG_CLUSTER));

  const auto stub = v1::ShardControl::NewStub(MakeChannel(node.address()));
  grpc::ClientContext nameless;
  PrepareContext(nameless, "", kPatience);
  v1::WatchResponse response;
  EXPECT_THAT(FromGrpc(stub->Watch(&nameless, v1::WatchRequest(), &response)),
              HasReason(v1::REASON_WRONG_CLUSTER));
  grpc::ClientContext asking;
  PrepareContext(asking, "", kPatience);
  v1::GetClusterResponse facts;
  EXPECT_THAT(FromGrpc(stub->GetCluster(&asking, v1::GetClusterRequest(), &facts)), IsOk());
}

TEST(ShardctlServiceTest, ALostReplyIsRetriedWithoutASecondEffect) {
  Node node;
  ShardctlClient client(ClientOf(node.address()));
  for (const bool applied : {false, true}) {
    node.OnExecutor([&] { node.log().LoseNextReply(applied); });
    ASSERT_OK_AND_ASSIGN(const auto joined, client.Join(JoinAt(applied ? 7500 : 7501)));
    EXPECT_EQ(joined.configuration().version(), applied ? 2u : 1u);
  }
}

TEST(ShardctlServiceTest, AClientFollowsTheHintToTheLeader) {
  Node leader;
  Node follower("127.0.0.1:0", "", {{NodeId(7), leader.address()}});
  follower.OnExecutor([&] { follower.log().SetRole(ReplicatedLog::Role::kFollower, NodeId(7)); });
  ShardctlClient client(ClientOf(follower.address()));
  ASSERT_THAT(client.Join(JoinAt(7500)), IsOk());
  leader.OnExecutor([] {});
  ShardctlClient direct(ClientOf(leader.address()));
  ASSERT_OK_AND_ASSIGN(const auto current, direct.Query(v1::QueryRequest()));
  EXPECT_EQ(current.configuration().version(), 1u);
}

TEST(ShardctlServiceTest, ACallGivesUpWhenItsTimeIsOver) {
  ShardctlClient client({.addresses = {"127.0.0.1:1", "127.0.0.1:2"},
                         .cluster_id = kCluster,
                         .total_timeout = absl::Milliseconds(200)});
  EXPECT_THAT(client.Join(JoinAt(7500)), StatusIs(absl::StatusCode::kUnavailable));
}

TEST(ShardctlServiceTest, ShutdownEndsACallUnderWay) {
  Node node;
  ShardctlClient client(ClientOf(node.address()));
  ASSERT_THAT(client.GetCluster(), IsOk());
  absl::Status status;
  std::thread caller([&] {
    v1::WatchRequest request;
    request.set_registry_version(1);
    request.set_wait_ms(30'000);
    status = client.Watch(request).status();
  });
  while (node.waiting() == 0) {
    std::this_thread::yield();
  }
  client.Shutdown();
  caller.join();
  EXPECT_THAT(status, StatusIs(absl::StatusCode::kCancelled));
  EXPECT_THAT(client.GetCluster(), StatusIs(absl::StatusCode::kCancelled));
  // The server notices that the caller has gone long before the call's time is over.
  while (node.waiting() != 0) {
    std::this_thread::yield();
  }
}

// --- watcher -------------------------------------------------------------------------------------

TEST(ShardctlWatcherTest, DeliversEveryConfigurationOnceInOrder) {
  Node node;
  ShardctlClient client(ClientOf(node.address()));
  ASSERT_THAT(client.Join(JoinAt(1000)), IsOk());
  ASSERT_THAT(client.Join(JoinAt(1001)), IsOk());
  const auto executor = MakeThreadExecutor("events");
  Events events;
  ShardctlWatcherOptions options = WatcherOf(node.address());
  options.after = ConfigVersion(1);
  ShardctlWatcher watcher(*executor, options, events.Callbacks());
  for (int port = 1002; port < 1100; ++port) {
    ASSERT_THAT(client.Join(JoinAt(port)), IsOk());
  }
  ASSERT_TRUE(events.AwaitConfig(100));
  std::vector<uint64_t> expected;
  for (uint64_t n = 2; n <= 100; ++n) {
    expected.push_back(n);
  }
  EXPECT_EQ(events.configs(), expected);
  EXPECT_THAT(events.clusters(), ::testing::ElementsAre(kCluster));
}

TEST(ShardctlWatcherTest, DeliversTheRegistryWheneverItChanges) {
  Node node;
  ShardctlClient client(ClientOf(node.address()));
  const auto executor = MakeThreadExecutor("events");
  Events events;
  ShardctlWatcher watcher(*executor, WatcherOf(node.address()), events.Callbacks());
  ASSERT_TRUE(events.AwaitRegistry(1));
  ASSERT_THAT(client.RegisterChunkServer(RegisterOf(1, 1)), IsOk());
  ASSERT_TRUE(events.AwaitRegistry(2));
  ASSERT_THAT(client.RegisterChunkServer(RegisterOf(2, 1)), IsOk());
  ASSERT_TRUE(events.AwaitRegistry(3));
  const auto registries = events.registries();
  EXPECT_EQ(registries.back().servers_size(), 2);
  for (size_t i = 1; i < registries.size(); ++i) {
    EXPECT_LT(registries[i - 1].version(), registries[i].version());
  }
}

TEST(ShardctlWatcherTest, GoesOnWhereItWasWhenTheServerComesBack) {
  auto node = std::make_unique<Node>();
  const std::string address = node->address();
  const auto executor = MakeThreadExecutor("events");
  Events events;
  ShardctlWatcher watcher(*executor, WatcherOf(address), events.Callbacks());
  ShardctlClient client(ClientOf(address));
  ASSERT_THAT(client.Join(JoinAt(1000)), IsOk());
  ASSERT_TRUE(events.AwaitConfig(1));
  const std::string image = node->Stop();
  node = std::make_unique<Node>(address, image);
  ASSERT_THAT(client.Join(JoinAt(1001)), IsOk());
  ASSERT_TRUE(events.AwaitConfig(2));
  EXPECT_EQ(events.configs(), (std::vector<uint64_t>{1, 2}));
  EXPECT_EQ(events.registries().size(), 1u);
}

TEST(ShardctlWatcherTest, StartsBeforeTheServerDoes) {
  auto node = std::make_unique<Node>();
  const std::string address = node->address();
  const std::string image = node->Stop();
  const auto executor = MakeThreadExecutor("events");
  Events events;
  ShardctlWatcher watcher(*executor, WatcherOf(address), events.Callbacks());
  node = std::make_unique<Node>(address, image);
  EXPECT_TRUE(events.AwaitRegistry(1));
}

TEST(ShardctlWatcherTest, AStateThatIsOlderThanWhatWasSeenIsNotDelivered) {
  auto node = std::make_unique<Node>();
  const std::string address = node->address();
  const std::string empty = node->Stop();
  node = std::make_unique<Node>(address, empty);
  const auto executor = MakeThreadExecutor("events");
  Events events;
  auto watcher =
      std::make_unique<ShardctlWatcher>(*executor, WatcherOf(address), events.Callbacks());
  ShardctlClient client(ClientOf(address));
  ASSERT_THAT(client.Join(JoinAt(1000)), IsOk());
  ASSERT_THAT(client.RegisterChunkServer(RegisterOf(1, 1)), IsOk());
  ASSERT_TRUE(events.AwaitConfig(1));
  ASSERT_TRUE(events.AwaitRegistry(2));
  const std::string full = node->Stop();
  node = std::make_unique<Node>(address, empty);  // a controller that has lost everything
  ASSERT_THAT(client.Query(v1::QueryRequest()), IsOk());
  node->Stop();
  node = std::make_unique<Node>(address, full);
  ASSERT_THAT(client.Join(JoinAt(1001)), IsOk());
  ASSERT_TRUE(events.AwaitConfig(2));
  EXPECT_EQ(events.configs(), (std::vector<uint64_t>{1, 2}));
  for (const v1::Registry& registry : events.registries()) {
    EXPECT_TRUE(registry.version() == 2 || registry.servers_size() == 0);
  }
}

TEST(ShardctlWatcherTest, MovesToTheNewLeaderWhenLeadershipEnds) {
  Node second;
  Node first("127.0.0.1:0", "", {{NodeId(2), second.address()}});
  const auto executor = MakeThreadExecutor("events");
  Events events;
  ShardctlWatcher watcher(*executor, WatcherOf(first.address()), events.Callbacks());
  ASSERT_TRUE(events.AwaitRegistry(1));
  ShardctlClient client(ClientOf(second.address()));
  ASSERT_THAT(client.Join(JoinAt(1000)), IsOk());
  first.OnExecutor([&] { first.log().SetRole(ReplicatedLog::Role::kFollower, NodeId(2)); });
  EXPECT_TRUE(events.AwaitConfig(1));
}

TEST(ShardctlWatcherTest, TakesNothingFromAnotherCluster) {
  Node node;
  const auto executor = MakeThreadExecutor("events");
  Events events;
  ShardctlWatcherOptions options = WatcherOf(node.address());
  options.cluster_id = kOtherCluster;
  auto watcher = std::make_unique<ShardctlWatcher>(*executor, options, events.Callbacks());
  ShardctlClient client(ClientOf(node.address()));
  ASSERT_THAT(client.Join(JoinAt(1000)), IsOk());
  watcher.reset();
  EXPECT_TRUE(events.configs().empty());
  EXPECT_TRUE(events.registries().empty());
  EXPECT_TRUE(events.clusters().empty());
}

TEST(ShardctlWatcherTest, IsDestroyedCleanlyAtAnyMoment) {
  Node node;
  ShardctlClient client(ClientOf(node.address()));
  for (int i = 0; i < 50; ++i) {
    const auto executor = MakeThreadExecutor("events");
    auto events = std::make_unique<Events>();
    auto watcher = std::make_unique<ShardctlWatcher>(*executor, WatcherOf(node.address()),
                                                     events->Callbacks());
    ASSERT_THAT(client.Join(JoinAt(1000 + i)), IsOk());
    if (i % 2 == 0) {
      ASSERT_TRUE(events->AwaitConfig(1));
    }
    watcher.reset();
    events.reset();  // a late event would use it
  }
}

}  // namespace
}  // namespace ballast::shardctl
