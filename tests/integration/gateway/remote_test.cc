// SPDX-License-Identifier: Apache-2.0
// The gateway's backend over a cluster that is not its own, with real chunk servers.
#include "gateway/remote_backend.h"

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/time/clock.h"
#include "client/client.h"
#include "common/base/byte_units.h"
#include "gateway/core/server_id.h"
#include "gateway/embedded_cluster.h"
#include "gateway/scratch_folder.h"
#include "gateway/unsynced_file_system.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "services/chunkserver/server.h"
#include "tests/support/status_matchers.h"

namespace ballast::gateway {
namespace {

using ::ballast::testing::HasReason;
using ::ballast::testing::IsOkAndHolds;
using ::ballast::testing::StatusIs;
using ::testing::ElementsAre;
using ::testing::IsEmpty;

constexpr absl::Duration kPatience = absl::Seconds(30);

class RemoteTest : public ::testing::Test {
 protected:
  void SetUp() override {
    one_replica_.replicas = 1;
    ASSERT_OK_AND_ASSIGN(scratch_, ScratchFolder::Make(::testing::TempDir()));
    ASSERT_OK_AND_ASSIGN(cluster_, EmbeddedCluster::Start(fs_, {.folder = scratch_->path()}));
    Connect();
    client::ClientOptions options;
    options.cluster = {cluster_->shardctl_address()};
    ASSERT_OK_AND_ASSIGN(client_, client::Client::Connect(std::move(options)));
  }
  void Connect() {
    backend_.reset();
    ASSERT_OK_AND_ASSIGN(backend_, MakeRemoteBackend({{cluster_->shardctl_address()}}));
  }
  void StartChunkServers(int count) {
    for (int i = 0; i < count; ++i) {
      chunkserver::Options options;
      options.folder = JoinPath(scratch_->path(), "chunks" + std::to_string(i));
      options.listen = "127.0.0.1:0";
      options.shardctl = {cluster_->shardctl_address()};
      options.cluster_id = cluster_->cluster_id();
      ASSERT_OK(chunkserver::Format(fs_, options));
      ASSERT_OK_AND_ASSIGN(auto server, chunkserver::Server::Start(fs_, options, [](auto) {}));
      servers_.push_back(std::move(server));
    }
    ASSERT_TRUE(Eventually([&] {
      const auto rows = backend_->Servers();
      size_t heard = 0;
      for (const ServerRow& row : rows.ok() ? *rows : std::vector<ServerRow>()) {
        heard += row.last_heartbeat_ms_ago >= 0 ? 1 : 0;
      }
      return heard == static_cast<size_t>(count);
    }));
  }
  absl::StatusOr<HeartbeatOrders> Beat(const std::string& server, std::vector<std::string> chunks) {
    return backend_->Heartbeat({server, std::move(chunks), 10, ""}, absl::ZeroDuration());
  }
  v1::ServerStatus StatusOf(const std::string& name) {
    const auto status = client_->Status();
    for (const v1::ServerStatus& server :
         status.ok() && status->servers.ok() ? *status->servers : std::vector<v1::ServerStatus>()) {
      if (server.name() == name) return server;
    }
    return {};
  }
  static bool Eventually(const std::function<bool()>& condition) {
    const absl::Time end = absl::Now() + kPatience;
    while (!condition()) {
      if (absl::Now() > end) return false;
    }
    return true;
  }

