// SPDX-License-Identifier: Apache-2.0
// A group of one voter: what an embedded cluster runs on. Groups of more are in tests/sim.
#include "common/raft/raft_log.h"

#include <unistd.h>

#include <filesystem>
#include <functional>
#include <memory>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/synchronization/notification.h"
#include "common/base/log.h"
#include "common/raft/loopback_transport.h"
#include "gtest/gtest.h"
#include "tests/support/mem_file_system.h"
#include "tests/support/set_machine.h"
#include "tests/support/sim_scheduler.h"
#include "tests/support/status_matchers.h"

namespace ballast {
namespace {

using ::ballast::testing::HasReason;
using ::ballast::testing::MemFileSystem;
using ::ballast::testing::SetMachine;
using ::ballast::testing::SimScheduler;
using ::ballast::testing::StatusIs;

using Role = ReplicatedLog::Role;

RaftLogOptions LoneOptions() {
  RaftLogOptions options;
  options.cluster_id = "0a0a0a0a-0000-4000-8000-000000000001";
  options.group = GroupId(1);
  options.self = NodeId(1);
  options.voters = {NodeId(1)};
  options.folder = "/log";
  options.seed = 42;
  options.segment_bytes = 4096;
  return options;
}

// One incarnation of a process with a lone voter.
class Member {
 public:
  Member(MemFileSystem& fs, uint64_t seed, RaftLogOptions options = LoneOptions())
      : sim_(seed), owner_(sim_.MakeExecutor()), disk_(sim_.MakeExecutor(absl::Milliseconds(1))) {
    options.seed += seed;
    options.on_failure = [this](const absl::Status& status) { failure = status; };
    auto opened = RaftLog::Open(std::move(options), sim_, *owner_, *disk_, fs, transport_, machine);
    opening = opened.status();
    if (opened.ok()) {
      log = *std::move(opened);
      Run([this] { return log->state().role == Role::kLeader; });
    }
  }

  template <typename Done>
  bool Run(Done done) {
    return sim_.RunUntilTrue([&] { return done() || !failure.ok(); }, absl::Seconds(10));
  }

  // Proposes all ids in one turn; returns the statuses in order.
  std::vector<absl::Status> Propose(const std::vector<uint64_t>& ids, size_t padding = 0) {
    auto answers = std::make_shared<std::vector<std::optional<absl::Status>>>(ids.size());
    auto left = std::make_shared<size_t>(ids.size());
    for (size_t i = 0; i < ids.size(); ++i) {
      log->Propose(SetMachine::Add(ids[i], padding),
                   [answers, left, i](absl::StatusOr<ReplicatedLog::Applied> applied) {
                     (*answers)[i] = applied.status();
                     --*left;
                   });
    }
    Run([left] { return *left == 0; });
    sim_.RunFor(absl::Milliseconds(1));
    std::vector<absl::Status> statuses;
    for (const auto& answer : *answers) {
      statuses.push_back(answer.value_or(absl::UnknownError("no answer")));
    }
    return statuses;
  }

  absl::Status TakeSnapshot() {
    std::optional<absl::Status> answer;
    log->TakeSnapshot([&](absl::Status status) { answer = status; });
    Run([&] { return answer.has_value(); });
    sim_.RunFor(absl::Milliseconds(20));
    return answer.value_or(absl::UnknownError("no answer"));
  }

  SimScheduler& sim() { return sim_; }

  SetMachine machine;
  absl::Status opening;
  absl::Status failure;

 private:
  SimScheduler sim_;
  std::unique_ptr<Executor> owner_;
  std::unique_ptr<Executor> disk_;
  LoopbackTransport transport_;

