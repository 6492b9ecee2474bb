// SPDX-License-Identifier: Apache-2.0
// The whole master on its real log beside a real shard controller: chunk servers' streams over gRPC
// from registration to death, garbage and quarantine, restart and misuse.
#include <grpcpp/create_channel.h>
#include <grpcpp/security/credentials.h>

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/time/clock.h"
#include "common/routing/replica_digest.h"
#include "common/routing/shard_router.h"
#include "common/rpc/channel_pool.h"
#include "common/rpc/shardctl_client.h"
#include "common/rpc/status_bridge.h"
#include "gtest/gtest.h"
#include "services/master/server.h"
#include "services/shardctl/server.h"
#include "tests/support/mem_file_system.h"
#include "tests/support/status_matchers.h"

namespace ballast::master {
namespace {

using ::ballast::testing::HasReason;
using ::ballast::testing::StatusIs;

constexpr uint32_t kShards = 4;
constexpr absl::Duration kPatience = absl::Seconds(30);

// A chunk server's side of the conversation, one call after another on the test's thread.
class FakeServer {
 public:
  FakeServer(uint32_t number, std::string cluster)
      : number_(number), cluster_(std::move(cluster)) {}

  std::string id() const { return absl::StrFormat("00000000-0000-4000-8000-%012x", number_); }

  void Connect(const std::string& master) {
    stub_ = v1::ChunkServerControl::NewStub(
        grpc::CreateChannel(master, grpc::InsecureChannelCredentials()));
    context_ = std::make_unique<grpc::ClientContext>();
    PrepareContext(*context_, cluster_, kPatience);
    stream_ = stub_->HeartbeatStream(context_.get());
    full_ = true;
  }
  void Disconnect() {
    context_->TryCancel();
    (void)stream_->Finish();
    stream_.reset();
  }

  void Put(ChunkHandle handle) {
    held_[handle] = {1000, 7, false};
    changed_.push_back(handle);
  }
  bool Holds(ChunkHandle handle) const { return held_.count(handle) > 0; }

  v1::Heartbeat MakeHeartbeat() {
    v1::Heartbeat heartbeat;
    heartbeat.set_cluster_id(cluster_);
    heartbeat.set_server_id(id());
    heartbeat.set_boot_epoch(1);
    heartbeat.set_incarnation(number_);
    heartbeat.set_sequence(++sequence_);
    heartbeat.set_capacity_bytes(uint64_t{1} << 40);
    heartbeat.set_health(v1::SERVER_HEALTH_OK);
    for (uint32_t shard = 0; shard < kShards; ++shard) {
      v1::ShardReport report;
      report.set_shard(shard);
      report.set_full_begin(full_);
      report.set_full_end(full_);
      ReplicaDigest digest;
      for (const auto& [handle, facts] : held_) {
        if (handle.shard().value() != shard) continue;
        digest.Add(handle, facts);
        report.set_replica_count(report.replica_count() + 1);
        if (full_ || std::count(changed_.begin(), changed_.end(), handle) > 0) {
          auto* replica = report.add_replicas();
          replica->set_handle(handle.value());
          replica->set_length_bytes(facts.length_bytes);
          replica->set_crc32c(facts.crc32c);
        }
      }
      for (ChunkHandle handle : removed_) {
        if (handle.shard().value() == shard && !full_) {
          report.add_removed_handles(handle.value());
        }
      }
      report.set_digest(digest.value());
      *heartbeat.add_shards() = report;
    }
    full_ = false;
    changed_.clear();
    removed_.clear();
    return heartbeat;
  }

