// SPDX-License-Identifier: Apache-2.0
// The twins that only simulations use: a twin that is kinder than the world makes every run on it
// worthless.
#include <algorithm>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/types/error.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/sim/group_log.h"
#include "tests/sim/sim_process.h"
#include "tests/support/mem_file_system.h"
#include "tests/support/set_machine.h"
#include "tests/support/sim_scheduler.h"
#include "tests/support/status_matchers.h"

namespace ballast::testing {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;
using Role = ReplicatedLog::Role;

// --- SimProcess ---------------------------------------------------------------------------------

class SimProcessTest : public ::testing::Test {
 protected:
  SimScheduler sim_{1};
  SimProcess process_{sim_, "process"};
  std::unique_ptr<Executor> executor_ = process_.MakeExecutor();
  std::vector<std::string> ran_;
  Task Note(const std::string& what) {
    return [this, what] { ran_.push_back(what); };
  }
};

TEST_F(SimProcessTest, APausedProcessRunsNothingAndThenEverythingInOrder) {
  process_.Pause();
  executor_->RunAfter(absl::Seconds(1), Note("timer"));
  sim_.At(absl::Seconds(2), [this] { executor_->Post(Note("message")); });
  sim_.RunFor(absl::Seconds(10));
  EXPECT_THAT(ran_, IsEmpty());
  process_.Resume();
  executor_->Post(Note("newer"));
  sim_.RunFor(absl::ZeroDuration());
  EXPECT_THAT(ran_, ElementsAre("timer", "message", "newer"));
}

TEST_F(SimProcessTest, ATimerThatIsHeldCanBeCancelled) {
  process_.Pause();
  const Executor::TimerId id = executor_->RunAfter(absl::Seconds(1), Note("timer"));
  sim_.RunFor(absl::Seconds(2));
  executor_->Cancel(id);
  process_.Resume();
  sim_.RunFor(absl::Seconds(1));
  EXPECT_THAT(ran_, IsEmpty());
}

TEST_F(SimProcessTest, WhatIsHeldDiesWithItsExecutor) {
  process_.Pause();
  executor_->Post(Note("never"));
  sim_.RunFor(absl::Seconds(1));
  executor_.reset();
  process_.Resume();
  sim_.RunFor(absl::Seconds(1));
  EXPECT_THAT(ran_, IsEmpty());
}

TEST_F(SimProcessTest, RunningTimeLeavesPausesOutBeyondAMoment) {
  process_.SetMoment(absl::Milliseconds(100));
  sim_.RunFor(absl::Seconds(1));
  process_.Pause();
  sim_.RunFor(absl::Seconds(5));
  process_.Resume();
  sim_.RunFor(absl::Seconds(1));
  EXPECT_EQ(process_.RunningTime(), absl::Milliseconds(2100));
}

// --- GroupLog -----------------------------------------------------------------------------------

class GroupLogTest : public ::testing::Test {
 protected:
  struct Node {
    std::unique_ptr<Executor> executor;
    SetMachine machine;
    std::unique_ptr<ReplicatedLog> log;
    std::vector<std::string> answers;
  };

  GroupLogTest() {
    nodes_.resize(3);
    for (size_t i = 0; i < nodes_.size(); ++i) {
      Start(i);
    }
    AwaitLeader();
  }
  ~GroupLogTest() override {
    for (Node& node : nodes_) {
      node.log.reset();
    }
  }
  void Start(size_t i) {
    nodes_[i].executor = sim_.MakeExecutor();
    nodes_[i].log = group_.Open(i, *nodes_[i].executor, nodes_[i].machine);
  }
  void Crash(size_t i) {
    nodes_[i].log.reset();
    nodes_[i].executor.reset();
  }
  // The elected leader, once it knows.
  size_t AwaitLeader() {
    sim_.RunUntilTrue(
        [this] {
          return group_.leader().has_value() && nodes_[*group_.leader()].log != nullptr &&
                 nodes_[*group_.leader()].log->state().role == Role::kLeader &&
                 nodes_[*group_.leader()].log->state().term == group_.term();
        },
        absl::Seconds(10));
    return group_.leader().value_or(99);
  }
  void Propose(size_t i, uint64_t id) {
    nodes_[i].log->Propose(
        SetMachine::Add(id), [this, i](const absl::StatusOr<ReplicatedLog::Applied>& applied) {
          nodes_[i].answers.push_back(
              applied.ok() ? applied->result : std::string(ReasonName(ReasonOf(applied.status()))));
        });
  }

