// SPDX-License-Identifier: Apache-2.0
// The relay against a master that the test plays, behind a real shard controller.
#include "gateway/heartbeat_relay.h"

#include <atomic>
#include <memory>
#include <string>
#include <vector>

#include "client/client.h"
#include "common/rpc/grpc_server.h"
#include "common/rpc/status_bridge.h"
#include "common/types/error.h"
#include "gateway/scratch_folder.h"
#include "gateway/unsynced_file_system.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "protos/chunkserver_control_service.grpc.pb.h"
#include "services/shardctl/server.h"
#include "tests/support/status_matchers.h"

namespace ballast::gateway {
namespace {

using ::ballast::testing::HasReason;

// Answers every heartbeat in the same way, and counts them.
class FakeMaster final : public v1::ChunkServerControl::CallbackService {
 public:
  enum class Mood { kAnswers, kKnowsNobody, kSilent };
  std::atomic<Mood> mood{Mood::kAnswers};
  std::atomic<int> calls{0};

  grpc::ServerUnaryReactor* SendHeartbeat(grpc::CallbackServerContext*, const v1::Heartbeat*,
                                          v1::HeartbeatReply*) override {
    ++calls;
    return new Reactor(mood);
  }

 private:
  class Reactor final : public grpc::ServerUnaryReactor {
   public:
    explicit Reactor(Mood mood) : silent_(mood == Mood::kSilent) {
      if (!silent_) {
        Finish(mood == Mood::kAnswers
                   ? grpc::Status::OK
                   : ToGrpc(MakeError(v1::REASON_UNKNOWN_SERVER, "not registered")));
      }
    }
    void OnCancel() override {
      if (silent_) {
        Finish(grpc::Status::CANCELLED);
      }
    }
    void OnDone() override { delete this; }

   private:
    const bool silent_;
  };
};

class HeartbeatRelayTest : public ::testing::Test {
 protected:
  void SetUp() override {
    ASSERT_OK_AND_ASSIGN(scratch_, ScratchFolder::Make(::testing::TempDir()));
    ASSERT_OK_AND_ASSIGN(master_port_, GrpcServer::Start("127.0.0.1:0", {&master_}));
    shardctl::Options options;
    options.folder = JoinPath(scratch_->path(), "shardctl");
    options.voters = {"1=127.0.0.1:1"};
    options.listen = "127.0.0.1:0";
    ASSERT_OK(shardctl::Format(fs_, options));
    ASSERT_OK_AND_ASSIGN(shardctl_, shardctl::Server::Start(fs_, options, [](auto) {}));
    client::ClientOptions connecting;
    connecting.cluster = {shardctl_->address()};
    ASSERT_OK_AND_ASSIGN(client_, client::Client::Connect(std::move(connecting)));
    v1::JoinRequest join;
    join.mutable_group()->set_group_id(1);
    v1::MasterAddress& member = *join.mutable_group()->add_masters();
    member.set_node_id(1);
    member.set_address(master_port_->address());
    ASSERT_OK(client_->controller().Join(join));
    relay_ = std::make_unique<HeartbeatRelay>(*client_, shardctl_->identity().cluster_id,
                                              RelayOptions{.address = "127.0.0.1:1"});
  }
  RelayedServer* Heard(const std::string& name) {
    const auto server = relay_->FindOrRegister(name);
    EXPECT_OK(server);
    EXPECT_OK(relay_->SendBeat(**server, ServerFacts(), absl::ZeroDuration()));
    return *server;
  }

  std::unique_ptr<ScratchFolder> scratch_;
  UnsyncedFileSystem fs_{PosixFileSystem()};
  FakeMaster master_;
  std::unique_ptr<GrpcServer> master_port_;
  std::unique_ptr<shardctl::Server> shardctl_;
  std::unique_ptr<client::Client> client_;
  std::unique_ptr<HeartbeatRelay> relay_;
};

TEST_F(HeartbeatRelayTest, AMasterThatDoesNotKnowAServerAnyMoreIsAskedOnce) {
  RelayedServer* const server = Heard("cs1");
  master_.mood = FakeMaster::Mood::kKnowsNobody;
  master_.calls = 0;
  EXPECT_THAT(relay_->SendBeat(*server, ServerFacts(), absl::ZeroDuration()),
              HasReason(v1::REASON_UNKNOWN_SERVER));
  EXPECT_EQ(master_.calls, 1) << "a removed server must not hold the others' messages up";
}

TEST_F(HeartbeatRelayTest, TheEndWaitsForASilentMasterOnce) {
  for (const char* const name : {"cs1", "cs2", "cs3"}) {
    Heard(name);
  }
  master_.mood = FakeMaster::Mood::kSilent;
  master_.calls = 0;
  relay_->SayStopping();
  EXPECT_EQ(master_.calls, 1);
}

}  // namespace
}  // namespace ballast::gateway
