// SPDX-License-Identifier: Apache-2.0
#include "gateway/dispatcher.h"

#include <string>
#include <vector>

#include "common/types/error.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/unit/gateway/conversation.h"

namespace ballast::gateway {
namespace {

using ::testing::ElementsAre;

Message ParsedLine(const std::string& line) { return std::get<Message>(ParseMessage(line)); }

TEST(DispatcherTest, AHeartbeatIsAsOldAsItsLine) {
  FakeBackend backend;
  ManualClock clock;
  Dispatcher dispatcher([&]() -> absl::StatusOr<ClusterBackend*> { return &backend; }, clock);
  const SteadyTime read_at = clock.now;
  clock.now = clock.now + absl::Milliseconds(1500);
  dispatcher.Handle(
      ParsedLine(Line("heartbeat", 1, R"("server":"s","chunks":[],"disk_usage_pct":1)")), read_at);
  EXPECT_THAT(backend.calls(), ElementsAre("heartbeat s [] 1% '' 1.5s ago"));
}

TEST(DispatcherTest, WithoutAClusterOnlyWhatNeedsItFails) {
  ManualClock clock;
  Dispatcher dispatcher(
      []() -> absl::StatusOr<ClusterBackend*> { return absl::InternalError("the disk is full"); },
      clock);
  const auto handle = [&](const std::string& line) {
    return dispatcher.Handle(ParsedLine(line), clock.now);
  };
  EXPECT_EQ(handle(Line("init", 1, R"("node_id":"n1","node_ids":[])")), Ok("init", 1, 0) + "\n");
  EXPECT_EQ(handle(Line("dance", 2)), Error(2, 1, 10, "unknown type 'dance'") + "\n");
  EXPECT_EQ(handle(Line("write", 3, R"("key":"k","value":1)")),
            Error(3, 2, 11, "there is no cluster: the disk is full") + "\n");
}

TEST(DispatcherTest, CodesSayWhetherItHappened) {
  const Request read = ReadRequest{"k"};
  const Request write = WriteRequest{"k", "1"};
  const Request move = RebalanceExecuteRequest{};
  struct Row {
    absl::Status status;
    int of_read;
    int of_change;
  };
  const std::vector<Row> rows = {
      {absl::UnimplementedError("x"), 10, 10},
      {absl::InvalidArgumentError("x"), 12, 12},
      {absl::OutOfRangeError("x"), 12, 12},
      {absl::NotFoundError("x"), 20, 20},
      {absl::FailedPreconditionError("x"), 22, 22},
      {absl::AlreadyExistsError("x"), 22, 22},
      {absl::DeadlineExceededError("x"), 0, 0},
      // A transport's error leaves a change's outcome open, our own reasons do not.
      {absl::UnavailableError("x"), 11, 0},
      {absl::CancelledError("x"), 11, 0},
      {NotReadyError("x", absl::Seconds(1)), 11, 11},
      {NotLeaderError(""), 11, 11},
      {MakeError(v1::REASON_NO_SPACE, "x"), 11, 11},
      {MakeError(v1::REASON_OUTCOME_UNKNOWN, "x"), 11, 0},
      {MakeError(v1::REASON_SESSION_EXPIRED, "x"), 11, 0},
      {absl::InternalError("x"), 13, 13},
      {absl::DataLossError("x"), 13, 13},
      {absl::UnknownError("x"), 13, 13},
  };
  for (const Row& row : rows) {
    EXPECT_EQ(static_cast<int>(ErrorCodeOf(row.status, read)), row.of_read) << row.status;
    EXPECT_EQ(static_cast<int>(ErrorCodeOf(row.status, write)), row.of_change) << row.status;
    EXPECT_EQ(static_cast<int>(ErrorCodeOf(row.status, move)), row.of_change) << row.status;
  }
}

TEST(DispatcherTest, EveryCallThatFailsIsAnError) {
  const std::vector<std::string> lines = {
      Line("heartbeat", 1, R"("server":"s","chunks":[],"disk_usage_pct":1)"),
      Line("server_status", 1),
      Line("rebalance_check", 1),
      Line("rebalance_execute", 1, R"("moves":[])"),
      Line("set_config", 1, R"("version":1,"shards":[])"),
      Line("config_update", 1, R"("version":1,"shards":[])"),
      Line("add_server", 1, R"("server":"s")"),
      Line("remove_server", 1, R"("server":"s")"),
      Line("get_server", 1, R"("key":"k")"),
      Line("read", 1, R"("key":"k")"),
      Line("write", 1, R"("key":"k","value":1)"),
      Line("cas", 1, R"("key":"k","from":1,"to":1)")};
  for (const std::string& line : lines) {
    FakeBackend backend;
    ManualClock clock;
    backend.values["k"] = "1";
    backend.failure = absl::UnimplementedError("not here");
    Dispatcher dispatcher([&]() -> absl::StatusOr<ClusterBackend*> { return &backend; }, clock);
    EXPECT_EQ(dispatcher.Handle(ParsedLine(line), clock.now), Error(1, 0, 10, "not here") + "\n");
  }
}

TEST(DispatcherTest, AnEmptyPoolHasNoServerForAKey) {
  FakeBackend backend;
  ManualClock clock;
  Dispatcher dispatcher([&]() -> absl::StatusOr<ClusterBackend*> { return &backend; }, clock);
  EXPECT_EQ(dispatcher.Handle(ParsedLine(Line("get_server", 1, R"("key":"k")")), clock.now),
            Error(1, 0, 11, "there is no server: add_server adds one") + "\n");
}

}  // namespace
}  // namespace ballast::gateway