  SimScheduler sim_{7};
  std::vector<bool> cut_ = std::vector<bool>(3);  // from the others
  std::vector<uint64_t> committed_;
  GroupLog group_{
      sim_, 3,
      GroupLog::World{
          .runs = [](size_t) { return true; },
          .converse = [this](size_t a, size_t b) { return a == b || (!cut_[a] && !cut_[b]); },
          .on_commit =
              [this](RaftIndex, const GroupLog::Entry& entry) {
                committed_.push_back(SetMachine::IdOf(entry.command));
              }}};
  std::vector<Node> nodes_;
};

TEST_F(GroupLogTest, WhatIsAcknowledgedIsCommittedAndReachesEveryMember) {
  const size_t leader = AwaitLeader();
  Propose(leader, 1);
  Propose(leader, 2);
  sim_.RunFor(absl::Seconds(1));
  EXPECT_THAT(nodes_[leader].answers, ElementsAre("added 1", "added 2"));
  EXPECT_THAT(committed_, ElementsAre(1, 2));
  for (const Node& node : nodes_) {
    EXPECT_TRUE(node.machine.Has(1) && node.machine.Has(2));
  }
}

TEST_F(GroupLogTest, AReplacedLeaderGoesOnBelievingAndCommitsNothing) {
  group_.SetBeliefMax(absl::Minutes(10));
  const size_t old_leader = AwaitLeader();
  cut_[old_leader] = true;
  sim_.RunUntilTrue([&] { return group_.leader() != old_leader; }, absl::Seconds(10));
  ASSERT_NE(AwaitLeader(), old_leader);
  EXPECT_EQ(nodes_[old_leader].log->state().role, Role::kLeader);
  Propose(old_leader, 5);
  std::optional<absl::Status> read;
  nodes_[old_leader].log->ReadBarrier([&](absl::Status status) { read = status; });
  sim_.RunFor(absl::Seconds(3));
  EXPECT_THAT(committed_, IsEmpty());
  EXPECT_THAT(nodes_[old_leader].answers, IsEmpty());
  EXPECT_EQ(ReasonOf(read.value_or(absl::OkStatus())), v1::REASON_NOT_LEADER);
  sim_.RunFor(absl::Minutes(10));
  EXPECT_THAT(nodes_[old_leader].answers, ElementsAre("OUTCOME_UNKNOWN"));
}

TEST_F(GroupLogTest, OfWhatADyingLeaderProposedSomeCommitsAndSomeDoesNot) {
  size_t most = 0;
  size_t least = 3;
  for (uint64_t round = 0; round < 40; ++round) {
    const size_t leader = AwaitLeader();
    const size_t before = committed_.size();
    for (uint64_t i = 1; i <= 3; ++i) {
      Propose(leader, 10 * round + i);
    }
    Crash(leader);
    AwaitLeader();
    most = std::max(most, committed_.size() - before);
    least = std::min(least, committed_.size() - before);
    Start(leader);
  }
  EXPECT_EQ(least, 0u);
  EXPECT_EQ(most, 3u);
}

TEST_F(GroupLogTest, AMemberThatStartsHasTheSameStateFromTheLogOrASnapshot) {
  const size_t leader = AwaitLeader();
  for (uint64_t id = 1; id <= 20; ++id) {
    Propose(leader, id);
  }
  sim_.RunFor(absl::Seconds(1));
  group_.TakeSnapshotOf(leader);
  Propose(leader, 21);
  const size_t other = (leader + 1) % 3;
  for (int i = 0; i < 6; ++i) {
    Crash(other);
    Start(other);
    sim_.RunFor(absl::Seconds(1));
    EXPECT_EQ(nodes_[other].machine.Fingerprint(), nodes_[leader].machine.Fingerprint());
  }
}

TEST_F(GroupLogTest, WithoutAMajorityNothingCommits) {
  const size_t leader = AwaitLeader();
  Crash((leader + 1) % 3);
  Crash((leader + 2) % 3);
  Propose(leader, 1);
  sim_.RunFor(absl::Seconds(30));
  EXPECT_THAT(committed_, IsEmpty());
  EXPECT_THAT(nodes_[leader].answers, IsEmpty());
}

// --- MemFileSystem: what only the simulation uses -----------------------------------------------

TEST(MemFileSystemProcessTest, AProcessEndLosesNothingButItsHandles) {
  MemFileSystem fs;
  ASSERT_OK_AND_ASSIGN(const auto file, fs.Open("/f", OpenMode::kCreate));
  ASSERT_OK(file->WriteAt(0, "unsynced"));
  fs.FailAfter(1);
  EXPECT_FALSE(file->WriteAt(0, "x").ok());
  fs.EndProcess();
  EXPECT_FALSE(file->WriteAt(0, "x").ok()) << "an open file of a process that has ended";
  ASSERT_OK_AND_ASSIGN(const auto again, fs.Open("/f", OpenMode::kRead));
  std::string bytes(8, '\0');
  ASSERT_OK(again->ReadAt(0, 8, bytes.data()));
  EXPECT_EQ(bytes, "unsynced");
}

TEST(MemFileSystemProcessTest, DurableContentIsWhatSurelySurvives) {
  MemFileSystem fs;
  ASSERT_OK_AND_ASSIGN(const auto file, fs.Open("/f", OpenMode::kCreate));
  ASSERT_OK(file->WriteAt(0, "old"));
  ASSERT_OK(file->Sync());
  EXPECT_EQ(fs.DurableContent("/f"), std::nullopt) << "its name is not synced";
  ASSERT_OK(fs.SyncDir("/"));
  ASSERT_OK(file->WriteAt(0, "new"));
  EXPECT_EQ(fs.DurableContent("/f"), "old");
  ASSERT_OK(fs.Remove("/f"));
  EXPECT_EQ(fs.DurableContent("/f"), std::nullopt) << "it is on its way out";
}

}  // namespace
}  // namespace ballast::testing
