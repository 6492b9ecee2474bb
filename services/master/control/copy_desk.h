// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "absl/container/btree_map.h"
#include "absl/functional/any_invocable.h"
#include "common/types/ids.h"
#include "services/master/control/copy_engine.h"
#include "services/master/control/live_view.h"
#include "services/master/core/cluster_view.h"
#include "services/master/core/copy_history.h"
#include "services/master/core/copy_lanes.h"
#include "services/master/core/copy_table.h"
#include "services/master/core/repair_planner.h"

namespace ballast::master {

// Whose limits a copy is under (Settings: repair_*, rebalance_*).
enum class CopyBudget : uint8_t { kRepair, kRebalance };
inline constexpr size_t kCopyBudgets = 2;
CopyBudget BudgetOf(CopyPurpose purpose);

// Through here go all copies that the master itself wants, on their way to the engine: counts what
// each budget has under way on each server, keeps each within its rate for the whole cluster, and
// remembers what ended. (Limits for one server are the chunk servers' business.)
//
// Concurrency: everything on the executor. Ownership: references outlive it. State lasts a term.
class CopyDesk {
 public:
  // OK: the copy was made (and the trim logged, if it is a move).
  using Done = absl::AnyInvocable<void(const absl::Status& status, uint64_t bytes)>;

  CopyDesk(LiveView& view, CopyEngine& engine) : view_(view), engine_(engine) {}

  // What the servers of this view have under way for a budget, by position.
  std::vector<CopyLoad> LoadsOf(const ClusterView& view, CopyBudget budget);

  // False: the budget's rate is used up until NextFree; nothing was done. True: offered; `done`
  // runs later, once, unless the term ends first. `source` is the one whose load it counts for.
  // Requires: this node leads.
  bool TryOffer(CopyTask task, uint32_t length_bytes, ServerIndex source, Done done);
  std::optional<SteadyTime> NextFree(CopyBudget budget);

  // Takes the limits from the settings; `receivers`: servers that may take replicas.
  void SetLimits(size_t receivers);

  size_t under_way(CopyBudget budget);
  const CopyHistory& history();

 private:
  struct Budget {
    absl::btree_map<ServerIndex, CopyLoad> loads;
    CopyLanes lanes;
    size_t under_way = 0;
  };

  // Forgets what an earlier term had under way.
  void SeeTerm();
  Budget& Of(CopyBudget budget) { return budgets_[static_cast<size_t>(budget)]; }
  void End(const CopyTask& task, uint32_t length_bytes, ServerIndex source);

  LiveView& view_;
  CopyEngine& engine_;
  // --- of the term ---
  RaftTerm term_;
  Budget budgets_[kCopyBudgets];
  CopyHistory history_;
};

}  // namespace ballast::master