  // A heartbeat and its answer; what comes before the answer is carried out as well.
  absl::Status Beat() { return Send(MakeHeartbeat()); }
  absl::Status Send(const v1::Heartbeat& heartbeat) {
    if (stream_->Write(heartbeat)) {
      v1::HeartbeatReply reply;
      while (stream_->Read(&reply)) {
        CarryOut(reply);
        if (reply.sequence() == heartbeat.sequence()) return absl::OkStatus();
      }
    }
    const absl::Status status = FromGrpc(stream_->Finish());
    stream_.reset();
    return status.ok() ? absl::UnavailableError("the stream ended") : status;
  }
  absl::Status SendUnary(const v1::Heartbeat& heartbeat) {
    grpc::ClientContext context;
    PrepareContext(context, cluster_, kPatience);
    v1::HeartbeatReply reply;
    const absl::Status status = FromGrpc(stub_->SendHeartbeat(&context, heartbeat, &reply));
    if (status.ok()) CarryOut(reply);
    return status;
  }

  std::vector<v1::Command> commands;

 private:
  void CarryOut(const v1::HeartbeatReply& reply) {
    full_ = full_ || reply.resend_shards_size() > 0;
    for (const v1::Command& command : reply.commands()) {
      commands.push_back(command);
      const ChunkHandle handle(command.handle());
      if (command.has_delete_replica() && held_.erase(handle) > 0) removed_.push_back(handle);
    }
  }

  const uint32_t number_;
  const std::string cluster_;
  std::unique_ptr<v1::ChunkServerControl::Stub> stub_;
  std::unique_ptr<grpc::ClientContext> context_;
  std::unique_ptr<grpc::ClientReaderWriter<v1::Heartbeat, v1::HeartbeatReply>> stream_;
  uint64_t sequence_ = 0;
  bool full_ = true;
  std::map<ChunkHandle, ReplicaFacts> held_;
  std::vector<ChunkHandle> changed_;
  std::vector<ChunkHandle> removed_;
};

class MasterServerTest : public ::testing::Test {
 protected:
  void SetUp() override {
    shardctl::Options controller;
    controller.folder = "/shardctl";
    controller.shards = kShards;
    controller.voters = {"1=127.0.0.1:7400"};
    controller.listen = "127.0.0.1:0";
    ASSERT_OK_AND_ASSIGN(cluster_, shardctl::Format(fs_, controller));
    ASSERT_OK_AND_ASSIGN(controller_, shardctl::Server::Start(fs_, controller, [](auto&) {}));
    client_ = std::make_unique<ShardctlClient>(ShardctlClientOptions{
        .addresses = {controller_->address()}, .cluster_id = cluster_, .total_timeout = kPatience});
    v1::UpdateSettingsRequest settings;
    settings.set_heartbeat_interval_ms(400);
    settings.set_grace_ms(0);
    ASSERT_OK(client_->UpdateSettings(settings));

    options_.folder = "/master";
    options_.cluster_id = cluster_;
    options_.shards = kShards;
    options_.voters = {"1=127.0.0.1:7500"};
    options_.listen = "127.0.0.1:0";
    options_.shardctl = {controller_->address()};
    ASSERT_OK(Format(fs_, options_));
    StartMaster();
    v1::JoinRequest join;
    join.mutable_group()->set_group_id(1);
    join.mutable_group()->add_masters()->set_node_id(1);
    join.mutable_group()->mutable_masters(0)->set_address(master_->address());
    ASSERT_OK(client_->Join(join));
  }

  void StartMaster() {
    ASSERT_OK_AND_ASSIGN(master_, Server::Start(fs_, options_, [](auto&) {}));
    stub_ = v1::Master::NewStub(
        grpc::CreateChannel(master_->address(), grpc::InsecureChannelCredentials()));
  }

  FakeServer& AddServer(uint32_t number) {
    auto& server = servers_[number] = std::make_unique<FakeServer>(number, cluster_);
    v1::RegisterChunkServerRequest request;
    request.set_server_id(server->id());
    request.set_address(absl::StrCat("127.0.0.1:", 7600 + number));
    request.set_boot_epoch(1);
    EXPECT_OK(client_->RegisterChunkServer(request));
    // The master hears of it a moment later; until then it is a stranger.
    EXPECT_TRUE(Until([&] {
      server->Connect(master_->address());
      return server->Beat().ok();
    }));
    return *server;
  }

