// SPDX-License-Identifier: Apache-2.0
// Malformed, random and oversized messages to every method of every server: each call ends with an
// error or a harmless answer, and the servers go on serving. Methods are found by descriptor, so a
// new one is covered the day it is declared.
#include <grpcpp/generic/generic_stub.h>
#include <grpcpp/grpcpp.h>

#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/synchronization/notification.h"
#include "common/base/rng.h"
#include "common/rpc/channel_pool.h"
#include "common/rpc/shardctl_client.h"
#include "common/types/limits.h"
#include "protos/chunkserver_control_service.grpc.pb.h"
#include "protos/chunkserver_data_service.grpc.pb.h"
#include "protos/master_service.grpc.pb.h"
#include "protos/shardctl_service.grpc.pb.h"
#include "services/chunkserver/server.h"
#include "services/master/server.h"
#include "services/shardctl/server.h"
#include "tests/support/mem_file_system.h"
#include "tests/support/status_matchers.h"

namespace ballast {
namespace {

constexpr char kCluster[] = "00000000-0000-4000-8000-0000000000aa";
constexpr uint32_t kShards = 4;

class HostileRpcTest : public ::testing::Test {
 protected:
  void SetUp() override {
    const auto ignore = [](const absl::Status&) {};
    shardctl::Options controller;
    controller.folder = "/shardctl";
    controller.cluster_id = kCluster;
    controller.shards = kShards;
    controller.voters = {"1=127.0.0.1:1"};
    controller.listen = "127.0.0.1:0";
    ASSERT_OK(shardctl::Format(fs_, controller));
    ASSERT_OK_AND_ASSIGN(shardctl_, shardctl::Server::Start(fs_, controller, ignore));

    master::Options leader;
    leader.folder = "/master";
    leader.cluster_id = kCluster;
    leader.shards = kShards;
    leader.voters = {"1=127.0.0.1:1"};
    leader.listen = "127.0.0.1:0";
    leader.shardctl = {shardctl_->address()};
    ASSERT_OK(master::Format(fs_, leader));
    ASSERT_OK_AND_ASSIGN(master_, master::Server::Start(fs_, leader, ignore));

    chunkserver::Options store;
    store.folder = "/chunkserver";
    store.cluster_id = kCluster;
    store.listen = "127.0.0.1:0";
    store.shardctl = {shardctl_->address()};
    store.capacity_bytes = GiB(1);
    ASSERT_OK(chunkserver::Format(fs_, store).status());
    ASSERT_OK_AND_ASSIGN(chunkserver_, chunkserver::Server::Start(fs_, store, ignore));

    ShardctlClient client({.addresses = {shardctl_->address()}, .cluster_id = kCluster});
    v1::JoinRequest join;
    join.mutable_group()->set_group_id(1);
    auto* member = join.mutable_group()->add_masters();
    member->set_node_id(1);
    member->set_address(master_->address());
    ASSERT_OK(client.Join(join).status());
  }

  // Sends one message, as it is, and waits for the end of the call.
  static grpc::Status Send(grpc::GenericStub& stub, const std::string& method,
                           const std::string& bytes) {
    grpc::Slice slice(bytes);
    grpc::ByteBuffer request(&slice, 1);
    grpc::ByteBuffer response;
    grpc::ClientContext context;
    PrepareContext(context, kCluster, absl::Seconds(30));
    absl::Notification done;
    grpc::Status result;
    stub.UnaryCall(&context, method, grpc::StubOptions(), &request, &response,
                   [&](grpc::Status status) {
                     result = std::move(status);
                     done.Notify();
                   });
    done.WaitForNotification();
    return result;
  }

  void Attack(const google::protobuf::ServiceDescriptor& service, const std::string& address) {
    grpc::GenericStub stub(MakeChannel(address));
    Rng rng(20261120);
    for (int m = 0; m < service.method_count(); ++m) {
      const auto& method = *service.method(m);
      const std::string path = absl::StrCat("/", service.full_name(), "/", method.name());
      std::vector<std::string> messages = {
          "",                                          // all fields absent
          std::string("\x0a\xff\xff\xff\xff\x0f", 6),  // a length far past the end
          std::string(64, '\xff'),                     // an endless varint
          std::string(kMessageBytesMax + 1, 'x'),
      };
      for (int i = 0; i < 40; ++i) {
        std::string noise(rng.Below(200), '\0');
        for (char& c : noise) {
          c = static_cast<char>(rng.Next());
        }
        messages.push_back(std::move(noise));
      }
      for (const std::string& bytes : messages) {
        const grpc::Status status = Send(stub, path, bytes);
        EXPECT_NE(status.error_code(), grpc::StatusCode::DEADLINE_EXCEEDED)
            << path << " did not end for a message of " << bytes.size() << " bytes";
        if (bytes.size() > kMessageBytesMax) {
          EXPECT_FALSE(status.ok()) << path;
        }
      }
    }
  }

  // The server answers an ordinary call.
  template <typename Stub, typename Request, typename Response, typename Method>
  static void ExpectServing(const std::string& address, Method method) {
    const auto stub = Stub::NewStub(MakeChannel(address));
    grpc::ClientContext context;
    PrepareContext(context, kCluster, absl::Seconds(30));
    Response response;
    const grpc::Status status = (stub.get()->*method)(&context, Request(), &response);
    EXPECT_TRUE(status.ok()) << status.error_message();
  }

  testing::MemFileSystem fs_;
  std::unique_ptr<shardctl::Server> shardctl_;
  std::unique_ptr<master::Server> master_;
  std::unique_ptr<chunkserver::Server> chunkserver_;
};

const google::protobuf::ServiceDescriptor& ServiceOf(
    const google::protobuf::Descriptor& any_message, int index = 0) {
  return *any_message.file()->service(index);
}

TEST_F(HostileRpcTest, TheShardControllerGoesOn) {
  Attack(ServiceOf(*v1::QueryRequest::descriptor()), shardctl_->address());
  ExpectServing<v1::ShardControl, v1::QueryRequest, v1::QueryResponse>(
      shardctl_->address(), &v1::ShardControl::Stub::Query);
}

TEST_F(HostileRpcTest, TheMasterGoesOn) {
  Attack(ServiceOf(*v1::BatchRequest::descriptor()), master_->address());
  Attack(ServiceOf(*v1::Heartbeat::descriptor()), master_->address());
  ExpectServing<v1::Master, v1::GetGroupStatusRequest, v1::GetGroupStatusResponse>(
      master_->address(), &v1::Master::Stub::GetGroupStatus);
}

TEST_F(HostileRpcTest, TheChunkServerGoesOn) {
  Attack(ServiceOf(*v1::ReadChunkRequest::descriptor()), chunkserver_->address());
  ExpectServing<v1::ChunkData, v1::GetServerStatusRequest, v1::GetServerStatusResponse>(
      chunkserver_->address(), &v1::ChunkData::Stub::GetServerStatus);
}

}  // namespace
}  // namespace ballast
