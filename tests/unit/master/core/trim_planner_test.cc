// SPDX-License-Identifier: Apache-2.0
// Every row of "A trim" in docs/protocols/moves.md.
#include "services/master/core/trim_planner.h"

#include <algorithm>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/unit/master/core/fake_catalog.h"
#include "tests/unit/master/core/fake_copy_view.h"

namespace ballast::master {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::SizeIs;

constexpr ChunkHandle kChunk(ShardId(0), 1);

class TrimPlannerTest : public ::testing::Test {
 protected:
  TrimPlannerTest() {
    view_.Chunk(kChunk, 3);
    for (uint32_t s : {1, 2, 3, 4}) view_.Put(kChunk, s);
    Trim(kChunk, 1, 3);
  }
  void Trim(ChunkHandle handle, uint32_t server, uint32_t keep) {
    catalog_.mutable_trims(handle.shard()).Add(handle.sequence(), ServerIndex(server), keep);
    view_.Trim(handle, server);
    planner_.Note(handle);
  }
  // What a step asks for, each once.
  std::vector<std::string> Steps(size_t examine_max = 100) {
    std::vector<std::string> steps;
    planner_.Step(view_, catalog_, examine_max, [&](const TrimStep& step) {
      static constexpr const char* kNames[] = {"delete", "verify", "keep", "revoke", "finish"};
      steps.push_back(absl::StrCat(kNames[static_cast<int>(step.kind)], " ", step.server.value()));
      EXPECT_EQ(step.length_bytes, step.kind == TrimStep::Kind::kDelete ? 1000u : 0u);
    });
    std::sort(steps.begin(), steps.end());
    steps.erase(std::unique(steps.begin(), steps.end()), steps.end());
    return steps;
  }

