// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <vector>

#include "common/types/ids.h"

// Decides which group owns which shard.
//
// An assignment is *level* when every shard has an owner among the groups and no group owns more
// than one shard more than another: with S shards and G groups each owns floor(S/G) or
// ceil(S/G). A *move* is a shard whose owner changes. Leveling needs at least
//   sum over groups g of max(0, old_g - target_g)
// moves (a group that leaves has target 0), and with the targets best for the old assignment no
// fewer will do. Example: 10 shards owned 7 + 3, a third group joins: targets 4, 3, 3, since the
// larger target goes where most shards are already; 3 moves, all out of the first group.
//
// Guarantees: the plan is level and has exactly that least number of moves; no shard moves
// between two groups that both stay below their targets; equal inputs give equal plans on every
// machine. Among equally cheap plans a stable hash of (shard, group) decides, ties go to the
// lower id.
//
// Concurrency: none needed; pure functions. Failure: never; preconditions are CHECKed.

namespace ballast::shardctl {

struct ShardMove {
  ShardId shard;
  GroupId from;  // 0: had no owner
  GroupId to;
  friend bool operator==(const ShardMove&, const ShardMove&) = default;
};

struct AssignmentPlan {
  std::vector<GroupId> owners;   // index = shard, after the plan
  std::vector<ShardMove> moves;  // by shard
};

// Levels `owners` (index = shard; 0 or a number outside `groups` = must move) over `groups`.
// Requires: `groups` is not empty, sorted, unique, without 0.
AssignmentPlan PlanLevel(const std::vector<GroupId>& owners, const std::vector<GroupId>& groups);

// `joining` takes its part. Requires: not in `groups`, not 0; `groups` may be empty.
AssignmentPlan PlanJoin(const std::vector<GroupId>& owners, const std::vector<GroupId>& groups,
                        GroupId joining);

// The shards of `leaving` go to the others. Requires: in `groups`, and not the only one.
AssignmentPlan PlanLeave(const std::vector<GroupId>& owners, const std::vector<GroupId>& groups,
                         GroupId leaving);

// One shard to one group and nothing else: an operator's wish, not level in general; the next
// Join or Leave levels again. No move if `to` owns it already. Requires: `shard` < owners.size().
AssignmentPlan PlanMove(const std::vector<GroupId>& owners, ShardId shard, GroupId to);

}  // namespace ballast::shardctl
