// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <grpcpp/create_channel.h>
#include <grpcpp/security/credentials.h>

#include <algorithm>
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

inline constexpr uint32_t kShards = 4;
inline constexpr absl::Duration kPatience = absl::Seconds(30);

// A chunk server's side of the conversation, one call after another on the test's thread.
class FakeServer {
 public:
  FakeServer(uint32_t number, std::string cluster)
      : number_(number), cluster_(std::move(cluster)) {}

  std::string id() const { return absl::StrFormat("00000000-0000-4000-8000-%012x", number_); }

  void Connect(const std::string& master) {
    stream_.reset();  // of the last time: it goes before its context
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
          replica->set_corrupt(facts.corrupt);
          replica->set_verified(true);
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
    for (const v1::CommandResult& result : results_) *heartbeat.add_results() = result;
    results_.clear();
    full_ = false;
    changed_.clear();
    removed_.clear();
    return heartbeat;
  }

  // A heartbeat and its answer; what comes before the answer is carried out as well.
  absl::Status Beat() { return Send(MakeHeartbeat()); }
  absl::Status Send(const v1::Heartbeat& heartbeat) {
    if (stream_ == nullptr) return absl::FailedPreconditionError("its stream ended before");
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
  // A whole report by a unary call.
  absl::Status BeatUnary() {
    full_ = true;
    return SendUnary(MakeHeartbeat());
  }
  // Fetches commands by a unary call that says nothing.
  absl::Status Poll() {
    v1::Heartbeat heartbeat;
    heartbeat.set_cluster_id(cluster_);
    heartbeat.set_server_id(id());
    heartbeat.set_boot_epoch(1);
    heartbeat.set_incarnation(number_);
    heartbeat.set_sequence(++sequence_);
    heartbeat.set_no_beat(true);
    heartbeat.set_no_lists(true);
    return SendUnary(heartbeat);
  }
  absl::Status SendUnary(const v1::Heartbeat& heartbeat) {
    grpc::ClientContext context;
    PrepareContext(context, cluster_, kPatience);
    v1::HeartbeatReply reply;
    const absl::Status status = FromGrpc(stub_->SendHeartbeat(&context, heartbeat, &reply));
    if (status.ok()) CarryOut(reply);
    return status;
  }

  // The last command that `has` says is one of its kind; null if there is none.
  const v1::Command* Last(bool (v1::Command::*has)() const) const {
    for (auto it = commands.rbegin(); it != commands.rend(); ++it) {
      if (((*it).*has)()) return &*it;
    }
    return nullptr;
  }
  void Corrupt(ChunkHandle handle) {
    held_[handle].corrupt = true;
    changed_.push_back(handle);
  }

  std::vector<v1::Command> commands;
  bool copies_fail = false;     // it cannot carry out Replicate
  bool copies_corrupt = false;  // what it copies turns out bad
  bool deletes = true;          // it carries out Delete

 private:
  void CarryOut(const v1::HeartbeatReply& reply) {
    full_ = full_ || reply.resend_shards_size() > 0;
    for (const v1::Command& command : reply.commands()) {
      commands.push_back(command);
      const ChunkHandle handle(command.handle());
      v1::CommandResult result;
      result.set_command_id(command.command_id());
      result.set_handle(command.handle());
      if (command.has_delete_replica()) {
        if (!deletes) continue;
        if (held_.erase(handle) > 0) removed_.push_back(handle);
      } else if (command.has_replicate() && copies_fail) {
        result.set_code(14);
        result.set_reason(v1::REASON_COPY_FAILED);
      } else if (command.has_replicate() && !Holds(handle)) {
        Put(handle);
        held_[handle].corrupt = copies_corrupt;
        result.set_bytes(command.replicate().length_bytes());
      }
      results_.push_back(result);
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
  std::vector<v1::CommandResult> results_;
};

// A whole master on its real log beside a real shard controller, in this process.
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

}  // namespace ballast::master
