// SPDX-License-Identifier: Apache-2.0
#include "tests/support/local_log.h"

#include <string>
#include <utility>
#include <vector>

#include "common/types/limits.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/support/sim_scheduler.h"
#include "tests/support/status_matchers.h"

namespace ballast::testing {
namespace {

using ::testing::ElementsAre;

// Remembers the commands applied; the result of a command is the command in brackets.
class Recorder final : public StateMachine {
 public:
  std::string Apply(RaftIndex index, absl::string_view command) override {
    applied.emplace_back(index.value(), std::string(command));
    return "[" + std::string(command) + "]";
  }
  std::vector<std::string> ImageNames() const override { return {}; }
  std::string TakeImage(const std::string&) const override { return ""; }
  absl::Status RestoreImage(const std::string&, absl::string_view) override {
    return absl::OkStatus();
  }
  void Reset() override { applied.clear(); }

  std::vector<std::pair<uint64_t, std::string>> applied;
};

class LocalLogTest : public ::testing::Test {
 protected:
  void Propose(const std::string& command) {
    log_.Propose(command, [this](absl::StatusOr<ReplicatedLog::Applied> applied) {
      replies_.push_back(applied.ok() ? applied->result
                                      : std::string(ReasonName(ReasonOf(applied.status()))));
    });
  }
  void Run() { world_.RunFor(absl::Seconds(1)); }

  SimScheduler world_{1};
  std::unique_ptr<Executor> executor_ = world_.MakeExecutor();
  Recorder machine_;
  LocalLog log_{*executor_, machine_};
  std::vector<std::string> replies_;
};

TEST_F(LocalLogTest, AppliesInOrderAndRepliesLater) {
  Propose("a");
  Propose("b");
  EXPECT_TRUE(replies_.empty()) << "never inside the call";
  Run();
  EXPECT_THAT(replies_, ElementsAre("[a]", "[b]"));
  EXPECT_THAT(machine_.applied, ElementsAre(std::make_pair(1u, "a"), std::make_pair(2u, "b")));
  EXPECT_EQ(log_.state().applied, RaftIndex(2));
}

TEST_F(LocalLogTest, LosesTheReplyOfAnAppliedOrAnUnappliedCommand) {
  log_.LoseNextReply(/*applied=*/true);
  Propose("a");
  Run();
  log_.LoseNextReply(/*applied=*/false);
  Propose("b");
  Propose("c");
  Run();
  EXPECT_THAT(replies_, ElementsAre("OUTCOME_UNKNOWN", "OUTCOME_UNKNOWN", "[c]"));
  EXPECT_THAT(machine_.applied, ElementsAre(std::make_pair(1u, "a"), std::make_pair(2u, "c")));
}

TEST_F(LocalLogTest, AFollowerRefuses) {
  std::vector<ReplicatedLog::Role> roles;
  log_.SetRoleObserver([&](const ReplicatedLog::State& s) { roles.push_back(s.role); });
  Run();
  log_.SetRole(ReplicatedLog::Role::kFollower, NodeId(2));
  Propose("a");
  absl::Status read = absl::OkStatus();
  log_.ReadBarrier([&](absl::Status status) { read = status; });
  Run();
  EXPECT_THAT(replies_, ElementsAre("NOT_LEADER"));
  EXPECT_THAT(read, HasReason(v1::REASON_NOT_LEADER));
  log_.SetRole(ReplicatedLog::Role::kLeader, NodeId(1));
  EXPECT_EQ(log_.state().term, RaftTerm(2));
  EXPECT_THAT(roles, ElementsAre(ReplicatedLog::Role::kLeader, ReplicatedLog::Role::kFollower,
                                 ReplicatedLog::Role::kLeader));
}

TEST_F(LocalLogTest, RefusesAnEntryThatIsTooLong) {
  Propose(std::string(kLogEntryBytesMax + 1, 'x'));
  Run();
  EXPECT_THAT(replies_, ElementsAre("INVALID_ARGUMENT"));
  EXPECT_TRUE(machine_.applied.empty());
}

}  // namespace
}  // namespace ballast::testing
