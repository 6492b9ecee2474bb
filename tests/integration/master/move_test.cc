// SPDX-License-Identifier: Apache-2.0
// Moves through a whole master over gRPC: chunk servers with streams, and such that only poll.
#include <algorithm>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "absl/synchronization/notification.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/integration/master/master_server_fixture.h"

namespace ballast::master {
namespace {

using ::ballast::testing::HasReason;
using ::testing::ElementsAre;

class MoveTest : public MasterServerTest {
 protected:
  // A MoveReplicas call of one move, on a thread of its own.
  class PendingMove {
   public:
    PendingMove(MoveTest& test, ChunkHandle handle, uint32_t from, uint32_t to)
        : thread_([this, &test, handle, from = test.servers_[from]->id(),
                   to = test.servers_[to]->id()] {
            v1::MoveReplicasRequest request;
            auto& move = *request.add_moves();
            move.set_handle(handle.value());
            move.set_from_server_id(from);
            move.set_to_server_id(to);
            status_ = test.Call(&v1::Master::Stub::MoveReplicas, request, &response_);
            done_.Notify();
          }) {}
    ~PendingMove() { thread_.join(); }
    bool IsDone() const { return done_.HasBeenNotified(); }
    // The call's failure, else the move's outcome.
    absl::Status Outcome() {
      done_.WaitForNotification();
      if (!status_.ok()) return status_;
      EXPECT_EQ(response_.outcomes_size(), 1);
      const auto& outcome = response_.outcomes(0);
      return outcome.code() == 0 ? absl::OkStatus() : MakeError(outcome.error(), outcome.text());
    }
    uint64_t bytes() const { return response_.outcomes(0).bytes_copied(); }

   private:
    v1::MoveReplicasResponse response_;
    absl::Status status_;
    absl::Notification done_;
    std::thread thread_;
  };

  // Everybody's heartbeats, until `condition`.
  bool BeatUntil(const std::function<bool()>& condition) {
    return Until([&] {
      for (auto& [number, server] : servers_) {
        if (silent_.contains(number)) continue;
        EXPECT_OK(server->Beat());
      }
      return condition();
    });
  }
  absl::Status Move(ChunkHandle handle, uint32_t from, uint32_t to) {
    PendingMove move(*this, handle, from, to);
    EXPECT_TRUE(BeatUntil([&] { return move.IsDone(); }));
    return move.Outcome();
  }
  std::vector<std::string> Readers(const std::string& key) {
    v1::GetObjectRequest request;
    request.set_key(key);
    v1::GetObjectResponse response;
    EXPECT_OK(Call(&v1::Master::Stub::GetObject, request, &response));
    std::vector<std::string> ids;
    for (const auto& replica : response.chunks(0).replicas()) ids.push_back(replica.server_id());
    std::sort(ids.begin(), ids.end());
    return ids;
  }

