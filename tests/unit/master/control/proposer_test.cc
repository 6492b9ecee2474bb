// SPDX-License-Identifier: Apache-2.0
#include "services/master/control/proposer.h"

#include <string>
#include <vector>

#include "common/types/limits.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "services/master/control/propose_all.h"
#include "tests/support/status_matchers.h"
#include "tests/unit/master/control/control_fixture.h"

namespace ballast::master {
namespace {

using testing::HasReason;
using testing::IsOk;

class ProposerTest : public ControlFixture {};

TEST_F(ProposerTest, CommandsOfOneTurnShareAnEntryAndKeepTheirOrder) {
  std::vector<mlog::Command> commands;
  for (int i = 0; i < 5; ++i) commands.push_back(Put("k", std::to_string(i)));
  const RaftIndex before = log_.state().last;
  std::vector<uint64_t> generations;
  for (mlog::Command& command : commands) {  // five tasks of the executor, queued at once
    executor_->Post([this, &command, &generations] {
      proposer_.Propose(command, [&](const absl::StatusOr<mlog::Result>& result) {
        generations.push_back(result->generation());
      });
    });
  }
  scheduler_.RunFor(absl::Seconds(1));
  EXPECT_THAT(generations, ::testing::ElementsAre(1, 2, 3, 4, 5));
  EXPECT_EQ(log_.state().last, before.Next()) << "one entry";
}

TEST_F(ProposerTest, EntriesStayBelowTheLogsLimit) {
  const std::string value(kInlineBytesMax, 'v');
  std::vector<mlog::Command> commands;
  for (int i = 0; i < 40; ++i) commands.push_back(Put("k", value));
  const uint64_t before = log_.state().last.value();
  int ok = 0;
  executor_->Post([&] {
    for (mlog::Command& command : commands) {
      proposer_.Propose(command, [&ok](const absl::StatusOr<mlog::Result>& result) {
        ok += result.ok() && result->code() == 0;
      });
    }
  });
  scheduler_.RunFor(absl::Seconds(1));
  EXPECT_EQ(ok, 40);
  EXPECT_EQ(log_.state().last.value() - before, 3u) << "40 times 64 KiB in entries of 1 MiB";
}

TEST_F(ProposerTest, StampsFollowTheSteadyClockAndNotTheWallClock) {
  const uint64_t start = machine_.group_time_ms();
  scheduler_.RunFor(absl::Milliseconds(1500));
  scheduler_.JumpWallClock(absl::Hours(-5));
  OpenSession(0);
  EXPECT_EQ(machine_.group_time_ms(), start + 1500);
}

TEST_F(ProposerTest, ANewTermGoesOnFromTheLastStamp) {
  scheduler_.RunFor(absl::Seconds(5));
  OpenSession(0);
  const uint64_t last = machine_.group_time_ms();
  log_.SetRole(ReplicatedLog::Role::kFollower, NodeId(2));
  scheduler_.RunFor(absl::Hours(3));  // another leader's time, of which nothing was logged
  EXPECT_EQ(proposer_.NowMs(), last);
  log_.SetRole(ReplicatedLog::Role::kLeader);
  scheduler_.RunFor(absl::Seconds(2));
  EXPECT_EQ(proposer_.NowMs(), last + 2000);
}

TEST_F(ProposerTest, ALongPauseOfTheLeaderCountsAsTenSeconds) {
  const uint64_t before = proposer_.NowMs();
  scheduler_.RunFor(absl::Hours(2));
  EXPECT_EQ(proposer_.NowMs(), before + 10'000);
}

TEST_F(ProposerTest, AFollowerAndAStoppedMasterRefuse) {
  const mlog::Command put = Put("k", "v");
  log_.SetRole(ReplicatedLog::Role::kFollower, NodeId(2));
  EXPECT_FALSE(proposer_.leading());
  EXPECT_THAT(Run(put), HasReason(v1::REASON_NOT_LEADER));
  proposer_.Attach(nullptr);
  EXPECT_THAT(Run(put), HasReason(v1::REASON_NOT_READY));
  EXPECT_EQ(machine_.Count().objects, 0u);
}

TEST_F(ProposerTest, DetachingAnswersWhatWaits) {
  std::vector<absl::Status> answers;
  const mlog::Command put = Put("k", "v");
  executor_->Post([&] {
    proposer_.Propose(put, [&](const absl::StatusOr<mlog::Result>& result) {
      answers.push_back(result.status());
    });
    proposer_.Attach(nullptr);
  });
  scheduler_.RunFor(absl::Seconds(1));
  ASSERT_EQ(answers.size(), 1u);
  EXPECT_THAT(answers[0], HasReason(v1::REASON_NOT_READY));
}

TEST_F(ProposerTest, TheNumberOfWaitingCommandsIsBounded) {
  size_t overloaded = 0;
  size_t executed = 0;
  executor_->Post([&] {
    for (size_t i = 0; i < kCommandsInFlightMax + 3; ++i) {
      mlog::Command open;
      open.mutable_open_session();
      proposer_.Propose(open, [&](const absl::StatusOr<mlog::Result>& result) {
        overloaded += ReasonOf(result.status()) == v1::REASON_OVERLOADED;
        executed += result.ok();
      });
    }
  });
  scheduler_.RunFor(absl::Seconds(1));
  EXPECT_EQ(overloaded, 3u);
  EXPECT_EQ(executed, kCommandsInFlightMax);
  EXPECT_THAT(Run(Put("k", "v")), IsOk()) << "room again";
}

TEST_F(ProposerTest, ALostReplyIsAnUnknownOutcomeAndTheRetryIsAppliedOnce) {
  const mlog::Command put = Put("k", "v");
  log_.LoseNextReply(/*applied=*/true);
  EXPECT_THAT(Run(put), HasReason(v1::REASON_OUTCOME_UNKNOWN));
  EXPECT_EQ(Run(put)->generation(), 1u);
  EXPECT_EQ((*machine_.FindObject("k"))->generation(), Generation(1));
}

TEST_F(ProposerTest, AllOfSeveralCommandsAreAnsweredTogether) {
  const std::vector<mlog::Command> commands = {Put("a", "1"), Put("b", "1")};
  absl::StatusOr<std::vector<mlog::Result>> answer;
  const auto run = [&] {
    executor_->Post([&] {
      ProposeAll(proposer_, commands,
                 [&](absl::StatusOr<std::vector<mlog::Result>> results) { answer = results; });
    });
    scheduler_.RunFor(absl::Seconds(1));
  };
  run();
  ASSERT_OK(answer);
  EXPECT_EQ(answer->size(), 2u);
  log_.SetRole(ReplicatedLog::Role::kFollower);
  run();
  EXPECT_THAT(answer, HasReason(v1::REASON_NOT_LEADER));
}

}  // namespace
}  // namespace ballast::master
