// SPDX-License-Identifier: Apache-2.0
#include "common/raft/grpc_raft_transport.h"

#include <grpcpp/client_context.h>

#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/synchronization/mutex.h"
#include "absl/synchronization/notification.h"
#include "common/base/crc32c.h"
#include "common/base/log.h"
#include "common/env/clock.h"
#include "common/raft/raft_log.h"
#include "common/rpc/channel_pool.h"
#include "common/rpc/grpc_server.h"
#include "common/rpc/status_bridge.h"
#include "gtest/gtest.h"
#include "protos/raft_service.grpc.pb.h"
#include "tests/support/set_machine.h"
#include "tests/support/status_matchers.h"

namespace ballast {
namespace {

using ::ballast::testing::SetMachine;

constexpr char kCluster[] = "0a0a0a0a-0000-4000-8000-000000000001";
constexpr absl::Duration kPatience = absl::Seconds(20);

// Ports are known only when a server listens, addresses only when ports are: two steps.
struct Endpoint {
  explicit Endpoint(const std::string& name) : executor(MakeThreadExecutor(name)) {}
  ~Endpoint() { Stop(); }

  void Start(uint32_t self, const std::map<NodeId, std::string>& peers, int port) {
    GrpcRaftTransportOptions options;
    options.cluster_id = kCluster;
    options.group = GroupId(4);
    options.self = NodeId(self);
    options.peers = peers;
    transport = std::make_unique<GrpcRaftTransport>(options, *executor);
    auto started = GrpcServer::Start(absl::StrCat("127.0.0.1:", port), {transport->service()});
    ASSERT_OK(started);
    server = *std::move(started);
    OnExecutor([this] {
      transport->SetReceiver([this](NodeId from, const std::string& bytes) {
        absl::MutexLock lock(&mu);
        received.push_back(absl::StrCat(from.value(), ":", bytes));
      });
    });
  }
  void Stop() {
    if (transport != nullptr) {
      OnExecutor([this] { transport->SetReceiver(nullptr); });
      server->Shutdown(absl::ZeroDuration());
      server.reset();
      transport.reset();
    }
  }
  void OnExecutor(absl::AnyInvocable<void()> task) {
    absl::Notification done;
    executor->Post([&] {
      task();
      done.Notify();
    });
    done.WaitForNotification();
  }
  bool AwaitReceived(size_t count) {
    const auto enough = [this, count]()
                            ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu) { return received.size() >= count; };
    absl::MutexLock lock(&mu);
    return mu.AwaitWithTimeout(absl::Condition(&enough), kPatience);
  }

