// SPDX-License-Identifier: Apache-2.0
// What must not hold healing and levelling up for ever.
#include "gmock/gmock.h"
#include "tests/unit/master/control/healing_fixture.h"

namespace ballast::master {
namespace {

using ::testing::SizeIs;

class HealingLivenessTest : public HealingTest {
 protected:
  using HealingTest::HealingTest;
};

TEST_F(HealingLivenessTest, AChunkOutlivesManyGenerationsOfServers) {
  StartServers(11);
  Eager();
  const ChunkHandle handle = Store({1, 2, 3}).handle;
  sim_.RunFor(absl::Seconds(6));
  for (int dead = 1; dead <= 8; ++dead) {
    Silence(Readable(handle).front());
    sim_.RunFor(absl::Seconds(100));
    ASSERT_THAT(Readable(handle), SizeIs(3)) << dead << " are dead";
  }
  LeadAnew();
  for (uint32_t s = 1; s <= 11; ++s) {
    if (!muted_[s]) Return(s);
  }
  sim_.RunFor(absl::Seconds(60));
  EXPECT_THAT(Readable(handle), SizeIs(3));
}

TEST_F(HealingLivenessTest, ServersThatWereRemovedAreNotWaitedFor) {
  StartServers(10);
  Eager();
  const ChunkHandle handle = Store({1, 5, 6}).handle;
  sim_.RunFor(absl::Seconds(6));
  for (uint32_t s : {1, 2, 4, 7}) Silence(s);
  sim_.RunFor(absl::Seconds(30));
  ASSERT_TRUE(repair_.State().only_last_copies());
  SetRegistry({{1, v1::SERVER_STATE_REMOVED},
               {2, v1::SERVER_STATE_REMOVED},
               {4, v1::SERVER_STATE_REMOVED},
               {7, v1::SERVER_STATE_REMOVED}});
  sim_.RunFor(absl::Seconds(10));
  EXPECT_FALSE(repair_.State().only_last_copies());
  EXPECT_THAT(Readable(handle), SizeIs(3));
}

}  // namespace
}  // namespace ballast::master
