// SPDX-License-Identifier: Apache-2.0
#include "services/shardctl/core/assignment.h"

#include <algorithm>
#include <cstdint>
#include <string>
#include <utility>

#include "absl/container/btree_map.h"
#include "common/base/check.h"
#include "common/routing/shard_router.h"

namespace ballast::shardctl {
namespace {

// How much a shard belongs with a group: the one thing that chooses among equally cheap plans.
uint64_t Affinity(ShardId shard, GroupId group) {
  std::string bytes(8, '\0');
  for (size_t i = 0; i < 4; ++i) {
    bytes[i] = static_cast<char>(shard.value() >> (8 * i));
    bytes[4 + i] = static_cast<char>(group.value() >> (8 * i));
  }
  return StableHash(bytes);
}

// Shards that each group holds now; those of no group stand under 0.
using Holdings = absl::btree_map<GroupId, std::vector<ShardId>>;

Holdings HoldingsOf(const std::vector<GroupId>& owners, const std::vector<GroupId>& groups) {
  Holdings holdings;
  for (const GroupId group : groups) {
    holdings[group];
  }
  for (size_t i = 0; i < owners.size(); ++i) {
    const bool stays = std::binary_search(groups.begin(), groups.end(), owners[i]);
    holdings[stays ? owners[i] : GroupId(0)].push_back(ShardId(static_cast<uint32_t>(i)));
  }
  return holdings;
}

// floor(S/G) each; the S mod G larger targets go to the groups that hold most, ties to lower ids.
absl::btree_map<GroupId, size_t> TargetsOf(const Holdings& holdings, size_t shard_count,
                                           const std::vector<GroupId>& groups) {
  std::vector<GroupId> by_holding = groups;
  std::stable_sort(by_holding.begin(), by_holding.end(), [&](GroupId a, GroupId b) {
    return holdings.at(a).size() > holdings.at(b).size();
  });
  absl::btree_map<GroupId, size_t> targets;
  for (size_t i = 0; i < by_holding.size(); ++i) {
    const size_t extra = i < shard_count % groups.size() ? 1 : 0;
    targets[by_holding[i]] = shard_count / groups.size() + extra;
  }
  return targets;
}

// What groups hold above their targets and what has no owner, by shard. A group lets go of the
// shards that belong with it least.
std::vector<ShardId> ShardsToPlace(const Holdings& holdings,
                                   const absl::btree_map<GroupId, size_t>& targets) {
  std::vector<ShardId> homeless;
  for (const auto& [group, shards] : holdings) {
    std::vector<std::pair<uint64_t, ShardId>> ranked;
    for (const ShardId shard : shards) {
      ranked.emplace_back(Affinity(shard, group), shard);
    }
    std::sort(ranked.begin(), ranked.end());
    const size_t target = group == GroupId(0) ? 0 : targets.at(group);
    for (size_t i = 0; i + target < ranked.size(); ++i) {
      homeless.push_back(ranked[i].second);
    }
  }
  std::sort(homeless.begin(), homeless.end());
  return homeless;
}

AssignmentPlan PlanBetween(const std::vector<GroupId>& before, std::vector<GroupId> after) {
  AssignmentPlan plan{.owners = std::move(after), .moves = {}};
  for (size_t i = 0; i < before.size(); ++i) {
    if (before[i] != plan.owners[i]) {
      plan.moves.push_back({ShardId(static_cast<uint32_t>(i)), before[i], plan.owners[i]});
    }
  }
  return plan;
}

}  // namespace

AssignmentPlan PlanLevel(const std::vector<GroupId>& owners, const std::vector<GroupId>& groups) {
  CHECK(!groups.empty());
  CHECK(groups.front() != GroupId(0));
  CHECK(std::is_sorted(groups.begin(), groups.end()));
  CHECK(std::adjacent_find(groups.begin(), groups.end()) == groups.end());

  const Holdings holdings = HoldingsOf(owners, groups);
  const auto targets = TargetsOf(holdings, owners.size(), groups);
  absl::btree_map<GroupId, size_t> room;  // only groups below their targets
  for (const auto& [group, target] : targets) {
    if (holdings.at(group).size() < target) {
      room[group] = target - holdings.at(group).size();
    }
  }
  std::vector<GroupId> after = owners;
  for (const ShardId shard : ShardsToPlace(holdings, targets)) {
    CHECK(!room.empty());
    auto best = room.begin();
    for (auto it = room.begin(); it != room.end(); ++it) {
      if (Affinity(shard, it->first) > Affinity(shard, best->first)) {
        best = it;
      }
    }
    after[shard.value()] = best->first;
    if (--best->second == 0) {
      room.erase(best);
    }
  }
  CHECK(room.empty());
  return PlanBetween(owners, std::move(after));
}

AssignmentPlan PlanJoin(const std::vector<GroupId>& owners, const std::vector<GroupId>& groups,
                        GroupId joining) {
  std::vector<GroupId> all = groups;
  const auto place = std::lower_bound(all.begin(), all.end(), joining);
  CHECK(place == all.end() || *place != joining) << "group " << joining << " is a member";
  all.insert(place, joining);
  return PlanLevel(owners, all);
}

AssignmentPlan PlanLeave(const std::vector<GroupId>& owners, const std::vector<GroupId>& groups,
                         GroupId leaving) {
  std::vector<GroupId> rest = groups;
  const auto place = std::lower_bound(rest.begin(), rest.end(), leaving);
  CHECK(place != rest.end() && *place == leaving) << "group " << leaving << " is no member";
  rest.erase(place);
  return PlanLevel(owners, rest);
}

AssignmentPlan PlanMove(const std::vector<GroupId>& owners, ShardId shard, GroupId to) {
  CHECK_LT(shard.value(), owners.size());
  std::vector<GroupId> after = owners;
  after[shard.value()] = to;
  return PlanBetween(owners, std::move(after));
}

}  // namespace ballast::shardctl
