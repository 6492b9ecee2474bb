// SPDX-License-Identifier: Apache-2.0
// A whole chunk server over real gRPC: shard controller, masters (fake ones) and bytes.
#include "services/chunkserver/server.h"

#include <algorithm>
#include <optional>
#include <utility>
#include <vector>

#include "absl/synchronization/notification.h"
#include "client/chunk_io.h"
#include "common/env/clock.h"
#include "services/shardctl/server.h"
#include "tests/integration/chunkserver/data_fixture.h"
#include "tests/integration/chunkserver/fake_master.h"

namespace ballast::chunkserver {
namespace {

using ::ballast::client::ChunkIo;
using ::ballast::client::ChunkIoOptions;
using ::ballast::client::StringChunkSource;
using ::ballast::testing::HasReason;
using ::ballast::testing::StatusIs;

const ChunkHandle kHandle(ShardId(1), 1);

class ServerTest : public ::testing::Test {
 protected:
  void SetUp() override {
    shardctl::Options controller;
    controller.folder = scratch_.path() + "/shardctl";
    controller.cluster_id = kCluster;
    controller.shards = 8;
    controller.voters = {"1=127.0.0.1:1"};  // format wants a port; the one listened on counts
    controller.listen = "127.0.0.1:0";
    ASSERT_OK(shardctl::Format(PosixFileSystem(), controller));
    ASSERT_OK_AND_ASSIGN(shardctl_, shardctl::Server::Start(PosixFileSystem(), controller,
                                                            [](const absl::Status&) {}));
    client_ = std::make_unique<ShardctlClient>(
        ShardctlClientOptions{.addresses = {shardctl_->address()}, .cluster_id = kCluster});
    v1::UpdateSettingsRequest settings;
    settings.set_heartbeat_interval_ms(100);
    ASSERT_OK(client_->UpdateSettings(settings));

    options_.folder = scratch_.path() + "/cs";
    options_.listen = "127.0.0.1:0";
    options_.shardctl = {shardctl_->address()};
    options_.capacity_bytes = GiB(1);
    options_.zone = "z1";
  }
  void TearDown() override {
    server_.reset();
    master_.Stop();
  }
  void Join() {
    v1::JoinRequest request;
    request.mutable_group()->set_group_id(1);
    auto* master = request.mutable_group()->add_masters();
    master->set_node_id(1);
    master->set_address(master_.address());
    ASSERT_OK(client_->Join(request));
  }
  void Start() {
    ASSERT_OK_AND_ASSIGN(
        server_, Server::Start(PosixFileSystem(), options_, [this](const absl::Status& status) {
          failure_ = status;
          failed_.Notify();
        }));
  }
  absl::Status Write(absl::string_view data, ChunkHandle handle = kHandle) {
    ChunkIoOptions io_options;
    io_options.cluster_id = kCluster;
    ChunkIo io(io_options);
    v1::ReplicaLocation self;
    self.set_server_id(server_->identity().server_id());
    self.set_address(server_->address());
    while (true) {  // the scan may still run
      StringChunkSource source(data);
      const auto written = io.WriteChunk({.handle = handle, .chain = {self}}, source);
      if (ReasonOf(written.status()) != v1::REASON_NOT_READY) {
        return written.status();
      }
    }
  }
  static bool Listed(const std::vector<v1::Heartbeat>& all, ChunkHandle handle) {
    bool listed = false;
    for (const v1::Heartbeat& heartbeat : all) {
      for (const v1::ShardReport& report : heartbeat.shards()) {
        for (const v1::ReplicaReport& replica : report.replicas()) {
          listed = listed || replica.handle() == handle.value();
        }
        for (const uint64_t removed : report.removed_handles()) {
          listed = listed && removed != handle.value();
        }
      }
    }
    return listed;
  }

