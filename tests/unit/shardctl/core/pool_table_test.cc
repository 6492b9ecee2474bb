// SPDX-License-Identifier: Apache-2.0
#include "services/shardctl/core/pool_table.h"

#include <limits>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/base/rng.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "services/shardctl/core/command.h"
#include "services/shardctl/core/config_machine.h"
#include "services/shardctl/core/pool_rings.h"
#include "tests/support/status_matchers.h"

namespace ballast::shardctl {
namespace {

using ::ballast::testing::HasReason;
using ::ballast::testing::StatusIs;
using ::testing::ElementsAre;
using ::testing::IsEmpty;

class PoolTableTest : public ::testing::Test {
 protected:
  template <typename Request>
  absl::Status Do(const Request& request) {
    const auto command = CommandOf(request);
    if (!command.ok()) {
      return command.status();
    }
    log::Result result;
    EXPECT_TRUE(
        result.ParseFromString(machine_.Apply(RaftIndex(++index_), command->SerializeAsString())));
    return StatusOf(result);
  }
  absl::Status Create(const std::string& name, uint32_t points = 0) {
    v1::CreatePoolRequest request;
    request.set_name(name);
    request.set_points_per_weight(points);
    return Do(request);
  }
  absl::Status Put(const std::string& pool, const std::string& id, double weight) {
    v1::PutPoolServerRequest request;
    request.set_pool(pool);
    request.set_id(id);
    request.set_weight(weight);
    return Do(request);
  }
  absl::Status Drain(const std::string& pool, const std::string& id, bool draining) {
    v1::PutPoolServerRequest request;
    request.set_pool(pool);
    request.set_id(id);
    request.set_draining(draining);
    return Do(request);
  }
  absl::Status Remove(const std::string& pool, const std::string& id) {
    v1::RemovePoolServerRequest request;
    request.set_pool(pool);
    request.set_id(id);
    return Do(request);
  }
  absl::Status Delete(const std::string& name) {
    v1::DeletePoolRequest request;
    request.set_name(name);
    return Do(request);
  }
  // "id=points", as the ring has them.
  std::vector<std::string> Servers(const std::string& name) const {
    std::vector<std::string> servers;
    const PoolTable::Pool* const pool = machine_.pools().Find(name);
    for (const HashRing::Server& server :
         pool == nullptr ? std::vector<HashRing::Server>() : RingServersOf(*pool)) {
      servers.push_back(absl::StrCat(server.id, "=", server.points));
    }
    return servers;
  }
  uint64_t Version(const std::string& name) const {
    const PoolTable::Pool* const pool = machine_.pools().Find(name);
    return pool == nullptr ? 0 : pool->version();
  }

