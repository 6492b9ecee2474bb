// SPDX-License-Identifier: Apache-2.0
// Moves on the embedded cluster: real copies between real stores, and what is told of them.
#include <atomic>
#include <set>
#include <thread>

#include "tests/integration/gateway/embedded_fixture.h"

namespace ballast::gateway::testing {
namespace {

using EmbeddedMovesTest = EmbeddedTest;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::Ge;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Lt;
using ::testing::Not;
using ::testing::Pair;

constexpr uint64_t kChunk = 67108864;

TEST_F(EmbeddedMovesTest, AnUnevenClusterIsLevelledByMovesAndTheSourceIsToldToDelete) {
  ASSERT_OK(Beat("cs1", {"ch_001", "ch_002", "ch_003"}, 78));
  ASSERT_OK(Beat("cs2", {"ch_004"}, 57));
  ASSERT_OK(Beat("cs3", {"ch_005"}, 50));
  ASSERT_OK(Beat("cs4", {}, 15));
  ASSERT_OK_AND_ASSIGN(const BalanceReport balance, backend_->CheckBalance());
  ASSERT_EQ(balance.overloaded.size(), 1u);
  EXPECT_EQ(balance.overloaded[0].server, "cs1");
  ASSERT_EQ(balance.underloaded.size(), 1u);
  EXPECT_EQ(balance.underloaded[0].server, "cs4");

  const MoveOutcome outcome = Move("ch_001", "cs1", "cs4");
  EXPECT_OK(outcome.status);
  EXPECT_EQ(outcome.bytes, kChunk);
  EXPECT_THAT(Counts(),
              ElementsAre(Pair("cs1", 2u), Pair("cs2", 1u), Pair("cs3", 1u), Pair("cs4", 1u)));

  ASSERT_OK_AND_ASSIGN(HeartbeatOrders orders, Beat("cs1", {"ch_001", "ch_002", "ch_003"}, 78));
  EXPECT_THAT(orders.chunks_to_delete, ElementsAre("ch_001"));
  ASSERT_OK_AND_ASSIGN(orders, Beat("cs1", {"ch_002", "ch_003"}, 70));
  EXPECT_THAT(orders.chunks_to_delete, IsEmpty());
  ASSERT_OK_AND_ASSIGN(orders, Beat("cs4", {"ch_001"}, 23));
  EXPECT_THAT(orders.chunks_to_delete, IsEmpty());
  EXPECT_THAT(Counts(),
              ElementsAre(Pair("cs1", 2u), Pair("cs2", 1u), Pair("cs3", 1u), Pair("cs4", 1u)));
}

TEST_F(EmbeddedMovesTest, WithoutAnyHeartbeatTheChunkIsReallyCopiedAndDeleted) {
  const MoveOutcome outcome = Move("ch_010", "cs1", "cs4");
  ASSERT_OK(outcome.status);
  EXPECT_EQ(outcome.bytes, kChunk);
  EXPECT_THAT(Counts(), ElementsAre(Pair("cs1", 0u), Pair("cs4", 1u)));
  // The target's file is there whole; the source's was there and is gone.
  EXPECT_THAT(ChunkFiles(), ElementsAre(AllOf(Ge(kChunk), Lt(kChunk + MiB(1)))));
  ASSERT_OK_AND_ASSIGN(const HeartbeatOrders orders, Beat("cs1", {}));
  EXPECT_THAT(orders.chunks_to_delete, ElementsAre("ch_010"));
}

TEST_F(EmbeddedMovesTest, FilesAreMadeOnlyWhenSomebodyReadsThem) {
  ASSERT_OK(Beat("cs1", {"a", "b", "c"}));
  ASSERT_OK(Beat("cs2", {}));
  EXPECT_THAT(ChunkFiles(), IsEmpty());
  ASSERT_OK(Move("b", "cs1", "cs2").status);
  EXPECT_THAT(ChunkFiles(), ElementsAre(Ge(kChunk)));
}

TEST_F(EmbeddedMovesTest, AMoveAgainFindsNoReplicaAtTheSource) {
  ASSERT_OK(Move("x", "cs1", "cs2").status);
  EXPECT_THAT(Move("x", "cs1", "cs2").status, StatusIs(absl::StatusCode::kNotFound));
  EXPECT_THAT(Counts(), ElementsAre(Pair("cs1", 0u), Pair("cs2", 1u)));
}

TEST_F(EmbeddedMovesTest, AChunkMovesOnAndBack) {
  ASSERT_OK(Beat("cs1", {"x"}));
  ASSERT_OK(Beat("cs2", {}));
  ASSERT_OK(Beat("cs3", {}));
  ASSERT_OK(Move("x", "cs1", "cs2").status);
  ASSERT_OK(Move("x", "cs2", "cs3").status);
  ASSERT_OK(Move("x", "cs3", "cs1").status);
  EXPECT_THAT(Counts(), ElementsAre(Pair("cs1", 1u), Pair("cs2", 0u), Pair("cs3", 0u)));
  EXPECT_EQ(ChunkFiles().size(), 1u);
  // What cs1 once had to delete it has again.
  ASSERT_OK_AND_ASSIGN(const HeartbeatOrders orders, Beat("cs1", {"x"}));
  EXPECT_THAT(orders.chunks_to_delete, IsEmpty());
}

TEST_F(EmbeddedMovesTest, EachMoveHasAnOutcomeOfItsOwn) {
  ASSERT_OK(Beat("cs1", {"a", "b"}));
  ASSERT_OK(Beat("cs2", {"b"}));
  const std::vector<ChunkMove> moves = {{"nothing", "cs1", "cs2"}, {"a", "cs1", "nobody"},
                                        {"a", "nobody", "cs2"},    {"a", "cs2", "cs1"},
                                        {"b", "cs1", "cs2"},       {"a", "cs1", "cs2"}};
  ASSERT_OK_AND_ASSIGN(const auto outcomes, backend_->Move(moves));
  ASSERT_EQ(outcomes.size(), 6u);
  EXPECT_THAT(outcomes[0].status, HasReason(v1::REASON_CHUNK_NOT_FOUND));
  EXPECT_THAT(outcomes[1].status, HasReason(v1::REASON_UNKNOWN_SERVER));
  EXPECT_THAT(outcomes[2].status, HasReason(v1::REASON_UNKNOWN_SERVER));
  EXPECT_THAT(outcomes[3].status, HasReason(v1::REASON_REPLICA_NOT_FOUND));
  EXPECT_THAT(outcomes[4].status, HasReason(v1::REASON_REPLICA_EXISTS));
  EXPECT_OK(outcomes[5].status);
  EXPECT_EQ(outcomes[5].bytes, kChunk);
  EXPECT_THAT(Counts(), ElementsAre(Pair("cs1", 1u), Pair("cs2", 2u)));
}

TEST_F(EmbeddedMovesTest, FailuresSpeakOfNamesNotOfNumbers) {
  ASSERT_OK(Beat("cs1", {"some-chunk"}));
  ASSERT_OK(Beat("cs2", {}));
  const std::string text(Move("some-chunk", "cs2", "cs1").status.message());
  EXPECT_THAT(text, Not(HasSubstr("-8"))) << "an id";
  EXPECT_THAT(text, Not(HasSubstr("0000"))) << "a handle";
}

TEST_F(EmbeddedMovesTest, ManyMovesInOneCallAllEnd) {
  std::vector<std::string> names;
  std::vector<ChunkMove> moves;
  for (int i = 0; i < 40; ++i) {
    names.push_back("c" + std::to_string(i));
    moves.push_back({names.back(), "cs1", i % 2 == 0 ? "cs2" : "cs3"});
  }
  ASSERT_OK(Beat("cs1", names));
  ASSERT_OK(Beat("cs2", {}));
  ASSERT_OK(Beat("cs3", {}));
  ASSERT_OK_AND_ASSIGN(const auto outcomes, backend_->Move(moves));
  for (const MoveOutcome& outcome : outcomes) {
    EXPECT_OK(outcome.status);
    EXPECT_EQ(outcome.bytes, kChunk);
  }
  EXPECT_THAT(Counts(), ElementsAre(Pair("cs1", 0u), Pair("cs2", 20u), Pair("cs3", 20u)));
  ASSERT_OK_AND_ASSIGN(const HeartbeatOrders orders, Beat("cs1", names));
  EXPECT_EQ(orders.chunks_to_delete.size(), 40u);
}

TEST_F(EmbeddedMovesTest, AReplicaThatIsWantedTwiceIsMovedAndTheOtherStays) {
  ASSERT_OK(Beat("cs1", {"a"}));
  ASSERT_OK(Beat("cs2", {"a"}));
  ASSERT_OK(Beat("cs3", {}));
  ASSERT_OK(Move("a", "cs1", "cs3").status);
  EXPECT_THAT(Counts(), ElementsAre(Pair("cs1", 0u), Pair("cs2", 1u), Pair("cs3", 1u)));
  ASSERT_OK(Beat("cs3", {"a"}));
  ASSERT_OK(Beat("cs2", {"a"}));
  EXPECT_THAT(Counts(), ElementsAre(Pair("cs1", 0u), Pair("cs2", 1u), Pair("cs3", 1u)));
}

TEST_F(EmbeddedMovesTest, OnceThereWereHeartbeatsMovesAdoptNothing) {
  ASSERT_OK(Beat("cs1", {"a"}));
  EXPECT_THAT(Move("a", "cs1", "cs9").status, HasReason(v1::REASON_UNKNOWN_SERVER));
  EXPECT_THAT(Move("z", "cs1", "cs1").status, HasReason(v1::REASON_CHUNK_NOT_FOUND));
}

TEST_F(EmbeddedMovesTest, TouchesFromAnotherThreadDuringAMoveDoNoHarm) {
  ASSERT_OK(Beat("cs1", {"a"}));
  ASSERT_OK(Beat("cs2", {}));
  std::atomic<bool> done{false};
  std::thread touching([&] {
    while (!done) {
      backend_->Touch("cs1");
      backend_->Touch("cs2");
    }
  });
  EXPECT_OK(Move("a", "cs1", "cs2").status);
  done = true;
  touching.join();
  EXPECT_THAT(Counts(), ElementsAre(Pair("cs1", 0u), Pair("cs2", 1u)));
}

class ShortWindowTest : public EmbeddedTest {
 protected:
  ShortWindowTest() { options_.heartbeat_interval = absl::Milliseconds(100); }
};

TEST_F(ShortWindowTest, NobodyDiesWhoTakesPartInAMoveLongerThanItsWindow) {
  std::vector<ChunkMove> moves;
  for (int i = 0; i < 30; ++i) {
    moves.push_back({"c" + std::to_string(i), "cs1", "cs2"});
  }
  ASSERT_OK_AND_ASSIGN(const auto outcomes, backend_->Move(moves));  // some seconds
  for (const MoveOutcome& outcome : outcomes) {
    EXPECT_OK(outcome.status);
  }
}

class SmallChunksTest : public EmbeddedTest {
 protected:
  SmallChunksTest() { options_.chunk_bytes = 100'000; }
};

TEST_F(SmallChunksTest, ChunksHaveTheLengthThatWasAskedFor) {
  const MoveOutcome outcome = Move("a", "cs1", "cs2");
  ASSERT_OK(outcome.status);
  EXPECT_EQ(outcome.bytes, 100'000u);
}

TEST_F(SmallChunksTest, AnEndAfterMovesLeavesNothing) {
  ASSERT_OK(Beat("cs1", {"a"}));
  ASSERT_OK(Beat("cs2", {}));
  ASSERT_OK(Move("a", "cs1", "cs2").status);
  backend_.reset();  // with a delete that is still to be told
  EXPECT_TRUE(std::filesystem::is_empty(options_.folder));
}

// In the background, as masters do it for chunk servers; only heartbeats go in.
class AutoRebalanceTest : public EmbeddedTest {
 protected:
  void SetUp() override {
    options_.auto_rebalance = true;
    options_.chunk_bytes = MiB(1);
    options_.heartbeat_interval = absl::Milliseconds(200);
    EmbeddedTest::SetUp();
  }
};

TEST_F(AutoRebalanceTest, AnOverfullServersChunksGoToAnEmptyOneUntilBothAreLevel) {
  const std::vector<std::string> listed = {"a", "b", "c", "d", "e", "f", "g", "h"};
  std::set<std::string> deleted, copied;
  const bool level = Eventually([&] {
    const auto full = Beat("cs1", listed, 80);  // repeats itself: it tells nothing of what happens
    const auto empty = Beat("cs2", {}, 0);
    EXPECT_OK(full.status());
    EXPECT_OK(empty.status());
    if (!full.ok() || !empty.ok()) return true;
    deleted.insert(full->chunks_to_delete.begin(), full->chunks_to_delete.end());
    copied.insert(empty->chunks_to_replicate.begin(), empty->chunks_to_replicate.end());
    return Row("cs1").chunk_count == 4 && Row("cs2").chunk_count == 4;
  });
  EXPECT_TRUE(level) << Row("cs1").chunk_count << " and " << Row("cs2").chunk_count;
  ASSERT_OK_AND_ASSIGN(const HeartbeatOrders orders, Beat("cs1", listed, 80));
  deleted.insert(orders.chunks_to_delete.begin(), orders.chunks_to_delete.end());
  EXPECT_EQ(deleted.size(), 4u);
  EXPECT_EQ(copied, deleted);
  ASSERT_OK_AND_ASSIGN(const BalanceReport balance, backend_->CheckBalance());
  EXPECT_THAT(balance.overloaded, IsEmpty());
  EXPECT_THAT(balance.underloaded, IsEmpty());
}

}  // namespace
}  // namespace ballast::gateway::testing