  std::unique_ptr<ScratchFolder> scratch_;
  UnsyncedFileSystem fs_{PosixFileSystem()};
  std::unique_ptr<EmbeddedCluster> cluster_;
  std::vector<std::unique_ptr<chunkserver::Server>> servers_;
  std::unique_ptr<client::Client> client_;
  std::unique_ptr<ClusterBackend> backend_;
  client::PutOptions one_replica_;
};

TEST_F(RemoteTest, AServerOfMessagesIsRegisteredByNameAndNeverPlacedOn) {
  ASSERT_OK(Beat("cs1", {}));
  const v1::ServerStatus server = StatusOf("cs1");
  EXPECT_TRUE(server.no_placement());
  EXPECT_EQ(server.liveness(), v1::LIVENESS_ALIVE);
  const auto source = client::MakeStringSource(std::string(KiB(100), 'x'));
  EXPECT_THAT(client_->Put("k", *source, {}), HasReason(v1::REASON_TOO_FEW_SERVERS));
}

TEST_F(RemoteTest, HealthIsWhatTheServerSaysAndAnyWordForWellIsOk) {
  const auto say = [&](const std::string& health) {
    EXPECT_OK(backend_->Heartbeat({"cs1", {}, 10, health}, absl::ZeroDuration()));
    return StatusOf("cs1").health();
  };
  EXPECT_EQ(say("disk errors"), "disk errors");
  EXPECT_EQ(say("OK"), "ok");
  EXPECT_EQ(say("healthy"), "ok");
  // Cut where a character ends: 255 bytes of two each, and one.
  std::string longest = "x";
  for (int i = 0; i < 200; ++i) longest += "\xC3\xA4";
  EXPECT_EQ(say(longest), longest.substr(0, 255));
  EXPECT_EQ(say(""), "ok");
}

TEST_F(RemoteTest, AnotherGatewaySpeaksForTheSameServerAtOnce) {
  ASSERT_OK(Beat("cs1", {}));
  const std::string id = StatusOf("cs1").server_id();
  Connect();
  ASSERT_OK(Beat("cs1", {}));
  EXPECT_EQ(StatusOf("cs1").server_id(), id);
  ASSERT_OK_AND_ASSIGN(const auto rows, backend_->Servers());
  EXPECT_EQ(rows.size(), 1u);
}

TEST_F(RemoteTest, AGatewayWhoseClockWasAheadOnceDoesNotShutLaterOnesOut) {
  v1::RegisterChunkServerRequest ahead;
  ahead.set_server_id(ServerIdOf(cluster_->cluster_id(), "cs1"));
  ahead.set_address("gateway.invalid:1");
  ahead.set_boot_epoch(static_cast<uint64_t>(absl::ToUnixMillis(absl::Now() + absl::Hours(24))));
  ahead.set_name("cs1");
  ahead.set_no_placement(true);
  ASSERT_OK(client_->controller().RegisterChunkServer(ahead));
  EXPECT_OK(Beat("cs1", {}));
}

TEST_F(RemoteTest, HandlesNobodyGaveOutAreQuarantinedAndOtherNamesOnlyCounted) {
  ASSERT_OK_AND_ASSIGN(const HeartbeatOrders orders,
                       Beat("cs1", {"000300000000ffff", "000300000000fffe", "some name"}));
  EXPECT_THAT(orders.chunks_to_delete, IsEmpty());
  ASSERT_OK_AND_ASSIGN(const auto rows, backend_->Servers());
  ASSERT_EQ(rows.size(), 1u);
  EXPECT_EQ(rows[0].chunk_count, 3u);
  EXPECT_TRUE(Eventually([&] { return StatusOf("cs1").quarantined_count() == 2; }));
}

TEST_F(RemoteTest, WhatAServerOfMessagesClaimsToHoldIsNeverReadFromIt) {
  StartChunkServers(1);
  const std::string value(KiB(100), 'x');
  const auto source = client::MakeStringSource(value);
  ASSERT_OK(client_->Put("k", *source, one_replica_));
  ASSERT_OK_AND_ASSIGN(const auto found, client_->metadata().GetObject("k", client::CallControl()));
  ASSERT_EQ(found.chunks_size(), 1);
  ASSERT_OK(Beat("cs1", {ChunkHandle(found.chunks(0).handle()).ToString()}));
  ASSERT_OK_AND_ASSIGN(const auto again, client_->metadata().GetObject("k", client::CallControl()));
  ASSERT_EQ(again.chunks(0).replicas_size(), 1);
  EXPECT_EQ(again.chunks(0).replicas(0).server_id(), servers_[0]->identity().server_id());
}

TEST_F(RemoteTest, ValuesAreTheClustersObjects) {
  StartChunkServers(1);
  ASSERT_OK(backend_->Write("k", "small"));
  std::string value;
  ASSERT_OK(client_->Get("k", *client::MakeStringSink(&value, 100), {}));
  EXPECT_EQ(value, "small");
  const std::string large(MiB(1), 'y');
  ASSERT_OK(backend_->Write("large", large));
  EXPECT_THAT(backend_->Read("large"), IsOkAndHolds(large));
  EXPECT_OK(backend_->CompareAndSet("k", "small", "other"));
  EXPECT_THAT(backend_->Read("k"), IsOkAndHolds("other"));
  EXPECT_THAT(backend_->Read("nothing"), StatusIs(absl::StatusCode::kNotFound));
}

TEST_F(RemoteTest, AnObjectThatIsNoTextIsRefused) {
  const auto source = client::MakeStringSource("\xff\xfe");
  ASSERT_OK(client_->Put("k", *source, {}));
  EXPECT_THAT(backend_->Read("k"), StatusIs(absl::StatusCode::kInvalidArgument));
}

TEST_F(RemoteTest, ConfigurationsAreTheRealControllers) {
  EXPECT_THAT(backend_->SetConfig({1, {0}}), StatusIs(absl::StatusCode::kUnimplemented));
  EXPECT_THAT(backend_->UpdateConfig({1, {0}}), StatusIs(absl::StatusCode::kUnimplemented));
}

TEST_F(RemoteTest, MovesNameChunksByHandleAndServersByNameOrId) {
  StartChunkServers(2);
  const auto source = client::MakeStringSource(std::string(KiB(100), 'x'));
  ASSERT_OK(client_->Put("k", *source, one_replica_));
  ASSERT_OK_AND_ASSIGN(const auto found, client_->metadata().GetObject("k", client::CallControl()));
  const std::string chunk = ChunkHandle(found.chunks(0).handle()).ToString();
  const std::string from = found.chunks(0).replicas(0).server_id();
  const std::string one = servers_[0]->identity().server_id();
  const std::string to = from == one ? servers_[1]->identity().server_id() : one;
  const std::vector<ChunkMove> moves = {
      {"no handle", from, to}, {chunk, "nobody", to}, {chunk, from, to}};
  ASSERT_OK_AND_ASSIGN(const auto outcomes, backend_->Move(moves));
  EXPECT_THAT(outcomes[0].status, HasReason(v1::REASON_CHUNK_NOT_FOUND));
  EXPECT_THAT(outcomes[1].status, HasReason(v1::REASON_UNKNOWN_SERVER));
  EXPECT_OK(outcomes[2].status);
  EXPECT_EQ(outcomes[2].bytes, KiB(100));
  std::string value;
  ASSERT_OK(client_->Get("k", *client::MakeStringSink(&value, MiB(1)), {}));
  EXPECT_EQ(value.size(), KiB(100));
}

TEST(RemoteBackendTest, ACallToAClusterThatIsNotThereIsUnavailable) {
  // Port 9 of this machine: nobody listens there.
  ASSERT_OK_AND_ASSIGN(const auto backend, MakeRemoteBackend({{"127.0.0.1:9"}}));
  EXPECT_THAT(backend->Servers(), StatusIs(absl::StatusCode::kUnavailable));
  backend->Touch("cs1");
}

TEST(RemoteBackendTest, AnAddressThatIsNoneIsTheCallersMistake) {
  EXPECT_THAT(MakeRemoteBackend({{"nonsense"}}), StatusIs(absl::StatusCode::kInvalidArgument));
  EXPECT_THAT(MakeRemoteBackend({{}}), StatusIs(absl::StatusCode::kInvalidArgument));
}

TEST_F(RemoteTest, ThePoolIsTheClustersOwn) {
  ASSERT_OK(backend_->AddServer("a", std::nullopt).status());
  ASSERT_OK(backend_->AddServer("b", 2.0).status());
  v1::RouteRequest route;
  route.set_pool("default");
  for (const char* key : {"k1", "k2", "k3", "k4"}) {
    route.set_key(key);
    ASSERT_OK_AND_ASSIGN(const auto routed, client_->controller().Route(route));
    ASSERT_OK_AND_ASSIGN(const std::vector<std::string> servers, backend_->Route(key));
    ASSERT_EQ(servers.size(), 2u);
    EXPECT_EQ(servers[0], routed.servers(0));
  }
}

}  // namespace
}  // namespace ballast::gateway