 public:
  std::unique_ptr<RaftLog> log;  // last: destroyed before the executors
};

class RaftLogTest : public ::testing::Test {
 protected:
  RaftLogTest() { SetLogLevel(LogLevel::kError); }
  void Format() { ASSERT_OK(RaftLog::Format(fs_, LoneOptions())); }
  MemFileSystem fs_;
};

TEST_F(RaftLogTest, SaysOnWhichCoreItRuns) {
#ifdef BALLAST_RAFT_ASSERTS
  RecordProperty("core", "with assertions");
#else
  RecordProperty("core", "packaged, without assertions");
#endif
}

TEST_F(RaftLogTest, NeedsAFormattedFolder) {
  ASSERT_OK(fs_.CreateDir("/log"));
  EXPECT_THAT(Member(fs_, 1).opening, StatusIs(absl::StatusCode::kNotFound));
  Format();
  EXPECT_THAT(RaftLog::Format(fs_, LoneOptions()), StatusIs(absl::StatusCode::kAlreadyExists));
  EXPECT_OK(Member(fs_, 1).opening);
}

TEST_F(RaftLogTest, RefusesImpossibleOptions) {
  RaftLogOptions two = LoneOptions();
  two.voters = {NodeId(1), NodeId(2)};
  EXPECT_THAT(RaftLog::Format(fs_, two), StatusIs(absl::StatusCode::kInvalidArgument));
  RaftLogOptions stranger = LoneOptions();
  stranger.self = NodeId(9);
  EXPECT_THAT(RaftLog::Format(fs_, stranger), StatusIs(absl::StatusCode::kInvalidArgument));
  RaftLogOptions hasty = LoneOptions();
  hasty.heartbeat_interval = hasty.election_timeout;
  EXPECT_THAT(RaftLog::Format(fs_, hasty), StatusIs(absl::StatusCode::kInvalidArgument));
}

TEST_F(RaftLogTest, RefusesAnotherClustersOrGroupsFolder) {
  Format();
  RaftLogOptions other = LoneOptions();
  other.cluster_id = "other";
  EXPECT_THAT(Member(fs_, 1, other).opening, HasReason(v1::REASON_WRONG_CLUSTER));
  RaftLogOptions grown = LoneOptions();
  grown.voters = {NodeId(1), NodeId(2), NodeId(3)};
  EXPECT_THAT(Member(fs_, 1, grown).opening, HasReason(v1::REASON_WRONG_CLUSTER));
  EXPECT_OK(Member(fs_, 1).opening);
}

TEST_F(RaftLogTest, ALoneVoterLeadsWithoutWaitingForATimer) {
  Format();
  Member member(fs_, 1);
  EXPECT_EQ(member.log->state().role, Role::kLeader);
  EXPECT_EQ(member.log->state().leader, NodeId(1));
  const absl::Duration before = member.sim().SteadyNow().SinceOrigin();
  EXPECT_LT(before, absl::Milliseconds(5));
  EXPECT_THAT(member.Propose({1}), ::testing::ElementsAre(testing::IsOk()));
  EXPECT_LT(member.sim().SteadyNow().SinceOrigin() - before, absl::Milliseconds(4));
  EXPECT_TRUE(member.machine.Has(1));
}

TEST_F(RaftLogTest, ProposalsOfOneTurnShareOneSync) {
  Format();
  Member member(fs_, 1);
  const uint64_t before = member.log->state().wal_syncs;
  std::vector<uint64_t> ids;
  for (uint64_t i = 1; i <= 64; ++i) {
    ids.push_back(i);
  }
  for (const absl::Status& status : member.Propose(ids)) {
    EXPECT_OK(status);
  }
  EXPECT_EQ(member.log->state().wal_syncs, before + 1);
}

TEST_F(RaftLogTest, ProposalsDuringAWriteShareTheNext) {
  Format();
  Member member(fs_, 1);
  const uint64_t before = member.log->state().wal_syncs;
  size_t answered = 0;
  for (uint64_t i = 1; i <= 50; ++i) {
    member.log->Propose(SetMachine::Add(i), [&](auto applied) {
      EXPECT_OK(applied);
      ++answered;
    });
    member.sim().RunFor(absl::Microseconds(10));  // the disk answers within 0..1 ms
  }
  ASSERT_TRUE(member.Run([&] { return answered == 50; }));
  EXPECT_LT(member.log->state().wal_syncs - before, 12u);
}

TEST_F(RaftLogTest, ResultsComeInOrderFromTheMachine) {
  Format();
  Member member(fs_, 1);
  std::vector<std::string> results;
  uint64_t last_index = 0;
  for (uint64_t i = 1; i <= 20; ++i) {
    member.log->Propose(SetMachine::Add(i), [&](auto applied) {
      ASSERT_OK(applied);
      EXPECT_GT(applied->index.value(), last_index);
      last_index = applied->index.value();
      results.push_back(applied->result);
    });
  }
  EXPECT_TRUE(results.empty()) << "never inside the call";
  ASSERT_TRUE(member.Run([&] { return results.size() == 20; }));
  EXPECT_EQ(results[0], "added 1");
  EXPECT_EQ(results[19], "added 20");
}

TEST_F(RaftLogTest, RefusesWhatIsTooLongOrTooMuch) {
  Format();
  RaftLogOptions options = LoneOptions();
  options.proposals_max = 3;
  options.segment_bytes = kLogSegmentBytes;
  Member member(fs_, 1, options);
  std::optional<absl::Status> long_one;
  member.log->Propose(std::string(kLogEntryBytesMax + 1, 'x'),
                      [&](auto applied) { long_one = applied.status(); });
  ASSERT_TRUE(member.Run([&] { return long_one.has_value(); }));
  EXPECT_THAT(*long_one, StatusIs(absl::StatusCode::kInvalidArgument));
  const auto statuses = member.Propose({1, 2, 3, 4});
  EXPECT_OK(statuses[2]);
  EXPECT_THAT(statuses[3], HasReason(v1::REASON_OVERLOADED));
  EXPECT_OK(member.Propose({5}, kLogEntryBytesMax - 10)[0]) << "room again, and the longest";
}

TEST_F(RaftLogTest, ReadsSeeEverythingAcknowledged) {
  Format();
  Member member(fs_, 1);
  const uint64_t syncs = member.log->state().wal_syncs;
  ASSERT_OK(member.Propose({1})[0]);
  int reads = 0;
  for (int i = 0; i < 10; ++i) {
    member.log->ReadBarrier([&](absl::Status status) {
      EXPECT_OK(status);
      EXPECT_TRUE(member.machine.Has(1));
      ++reads;
    });
  }
  EXPECT_EQ(reads, 0) << "never inside the call";
  ASSERT_TRUE(member.Run([&] { return reads == 10; }));
  EXPECT_EQ(member.log->state().wal_syncs, syncs + 1) << "reads need no disk";
}

TEST_F(RaftLogTest, KeepsEverythingOverRestartsWithAndWithoutSnapshots) {
  Format();
  std::string fingerprint;
  uint64_t term = 0;
  for (uint64_t round = 0; round < 6; ++round) {
    SCOPED_TRACE(absl::StrCat("round ", round));
    fs_.Crash(nullptr);
    Member member(fs_, round);
    ASSERT_OK(member.opening);
    EXPECT_EQ(member.machine.Fingerprint(), round == 0 ? SetMachine().Fingerprint() : fingerprint);
    EXPECT_GT(member.log->state().term.value(), term) << "a lone voter never reuses a term";
    term = member.log->state().term.value();
    for (uint64_t i = 1; i <= 30; ++i) {
      ASSERT_OK(member.Propose({round * 100 + i}, 100)[0]);
    }
    if (round % 2 == 1) {
      ASSERT_OK(member.TakeSnapshot());
      ASSERT_OK(member.Propose({round * 100 + 99})[0]);
    }
    fingerprint = member.machine.Fingerprint();
  }
}

TEST_F(RaftLogTest, SnapshotsComeByThemselvesAndBoundTheDisk) {
  Format();
  RaftLogOptions options = LoneOptions();
  options.snapshot_log_bytes = 20000;
  Member member(fs_, 1, options);
  for (uint64_t i = 1; i <= 400; ++i) {
    ASSERT_OK(member.Propose({i}, 500)[0]);
  }
  member.sim().RunFor(absl::Milliseconds(50));
  size_t segments = 0;
  size_t manifests = 0;
  for (const std::string& file : fs_.Files()) {
    segments += absl::StrContains(file, "/wal/") ? 1 : 0;
    manifests += absl::StrContains(file, "manifest-") ? 1 : 0;
  }
  EXPECT_EQ(manifests, 1u);
  EXPECT_LT(segments, 20u) << "200 kB were written in segments of 4 kB";
}

TEST_F(RaftLogTest, ObserverHearsOfLeadershipOnceAllIsApplied) {
  Format();
  {
    Member member(fs_, 1);
    for (uint64_t i = 1; i <= 50; ++i) {
      ASSERT_OK(member.Propose({i})[0]);
    }
  }
  Member member(fs_, 2);
  std::vector<ReplicatedLog::State> heard;
  member.log->SetRoleObserver([&](const ReplicatedLog::State& state) { heard.push_back(state); });
  EXPECT_TRUE(heard.empty());
  ASSERT_TRUE(member.Run([&] { return !heard.empty(); }));
  EXPECT_EQ(heard.back().role, Role::kLeader);
  EXPECT_EQ(heard.back().applied, heard.back().committed);
  EXPECT_EQ(member.machine.size(), 50u);
}

TEST_F(RaftLogTest, ADiskErrorEndsItAndLeavesOutcomesUnknown) {
  Format();
  Member member(fs_, 1);
  ASSERT_OK(member.Propose({1})[0]);
  fs_.FailSyncs("/wal/");
  std::optional<absl::Status> first;
  member.log->Propose(SetMachine::Add(2), [&](auto applied) { first = applied.status(); });
  member.sim().RunFor(absl::Milliseconds(20));
  ASSERT_TRUE(first.has_value());
  EXPECT_THAT(*first, HasReason(v1::REASON_OUTCOME_UNKNOWN));
  EXPECT_THAT(member.failure, StatusIs(absl::StatusCode::kDataLoss));
  EXPECT_NE(member.log->state().role, Role::kLeader);
  std::optional<absl::Status> second;
  std::optional<absl::Status> read;
  member.log->Propose(SetMachine::Add(3), [&](auto applied) { second = applied.status(); });
  member.log->ReadBarrier([&](absl::Status status) { read = status; });
  member.sim().RunFor(absl::Milliseconds(20));
  EXPECT_THAT(*second, HasReason(v1::REASON_NOT_LEADER));
  EXPECT_THAT(*read, HasReason(v1::REASON_NOT_LEADER));
}

TEST_F(RaftLogTest, CallbacksAreDestroyedUnrunWithTheLog) {
  Format();
  Member member(fs_, 1);
  auto token = std::make_shared<int>(0);
  member.log->Propose(SetMachine::Add(1), [token](auto) { ++*token; });
  member.log->ReadBarrier([token](absl::Status) { ++*token; });
  member.log.reset();
  member.sim().RunFor(absl::Milliseconds(20));
  EXPECT_EQ(*token, 0);
  EXPECT_EQ(token.use_count(), 1);
}

TEST_F(RaftLogTest, ADamagedNewestSnapshotIsRefusedOnceTheLogIsTrimmed) {
  Format();
  {
    Member member(fs_, 1);
    for (uint64_t i = 1; i <= 30; ++i) {
      ASSERT_OK(member.Propose({i})[0]);
    }
    ASSERT_OK(member.TakeSnapshot());
  }
  for (const std::string& file : fs_.Files()) {
    if (absl::StrContains(file, "image-") && absl::StrContains(file, "shard-1")) {
      ASSERT_OK(fs_.FlipBit(file, 3, 2));
    }
  }
  Member member(fs_, 2);
  EXPECT_THAT(member.opening, StatusIs(absl::StatusCode::kDataLoss));
  EXPECT_TRUE(absl::StrContains(member.opening.message(), "shard-1")) << member.opening;
}

// Real threads and a real disk: clients that wait for their results share syncs.
TEST_F(RaftLogTest, ManyClientsShareSyncsOfARealDisk) {
  constexpr uint64_t kClients = 64;
  constexpr uint64_t kProposals = 3200;
  RaftLogOptions options = LoneOptions();
  options.folder = absl::StrCat(::testing::TempDir(), "/raft_log_test-", getpid());
  options.segment_bytes = MiB(1);
  std::filesystem::remove_all(options.folder);
  ASSERT_OK(RaftLog::Format(PosixFileSystem(), options));
  auto owner = MakeThreadExecutor("owner");
  auto disk = MakeThreadExecutor("disk");
  LoopbackTransport transport;
  SetMachine machine;
  absl::Notification leads;
  absl::Notification all_answered;
  std::unique_ptr<RaftLog> log;
  uint64_t proposed = 0;
  uint64_t answered = 0;
  uint64_t syncs = 0;
  std::function<void()> next = [&] {
    if (proposed < kProposals) {
      log->Propose(SetMachine::Add(++proposed, 100), [&](auto applied) {
        EXPECT_OK(applied);
        if (++answered == kProposals) {
          syncs = log->state().wal_syncs;
          all_answered.Notify();
        }
        next();
      });
    }
  };
  auto opened =
      RaftLog::Open(options, RealClock(), *owner, *disk, PosixFileSystem(), transport, machine);
  ASSERT_OK(opened);
  owner->Post([&] {
    log = *std::move(opened);
    log->SetRoleObserver([&](const ReplicatedLog::State& state) {
      if (state.role == Role::kLeader && !leads.HasBeenNotified()) {
        leads.Notify();
      }
    });
  });
  ASSERT_TRUE(leads.WaitForNotificationWithTimeout(absl::Seconds(20)));
  owner->Post([&] {
    for (uint64_t i = 0; i < kClients; ++i) {
      next();
    }
  });
  ASSERT_TRUE(all_answered.WaitForNotificationWithTimeout(absl::Seconds(60)));
  EXPECT_LT(syncs, kProposals / 8);
  EXPECT_EQ(machine.size(), kProposals);
  absl::Notification closed;
  owner->Post([&] {
    log.reset();
    closed.Notify();
  });
  closed.WaitForNotification();
  disk.reset();
  owner.reset();
  std::filesystem::remove_all(options.folder);
}

// The whole life of a lone voter with a power loss at its n-th disk operation, for every n:
// formatting, starting, writing, snapshots, trimming. Whatever was acknowledged is there
// afterwards, nothing twice (SetMachine checks), and the log works on.
TEST_F(RaftLogTest, ACrashAtAnyDiskOperationLosesNothingAcknowledged) {
  RaftLogOptions options = LoneOptions();
  options.snapshot_log_bytes = 2500;
  options.segment_bytes = 2048;
  bool whole_run = false;
  uint64_t n = 0;
  while (!whole_run) {
    ++n;
    SCOPED_TRACE(absl::StrCat("crash at operation ", n));
    MemFileSystem fs;
    Rng rng(n);
    std::set<uint64_t> acknowledged;
    fs.FailAfter(n);
    whole_run = RaftLog::Format(fs, options).ok();
    if (whole_run) {
      Member member(fs, n, options);
      whole_run = member.opening.ok();
      for (uint64_t i = 1; whole_run && i <= 40; i += 2) {
        const std::vector<absl::Status> statuses = member.Propose({i, i + 1}, 60);
        for (size_t j = 0; j < 2; ++j) {
          if (statuses[j].ok()) {
            acknowledged.insert(i + j);
          }
        }
        whole_run = member.failure.ok() && statuses[0].ok() && statuses[1].ok();
      }
      if (whole_run) {
        ASSERT_EQ(acknowledged.size(), 40u);
        whole_run = !fs.failed();
      }
    }
    fs.Crash(&rng);
    const absl::Status formatted = RaftLog::Format(fs, options);
    ASSERT_TRUE(formatted.ok() || absl::IsAlreadyExists(formatted)) << formatted;
    ASSERT_TRUE(acknowledged.empty() || absl::IsAlreadyExists(formatted));
    for (uint64_t again = 1; again <= 2; ++again) {
      Member member(fs, n + again, options);
      ASSERT_OK(member.opening);
      for (const uint64_t id : acknowledged) {
        ASSERT_TRUE(member.machine.Has(id)) << "acknowledged command " << id << " is lost";
      }
      ASSERT_OK(member.Propose({1000 * again})[0]);
      acknowledged.insert(1000 * again);
      fs.Crash(&rng);
    }
  }
  EXPECT_GT(n, 100u) << "the run was meant to have many operations";
}

}  // namespace
}  // namespace ballast
