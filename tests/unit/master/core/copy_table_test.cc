// SPDX-License-Identifier: Apache-2.0
// Every row of "A copy" in docs/protocols/moves.md.
#include "services/master/core/copy_table.h"

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "common/types/error.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/support/status_matchers.h"
#include "tests/unit/master/core/fake_copy_view.h"

namespace ballast::master {
namespace {

using ::ballast::testing::HasReason;
using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::SizeIs;

constexpr ChunkHandle kChunk(ShardId(0), 1);
constexpr ChunkHandle kOther(ShardId(0), 2);
constexpr uint32_t kTarget = 9;

class CopyTableTest : public ::testing::Test {
 protected:
  CopyTableTest() {
    view_.Chunk(kChunk, 3);
    for (uint32_t s : {1, 2, 3}) view_.Put(kChunk, s);
    view_.Server(kTarget);
  }

  SteadyTime Now() const { return SteadyTime::FromOrigin(absl::Seconds(now_)); }
  CopyId Offer(ChunkHandle handle, uint32_t target, uint32_t source = 0) {
    const auto id = table_->Offer({handle, ServerIndex(target), ServerIndex(source),
                                   source == 0 ? CopyPurpose::kRepair : CopyPurpose::kRequested},
                                  Now());
    EXPECT_OK(id);
    return id.value_or(0);
  }
  // A step; what it orders is under way, as with a real ledger.
  CopyEffects Step() {
    CopyEffects effects;
    table_->Step(view_, Now(), effects);
    for (const auto& order : effects.replicates) {
      view_.under_way.insert({order.task.target, OrderKind::kReplicate, order.task.handle});
      table_->OnOrdered(order.copy, ++command_);
    }
    return effects;
  }
  void Result(const absl::Status& status, uint64_t bytes = 1000, uint32_t server = kTarget) {
    view_.under_way.clear();
    table_->OnResult(ServerIndex(server), command_, status, bytes);
  }
  // A move 1 -> target whose target has done its part and reported it.
  CopyEffects Reported() {
    Offer(kChunk, kTarget, 1);
    EXPECT_THAT(Step().replicates, SizeIs(1));
    Result(absl::OkStatus());
    view_.Put(kChunk, kTarget).logged = false;
    return Step();
  }
  absl::Status OnlyOutcome(const CopyEffects& effects) {
    EXPECT_THAT(effects.finished, SizeIs(1));
    return effects.finished.size() == 1 ? effects.finished[0].outcome.status : absl::OkStatus();
  }
  absl::Status Refusal(uint32_t target = kTarget, uint32_t source = 1) {
    Offer(kChunk, target, source);
    return OnlyOutcome(Step());
  }

