// SPDX-License-Identifier: Apache-2.0
#include "gateway/core/adopted_chunks.h"

#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace ballast::gateway {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

constexpr ServerIndex kOne(1), kTwo(2), kThree(3);
constexpr absl::Duration kWindow = absl::Seconds(15);
const ChunkHandle kA(ShardId(3), 1), kB(ShardId(3), 2), kC(ShardId(4), 1);

class AdoptedChunksTest : public ::testing::Test {
 protected:
  AdoptedChunksTest() {
    chunks_.Adopt("a", kA);
    chunks_.Adopt("b", kB);
    chunks_.Adopt("c", kC);
  }
  SteadyTime At(int seconds) const { return SteadyTime::FromOrigin(absl::Seconds(seconds)); }
  std::vector<ChunkHandle> List(ServerIndex server, std::vector<ChunkHandle> handles,
                                int seconds = 0) {
    return chunks_.TakeList(server, handles, At(seconds));
  }
  std::vector<ChunkHandle> Held(ServerIndex server) const {
    std::vector<ChunkHandle> handles;
    for (const HeldReplica& replica : chunks_.HeldBy(server)) handles.push_back(replica.handle);
    return handles;
  }
  // What `handle` should have more of; 0: it has what it should.
  uint32_t Growth(ChunkHandle handle, int seconds = 0) const {
    const auto growth = chunks_.WantedGrowth({handle}, At(seconds));
    return growth.empty() ? 0 : growth.front().wanted;
  }

  AdoptedChunks chunks_{kWindow};
};

TEST_F(AdoptedChunksTest, NamesAndHandlesNameEachOther) {
  EXPECT_EQ(chunks_.Find("a"), kA);
  EXPECT_EQ(chunks_.Find("z"), std::nullopt);
  EXPECT_EQ(chunks_.NameOf(kB), "b");
  EXPECT_EQ(chunks_.NameOf(ChunkHandle(ShardId(1), 7)), "0001000000000007");
}

TEST_F(AdoptedChunksTest, AServerHoldsWhatItListedLast) {
  EXPECT_THAT(List(kOne, {kC, kA}), IsEmpty());
  EXPECT_THAT(Held(kOne), ElementsAre(kA, kC));
  EXPECT_THAT(List(kOne, {kB}), ElementsAre(kA, kC));
  EXPECT_THAT(Held(kOne), ElementsAre(kB));
  EXPECT_THAT(Held(kTwo), IsEmpty());
}

TEST_F(AdoptedChunksTest, AReceivedReplicaIsHeldWhetherListedOrNot) {
  chunks_.OnReceived(kOne, kA);
  EXPECT_THAT(List(kOne, {}), IsEmpty());
  EXPECT_THAT(Held(kOne), ElementsAre(kA));
  List(kOne, {kA});
  EXPECT_THAT(List(kOne, {}), IsEmpty());
  EXPECT_THAT(Held(kOne), ElementsAre(kA));
}

TEST_F(AdoptedChunksTest, ADeletedReplicaIsNotHeldThoughListed) {
  List(kOne, {kA, kB});
  chunks_.OnDeleted(kOne, kA);
  EXPECT_FALSE(chunks_.Holds(kOne, kA));
  List(kOne, {kA, kB});
  EXPECT_THAT(Held(kOne), ElementsAre(kB));
}

TEST_F(AdoptedChunksTest, ADeleteIsToldOnceAndAgainWhileListed) {
  List(kOne, {kA, kB});
  chunks_.OnDeleted(kOne, kB);
  chunks_.OnDeleted(kOne, kA);
  EXPECT_THAT(chunks_.TakeDeletesToTell(kTwo), IsEmpty());
  EXPECT_THAT(chunks_.TakeDeletesToTell(kOne), ElementsAre(kA, kB));
  EXPECT_THAT(chunks_.TakeDeletesToTell(kOne), IsEmpty());
  List(kOne, {kA});
  EXPECT_THAT(chunks_.TakeDeletesToTell(kOne), ElementsAre(kA));
}

TEST_F(AdoptedChunksTest, ADeleteIsToldThoughTheServerStoppedListing) {
  List(kOne, {kA});
  chunks_.OnDeleted(kOne, kA);
  List(kOne, {});
  EXPECT_THAT(chunks_.TakeDeletesToTell(kOne), ElementsAre(kA));
}

TEST_F(AdoptedChunksTest, WhatWasDeletedAndUnlistedMayComeBackByAList) {
  List(kOne, {kA});
  chunks_.OnDeleted(kOne, kA);
  chunks_.TakeDeletesToTell(kOne);
  List(kOne, {});
  List(kOne, {kA});
  EXPECT_THAT(Held(kOne), ElementsAre(kA));
  EXPECT_THAT(chunks_.TakeDeletesToTell(kOne), IsEmpty());
}