  FakeCopyView view_;
  FakeCatalog catalog_{2};
  TrimPlanner planner_;
};

TEST_F(TrimPlannerTest, DeletesWhileEnoughOthersAreFirm) {
  EXPECT_THAT(Steps(), ElementsAre("delete 1"));
  EXPECT_THAT(Steps(), ElementsAre("delete 1")) << "level-triggered";
}

TEST_F(TrimPlannerTest, ATrimOnARemovedServerIsFinishedAndOnAnUnknownOneNot) {
  view_.Server(1).registered = false;
  view_.incomplete.insert(ServerIndex(1));
  EXPECT_THAT(Steps(), IsEmpty()) << "the registry may not have come yet";
  view_.Server(1).removed = true;
  EXPECT_THAT(Steps(), ElementsAre("finish 1"));
}

TEST_F(TrimPlannerTest, ZeroToKeepIsTheWantedNumber) {
  catalog_.mutable_trims(ShardId(0)).Remove(1, ServerIndex(1));
  Trim(kChunk, 1, 0);
  EXPECT_THAT(Steps(), ElementsAre("delete 1"));
  view_.Server(4).liveness = LivenessState::kDead;
  EXPECT_THAT(Steps(), ElementsAre("keep 1"));
}

TEST_F(TrimPlannerTest, UnverifiedOthersAreVerifiedAndUncertainOnesWaitedFor) {
  view_.Put(kChunk, 3).verified = false;
  EXPECT_THAT(Steps(), ElementsAre("verify 3"));
  view_.Put(kChunk, 3);
  view_.incomplete.insert(ServerIndex(3));
  EXPECT_THAT(Steps(), IsEmpty()) << "its list is being sent anew";
  view_.incomplete.clear();
  view_.Put(kChunk, 3).counts = false;
  view_.Put(kChunk, 3).expected = true;
  view_.Put(kChunk, 3).counts = false;
  EXPECT_THAT(Steps(), IsEmpty()) << "it may be reported yet";
}

TEST_F(TrimPlannerTest, KeepsThenRevokesWhenNoMoreAreToCome) {
  view_.Server(4).liveness = LivenessState::kDead;
  view_.settled = false;
  EXPECT_THAT(Steps(), IsEmpty()) << "unknown is not lost";
  view_.settled = true;
  EXPECT_THAT(Steps(), ElementsAre("keep 1"));
  // What was lost comes back while Keep is under way: its answer may already be on its way.
  view_.under_way.insert({ServerIndex(1), OrderKind::kKeep, kChunk});
  view_.Server(4).liveness = LivenessState::kAlive;
  EXPECT_THAT(Steps(), IsEmpty());
  planner_.OnKept(ServerIndex(1), kChunk);
  view_.under_way.clear();
  EXPECT_THAT(Steps(), ElementsAre("revoke 1")) << "never again a delete";
  // Another trim of the chunk changes nothing about that.
  Trim(kChunk, 2, 1);
  EXPECT_THAT(Steps(), ElementsAre("delete 2", "revoke 1"));
}

TEST_F(TrimPlannerTest, ANewTrimAfterARevokedOneIsANewMatter) {
  planner_.OnKept(ServerIndex(1), kChunk);
  EXPECT_THAT(Steps(), ElementsAre("revoke 1"));
  catalog_.mutable_trims(ShardId(0)).Remove(1, ServerIndex(1));
  planner_.Note(kChunk);
  EXPECT_THAT(Steps(), IsEmpty());
  Trim(kChunk, 1, 3);
  EXPECT_THAT(Steps(), ElementsAre("delete 1"));
}

TEST_F(TrimPlannerTest, OtherTrimmedReplicasAreNoHelp) {
  Trim(kChunk, 2, 2);
  EXPECT_THAT(Steps(), ElementsAre("delete 2", "keep 1")) << "3 and 4 are enough for 2, not for 1";
}

TEST_F(TrimPlannerTest, FinishesOnlyWhatACompleteListLacks) {
  view_.replicas.erase({kChunk, ServerIndex(1)});
  view_.incomplete.insert(ServerIndex(1));
  EXPECT_THAT(Steps(), IsEmpty());
  view_.incomplete.clear();
  EXPECT_THAT(Steps(), ElementsAre("finish 1"));
  view_.full.insert(kChunk);
  EXPECT_THAT(Steps(), IsEmpty()) << "one holder too many to see them all";
}

TEST_F(TrimPlannerTest, WaitsForADeadServer) {
  view_.Server(1).liveness = LivenessState::kDead;
  EXPECT_THAT(Steps(), IsEmpty());
  view_.servers.erase(ServerIndex(1));
  EXPECT_THAT(Steps(), IsEmpty());
}

TEST_F(TrimPlannerTest, AChunkThatIsGoneTakesItsTrimsAlong) {
  view_.chunks.clear();
  catalog_.mutable_trims(ShardId(0)).RemoveChunk(1);
  planner_.Note(kChunk);
  EXPECT_THAT(Steps(), IsEmpty());
  EXPECT_FALSE(planner_.active());
}

TEST_F(TrimPlannerTest, WorkPerStepIsBoundedAndGoesRound) {
  for (uint64_t s = 2; s <= 10; ++s) {
    const ChunkHandle handle(ShardId(s % 2), s);
    view_.Chunk(handle, 1);
    view_.Put(handle, 20 + static_cast<uint32_t>(s));
    view_.Put(handle, 40);
    catalog_.mutable_trims(handle.shard()).Add(s, ServerIndex(20 + static_cast<uint32_t>(s)), 1);
    view_.Trim(handle, 20 + static_cast<uint32_t>(s));
    planner_.NoteShard(handle.shard());
  }
  Steps(1);  // the noted one, and one further
  std::vector<std::string> seen;
  for (int i = 0; i < 6; ++i) {
    const std::vector<std::string> some = Steps(2);
    EXPECT_LE(some.size(), 2u);
    seen.insert(seen.end(), some.begin(), some.end());
  }
  std::sort(seen.begin(), seen.end());
  seen.erase(std::unique(seen.begin(), seen.end()), seen.end());
  EXPECT_THAT(seen, SizeIs(10));
}

}  // namespace
}  // namespace ballast::master