  FakeCopyView view_;
  std::unique_ptr<CopyTable> table_ = std::make_unique<CopyTable>();
  double now_ = 1;
  uint64_t command_ = 0;
};

TEST_F(CopyTableTest, AMoveIsOrderedReportedLoggedDone) {
  const CopyId id = Offer(kChunk, kTarget, 1);
  CopyEffects effects = Step();
  ASSERT_THAT(effects.replicates, SizeIs(1));
  EXPECT_EQ(effects.replicates[0].copy, id);
  EXPECT_TRUE(effects.replicates[0].is_first);
  EXPECT_THAT(effects.replicates[0].sources,
              ElementsAre(ServerIndex(1), ServerIndex(2), ServerIndex(3)));
  EXPECT_TRUE(table_->HasBegun(id));
  EXPECT_THAT(Step().replicates, IsEmpty()) << "it is under way";
  Result(absl::OkStatus(), 1000);
  EXPECT_THAT(Step().logs, IsEmpty()) << "not reported yet";
  view_.Put(kChunk, kTarget);
  effects = Step();
  ASSERT_THAT(effects.logs, SizeIs(1));
  EXPECT_EQ(effects.logs[0].add, ServerIndex(kTarget));
  EXPECT_EQ(effects.logs[0].trim, ServerIndex(1));
  EXPECT_EQ(effects.logs[0].drop, ServerIndex(0));
  EXPECT_EQ(effects.logs[0].keep, 3u);
  EXPECT_THAT(Step().logs, IsEmpty()) << "proposed once";
  table_->OnLogged(id, absl::OkStatus());
  effects = Step();
  ASSERT_THAT(effects.finished, SizeIs(1));
  EXPECT_EQ(effects.finished[0].outcome.status, absl::OkStatus());
  EXPECT_EQ(effects.finished[0].outcome.bytes_copied, 1000u);
  EXPECT_TRUE(table_->empty());
}

TEST_F(CopyTableTest, ACopyWithoutASourceTrimsNothing) {
  Offer(kChunk, kTarget);
  Step();
  Result(absl::OkStatus());
  view_.Put(kChunk, kTarget);
  const CopyEffects effects = Step();
  ASSERT_THAT(effects.logs, SizeIs(1));
  EXPECT_EQ(effects.logs[0].trim, ServerIndex(0));
}

TEST_F(CopyTableTest, EveryRefusalOfAStart) {
  const FakeCopyView good = view_;
  struct Row {
    const char* what;
    std::function<void(FakeCopyView&)> change;
    v1::Reason reason;
  };
  const ServerIndex target(kTarget);
  const std::vector<Row> rows = {
      {"no chunk", [](auto& v) { v.chunks.erase(kChunk); }, v1::REASON_CHUNK_NOT_FOUND},
      {"target unknown", [=](auto& v) { v.servers.erase(target); }, v1::REASON_UNKNOWN_SERVER},
      {"target dead", [](auto& v) { v.Server(kTarget).liveness = LivenessState::kDead; },
       v1::REASON_UNKNOWN_SERVER},
      {"target suspect", [](auto& v) { v.Server(kTarget).liveness = LivenessState::kSuspect; },
       v1::REASON_UNKNOWN_SERVER},
      {"target takes none", [](auto& v) { v.Server(kTarget).takes_replicas = false; },
       v1::REASON_NO_SPACE},
      {"target full", [](auto& v) { v.Server(kTarget).free_bytes = 999; }, v1::REASON_NO_SPACE},
      {"target holds it", [](auto& v) { v.Put(kChunk, kTarget); }, v1::REASON_REPLICA_EXISTS},
      {"target holds other bytes of it",
       [=](auto& v) {
         v.specials.insert({kChunk, target});
       },
       v1::REASON_REPLICA_EXISTS},
      {"target holds it corrupt",
       [](auto& v) {
         auto& replica = v.Put(kChunk, kTarget);
         replica.counts = replica.logged = false;
         replica.corrupt = true;
       },
       v1::REASON_REPLICA_EXISTS},
      {"target was just written",
       [](auto& v) {
         v.Put(kChunk, kTarget).counts = false;
         v.Put(kChunk, kTarget).expected = true;
       },
       v1::REASON_REPLICA_EXISTS},
      {"target trims it",
       [](auto& v) {
         v.Put(kChunk, kTarget);
         v.Trim(kChunk, kTarget);
       },
       v1::REASON_REPLICA_EXISTS},
      {"target deletes it",
       [=](auto& v) {
         v.under_way.insert({target, OrderKind::kDelete, kChunk});
       },
       v1::REASON_REPLICA_EXISTS},
      {"target receives it",
       [=](auto& v) {
         v.under_way.insert({target, OrderKind::kReplicate, kChunk});
       },
       v1::REASON_REPLICA_EXISTS},
      {"source has none",
       [](auto& v) {
         v.replicas.erase({kChunk, ServerIndex(1)});
       },
       v1::REASON_REPLICA_NOT_FOUND},
      {"source dead", [](auto& v) { v.Server(1).liveness = LivenessState::kDead; },
       v1::REASON_REPLICA_NOT_FOUND},
      {"source trimmed", [](auto& v) { v.Trim(kChunk, 1); }, v1::REASON_REPLICA_NOT_FOUND},
      {"too many holders", [](auto& v) { v.full.insert(kChunk); }, v1::REASON_COPY_FAILED},
  };
  for (const Row& row : rows) {
    view_ = good;
    row.change(view_);
    EXPECT_THAT(Refusal(), HasReason(row.reason)) << row.what;
  }
  view_ = good;
  EXPECT_THAT(Refusal(1, 1), HasReason(v1::REASON_REPLICA_EXISTS)) << "onto itself";
}

TEST_F(CopyTableTest, WhatIsNotHeardYetIsWaitedForButNotForEver) {
  const std::vector<std::function<void(FakeCopyView&, bool)>> unheard = {
      [](auto& v, bool on) { v.settled = !on; },
      [](auto& v, bool on) {
        if (on) v.incomplete.insert(ServerIndex(kTarget));
        if (!on) v.incomplete.clear();
      },
      [](auto& v, bool on) { v.Server(kTarget).loading = on; },
      [](auto& v, bool on) {
        v.Server(kTarget).liveness = on ? LivenessState::kUnknown : LivenessState::kAlive;
      }};
  for (const auto& set : unheard) {
    set(view_, true);
    Offer(kChunk, kTarget, 1);
    CopyEffects effects = Step();
    EXPECT_THAT(effects.finished, IsEmpty());
    EXPECT_THAT(effects.replicates, IsEmpty());
    now_ += 61;
    EXPECT_THAT(OnlyOutcome(Step()), HasReason(v1::REASON_NOT_READY));
    Offer(kChunk, kTarget, 1);
    Step();
    set(view_, false);
    EXPECT_THAT(Step().replicates, SizeIs(1));
    Result(absl::InternalError("over"));
    Step();
  }
}

TEST_F(CopyTableTest, AnOrderedCopyFailsWithItsTarget) {
  const FakeCopyView good = view_;
  const std::vector<std::pair<std::function<void()>, v1::Reason>> rows = {
      {[&] { view_.Server(kTarget).liveness = LivenessState::kDead; }, v1::REASON_COPY_FAILED},
      {[&] { view_.servers.erase(ServerIndex(kTarget)); }, v1::REASON_COPY_FAILED},
      {[&] { view_.Server(kTarget).holder->boot_epoch = 2; }, v1::REASON_COPY_FAILED},
      {[&] {
         for (uint32_t s : {1, 2, 3}) view_.Server(s).liveness = LivenessState::kDead;
       },
       v1::REASON_COPY_FAILED},
      {[&] { view_.chunks.clear(); }, v1::REASON_CHUNK_NOT_FOUND},
      {[&] { Result(MakeError(v1::REASON_COPY_FAILED, "no source")); }, v1::REASON_COPY_FAILED},
      {[&] { Result(MakeError(v1::REASON_NO_SPACE, "full")); }, v1::REASON_NO_SPACE},
      {[&] { Result(MakeError(v1::REASON_CHUNK_EXISTS, "other")); }, v1::REASON_REPLICA_EXISTS},
      {[&] { Result(MakeError(v1::REASON_STALE_FENCE, "old")); }, v1::REASON_COPY_FAILED},
  };
  for (size_t i = 0; i < rows.size(); ++i) {
    view_ = good;
    Offer(kChunk, kTarget, 1);
    ASSERT_THAT(Step().replicates, SizeIs(1)) << i;
    rows[i].first();
    EXPECT_THAT(OnlyOutcome(Step()), HasReason(rows[i].second)) << i;
  }
}

TEST_F(CopyTableTest, ASuspectTargetAndALostSourceDoNotEndIt) {
  Offer(kChunk, kTarget, 1);
  Step();
  view_.Server(kTarget).liveness = LivenessState::kSuspect;
  view_.Server(1).liveness = LivenessState::kDead;
  EXPECT_THAT(Step().finished, IsEmpty());
}

TEST_F(CopyTableTest, AnOrderWithoutAnAnswerIsGivenAgainAndThenGivenUp) {
  Offer(kChunk, kTarget, 1);
  int orders = static_cast<int>(Step().replicates.size());
  CopyEffects effects;
  while (effects.finished.empty()) {
    ASSERT_LT(orders, 100);
    view_.under_way.clear();  // its patience is over
    effects = Step();
    for (const auto& order : effects.replicates) EXPECT_FALSE(order.is_first);
    orders += static_cast<int>(effects.replicates.size());
  }
  EXPECT_EQ(orders, CopyLimits().orders_max);
  EXPECT_THAT(OnlyOutcome(effects), HasReason(v1::REASON_COPY_FAILED));
}

TEST_F(CopyTableTest, ResultsOfEarlierOrdersCountAndOthersDoNot) {
  Offer(kChunk, kTarget, 1);
  Step();
  const uint64_t first = command_;
  view_.under_way.clear();
  Step();
  ASSERT_EQ(command_, first + 1);
  table_->OnResult(ServerIndex(1), first, absl::OkStatus(), 1000);
  table_->OnResult(ServerIndex(kTarget), 4711, absl::OkStatus(), 1000);
  view_.Put(kChunk, kTarget);
  EXPECT_THAT(Step().logs, IsEmpty());
  table_->OnResult(ServerIndex(kTarget), first, absl::OkStatus(), 1000);
  table_->OnResult(ServerIndex(kTarget), first, absl::InternalError("doubled"), 0);
  EXPECT_THAT(Step().logs, SizeIs(1));
  table_->OnResult(ServerIndex(kTarget), command_, absl::InternalError("late"), 0);
  EXPECT_THAT(Step().finished, IsEmpty());
}

TEST_F(CopyTableTest, AReplicaThatNeverShowsOrIsBadFailsTheCopy) {
  const auto done = [&] {
    Offer(kChunk, kTarget, 1);
    Step();
    Result(absl::OkStatus());
    EXPECT_THAT(Step().finished, IsEmpty());
  };
  done();
  now_ += 11;
  EXPECT_THAT(Step().finished, IsEmpty()) << "it was not heard since";
  view_.Server(kTarget).heartbeat_count += 2;
  view_.incomplete.insert(ServerIndex(kTarget));
  EXPECT_THAT(Step().finished, IsEmpty()) << "its list is to come";
  view_.incomplete.clear();
  EXPECT_THAT(OnlyOutcome(Step()), HasReason(v1::REASON_COPY_FAILED));

  done();
  auto& bad = view_.Put(kChunk, kTarget);
  bad.counts = bad.logged = false;
  bad.corrupt = true;
  EXPECT_THAT(OnlyOutcome(Step()), HasReason(v1::REASON_COPY_FAILED));
  view_.replicas.erase({kChunk, ServerIndex(kTarget)});

  done();
  view_.Server(kTarget).liveness = LivenessState::kDead;
  EXPECT_THAT(OnlyOutcome(Step()), HasReason(v1::REASON_COPY_FAILED));
}

TEST_F(CopyTableTest, OthersAreVerifiedBeforeTheTrim) {
  view_.Put(kChunk, 2).verified = false;
  CopyEffects effects = Reported();
  EXPECT_THAT(effects.logs, IsEmpty());
  ASSERT_THAT(effects.verifies, SizeIs(1));
  EXPECT_EQ(effects.verifies[0].server, ServerIndex(2));
  view_.replicas.at({kChunk, ServerIndex(kTarget)}).verified = false;
  effects = Step();
  ASSERT_THAT(effects.verifies, SizeIs(1));
  EXPECT_EQ(effects.verifies[0].server, ServerIndex(kTarget));
  view_.Put(kChunk, 2);
  view_.Put(kChunk, kTarget);
  view_.incomplete.insert(ServerIndex(3));
  EXPECT_THAT(Step().logs, IsEmpty()) << "3 may have lost it: its list is being sent anew";
  view_.incomplete.clear();
  EXPECT_THAT(Step().logs, SizeIs(1));
}

TEST_F(CopyTableTest, ALostReplicaKeepsTheSources) {
  Offer(kChunk, kTarget, 1);
  Step();
  Result(absl::OkStatus());
  view_.Put(kChunk, kTarget);
  view_.Server(3).liveness = LivenessState::kDead;
  EXPECT_THAT(OnlyOutcome(Step()), HasReason(v1::REASON_COPY_FAILED)) << "3 counted, 2 are left";
  view_.replicas.erase({kChunk, ServerIndex(kTarget)});

  // With 3 dead before, as many as there were is enough.
  EXPECT_THAT(Reported().logs, SizeIs(1));
}

TEST_F(CopyTableTest, WithoutTheSourcesReplicaThereIsNothingToMove) {
  Offer(kChunk, kTarget, 1);
  Step();
  Result(absl::OkStatus());
  view_.Put(kChunk, kTarget);
  view_.Server(1).liveness = LivenessState::kDead;
  EXPECT_THAT(OnlyOutcome(Step()), HasReason(v1::REASON_COPY_FAILED));
}

TEST_F(CopyTableTest, WaitingForVerificationEnds) {
  view_.Put(kChunk, 2).verified = false;
  EXPECT_THAT(Reported().finished, IsEmpty());
  now_ += 601;
  EXPECT_THAT(OnlyOutcome(Step()), HasReason(v1::REASON_COPY_FAILED));
}

TEST_F(CopyTableTest, AFullRecordGivesUpTheSourcesLocation) {
  view_.Chunk(kChunk, 5);
  for (uint32_t s : {4, 5}) view_.Put(kChunk, s);
  const CopyEffects effects = Reported();
  ASSERT_THAT(effects.logs, SizeIs(1));
  EXPECT_EQ(effects.logs[0].drop, ServerIndex(1));
}

TEST_F(CopyTableTest, ALogThatIsOverloadedIsAskedAgainAndOtherFailuresAreTold) {
  CopyEffects effects = Reported();
  ASSERT_THAT(effects.logs, SizeIs(1));
  const CopyId id = effects.logs[0].copy;
  table_->OnLogged(id, MakeError(v1::REASON_OVERLOADED, "full"));
  Step();
  ASSERT_THAT(Step().logs, SizeIs(1));
  table_->OnLogged(id, MakeError(v1::REASON_CHUNK_NOT_FOUND, "gone"));
  effects = Step();
  EXPECT_THAT(OnlyOutcome(effects), HasReason(v1::REASON_CHUNK_NOT_FOUND));
  EXPECT_EQ(effects.finished[0].outcome.bytes_copied, 1000u) << "copied they were";
}

TEST_F(CopyTableTest, TasksOfOneChunkRunOneAfterAnother) {
  view_.Server(8);
  Offer(kChunk, kTarget, 1);
  const CopyId second = Offer(kChunk, 8, 1);
  ASSERT_THAT(Step().replicates, SizeIs(1));
  EXPECT_FALSE(table_->HasBegun(second));
  Result(absl::OkStatus());
  view_.Put(kChunk, kTarget);
  const CopyEffects effects = Step();
  ASSERT_THAT(effects.logs, SizeIs(1));
  view_.Trim(kChunk, 1);
  table_->OnLogged(effects.logs[0].copy, absl::OkStatus());
  // The first one is told, and the second one finds that its source is trimmed.
  std::map<CopyId, absl::Status> outcomes;
  for (int i = 0; i < 2; ++i) {
    for (const auto& finished : Step().finished) {
      outcomes[finished.copy] = finished.outcome.status;
    }
  }
  EXPECT_THAT(outcomes, SizeIs(2));
  EXPECT_THAT(outcomes[second], HasReason(v1::REASON_REPLICA_NOT_FOUND));
}

TEST_F(CopyTableTest, LimitsHoldPerTargetPerSourceAndInTotal) {
  table_ = std::make_unique<CopyTable>(
      CopyLimits{.waiting_max = 6, .under_way_max = 4, .per_target_max = 2, .per_source_max = 3});
  for (uint64_t s = 10; s < 16; ++s) {
    view_.Chunk(ChunkHandle(ShardId(0), s), 1);
    view_.Put(ChunkHandle(ShardId(0), s), 1);
    Offer(ChunkHandle(ShardId(0), s), kTarget, 1);
  }
  EXPECT_THAT(table_->Offer({kChunk, ServerIndex(kTarget), ServerIndex(1)}, Now()).status(),
              HasReason(v1::REASON_OVERLOADED));
  EXPECT_THAT(Step().replicates, SizeIs(2)) << "per target";
  for (uint32_t target : {20, 21}) {
    view_.Server(target);
    const ChunkHandle handle(ShardId(0), target);
    view_.Chunk(handle, 1);
    view_.Put(handle, 1);
    Offer(handle, target, 1);
  }
  EXPECT_THAT(Step().replicates, SizeIs(1)) << "per source";
  view_.Server(22);
  Offer(kChunk, 22, 2);
  EXPECT_THAT(Step().replicates, SizeIs(1)) << "another source";
  EXPECT_EQ(table_->under_way_count(), 4u);
}

TEST_F(CopyTableTest, WhatOneStepGivesAwayIsNotGivenTwice) {
  view_.Chunk(kOther, 1);
  view_.Put(kOther, 2);
  view_.Server(kTarget).free_bytes = 1500;
  Offer(kChunk, kTarget, 1);
  Offer(kOther, kTarget, 2);
  const CopyEffects effects = Step();
  EXPECT_THAT(effects.replicates, SizeIs(1));
  EXPECT_THAT(OnlyOutcome(effects), HasReason(v1::REASON_NO_SPACE));
}

}  // namespace
}  // namespace ballast::master
