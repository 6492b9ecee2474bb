// SPDX-License-Identifier: Apache-2.0
// The whole shard controller on its real log: what survives restarts, crashes and misuse.
#include <functional>
#include <memory>
#include <set>
#include <string>
#include <thread>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/synchronization/notification.h"
#include "common/base/rng.h"
#include "common/base/uuid.h"
#include "common/rpc/shardctl_client.h"
#include "gmock/gmock.h"
#include "services/shardctl/server.h"
#include "tests/support/mem_file_system.h"
#include "tests/support/status_matchers.h"

namespace ballast::shardctl {
namespace {

using ::ballast::testing::IsOk;
using ::ballast::testing::StatusIs;
using ::testing::IsSupersetOf;

Options OptionsFor(const std::string& folder) {
  Options options;
  options.folder = folder;
  options.shards = 8;
  options.voters = {"1=127.0.0.1:7400"};
  options.listen = "127.0.0.1:0";
  return options;
}

absl::StatusOr<std::unique_ptr<Server>> StartServer(FileSystem& fs, const Options& options) {
  return Server::Start(fs, options, [](const absl::Status&) {});
}

ShardctlClientOptions ClientOf(const Server& server, absl::Duration total = absl::Seconds(20)) {
  return {.addresses = {server.address()},
          .cluster_id = server.identity().cluster_id,
          .total_timeout = total};
}

v1::RegisterChunkServerRequest RegisterOf(uint32_t n) {
  v1::RegisterChunkServerRequest request;
  request.set_server_id(absl::StrFormat("00000000-0000-4000-8000-%012x", n));
  request.set_address(absl::StrCat("127.0.0.1:", 7600 + n));
  request.set_boot_epoch(1);
  return request;
}

v1::JoinRequest FirstJoin() {
  v1::JoinRequest request;
  request.mutable_group()->set_group_id(1);
  request.mutable_group()->add_masters()->set_node_id(1);
  request.mutable_group()->mutable_masters(0)->set_address("127.0.0.1:7500");
  return request;
}

TEST(ShardctlServerTest, StateSurvivesARestart) {
  testing::MemFileSystem fs;
  const Options options = OptionsFor("/s");
  ASSERT_OK_AND_ASSIGN(const std::string cluster_id, Format(fs, options));
  EXPECT_TRUE(IsUuid(cluster_id));
  std::string before;
  for (const bool again : {false, true}) {
    ASSERT_OK_AND_ASSIGN(const auto server, StartServer(fs, options));
    EXPECT_EQ(server->identity().cluster_id, cluster_id);
    ShardctlClient client(ClientOf(*server));
    if (!again) {
      ASSERT_THAT(client.Join(FirstJoin()), IsOk());
      ASSERT_THAT(client.RegisterChunkServer(RegisterOf(1)), IsOk());
    }
    ASSERT_OK_AND_ASSIGN(const auto state, client.Watch(v1::WatchRequest()));
    EXPECT_EQ(state.configurations_size(), 1);
    EXPECT_EQ(state.registry().servers_size(), 1);
    if (again) {
      EXPECT_EQ(state.SerializeAsString(), before);
    }
    before = state.SerializeAsString();
  }
}

TEST(ShardctlServerTest, WhatWasAcknowledgedSurvivesAPowerLossAtEveryStep) {
  for (uint64_t step = 1; step <= 10; ++step) {
    SCOPED_TRACE(absl::StrCat("power loss at disk operation ", step));
    testing::MemFileSystem fs;
    Rng rng(step);
    const Options options = OptionsFor("/s");
    ASSERT_THAT(Format(fs, options), IsOk());
    std::set<std::string> tried;
    std::set<std::string> acknowledged;
    {
      absl::Notification failed;
      ASSERT_OK_AND_ASSIGN(const auto server, Server::Start(fs, options, [&](const absl::Status&) {
                             failed.Notify();
                           }));
      ShardctlClient client(ClientOf(*server));
      ASSERT_THAT(client.Join(FirstJoin()), IsOk());
      fs.FailAfter(step);
      for (uint32_t n = 1; !fs.failed(); ++n) {
        ShardctlClient impatient(ClientOf(*server, absl::Milliseconds(50)));
        const v1::RegisterChunkServerRequest request = RegisterOf(n);
        tried.insert(request.server_id());
        if (impatient.RegisterChunkServer(request).ok()) {
          acknowledged.insert(request.server_id());
        }
      }
      failed.WaitForNotification();  // the server says that its disk is gone
    }
    fs.Crash(&rng);
    ASSERT_OK_AND_ASSIGN(const auto server, StartServer(fs, options));
    ShardctlClient client(ClientOf(*server));
    ASSERT_OK_AND_ASSIGN(const auto state, client.Watch(v1::WatchRequest()));
    EXPECT_EQ(state.config_version(), 1u);
    std::set<std::string> found;
    for (const v1::RegisteredServer& registered : state.registry().servers()) {
      found.insert(registered.server_id());
    }
    EXPECT_THAT(found, IsSupersetOf(acknowledged));
    EXPECT_THAT(tried, IsSupersetOf(found)) << "those that were not answered in time may be there";
  }
}

TEST(ShardctlServerTest, AFolderServesOneProcess) {
  testing::MemFileSystem fs;
  const Options options = OptionsFor("/s");
  ASSERT_THAT(Format(fs, options), IsOk());
  ASSERT_OK_AND_ASSIGN(const auto server, StartServer(fs, options));
  EXPECT_THAT(StartServer(fs, options).status(), StatusIs(absl::StatusCode::kFailedPrecondition));
}

TEST(ShardctlServerTest, UnformattedDamagedAndTakenAreTold) {
  testing::MemFileSystem fs;
  Options options = OptionsFor("/s");
  EXPECT_THAT(StartServer(fs, options).status(), StatusIs(absl::StatusCode::kNotFound));
  ASSERT_THAT(Format(fs, options), IsOk());
  EXPECT_THAT(Format(fs, options), StatusIs(absl::StatusCode::kAlreadyExists));
  ASSERT_OK_AND_ASSIGN(const auto server, StartServer(fs, options));
  Options second = OptionsFor("/t");
  ASSERT_THAT(Format(fs, second), IsOk());
  second.listen = server->address();
  EXPECT_THAT(StartServer(fs, second).status(), StatusIs(absl::StatusCode::kUnavailable));
  ASSERT_THAT(WriteFileAtomically(fs, "/t/identity", "nonsense"), IsOk());
  EXPECT_THAT(StartServer(fs, second).status(), StatusIs(absl::StatusCode::kDataLoss));
}

TEST(ShardctlServerTest, FormatRefusesWhatMakesNoSense) {
  testing::MemFileSystem fs;
  const auto refused = [&fs](const std::function<void(Options&)>& change) {
    Options options = OptionsFor("/s");
    change(options);
    EXPECT_THAT(Format(fs, options), StatusIs(absl::StatusCode::kInvalidArgument));
  };
  refused([](Options& o) { o.shards = 0; });
  refused([](Options& o) { o.shards = 65537; });
  refused([](Options& o) { o.cluster_id = "mine"; });
  refused([](Options& o) { o.node_id = 2; });
  refused([](Options& o) { o.voters = {"nowhere"}; });
  refused([](Options& o) { o.voters = {"1=a:1", "2=b:2", "3=c:3"}; });
}

TEST(ShardctlServerTest, StopsWhileCallsWait) {
  testing::MemFileSystem fs;
  const Options options = OptionsFor("/s");
  ASSERT_THAT(Format(fs, options), IsOk());
  ASSERT_OK_AND_ASSIGN(auto server, StartServer(fs, options));
  ShardctlClient client(ClientOf(*server));
  ASSERT_THAT(client.GetCluster(), IsOk());
  absl::Status status;
  std::thread caller([&] {
    v1::WatchRequest request;
    request.set_registry_version(1);
    request.set_wait_ms(30'000);
    status = client.Watch(request).status();
  });
  // Whether the call waits already or not: the stop must not take its 30 s.
  const SteadyTime begin = RealClock().SteadyNow();
  server.reset();
  EXPECT_LT(RealClock().SteadyNow() - begin, absl::Seconds(15));
  client.Shutdown();
  caller.join();
  EXPECT_FALSE(status.ok());
}

}  // namespace
}  // namespace ballast::shardctl
