// SPDX-License-Identifier: Apache-2.0
#include "services/shardctl/core/assignment.h"

#include <algorithm>
#include <cstdlib>
#include <fstream>
#include <map>
#include <sstream>
#include <string>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "common/base/rng.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace ballast::shardctl {
namespace {

using Owners = std::vector<GroupId>;

std::map<GroupId, size_t> CountsOf(const Owners& owners, const Owners& groups) {
  std::map<GroupId, size_t> counts;
  for (const GroupId group : groups) {
    counts[group] = 0;
  }
  for (const GroupId owner : owners) {
    ++counts[owner];
  }
  return counts;
}

// Empty, or the rule that is broken.
std::string BrokenRule(const Owners& owners, const Owners& groups) {
  const auto counts = CountsOf(owners, groups);
  if (counts.size() != groups.size()) {
    return "a shard has an owner that is no group";
  }
  size_t low = owners.size();
  size_t high = 0;
  for (const auto& [group, count] : counts) {
    low = std::min(low, count);
    high = std::max(high, count);
  }
  return high - low <= 1 ? "" : absl::StrCat("sizes from ", low, " to ", high);
}

size_t Distance(const Owners& a, const Owners& b) {
  size_t moves = 0;
  for (size_t i = 0; i < a.size(); ++i) {
    moves += a[i] != b[i] ? 1 : 0;
  }
  return moves;
}

// The least number of changes that levels `owners`: what a group holds above floor(S/G) must go,
// but for one shard in each of up to S mod G groups; and what has no owner must get one.
size_t LowerBound(const Owners& owners, const Owners& groups) {
  const auto counts = CountsOf(owners, groups);
  const size_t base = owners.size() / groups.size();
  size_t spare = owners.size() % groups.size();
  size_t moves = 0;
  for (const auto& [owner, count] : counts) {
    if (!std::binary_search(groups.begin(), groups.end(), owner)) {
      moves += count;
    } else if (count > base) {
      const size_t keeps = spare > 0 ? 1 : 0;
      spare -= keeps;
      moves += count - base - keeps;
    }
  }
  return moves;
}

// `code` in base `digits` as owners 0..digits-1.
Owners Decode(size_t code, size_t shards, size_t digits) {
  Owners owners;
  for (size_t i = 0; i < shards; ++i) {
    owners.push_back(GroupId(static_cast<uint32_t>(code % digits)));
    code /= digits;
  }
  return owners;
}

size_t Power(size_t base, size_t exponent) {
  return exponent == 0 ? 1 : base * Power(base, exponent - 1);
}

TEST(AssignmentTest, LevelsEverySmallCaseWithTheFewestMovesThereAre) {
  for (size_t shards = 1; shards <= 6; ++shards) {
    for (size_t count = 1; count <= 3; ++count) {
      Owners groups;
      for (size_t g = 1; g <= count; ++g) {
        groups.push_back(GroupId(static_cast<uint32_t>(g)));
      }
      std::vector<Owners> level;  // every level assignment
      for (size_t code = 0; code < Power(count + 1, shards); ++code) {
        Owners owners = Decode(code, shards, count + 1);
        if (BrokenRule(owners, groups).empty()) {
          level.push_back(std::move(owners));
        }
      }
      // From every assignment, also with shards of nobody (0) and of a group that is gone.
      for (size_t code = 0; code < Power(count + 2, shards); ++code) {
        const Owners owners = Decode(code, shards, count + 2);
        size_t fewest = shards;
        for (const Owners& goal : level) {
          fewest = std::min(fewest, Distance(owners, goal));
        }
        const AssignmentPlan plan = PlanLevel(owners, groups);
        ASSERT_EQ(BrokenRule(plan.owners, groups), "") << "shards " << shards << " code " << code;
        ASSERT_EQ(plan.moves.size(), fewest) << "shards " << shards << " code " << code;
        ASSERT_EQ(LowerBound(owners, groups), fewest);
        ASSERT_EQ(Distance(owners, plan.owners), fewest);
      }
    }
  }
}

TEST(AssignmentTest, RandomJoinsLeavesAndMovesStayOnTheLowerBound) {
  constexpr uint64_t kSeed = 20240607;
  Rng rng(kSeed);
  for (int sequence = 0; sequence < 10'000; ++sequence) {
    SCOPED_TRACE(absl::StrCat("seed ", kSeed, " sequence ", sequence));
    Owners owners(rng.Between(1, 48));
    Owners groups;
    for (int step = 0; step < 8; ++step) {
      AssignmentPlan plan;
      const GroupId group(static_cast<uint32_t>(rng.Between(1, 12)));
      const auto place = std::lower_bound(groups.begin(), groups.end(), group);
      if (place == groups.end() || *place != group) {
        plan = PlanJoin(owners, groups, group);
        groups.insert(place, group);
      } else if (groups.size() == 1 || rng.OneIn(4)) {
        const ShardId shard(static_cast<uint32_t>(rng.Below(owners.size())));
        plan = PlanMove(owners, shard, group);
        ASSERT_LE(plan.moves.size(), 1u);
        ASSERT_EQ(plan.owners[shard.value()], group);
        owners = plan.owners;
        continue;
      } else {
        plan = PlanLeave(owners, groups, group);
        groups.erase(place);
      }
      ASSERT_EQ(BrokenRule(plan.owners, groups), "");
      ASSERT_EQ(plan.moves.size(), LowerBound(owners, groups));
      for (const ShardMove& move : plan.moves) {
        ASSERT_EQ(owners[move.shard.value()], move.from);
        ASSERT_EQ(plan.owners[move.shard.value()], move.to);
      }
      owners = plan.owners;
    }
  }
}

TEST(AssignmentTest, LevelAssignmentsAreLeftAlone) {
  const Owners groups = {GroupId(3), GroupId(5), GroupId(9)};
  const AssignmentPlan first = PlanLevel(Owners(256), groups);
  EXPECT_EQ(first.moves.size(), 256u);
  EXPECT_THAT(PlanLevel(first.owners, groups).moves, ::testing::IsEmpty());
}

TEST(AssignmentTest, MovesOnlyToTheGroupThatJoined) {
  const Owners owners = PlanLevel(Owners(256), {GroupId(1), GroupId(2)}).owners;
  const AssignmentPlan plan = PlanJoin(owners, {GroupId(1), GroupId(2)}, GroupId(3));
  EXPECT_EQ(plan.moves.size(), 85u);
  for (const ShardMove& move : plan.moves) {
    EXPECT_EQ(move.to, GroupId(3));
  }
}

// --- golden scripts ------------------------------------------------------------------------------
// A script is read as a conversation: "shards N", "join G", "leave G", "move SHARD G", each
// followed by what it gave: the owners, shard 0 first, and the number of moves. BALLAST_REWRITE=1
// writes what this build gives; a changed script is a change of behaviour.

std::string Play(const std::string& script) {
  std::string out;
  Owners owners;
  Owners groups;
  for (const absl::string_view line : absl::StrSplit(script, '\n')) {
    const std::vector<std::string> words = absl::StrSplit(line, ' ', absl::SkipEmpty());
    if (words.empty() || words[0] == "=>") {
      continue;
    }
    absl::StrAppend(&out, line, "\n");
    std::vector<uint32_t> numbers(words.size());
    for (size_t i = 1; i < words.size(); ++i) {
      EXPECT_TRUE(words[0] == "#" || absl::SimpleAtoi(words[i], &numbers[i])) << line;
    }
    AssignmentPlan plan;
    if (words[0] == "#") {
      continue;
    } else if (words[0] == "shards") {
      owners.assign(numbers.at(1), GroupId(0));
      groups.clear();
      continue;
    } else if (words[0] == "join") {
      plan = PlanJoin(owners, groups, GroupId(numbers.at(1)));
      groups.push_back(GroupId(numbers.at(1)));
      std::sort(groups.begin(), groups.end());
    } else if (words[0] == "leave") {
      plan = PlanLeave(owners, groups, GroupId(numbers.at(1)));
      groups.erase(std::find(groups.begin(), groups.end(), GroupId(numbers.at(1))));
    } else if (words[0] == "move") {
      plan = PlanMove(owners, ShardId(numbers.at(1)), GroupId(numbers.at(2)));
    } else {
      ADD_FAILURE() << "unknown word in a script: " << line;
    }
    owners = plan.owners;
    absl::StrAppend(&out, "=> ",
                    absl::StrJoin(owners, " ",
                                  [](std::string* s, GroupId g) { absl::StrAppend(s, g.value()); }),
                    "  (", plan.moves.size(), " moved)\n");
  }
  return out;
}

TEST(AssignmentScriptTest, EveryScriptGivesWhatItSays) {
  for (const std::string name : {"grow_and_shrink", "uneven", "move"}) {
    const std::string path = absl::StrCat("tests/scripts/assignment/", name, ".txt");
    std::ifstream file(path);
    ASSERT_TRUE(file.good()) << path;
    std::stringstream text;
    text << file.rdbuf();
    const std::string played = Play(text.str());
    if (std::getenv("BALLAST_REWRITE") != nullptr) {
      std::ofstream(path) << played;
    } else {
      EXPECT_EQ(played, text.str()) << path;
    }
  }
}

}  // namespace
}  // namespace ballast::shardctl
