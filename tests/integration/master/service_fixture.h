// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <grpcpp/create_channel.h>
#include <grpcpp/security/credentials.h>

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/synchronization/notification.h"
#include "common/base/check.h"
#include "common/base/crc32c.h"
#include "common/env/clock.h"
#include "common/env/executor.h"
#include "common/rpc/grpc_server.h"
#include "common/rpc/status_bridge.h"
#include "gtest/gtest.h"
#include "services/master/control/expiry_loop.h"
#include "services/master/core/requests.h"
#include "services/master/master_service.h"
#include "tests/support/local_log.h"
#include "tests/unit/master/control/fake_maintainer.h"
#include "tests/unit/master/control/fake_placement_view.h"
#include "tests/unit/master/control/fake_replica_mover.h"

namespace ballast::master {

// The master's RPCs in this process over real gRPC on port 0: group 1, which owns all of 4 shards,
// on a log in memory; and one client, with a session for every shard.
class ServiceFixture : public ::testing::Test {
 protected:
  static constexpr uint32_t kShards = 4;
  static constexpr char kCluster[] = "00000000-0000-4000-8000-0000000000aa";
  static constexpr char kOtherLeader[] = "127.0.0.1:7502";

  ServiceFixture() {
    auto server = GrpcServer::Start("127.0.0.1:0", {&service_});
    CHECK_OK(server.status());
    server_ = *std::move(server);
    stub_ = v1::Master::NewStub(
        grpc::CreateChannel(server_->address(), grpc::InsecureChannelCredentials()));
  }
  ~ServiceFixture() override {
    OnExecutor([this] {
      expiry_.Stop();
      proposer_.Attach(nullptr);
      log_.reset();
    });
    server_->Shutdown(absl::Seconds(5));
    executor_.reset();
  }

  // The log begins; with configuration 1 and sessions unless told otherwise.
  void Start(bool configured = true) {
    OnExecutor([this] {
      log_ = std::make_unique<testing::LocalLog>(*executor_, machine_);
      proposer_.Attach(log_.get());
      log_->SetRoleObserver([this](const ReplicatedLog::State& s) { proposer_.OnRole(s); });
      expiry_.Start();
    });
    if (!configured) return;
    Configure();
    v1::OpenSessionsRequest request;
    for (uint32_t shard = 0; shard < kShards; ++shard) request.add_shards(shard);
    v1::OpenSessionsResponse response;
    const absl::Status status = Call(&v1::Master::Stub::OpenSessions, request, &response);
    CHECK_OK(status);
    sessions_.assign(response.session_ids().begin(), response.session_ids().end());
  }
  void Configure() {
    absl::Notification applied;
    executor_->Post([&] {
      mlog::Command command;
      command.mutable_apply_configuration()->set_version(1);
      for (uint32_t i = 0; i < kShards; ++i) {
        command.mutable_apply_configuration()->add_shard_owner(1);
      }
      proposer_.Propose(command, [&](const absl::StatusOr<mlog::Result>&) { applied.Notify(); });
    });
    applied.WaitForNotification();
  }

  void OnExecutor(Task task) {
    absl::Notification done;
    executor_->Post([&] {
      task();
      done.Notify();
    });
    done.WaitForNotification();
  }

  template <typename Request, typename Response>
  absl::Status Call(grpc::Status (v1::Master::Stub::*method)(grpc::ClientContext*, const Request&,
                                                             Response*),
                    const Request& request, Response* response,
                    const std::string& cluster = kCluster) {
    grpc::ClientContext context;
    context.AddMetadata(kClusterIdMetadata, cluster);
    context.set_deadline(absl::ToChronoTime(absl::Now() + absl::Seconds(20)));
    response->Clear();
    return FromGrpc((stub_.get()->*method)(&context, request, response));
  }

  // The next request identity for a shard.
  void Identify(uint32_t shard, v1::RequestId* id) {
    id->set_session_id(sessions_[shard]);
    id->set_sequence(++sequence_);
    id->set_first_incomplete(sequence_);
  }
  uint32_t ShardOf(const std::string& key) const { return machine_.ShardOf(key).value(); }

  v1::PutInlineRequest PutRequest(const std::string& key, const std::string& value) {
    v1::PutInlineRequest request;
    Identify(ShardOf(key), request.mutable_request());
    request.set_key(key);
    request.set_value(value);
    request.set_crc32c(ComputeCrc32c(value).value);
    return request;
  }
  absl::StatusOr<uint64_t> Put(const std::string& key, const std::string& value) {
    v1::PutInlineResponse response;
    const absl::Status status =
        Call(&v1::Master::Stub::PutInline, PutRequest(key, value), &response);
    if (!status.ok()) return status;
    return response.generation();
  }
  v1::BeginWriteRequest BeginRequest(const std::string& key, uint32_t chunk_count) {
    v1::BeginWriteRequest request;
    Identify(ShardOf(key), request.mutable_request());
    request.set_key(key);
    request.set_chunk_count(chunk_count);
    request.set_chunk_bytes(100);
    return request;
  }
  absl::Status Get(const std::string& key, v1::GetObjectResponse* response) {
    v1::GetObjectRequest request;
    request.set_key(key);
    return Call(&v1::Master::Stub::GetObject, request, response);
  }

  std::unique_ptr<Executor> executor_ = MakeThreadExecutor("master");
  MasterMachine machine_{GroupId(1), kShards};
  FakePlacementView view_;
  FakeReplicaMover mover_;
  FakeMaintainer maintainer_;
  std::unique_ptr<testing::LocalLog> log_;
  Proposer proposer_{*executor_, RealClock(), machine_};
  ExpiryLoop expiry_{*executor_, machine_, proposer_, {.tick = absl::Milliseconds(5)}};
  MasterService service_{
      *executor_, RealClock(), machine_,    proposer_,
      view_,      mover_,      maintainer_, {kCluster, NodeId(1), {{NodeId(2), kOtherLeader}}}};
  std::unique_ptr<GrpcServer> server_;
  std::unique_ptr<v1::Master::Stub> stub_;
  std::vector<uint64_t> sessions_;
  uint64_t sequence_ = 0;
};

}  // namespace ballast::master
