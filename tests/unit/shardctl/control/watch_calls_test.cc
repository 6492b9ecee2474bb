// SPDX-License-Identifier: Apache-2.0
#include "services/shardctl/control/watch_calls.h"

#include <algorithm>
#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "common/types/error.h"
#include "common/types/limits.h"
#include "gtest/gtest.h"
#include "services/shardctl/core/command.h"
#include "tests/support/sim_scheduler.h"
#include "tests/support/status_matchers.h"

namespace ballast::shardctl {
namespace {

using ::ballast::testing::HasReason;
using ::ballast::testing::IsOk;
using ::ballast::testing::StatusIs;
using Answer = std::optional<absl::StatusOr<v1::WatchResponse>>;

class WatchCallsTest : public ::testing::Test {
 protected:
  // A join with a new address: one more configuration.
  void AddConfiguration() {
    v1::JoinRequest join;
    join.mutable_group()->set_group_id(1);
    join.mutable_group()->add_masters()->set_node_id(1);
    join.mutable_group()->mutable_masters(0)->set_address(absl::StrCat("h:", ++index_));
    Apply(join);
  }

  void ChangeRegistry() {
    v1::UpdateSettingsRequest update;
    update.set_grace_ms(static_cast<uint32_t>(++index_));
    Apply(update);
  }

  template <typename Request>
  void Apply(const Request& request) {
    const auto command = CommandOf(request);
    ASSERT_THAT(command, IsOk());
    watched_->Apply(RaftIndex(index_), command->SerializeAsString());
  }

  // The answer appears in what is returned. wait 10 s.
  std::shared_ptr<Answer> Watch(uint64_t id, uint64_t after, uint64_t registry,
                                uint32_t wait_ms = 10'000) {
    v1::WatchRequest request;
    request.set_after_config_version(after);
    request.set_registry_version(registry);
    request.set_wait_ms(wait_ms);
    auto answer = std::make_shared<Answer>();
    calls_->Add(id, request, [answer](auto got) {
      EXPECT_FALSE(answer->has_value()) << "answered twice";
      *answer = std::move(got);
    });
    return answer;
  }

  void Make(WatchLimits limits) {
    calls_ = std::make_unique<WatchCalls>(*executor_, machine_, limits);
    watched_ = std::make_unique<WatchedMachine>(machine_, *calls_, pools_);
  }

  void SetUp() override { Make({}); }
  void TearDown() override { executor_.reset(); }