  // Tries until it is true; the test's own calls take the time between.
  static bool Until(const std::function<bool()>& condition) {
    const absl::Time end = absl::Now() + kPatience;
    while (!condition()) {
      if (absl::Now() > end) return false;
    }
    return true;
  }

  template <typename Method, typename Request, typename Response>
  absl::Status Call(Method method, const Request& request, Response* response) {
    grpc::ClientContext context;
    PrepareContext(context, cluster_, kPatience);
    return FromGrpc((stub_.get()->*method)(&context, request, response));
  }
  v1::ServerStatus StatusOf(uint32_t number) {
    v1::ListServersResponse response;
    (void)Call(&v1::Master::Stub::ListServers, v1::ListServersRequest(), &response);
    for (const auto& server : response.servers()) {
      if (server.server_id() == servers_[number]->id()) return server;
    }
    return v1::ServerStatus();
  }

  // Stores a one-chunk object whose replicas the given servers hold. Returns its handle.
  ChunkHandle PutObject(const std::string& key, const std::vector<uint32_t>& servers) {
    v1::OpenSessionsRequest open;
    open.add_shards(ShardOfKey(key, kShards).value());
    v1::OpenSessionsResponse opened;
    // The configuration may be on its way.
    EXPECT_TRUE(Until([&] { return Call(&v1::Master::Stub::OpenSessions, open, &opened).ok(); }));
    session_ = opened.session_ids(0);
    request_ = 0;

    v1::BeginWriteRequest begin;
    SetRequest(begin);
    begin.set_key(key);
    begin.set_wanted_replicas(2);
    begin.set_chunk_count(1);
    begin.set_chunk_bytes(1000);
    v1::BeginWriteResponse begun;
    EXPECT_OK(Call(&v1::Master::Stub::BeginWrite, begin, &begun));
    EXPECT_EQ(begun.chunks(0).servers_size(), 2);
    const ChunkHandle handle(begun.chunks(0).handle());

    v1::SealChunksRequest seal;
    SetRequest(seal);
    seal.set_draft_id(begun.draft_id());
    auto* chunk = seal.add_chunks();
    chunk->set_handle(handle.value());
    chunk->set_length_bytes(1000);
    chunk->set_crc32c(7);
    for (uint32_t s : servers) {
      servers_[s]->Put(handle);
      EXPECT_OK(servers_[s]->Beat());
      chunk->add_server_indexes(StatusOf(s).server_index());
    }
    v1::SealChunksResponse sealed;
    EXPECT_OK(Call(&v1::Master::Stub::SealChunks, seal, &sealed));

    v1::CommitObjectRequest commit;
    SetRequest(commit);
    commit.set_key(key);
    commit.set_draft_id(begun.draft_id());
    commit.set_size_bytes(1000);
    commit.set_crc32c(7);
    commit.set_chunk_count(1);
    v1::CommitObjectResponse committed;
    EXPECT_OK(Call(&v1::Master::Stub::CommitObject, commit, &committed));
    return handle;
  }
  template <typename Request>
  void SetRequest(Request& request) {
    request.mutable_request()->set_session_id(session_);
    request.mutable_request()->set_sequence(++request_);
    request.mutable_request()->set_first_incomplete(request_);
  }
  void DeleteObject(const std::string& key) {
    v1::DeleteObjectRequest request;
    SetRequest(request);
    request.set_key(key);
    v1::DeleteObjectResponse response;
    EXPECT_OK(Call(&v1::Master::Stub::DeleteObject, request, &response));
  }
  size_t ReplicasOf(const std::string& key) {
    v1::GetObjectRequest request;
    request.set_key(key);
    v1::GetObjectResponse response;
    EXPECT_OK(Call(&v1::Master::Stub::GetObject, request, &response));
    return response.chunks_size() == 1 ? static_cast<size_t>(response.chunks(0).replicas_size())
                                       : 0;
  }