  std::set<uint32_t> silent_;
};

TEST_F(MoveTest, AReplicaMovesAndTheSourceDeletesIt) {
  for (uint32_t s : {1, 2, 3}) AddServer(s);
  const ChunkHandle handle = PutObject("a", {1, 2});
  {
    PendingMove move(*this, handle, 1, 3);
    EXPECT_TRUE(BeatUntil([&] { return move.IsDone(); }));
    EXPECT_OK(move.Outcome());
    EXPECT_EQ(move.bytes(), 1000u);
  }
  EXPECT_THAT(Readers("a"), ElementsAre(servers_[2]->id(), servers_[3]->id()));
  EXPECT_TRUE(BeatUntil([&] { return !servers_[1]->Holds(handle); }));
  EXPECT_EQ(servers_[1]->Last(&v1::Command::has_delete_replica)->delete_replica().cause(),
            v1::Command::Delete::CAUSE_TRIM);
  EXPECT_THAT(Move(handle, 1, 3), HasReason(v1::REASON_REPLICA_NOT_FOUND));
  EXPECT_THAT(Move(handle, 2, 3), HasReason(v1::REASON_REPLICA_EXISTS));
  EXPECT_THAT(Move(ChunkHandle(ShardId(0), 4711), 2, 3), HasReason(v1::REASON_CHUNK_NOT_FOUND));
  servers_[9] = std::make_unique<FakeServer>(9, cluster_);
  silent_.insert(9);
  EXPECT_THAT(Move(handle, 2, 9), HasReason(v1::REASON_UNKNOWN_SERVER));
}

TEST_F(MoveTest, ServersThatOnlyPollMoveTooAndTheDeleteIsInTheNextReply) {
  for (uint32_t s : {1, 2}) AddServer(s);
  const ChunkHandle handle = PutObject("a", {1, 2});
  AddServer(3);
  FakeServer& source = *servers_[1];
  FakeServer& target = *servers_[3];
  for (uint32_t s : {1, 2, 3}) {
    servers_[s]->Disconnect();
    EXPECT_TRUE(Until([&] { return servers_[s]->BeatUnary().ok(); }));
  }
  PendingMove move(*this, handle, 1, 3);
  ASSERT_TRUE(Until([&] { return target.Poll().ok() && target.Holds(handle); }));
  EXPECT_OK(target.BeatUnary());
  EXPECT_OK(move.Outcome());
  EXPECT_TRUE(source.Holds(handle));
  EXPECT_OK(source.BeatUnary());
  EXPECT_FALSE(source.Holds(handle)) << "one reply was enough";
}

TEST_F(MoveTest, WhatGoesWrongAtTheTargetFailsTheMoveAndKeepsTheSource) {
  for (uint32_t s : {1, 2, 3, 4, 5}) AddServer(s);
  const ChunkHandle handle = PutObject("a", {1, 2});
  servers_[3]->copies_fail = true;
  EXPECT_THAT(Move(handle, 1, 3), HasReason(v1::REASON_COPY_FAILED));
  servers_[4]->copies_corrupt = true;
  EXPECT_THAT(Move(handle, 1, 4), HasReason(v1::REASON_COPY_FAILED));
  silent_.insert(5);  // dies with the order
  EXPECT_THAT(Move(handle, 1, 5), HasReason(v1::REASON_COPY_FAILED));
  EXPECT_THAT(Readers("a"), ElementsAre(servers_[1]->id(), servers_[2]->id()));
  EXPECT_EQ(servers_[1]->Last(&v1::Command::has_delete_replica), nullptr);
}

TEST_F(MoveTest, ARestartedMasterFinishesALoggedTrim) {
  for (uint32_t s : {1, 2, 3}) AddServer(s);
  const ChunkHandle handle = PutObject("a", {1, 2});
  servers_[1]->deletes = false;
  EXPECT_OK(Move(handle, 1, 3));
  EXPECT_TRUE(
      BeatUntil([&] { return servers_[1]->Last(&v1::Command::has_delete_replica) != nullptr; }));
  const v1::Fence before = servers_[1]->Last(&v1::Command::has_delete_replica)->fence();
  master_.reset();
  servers_[1]->deletes = true;
  StartMaster();
  EXPECT_TRUE(Until([&] {
    for (auto& [number, server] : servers_) {
      server->Connect(master_->address());
      if (!server->Beat().ok()) return false;
    }
    return true;
  }));
  EXPECT_TRUE(BeatUntil([&] { return !servers_[1]->Holds(handle); }));
  EXPECT_GT(servers_[1]->Last(&v1::Command::has_delete_replica)->fence().term(), before.term());
  EXPECT_THAT(Readers("a"), ElementsAre(servers_[2]->id(), servers_[3]->id()));
  // The trim is over once 1 may hold the chunk again.
  EXPECT_TRUE(BeatUntil([&] { return Move(handle, 2, 1).ok(); }));
}

TEST_F(MoveTest, AMasterThatStopsEndsTheCallWithAnUnknownOutcome) {
  for (uint32_t s : {1, 2, 3}) AddServer(s);
  const ChunkHandle handle = PutObject("a", {1, 2});
  PendingMove move(*this, handle, 1, 3);
  EXPECT_TRUE(Until([&] {
    for (uint32_t s : {1, 2, 3}) {  // all of them, lest the source dies on a busy machine
      if (const absl::Status status = servers_[s]->Beat(); !status.ok()) {
        ADD_FAILURE() << status;
        return true;
      }
    }
    return servers_[3]->Last(&v1::Command::has_replicate) != nullptr;
  }));
  ASSERT_FALSE(move.IsDone()) << "the result was not sent";
  master_.reset();
  EXPECT_THAT(move.Outcome(), HasReason(v1::REASON_OUTCOME_UNKNOWN));
}

TEST_F(MoveTest, BalanceIsJudgedByWhatServersReport) {
  const auto report = [&](uint32_t number, double pct) {
    v1::Heartbeat heartbeat = AddServer(number).MakeHeartbeat();
    heartbeat.set_disk_utilization_pct(pct);
    EXPECT_OK(servers_[number]->Send(heartbeat));
  };
  report(1, 90);
  report(2, 50);
  report(3, 10);
  v1::CheckBalanceResponse balance;
  EXPECT_OK(Call(&v1::Master::Stub::CheckBalance, v1::CheckBalanceRequest(), &balance));
  EXPECT_EQ(balance.average_utilization_pct(), 50);
  ASSERT_EQ(balance.overloaded_size(), 1);
  EXPECT_EQ(balance.overloaded(0).server_id(), servers_[1]->id());
  ASSERT_EQ(balance.underloaded_size(), 1);
  EXPECT_EQ(balance.underloaded(0).server_id(), servers_[3]->id());
}

TEST_F(MoveTest, MalformedRequestsAreRefused) {
  v1::MoveReplicasResponse response;
  v1::MoveReplicasRequest request;
  EXPECT_THAT(Call(&v1::Master::Stub::MoveReplicas, request, &response),
              HasReason(v1::REASON_INVALID_ARGUMENT));
  request.add_moves()->set_handle(1);
  EXPECT_THAT(Call(&v1::Master::Stub::MoveReplicas, request, &response),
              HasReason(v1::REASON_INVALID_ARGUMENT));
}

}  // namespace
}  // namespace ballast::master