  ScopedFolder scratch_;
  std::unique_ptr<shardctl::Server> shardctl_;
  std::unique_ptr<ShardctlClient> client_;
  FakeMaster master_;
  Options options_;
  absl::Status failure_;
  absl::Notification failed_;
  std::unique_ptr<Server> server_;
};

TEST_F(ServerTest, RegistersHeartbeatsReportsAndObeys) {
  ASSERT_OK_AND_ASSIGN(const std::string id, Format(PosixFileSystem(), options_));
  Join();
  Start();
  EXPECT_EQ(server_->identity().server_id(), id);
  ASSERT_TRUE(master_.Await([&](const std::vector<v1::Heartbeat>& all) {
    return all.size() >= 3 && all.back().health() == v1::SERVER_HEALTH_OK &&
           all.front().server_id() == id && all.front().zone() == "z1" &&
           all.front().address() == server_->address();
  }));
  ASSERT_OK(Write("hello"));
  ASSERT_TRUE(master_.Await([](const auto& all) { return Listed(all, kHandle); }));
  v1::Command command;
  command.set_command_id(5);
  command.set_handle(kHandle.value());
  command.mutable_fence()->set_config_version(1);
  command.mutable_fence()->set_term(1);
  command.mutable_delete_replica()->set_cause(v1::Command::Delete::CAUSE_GARBAGE);
  master_.Order(command);
  ASSERT_TRUE(master_.Await([](const std::vector<v1::Heartbeat>& all) {
    for (const v1::Heartbeat& heartbeat : all) {
      for (const v1::CommandResult& result : heartbeat.results()) {
        return result.command_id() == 5 && result.code() == 0;
      }
    }
    return false;
  }));
  EXPECT_TRUE(master_.Await([](const auto& all) { return !Listed(all, kHandle); }));
  server_.reset();
  EXPECT_TRUE(master_.Await([](const std::vector<v1::Heartbeat>& all) {
    return all.back().health() == v1::SERVER_HEALTH_STOPPING;
  }));
}

TEST_F(ServerTest, CopiesAChunkFromAnotherServerWhenOrdered) {
  TestDataServer source;
  const std::string data = RandomBytes(MiB(2) + 9, 1);
  ASSERT_OK(Format(PosixFileSystem(), options_));
  Join();
  Start();
  {
    ChunkIoOptions io_options;
    io_options.cluster_id = kCluster;
    ChunkIo io(io_options);
    StringChunkSource bytes(data);
    ASSERT_OK(io.WriteChunk({.handle = kHandle, .chain = {source.location()}}, bytes));
  }
  ASSERT_TRUE(master_.Await([](const std::vector<v1::Heartbeat>& all) {
    return !all.empty() && all.back().health() == v1::SERVER_HEALTH_OK;
  }));
  v1::Command command;
  command.set_command_id(6);
  command.set_handle(kHandle.value());
  command.mutable_fence()->set_config_version(1);
  command.mutable_fence()->set_term(1);
  v1::Command::Replicate& order = *command.mutable_replicate();
  *order.add_sources() = source.location();
  order.set_length_bytes(static_cast<uint32_t>(data.size()));
  order.set_crc32c(ComputeCrc32c(data).value);
  master_.Order(command);
  ASSERT_TRUE(master_.Await([&](const std::vector<v1::Heartbeat>& all) {
    for (const v1::Heartbeat& heartbeat : all) {
      for (const v1::CommandResult& result : heartbeat.results()) {
        return result.command_id() == 6 && result.code() == 0 && result.bytes() == data.size();
      }
    }
    return false;
  }));
  EXPECT_TRUE(master_.Await([](const auto& all) { return Listed(all, kHandle); }));
  EXPECT_EQ(server_->store().Stat(kHandle)->state, ReplicaState::kVerified);
}

TEST_F(ServerTest, ACopyKeepsWithinTheLimitsOfTheRegistry) {
  v1::UpdateSettingsRequest limits;
  limits.set_repair_total_mbps(10);
  ASSERT_OK(client_->UpdateSettings(limits));
  TestDataServer source;
  const std::string data = RandomBytes(MiB(6), 1);
  ASSERT_OK(Format(PosixFileSystem(), options_));
  Join();
  Start();
  {
    ChunkIoOptions io_options;
    io_options.cluster_id = kCluster;
    ChunkIo io(io_options);
    StringChunkSource bytes(data);
    ASSERT_OK(io.WriteChunk({.handle = kHandle, .chain = {source.location()}}, bytes));
  }
  ASSERT_TRUE(master_.Await([](const std::vector<v1::Heartbeat>& all) {
    return !all.empty() && all.back().health() == v1::SERVER_HEALTH_OK;
  }));
  v1::Command command;
  command.set_command_id(6);
  command.set_handle(kHandle.value());
  command.mutable_fence()->set_config_version(1);
  command.mutable_fence()->set_term(1);
  v1::Command::Replicate& order = *command.mutable_replicate();
  *order.add_sources() = source.location();
  order.set_length_bytes(static_cast<uint32_t>(data.size()));
  order.set_crc32c(ComputeCrc32c(data).value);
  order.set_traffic(v1::TRAFFIC_CLASS_REPAIR);
  order.set_total_share_ppm(300'000);  // 3 MB/s
  const SteadyTime begin = RealClock().SteadyNow();
  master_.Order(command);
  ASSERT_TRUE(master_.Await([&](const std::vector<v1::Heartbeat>& all) {
    for (const v1::Heartbeat& heartbeat : all) {
      for (const v1::CommandResult& result : heartbeat.results()) {
        return result.command_id() == 6 && result.code() == 0 && result.bytes() == data.size();
      }
    }
    return false;
  }));
  EXPECT_GE(absl::ToDoubleSeconds(RealClock().SteadyNow() - begin),
            0.95 * static_cast<double>(data.size() - MiB(1)) / 3e6);
}

TEST_F(ServerTest, AsksShardctlForTheClusterAtFormat) {
  ASSERT_OK(Format(PosixFileSystem(), options_));
  Start();
  EXPECT_EQ(server_->identity().cluster_id(), kCluster);
}

TEST_F(ServerTest, ServesBytesWithoutShardctlAndMasters) {
  options_.cluster_id = kCluster;
  options_.shardctl = {"127.0.0.1:1"};
  ASSERT_OK(Format(PosixFileSystem(), options_));
  Start();
  EXPECT_OK(Write("hello"));
}

TEST_F(ServerTest, ARestartedServerReportsWhatItHolds) {
  ASSERT_OK(Format(PosixFileSystem(), options_));
  Start();
  ASSERT_OK(Write("hello"));
  server_.reset();
  Join();
  Start();
  EXPECT_EQ(server_->identity().boot_epoch(), 2u);
  EXPECT_TRUE(master_.Await([](const auto& all) { return Listed(all, kHandle); }));
}

TEST_F(ServerTest, BackAfterAWeekItObeysNoOldCommandAndFindsWhatHasRotted) {
  const ChunkHandle rotten(ShardId(1), 2);
  const auto is_corrupt = [&](const v1::ReplicaReport& replica) {
    return replica.handle() == rotten.value() && replica.corrupt();
  };
  const auto answered = [](const std::vector<v1::Heartbeat>& all, uint64_t id) {
    std::optional<v1::CommandResult> out;
    for (const v1::Heartbeat& heartbeat : all) {
      for (const v1::CommandResult& result : heartbeat.results()) {
        out = result.command_id() == id ? result : out;
      }
    }
    return out;
  };
  const auto command = [](uint64_t id, ChunkHandle handle, uint64_t term) {
    v1::Command out;
    out.set_command_id(id);
    out.set_handle(handle.value());
    out.mutable_fence()->set_config_version(1);
    out.mutable_fence()->set_term(term);
    return out;
  };
  ASSERT_OK(Format(PosixFileSystem(), options_));
  Join();
  Start();
  ASSERT_OK(Write("kept"));
  ASSERT_OK(Write(std::string(300000, 'r'), rotten));
  v1::Command keep = command(1, kHandle, /*term=*/7);
  keep.mutable_keep();
  master_.Order(keep);
  ASSERT_TRUE(master_.Await([&](const auto& all) { return answered(all, 1).has_value(); }));
  server_.reset();
  {
    const StoreLayout layout(options_.folder);
    ASSERT_OK_AND_ASSIGN(const auto file,
                         PosixFileSystem().Open(layout.ChunkFile(rotten), OpenMode::kReadWrite));
    ASSERT_OK(file->WriteAt(kChunkPrefixBytes + 200000, "R"));
  }
  Start();
  // A leader that was deposed a week ago.
  for (const auto& [id, handle] :
       std::vector<std::pair<uint64_t, ChunkHandle>>{{2, kHandle}, {3, rotten}}) {
    v1::Command old = command(id, handle, /*term=*/6);
    old.mutable_delete_replica()->set_cause(v1::Command::Delete::CAUSE_TRIM);
    master_.Order(old);
  }
  for (const uint64_t id : {2, 3}) {
    ASSERT_TRUE(master_.Await([&](const auto& all) { return answered(all, id).has_value(); }));
    EXPECT_TRUE(master_.Await(
        [&](const auto& all) { return answered(all, id)->reason() == v1::REASON_STALE_FENCE; }));
  }
  // Nobody reads it: the scrubber does, and tells.
  EXPECT_TRUE(master_.Await([&](const std::vector<v1::Heartbeat>& all) {
    for (const v1::Heartbeat& heartbeat : all) {
      for (const v1::ShardReport& report : heartbeat.shards()) {
        if (std::any_of(report.replicas().begin(), report.replicas().end(), is_corrupt)) {
          return true;
        }
      }
    }
    return false;
  }));
  ChunkIoOptions io_options;
  io_options.cluster_id = kCluster;
  ChunkIo io(io_options);
  client::ChunkReadRequest read;
  read.handle = rotten;
  read.replica.set_server_id(server_->identity().server_id());
  read.replica.set_address(server_->address());
  read.length_bytes = 300000;
  uint64_t delivered = 0;
  const auto result = io.ReadChunk(read, [&](absl::string_view bytes) {
    delivered += bytes.size();
    return absl::OkStatus();
  });
  EXPECT_EQ(ReasonOf(result.status), v1::REASON_CHECKSUM_MISMATCH) << result.status;
  EXPECT_EQ(delivered, 0u);
  EXPECT_EQ(server_->store().Usage().chunk_count, 2u) << "corrupt, and kept";
}

TEST_F(ServerTest, StopsWhenAnotherHoldsItsId) {
  ASSERT_OK(Format(PosixFileSystem(), options_));
  master_.Refuse(MakeError(v1::REASON_DUPLICATE_SERVER, "another process holds this server id"));
  Join();
  Start();
  failed_.WaitForNotification();
  EXPECT_EQ(ReasonOf(failure_), v1::REASON_DUPLICATE_SERVER);
}

TEST_F(ServerTest, StopsWhenItsBootIsStale) {
  ASSERT_OK_AND_ASSIGN(const std::string id, Format(PosixFileSystem(), options_));
  v1::RegisterChunkServerRequest newer;
  newer.set_server_id(id);
  newer.set_address("127.0.0.1:9");
  newer.set_boot_epoch(1000);
  ASSERT_OK(client_->RegisterChunkServer(newer));
  Start();
  failed_.WaitForNotification();
  EXPECT_EQ(ReasonOf(failure_), v1::REASON_STALE_BOOT);
}

TEST_F(ServerTest, RefusesFoldersThatAreNotItsOwn) {
  EXPECT_THAT(Server::Start(PosixFileSystem(), options_, nullptr),
              StatusIs(absl::StatusCode::kNotFound));
  ASSERT_OK(Format(PosixFileSystem(), options_));
  Start();
  EXPECT_THAT(Server::Start(PosixFileSystem(), options_, nullptr),
              StatusIs(absl::StatusCode::kFailedPrecondition));
  Options second = options_;
  second.folder = scratch_.path() + "/cs2";
  ASSERT_OK(Format(PosixFileSystem(), second));
  second.listen = server_->address();
  EXPECT_THAT(Server::Start(PosixFileSystem(), second, nullptr),
              StatusIs(absl::StatusCode::kUnavailable));
  second.listen = "nonsense";
  EXPECT_THAT(Server::Start(PosixFileSystem(), second, nullptr),
              HasReason(v1::REASON_INVALID_ARGUMENT));
}

}  // namespace
}  // namespace ballast::chunkserver