  testing::MemFileSystem fs_;
  std::string cluster_;
  std::unique_ptr<shardctl::Server> controller_;
  std::unique_ptr<ShardctlClient> client_;
  Options options_;
  std::unique_ptr<Server> master_;
  std::unique_ptr<v1::Master::Stub> stub_;
  std::map<uint32_t, std::unique_ptr<FakeServer>> servers_;
  uint64_t session_ = 0;
  uint64_t request_ = 0;
};

TEST_F(MasterServerTest, StoresListsDeletesGarbageAndKeepsWhatItDoesNotKnow) {
  FakeServer& one = AddServer(1);
  FakeServer& two = AddServer(2);
  EXPECT_EQ(StatusOf(1).liveness(), v1::LIVENESS_ALIVE);
  const ChunkHandle foreign(ShardId(3), 4711);
  one.Put(foreign);
  const ChunkHandle handle = PutObject("a", {1, 2});
  EXPECT_EQ(ReplicasOf("a"), 2u);

  DeleteObject("a");
  EXPECT_TRUE(Until([&] {
    return one.Beat().ok() && two.Beat().ok() && !one.Holds(handle) && !two.Holds(handle);
  })) << "grace is 0, so the chunk is garbage soon";
  EXPECT_TRUE(one.Holds(foreign));
  EXPECT_EQ(StatusOf(1).quarantined_count(), 1u);
  for (const v1::Command& command : one.commands) {
    EXPECT_EQ(command.handle(), handle.value());
    EXPECT_EQ(command.fence().config_version(), 1u);
    EXPECT_GT(command.fence().term(), 0u);
  }
}

TEST_F(MasterServerTest, ASilentServerIsSuspectThenDeadAndItsReplicasDoNotCount) {
  FakeServer& one = AddServer(1);
  FakeServer& two = AddServer(2);
  PutObject("a", {1, 2});
  two.Disconnect();
  bool was_suspect = false;
  EXPECT_TRUE(Until([&] {
    EXPECT_OK(one.Beat());
    was_suspect |= StatusOf(2).liveness() == v1::LIVENESS_SUSPECT;
    return StatusOf(2).liveness() == v1::LIVENESS_DEAD;
  }));
  EXPECT_TRUE(was_suspect);
  EXPECT_EQ(ReplicasOf("a"), 1u);
  two.Connect(master_->address());
  EXPECT_OK(two.Beat());
  EXPECT_EQ(ReplicasOf("a"), 2u);
}

TEST_F(MasterServerTest, StrangersCopiesAndOtherClustersAreRefused) {
  FakeServer& one = AddServer(1);
  FakeServer stranger(9, cluster_);
  stranger.Connect(master_->address());
  EXPECT_THAT(stranger.Beat(), HasReason(v1::REASON_UNKNOWN_SERVER));

  FakeServer copy(1, cluster_);
  copy.Connect(master_->address());
  v1::Heartbeat heartbeat = copy.MakeHeartbeat();
  heartbeat.set_incarnation(777);
  EXPECT_OK(one.Beat());
  EXPECT_THAT(copy.Send(heartbeat), HasReason(v1::REASON_DUPLICATE_SERVER));

  FakeServer foreign(1, "00000000-0000-4000-8000-0000000000ff");
  foreign.Connect(master_->address());
  EXPECT_THAT(foreign.Beat(), HasReason(v1::REASON_WRONG_CLUSTER));
  EXPECT_THAT(foreign.SendUnary(foreign.MakeHeartbeat()), HasReason(v1::REASON_WRONG_CLUSTER));

  v1::Heartbeat nonsense = one.MakeHeartbeat();
  nonsense.set_disk_utilization_pct(-1);
  EXPECT_THAT(one.SendUnary(nonsense), HasReason(v1::REASON_INVALID_ARGUMENT));
  EXPECT_OK(one.Beat());
}

TEST_F(MasterServerTest, ARestartedMasterReadsItsLogAndHearsItsServersAgain) {
  AddServer(1);
  AddServer(2);
  PutObject("a", {1, 2});
  master_.reset();
  EXPECT_THAT(servers_[1]->Beat(), StatusIs(absl::StatusCode::kUnavailable));
  StartMaster();
  EXPECT_TRUE(Until([&] {
    for (auto& [number, server] : servers_) {
      server->Connect(master_->address());
      if (!server->Beat().ok()) return false;
    }
    return true;
  }));
  EXPECT_EQ(ReplicasOf("a"), 2u);
  EXPECT_EQ(StatusOf(1).chunk_count(), 1u);
}

TEST_F(MasterServerTest, ServesFromItsLogWhileTheShardControllerIsDown) {
  AddServer(1);
  AddServer(2);
  PutObject("a", {1, 2});
  controller_.reset();
  EXPECT_OK(servers_[1]->Beat());
  EXPECT_EQ(ReplicasOf("a"), 2u);
}

TEST_F(MasterServerTest, ASecondProcessIsKeptOutOfTheFolder) {
  EXPECT_THAT(Server::Start(fs_, options_, [](auto&) {}),
              StatusIs(absl::StatusCode::kFailedPrecondition));
  Options elsewhere = options_;
  elsewhere.folder = "/nowhere";
  EXPECT_THAT(Server::Start(fs_, elsewhere, [](auto&) {}), StatusIs(absl::StatusCode::kNotFound));
  elsewhere.folder = "/shardctl";
  EXPECT_THAT(Server::Start(fs_, elsewhere, [](auto&) {}),
              StatusIs(absl::StatusCode::kFailedPrecondition));
  EXPECT_THAT(Format(fs_, options_), StatusIs(absl::StatusCode::kAlreadyExists));
}

TEST_F(MasterServerTest, AUnaryCallerIsAServerToo) {
  FakeServer& one = AddServer(1);
  one.Disconnect();
  v1::Heartbeat heartbeat = one.MakeHeartbeat();
  EXPECT_TRUE(Until([&] { return one.SendUnary(heartbeat).ok(); }));
  EXPECT_EQ(StatusOf(1).liveness(), v1::LIVENESS_ALIVE);
}

TEST_F(MasterServerTest, AServerThatIsRelayedIsNamedAgedAndPolled) {
  auto& gateway = servers_[7] = std::make_unique<FakeServer>(7, cluster_);
  v1::RegisterChunkServerRequest registration;
  registration.set_server_id(gateway->id());
  registration.set_address("127.0.0.1:7607");
  registration.set_boot_epoch(1);
  registration.set_name("n7");
  registration.set_no_placement(true);
  ASSERT_OK(client_->RegisterChunkServer(registration));
  gateway->Connect(master_->address());
  const auto poll = [&] {
    v1::Heartbeat message = gateway->MakeHeartbeat();
    message.clear_shards();
    message.set_no_beat(true);
    message.set_no_lists(true);
    return gateway->SendUnary(message);
  };
  EXPECT_TRUE(Until([&] { return ReasonOf(poll()) == v1::REASON_NOT_HOLDER; }))
      << "known, once the registry has come, and not heard yet";
  v1::Heartbeat heartbeat = gateway->MakeHeartbeat();
  heartbeat.set_age_ms(599'999);
  EXPECT_OK(gateway->SendUnary(heartbeat));
  EXPECT_OK(poll());
  const v1::ServerStatus server = StatusOf(7);
  EXPECT_EQ(server.name(), "n7");
  EXPECT_TRUE(server.no_placement());
  EXPECT_GE(server.last_heartbeat_ms_ago(), 599'999);
  EXPECT_OK(gateway->SendUnary(gateway->MakeHeartbeat()));
  EXPECT_EQ(StatusOf(7).liveness(), v1::LIVENESS_ALIVE);
}

}  // namespace
}  // namespace ballast::master