  std::unique_ptr<Executor> executor;
  std::unique_ptr<GrpcRaftTransport> transport;
  std::unique_ptr<GrpcServer> server;
  absl::Mutex mu;
  std::vector<std::string> received ABSL_GUARDED_BY(mu);
};

TEST(GrpcRaftTransportTest, MessagesArriveInOrder) {
  Endpoint b("b");
  b.Start(2, {{NodeId(1), "127.0.0.1:1"}}, 0);
  Endpoint a("a");
  a.Start(1, {{NodeId(2), b.server->address()}}, 0);
  a.OnExecutor([&] {
    for (int i = 0; i < 500; ++i) {
      a.transport->Send(NodeId(2), absl::StrCat(i));
    }
    a.transport->Send(NodeId(2), std::string(3 << 20, 'x'));
  });
  ASSERT_TRUE(b.AwaitReceived(501));
  absl::MutexLock lock(&b.mu);
  for (int i = 0; i < 500; ++i) {
    ASSERT_EQ(b.received[i], absl::StrCat("1:", i));
  }
  EXPECT_EQ(b.received[500].size(), (size_t{3} << 20) + 2);
}

TEST(GrpcRaftTransportTest, FindsAPeerAgainThatWasAway) {
  Endpoint a("a");
  Endpoint b("b");
  b.Start(2, {{NodeId(1), "127.0.0.1:1"}}, 0);
  const int port = b.server->port();
  a.Start(1, {{NodeId(2), b.server->address()}}, 0);
  a.OnExecutor([&] { a.transport->Send(NodeId(2), "before"); });
  ASSERT_TRUE(b.AwaitReceived(1));
  b.Stop();
  a.OnExecutor([&] { a.transport->Send(NodeId(2), "lost"); });
  Endpoint again("again");
  again.Start(2, {{NodeId(1), "127.0.0.1:1"}}, port);
  const SteadyTime end = RealClock().SteadyNow() + kPatience;
  bool arrived = false;
  while (!arrived && RealClock().SteadyNow() < end) {
    a.OnExecutor([&] { a.transport->Send(NodeId(2), "after"); });
    absl::MutexLock lock(&again.mu);
    const auto some = [&again]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(again.mu) {
      return !again.received.empty();
    };
    arrived = again.mu.AwaitWithTimeout(absl::Condition(&some), absl::Milliseconds(50));
  }
  EXPECT_TRUE(arrived);
}

TEST(GrpcRaftTransportTest, StopsWhileAPeerIsUnreachable) {
  Endpoint a("a");
  a.Start(1, {{NodeId(2), "127.0.0.1:1"}}, 0);
  a.OnExecutor([&] {
    for (int i = 0; i < 10000; ++i) {
      a.transport->Send(NodeId(2), "into the void");
    }
  });
  a.Stop();
}

// What a stranger sends ends its stream with a clear status, and reaches nobody.
TEST(GrpcRaftTransportTest, RefusesForeignAndDamagedMessages) {
  Endpoint b("b");
  b.Start(2, {{NodeId(1), "127.0.0.1:1"}}, 0);
  v1::RaftEnvelope good;
  good.set_cluster_id(kCluster);
  good.set_group_id(4);
  good.set_from(1);
  good.set_to(2);
  good.set_payload("hello");
  good.set_payload_crc32c(ComputeCrc32c("hello").value);
  const auto send = [&](const v1::RaftEnvelope& message, const char* cluster) {
    const auto stub = v1::RaftTransport::NewStub(MakeChannel(b.server->address()));
    grpc::ClientContext context;
    PrepareContext(context, cluster, kPatience);
    v1::RaftExchangeResponse response;
    const auto stream = stub->Exchange(&context, &response);
    stream->Write(message);
    stream->WritesDone();
    return FromGrpc(stream->Finish());
  };
  EXPECT_OK(send(good, kCluster));
  EXPECT_THAT(send(good, "another"), testing::HasReason(v1::REASON_WRONG_CLUSTER));
  v1::RaftEnvelope bad = good;
  bad.set_cluster_id("another");
  EXPECT_THAT(send(bad, kCluster), testing::HasReason(v1::REASON_WRONG_CLUSTER));
  bad = good;
  bad.set_group_id(5);
  EXPECT_THAT(send(bad, kCluster), testing::HasReason(v1::REASON_WRONG_CLUSTER));
  bad = good;
  bad.set_to(3);
  EXPECT_THAT(send(bad, kCluster), testing::StatusIs(absl::StatusCode::kInvalidArgument));
  bad = good;
  bad.set_from(7);
  EXPECT_THAT(send(bad, kCluster), testing::StatusIs(absl::StatusCode::kInvalidArgument));
  bad = good;
  bad.set_payload("hellp");
  EXPECT_THAT(send(bad, kCluster), testing::StatusIs(absl::StatusCode::kInvalidArgument));
  ASSERT_TRUE(b.AwaitReceived(1));
  absl::MutexLock lock(&b.mu);
  EXPECT_EQ(b.received.size(), 1u);
}

// Three real members over real connections and files: what was proposed to the leader is applied
// by all.
TEST(GrpcRaftTransportTest, CarriesAGroupOfThree) {
  const std::string folder = absl::StrCat(::testing::TempDir(), "/raft-", getpid());
  std::filesystem::remove_all(folder);
  std::filesystem::create_directories(folder);
  std::vector<std::unique_ptr<Endpoint>> endpoints;
  // Take three free ports, then use them.
  std::vector<int> ports;
  {
    std::vector<std::unique_ptr<GrpcServer>> takers;
    for (int i = 0; i < 3; ++i) {
      auto taker = GrpcServer::Start("127.0.0.1:0", {});
      ASSERT_OK(taker);
      ports.push_back((*taker)->port());
      takers.push_back(*std::move(taker));
    }
  }
  struct Member {
    SetMachine machine;
    std::unique_ptr<Executor> disk = MakeThreadExecutor("disk");
    std::unique_ptr<RaftLog> log;
  };
  std::vector<Member> members(3);
  for (uint32_t id = 1; id <= 3; ++id) {
    std::map<NodeId, std::string> peers;
    RaftLogOptions options;
    options.cluster_id = kCluster;
    options.group = GroupId(4);
    options.self = NodeId(id);
    options.voters = {NodeId(1), NodeId(2), NodeId(3)};
    options.folder = absl::StrCat(folder, "/", id);
    options.seed = id;
    options.segment_bytes = 1 << 20;
    for (uint32_t other = 1; other <= 3; ++other) {
      if (other != id) {
        peers[NodeId(other)] = absl::StrCat("127.0.0.1:", ports[other - 1]);
      }
    }
    ASSERT_OK(RaftLog::Format(PosixFileSystem(), options));
    endpoints.push_back(std::make_unique<Endpoint>(absl::StrCat("m", id)));
    Endpoint& endpoint = *endpoints.back();
    endpoint.Start(id, peers, ports[id - 1]);
    Member& member = members[id - 1];
    ASSERT_OK_AND_ASSIGN(member.log,
                         RaftLog::Open(options, RealClock(), *endpoint.executor, *member.disk,
                                       PosixFileSystem(), *endpoint.transport, member.machine));
  }
  uint64_t acknowledged = 0;
  uint64_t next = 1;
  const SteadyTime end = RealClock().SteadyNow() + kPatience;
  while (acknowledged < 20 && RealClock().SteadyNow() < end) {
    for (size_t i = 0; i < 3; ++i) {
      absl::Notification answered;
      bool ok = false;
      endpoints[i]->executor->Post([&, id = next++] {
        members[i].log->Propose(SetMachine::Add(id), [&](auto applied) {
          ok = applied.ok();
          answered.Notify();
        });
      });
      ASSERT_TRUE(answered.WaitForNotificationWithTimeout(kPatience));
      acknowledged += ok ? 1 : 0;
    }
  }
  EXPECT_GE(acknowledged, 20u);
  for (size_t i = 0; i < 3; ++i) {
    bool all = false;
    while (!all && RealClock().SteadyNow() < end) {
      endpoints[i]->OnExecutor([&] { all = members[i].machine.size() >= acknowledged; });
    }
    EXPECT_TRUE(all) << "member " << i + 1;
  }
  for (size_t i = 0; i < 3; ++i) {
    endpoints[i]->OnExecutor([&] { members[i].log.reset(); });
    members[i].disk.reset();
  }
  endpoints.clear();
  std::filesystem::remove_all(folder);
}

}  // namespace
}  // namespace ballast