  testing::SimScheduler world_{1};
  std::unique_ptr<Executor> executor_ = world_.MakeExecutor();
  ConfigMachine machine_{4};
  std::unique_ptr<WatchCalls> calls_;
  PoolWatches pools_{*executor_, machine_};
  std::unique_ptr<WatchedMachine> watched_;
  uint64_t index_ = 0;
};

TEST_F(WatchCallsTest, ANewCallerGetsTheRegistryAtOnce) {
  const auto answer = Watch(1, 0, 0);
  ASSERT_TRUE(answer->has_value());
  ASSERT_THAT(**answer, IsOk());
  EXPECT_EQ((*answer)->value().registry().version(), 1u);
  EXPECT_EQ((*answer)->value().config_version(), 0u);
  EXPECT_EQ(calls_->waiting(), 0u);
}

TEST_F(WatchCallsTest, NewsWakesAWaitingCallWithoutATimer) {
  const auto answer = Watch(1, 0, 1);
  world_.RunFor(absl::Seconds(5));
  ASSERT_FALSE(answer->has_value());
  AddConfiguration();
  world_.RunFor(absl::ZeroDuration());
  ASSERT_TRUE(answer->has_value());
  ASSERT_THAT(**answer, IsOk());
  EXPECT_EQ((*answer)->value().configurations_size(), 1);
  EXPECT_FALSE((*answer)->value().has_registry());
}

TEST_F(WatchCallsTest, ARegistryChangeWakesTooAndBringsTheWholeRegistry) {
  const auto answer = Watch(1, 0, 1);
  ChangeRegistry();
  ChangeRegistry();
  world_.RunFor(absl::ZeroDuration());
  ASSERT_TRUE(answer->has_value());
  EXPECT_EQ((*answer)->value().registry().version(), 3u);
  EXPECT_EQ((*answer)->value().registry().settings().grace_ms(), 2u);
}

TEST_F(WatchCallsTest, WithoutNewsTheAnswerIsEmptyWhenTheTimeIsOver) {
  AddConfiguration();
  const auto answer = Watch(1, 1, 1, 3000);
  world_.RunFor(absl::Milliseconds(2999));
  EXPECT_FALSE(answer->has_value());
  world_.RunFor(absl::Milliseconds(1));
  ASSERT_TRUE(answer->has_value());
  ASSERT_THAT(**answer, IsOk());
  EXPECT_EQ((*answer)->value().configurations_size(), 0);
  EXPECT_FALSE((*answer)->value().has_registry());
  EXPECT_EQ((*answer)->value().config_version(), 1u);
}

TEST_F(WatchCallsTest, NoCallerWaitsLongerThanTheCap) {
  const auto answer = Watch(1, 0, 1, 4'000'000'000);
  world_.RunFor(absl::Seconds(30));
  EXPECT_TRUE(answer->has_value());
}

TEST_F(WatchCallsTest, ConfigurationsComeInOrderInPagesWithoutGaps) {
  for (int i = 0; i < 150; ++i) {
    AddConfiguration();
  }
  uint64_t after = 7;
  for (const int expected : {64, 64, 15}) {
    const auto answer = Watch(1, after, 1);
    ASSERT_TRUE(answer->has_value());
    const v1::WatchResponse& response = (*answer)->value();
    ASSERT_EQ(response.configurations_size(), expected);
    for (const v1::Configuration& configuration : response.configurations()) {
      ASSERT_EQ(configuration.version(), ++after);
    }
    EXPECT_EQ(response.config_version(), 150u);
  }
  EXPECT_EQ(after, 150u);
}

TEST_F(WatchCallsTest, AnAnswerIsBoundedInBytesButNeverEmptyForIt) {
  Make({.configuration_bytes_max = 1});
  AddConfiguration();
  AddConfiguration();
  const auto answer = Watch(1, 0, 1);
  EXPECT_EQ((*answer)->value().configurations_size(), 1);
}

TEST_F(WatchCallsTest, ARegistryThatDoesNotFitBesideConfigurationsComesNext) {
  ConfigMachine large(65'536);
  WatchCalls calls(*executor_, large);
  uint64_t index = 0;
  const auto apply = [&](const auto& request) {
    large.Apply(RaftIndex(++index), CommandOf(request).value().SerializeAsString());
  };
  for (uint32_t n = 0; n < 8000; ++n) {
    v1::RegisterChunkServerRequest server;
    server.set_server_id(absl::StrFormat("00000000-0000-4000-8000-%012x", n));
    server.set_address(std::string(240, 'h') + ":1");
    server.set_zone(std::string(64, 'z'));
    server.set_boot_epoch(1);
    apply(server);
  }
  for (uint32_t n = 0; n < 40; ++n) {
    v1::JoinRequest join;
    join.mutable_group()->set_group_id(1);
    join.mutable_group()->add_masters()->set_node_id(1);
    join.mutable_group()->mutable_masters(0)->set_address(absl::StrCat("h:", n + 1));
    apply(join);
  }
  v1::WatchRequest request;
  int answers = 0;
  while (request.after_config_version() < 40 || request.registry_version() == 0) {
    Answer answer;
    calls.Add(1, request, [&answer](auto got) { answer = std::move(got); });
    ASSERT_TRUE(answer.has_value() && answer->ok());
    const v1::WatchResponse& response = answer->value();
    ASSERT_LE(response.ByteSizeLong(), kMessageBytesMax);
    ASSERT_TRUE(response.configurations_size() > 0 || response.has_registry());
    request.set_after_config_version(request.after_config_version() +
                                     static_cast<uint64_t>(response.configurations_size()));
    request.set_registry_version(
        std::max(request.registry_version(), response.registry().version()));
    ++answers;
  }
  EXPECT_EQ(answers, 2);
}

TEST_F(WatchCallsTest, OnlyThoseConcernedAreWoken) {
  AddConfiguration();
  const auto behind = Watch(1, 1, 1);
  const auto ahead = Watch(2, 9, 1);
  AddConfiguration();
  world_.RunFor(absl::ZeroDuration());
  EXPECT_TRUE(behind->has_value());
  EXPECT_FALSE(ahead->has_value());
}

TEST_F(WatchCallsTest, TooManyCallsAreRefusedWithAHint) {
  Make({.calls_max = 2});
  const auto first = Watch(1, 0, 1);
  const auto second = Watch(2, 0, 1);
  const auto third = Watch(3, 0, 1);
  ASSERT_TRUE(third->has_value());
  EXPECT_THAT(**third, HasReason(v1::REASON_OVERLOADED));
  EXPECT_GT(DetailOf((*third)->status())->retry_after_ms(), 0u);
  calls_->Remove(1);
  EXPECT_FALSE(Watch(4, 0, 1)->has_value());
  EXPECT_TRUE(Watch(5, 0, 0)->has_value()) << "who need not wait is answered";
}

TEST_F(WatchCallsTest, ACallerThatGoesIsForgotten) {
  const auto answer = Watch(1, 0, 1);
  calls_->Remove(1);
  calls_->Remove(1);
  calls_->Remove(77);
  ASSERT_TRUE(answer->has_value());
  EXPECT_THAT(**answer, StatusIs(absl::StatusCode::kCancelled));
  EXPECT_EQ(calls_->waiting(), 0u);
  AddConfiguration();
  world_.RunFor(absl::Seconds(60));
}

TEST_F(WatchCallsTest, FailAllAnswersEverybody) {
  const auto first = Watch(1, 0, 1);
  const auto second = Watch(2, 0, 1);
  calls_->FailAll(NotLeaderError("h:1"));
  EXPECT_THAT(**first, HasReason(v1::REASON_NOT_LEADER));
  EXPECT_THAT(**second, HasReason(v1::REASON_NOT_LEADER));
  world_.RunFor(absl::Seconds(60));
}

TEST_F(WatchCallsTest, AnInstalledImageIsNews) {
  const auto answer = Watch(1, 0, 1);
  ConfigMachine other(4);
  const auto command = CommandOf([] {
    v1::UpdateSettingsRequest update;
    update.set_grace_ms(1);
    return update;
  }());
  ASSERT_THAT(command, IsOk());
  other.Apply(RaftIndex(1), command->SerializeAsString());
  ASSERT_THAT(watched_->RestoreImage("controller", other.TakeImage("controller")), IsOk());
  world_.RunFor(absl::ZeroDuration());
  EXPECT_TRUE(answer->has_value());
}

}  // namespace
}  // namespace ballast::shardctl