  ConfigMachine machine_{16};
  uint64_t index_ = 0;
};

TEST_F(PoolTableTest, ServersComeChangeDrainAndGoInTheOrderOfTheirIds) {
  ASSERT_OK(Create("p", 100));
  ASSERT_OK(Put("p", "b", 1));
  ASSERT_OK(Put("p", "c", 0.5));
  ASSERT_OK(Put("p", "a", 2));
  EXPECT_THAT(Servers("p"), ElementsAre("a=200", "b=100", "c=50"));
  ASSERT_OK(Put("p", "b", 0));
  EXPECT_THAT(Servers("p"), ElementsAre("a=200", "b=0", "c=50"));
  ASSERT_OK(Drain("p", "a", true));
  EXPECT_THAT(Servers("p"), ElementsAre("a=0", "b=0", "c=50"));
  ASSERT_OK(Put("p", "a", 3));  // it still drains
  ASSERT_OK(Drain("p", "a", false));
  EXPECT_THAT(Servers("p"), ElementsAre("a=300", "b=0", "c=50"));
  ASSERT_OK(Remove("p", "b"));
  EXPECT_THAT(Servers("p"), ElementsAre("a=300", "c=50"));
  ASSERT_OK(Delete("p"));
  EXPECT_EQ(machine_.pools().Find("p"), nullptr);
}

TEST_F(PoolTableTest, WhatIsSoAlreadyChangesNothingAndKeepsTheVersion) {
  ASSERT_OK(Create("p"));
  ASSERT_OK(Put("p", "a", 1));
  const uint64_t version = Version("p");
  ASSERT_OK(Create("p"));
  ASSERT_OK(Create("p", 1024));  // the default
  ASSERT_OK(Put("p", "a", 1));
  ASSERT_OK(Drain("p", "a", false));
  EXPECT_EQ(Version("p"), version);
  EXPECT_THAT(Create("p", 7), HasReason(v1::REASON_POOL_EXISTS));
  EXPECT_EQ(Version("p"), version);
}

TEST_F(PoolTableTest, VersionsGrowOverDeletionAndReCreation) {
  ASSERT_OK(Create("p"));
  ASSERT_OK(Put("p", "a", 1));
  const uint64_t before = Version("p");
  ASSERT_OK(Delete("p"));
  ASSERT_OK(Create("p"));
  EXPECT_GT(Version("p"), before);
}

TEST_F(PoolTableTest, WhatIsNotThereIsNamed) {
  EXPECT_THAT(Put("no", "a", 1), HasReason(v1::REASON_POOL_NOT_FOUND));
  EXPECT_THAT(Remove("no", "a"), HasReason(v1::REASON_POOL_NOT_FOUND));
  EXPECT_THAT(Delete("no"), HasReason(v1::REASON_POOL_NOT_FOUND));
  ASSERT_OK(Create("p"));
  EXPECT_THAT(Remove("p", "a"), HasReason(v1::REASON_UNKNOWN_SERVER));
}

TEST_F(PoolTableTest, NamesIdsWeightsAndPointsHaveBounds) {
  for (const std::string& name : {std::string(), std::string("a b"), std::string("ü"),
                                  std::string(65, 'x'), std::string("a/b")}) {
    EXPECT_THAT(Create(name), StatusIs(absl::StatusCode::kInvalidArgument)) << name;
  }
  EXPECT_THAT(Create("p", 65537), StatusIs(absl::StatusCode::kInvalidArgument));
  ASSERT_OK(Create(std::string(64, 'x'), 65536));
  ASSERT_OK(Create("p"));
  for (const std::string& id : {std::string(), std::string("a\nb"), std::string("\xff"),
                                std::string(257, 'x'), std::string("\0", 1)}) {
    EXPECT_THAT(Put("p", id, 1), StatusIs(absl::StatusCode::kInvalidArgument)) << id;
  }
  for (const double weight : {-1.0, 1000.1, std::numeric_limits<double>::infinity(),
                              std::numeric_limits<double>::quiet_NaN()}) {
    EXPECT_THAT(Put("p", "a", weight), StatusIs(absl::StatusCode::kInvalidArgument)) << weight;
  }
  ASSERT_OK(Put("p", std::string(256, 'x'), 1000));
  EXPECT_THAT(Servers("p"), ElementsAre(absl::StrCat(std::string(256, 'x'), "=", 1024000)));
}

TEST_F(PoolTableTest, APoolHasAtMostTwoMillionPointsAlsoThoseThatDrain) {
  ASSERT_OK(Create("p"));
  ASSERT_OK(Put("p", "a", 1000));
  ASSERT_OK(Drain("p", "a", true));
  ASSERT_OK(Put("p", "b", 1000));
  EXPECT_THAT(Put("p", "c", 1000), HasReason(v1::REASON_POOLS_FULL));
  EXPECT_THAT(Servers("p"), ElementsAre("a=0", "b=1024000"));
  ASSERT_OK(Drain("p", "a", false));  // it can always come back
}

TEST_F(PoolTableTest, AThousandPoolsAreEnough) {
  for (size_t i = 0; i < PoolTable::kPoolsMax; ++i) {
    ASSERT_OK(Create(absl::StrCat("p", i)));
  }
  EXPECT_THAT(Create("more"), HasReason(v1::REASON_POOLS_FULL));
  ASSERT_OK(Delete("p7"));
  EXPECT_OK(Create("more"));
}

TEST_F(PoolTableTest, AnImageRestoresEverythingAndABadOneIsRefused) {
  ASSERT_OK(Create("p", 10));
  ASSERT_OK(Put("p", "a", 1));
  ASSERT_OK(Put("p", "b", 2.5));
  ASSERT_OK(Drain("p", "b", true));
  ASSERT_OK(Create("q"));
  ASSERT_OK(Delete("q"));
  const std::string bytes = machine_.TakeImage("controller");
  ConfigMachine other(16);
  ASSERT_OK(other.RestoreImage("controller", bytes));
  EXPECT_EQ(other.TakeImage("controller"), bytes);
  EXPECT_EQ(other.pools().version(), machine_.pools().version());

  log::Image image;
  ASSERT_TRUE(image.ParseFromString(bytes));
  const auto refused = [&](const log::Image& bad) {
    return other.RestoreImage("controller", bad.SerializeAsString());
  };
  log::Image bad = image;
  bad.mutable_pools(0)->mutable_servers()->SwapElements(0, 1);
  EXPECT_THAT(refused(bad), StatusIs(absl::StatusCode::kDataLoss));
  bad = image;
  *bad.add_pools() = image.pools(0);
  EXPECT_THAT(refused(bad), StatusIs(absl::StatusCode::kDataLoss));
  bad = image;
  bad.set_pools_version(1);
  EXPECT_THAT(refused(bad), StatusIs(absl::StatusCode::kDataLoss));
  bad = image;
  bad.mutable_pools(0)->mutable_servers(0)->set_weight(-1);
  EXPECT_THAT(refused(bad), StatusIs(absl::StatusCode::kDataLoss));
  EXPECT_EQ(other.TakeImage("controller"), bytes);  // a refused one changes nothing
  bad = image;
  bad.clear_pools();
  bad.clear_pools_version();
  EXPECT_OK(refused(bad));  // of a release without pools
  EXPECT_THAT(other.pools().pools(), IsEmpty());
}

TEST_F(PoolTableTest, RingsFollowTheirPoolsWhateverChanges) {
  Rng rng(11);
  PoolRings rings;
  ASSERT_OK(Create("p", 20));
  ASSERT_OK(Create("q", 20));
  for (int step = 0; step < 300; ++step) {
    const std::string pool = rng.Below(2) == 0 ? "p" : "q";
    const std::string id = absl::StrCat("s", rng.Below(15));
    switch (rng.Below(4)) {
      case 0:
        (void)Remove(pool, id);
        break;
      case 1:
        (void)Drain(pool, id, rng.Below(2) == 0);
        break;
      default:
        ASSERT_OK(Put(pool, id, static_cast<double>(rng.Below(4))));
    }
    if (rng.Below(5) == 0) continue;  // several changes between two looks
    const PoolTable::Pool& now = *machine_.pools().Find(pool);
    const HashRing& ring = rings.RingOf(now);
    const HashRing fresh = *HashRing::Make(RingServersOf(now));
    ASSERT_EQ(ring.servers(), fresh.servers());
    for (int i = 0; i < 50; ++i) {
      const uint64_t hash = rng.Next();
      ASSERT_EQ(ring.Find(hash), fresh.Find(hash));
    }
  }
}

TEST_F(PoolTableTest, RingsThatTakeTooMuchMemoryGoAndComeBackWhenTheyAreAskedFor) {
  PoolRings rings(/*bytes_max=*/100'000);
  for (int i = 0; i < 10; ++i) {
    const std::string name = absl::StrCat("p", i);
    ASSERT_OK(Create(name));
    for (const char* id : {"a", "b", "c"}) ASSERT_OK(Put(name, id, 1));
    EXPECT_EQ(rings.RingOf(*machine_.pools().Find(name)).point_count(), 3 * 1024u);
    EXPECT_LE(rings.size(), 3u);
  }
  EXPECT_EQ(rings.RingOf(*machine_.pools().Find("p0")).point_count(), 3 * 1024u);
}

}  // namespace
}  // namespace ballast::shardctl