TEST_F(AdoptedChunksTest, WhatWasDeletedComesBackByACommandThoughListedAllAlong) {
  List(kOne, {kA});
  chunks_.OnDeleted(kOne, kA);
  chunks_.OnReceived(kOne, kA);
  List(kOne, {kA});
  EXPECT_THAT(Held(kOne), ElementsAre(kA));
  EXPECT_THAT(chunks_.TakeDeletesToTell(kOne), IsEmpty());
}

TEST_F(AdoptedChunksTest, WantedIsTheMostListersEverSeenAtOnce) {
  List(kOne, {kA});
  EXPECT_EQ(Growth(kA), 0u);
  List(kTwo, {kA});
  EXPECT_EQ(Growth(kA), 2u);
  chunks_.SetWanted(kA, 2);
  EXPECT_EQ(Growth(kA), 0u);
  List(kOne, {});
  List(kThree, {kA});
  EXPECT_EQ(Growth(kA), 0u);
  List(kOne, {kA});
  EXPECT_EQ(Growth(kA), 3u);
}

TEST_F(AdoptedChunksTest, WantedNeverExceedsFive) {
  for (uint32_t server = 1; server <= 7; ++server) List(ServerIndex(server), {kA});
  EXPECT_EQ(Growth(kA), 5u);
}

TEST_F(AdoptedChunksTest, ListsOfDeadServersDoNotCountAsListers) {
  List(kOne, {kA}, 0);
  List(kTwo, {kA}, 16);
  EXPECT_EQ(Growth(kA, 16), 0u);
  List(kOne, {kA}, 17);
  EXPECT_EQ(Growth(kA, 17), 2u);
}

TEST_F(AdoptedChunksTest, OrderedCopiesAreNoWishForMore) {
  List(kOne, {kA});
  chunks_.OnReceived(kTwo, kA);
  List(kTwo, {kA});
  EXPECT_EQ(Growth(kA), 0u);
}

TEST_F(AdoptedChunksTest, AMovedReplicaIsHeldUntilItsDeleteAndDoesNotCountAsLister) {
  List(kOne, {kA});
  chunks_.OnReceived(kTwo, kA);
  chunks_.OnMovedAway(kOne, kA);
  EXPECT_TRUE(chunks_.Holds(kOne, kA));
  List(kThree, {kA});
  EXPECT_EQ(Growth(kA), 0u);
  chunks_.OnDeleted(kOne, kA);
  EXPECT_THAT(chunks_.HoldersOf(kA), ElementsAre(kTwo, kThree));
}

TEST_F(AdoptedChunksTest, AReplicaThatIsToBeKeptAfterAllCountsAgain) {
  List(kOne, {kA});
  chunks_.OnMovedAway(kOne, kA);
  chunks_.OnKept(kOne, kA);
  List(kTwo, {kA});
  EXPECT_EQ(Growth(kA), 2u);
}

TEST_F(AdoptedChunksTest, CorruptionIsReportedUntilTheReplicaIsReplaced) {
  List(kOne, {kA});
  chunks_.OnFoundCorrupt(kOne, kA);
  List(kOne, {kA});
  EXPECT_THAT(chunks_.HeldBy(kOne), ElementsAre(HeldReplica{kA, true}));
  chunks_.OnDeleted(kOne, kA);
  chunks_.OnReceived(kOne, kA);
  EXPECT_THAT(chunks_.HeldBy(kOne), ElementsAre(HeldReplica{kA, false}));
}

TEST_F(AdoptedChunksTest, TheTallyComparesAServersWordsWithWhatCommandsDid) {
  List(kOne, {kA, kB});
  EXPECT_EQ(chunks_.TallyOf(kOne).listed, 2u);
  chunks_.OnReceived(kOne, kC);
  chunks_.OnDeleted(kOne, kA);
  EXPECT_EQ(chunks_.TallyOf(kOne).received_untold, 1u);
  EXPECT_EQ(chunks_.TallyOf(kOne).deleted_untold, 1u);
  chunks_.TakeDeletesToTell(kOne);
  List(kOne, {kB, kC});
  EXPECT_EQ(chunks_.TallyOf(kOne).listed, 2u);
  EXPECT_EQ(chunks_.TallyOf(kOne).received_untold, 0u);
  EXPECT_EQ(chunks_.TallyOf(kOne).deleted_untold, 0u);
  EXPECT_EQ(chunks_.TallyOf(kTwo).listed, 0u);
}

TEST_F(AdoptedChunksTest, ACopyIsToldOnceAndNotAfterItsEnd) {
  chunks_.OnCopyOrdered(kOne, kB);
  chunks_.OnCopyOrdered(kOne, kA);
  chunks_.OnCopyOrdered(kOne, kC);
  chunks_.OnCopyEnded(kOne, kC);
  EXPECT_THAT(chunks_.TakeCopiesToTell(kOne), ElementsAre(kA, kB));
  EXPECT_THAT(chunks_.TakeCopiesToTell(kOne), IsEmpty());
  EXPECT_THAT(chunks_.TakeCopiesToTell(kTwo), IsEmpty());
}

}  // namespace
}  // namespace ballast::gateway
