// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <optional>
#include <utility>

#include "absl/container/btree_map.h"
#include "absl/container/btree_set.h"
#include "common/env/executor.h"
#include "services/master/control/heartbeat_intake.h"
#include "services/master/control/live_view.h"
#include "services/master/control/order_desk.h"
#include "services/master/control/proposer.h"
#include "services/master/core/replica_mover.h"

namespace ballast::master {

struct CopyEngineLimits {
  size_t trims_examined_max = 512;       // in one step, beside those that have just changed
  size_t trims_proposed_max = 512;       // ends of trims that are not answered yet
  size_t deletes_under_way_max = 2000;   // at one server, those of garbage included
  size_t verifies_under_way_max = 64;    // likewise
  size_t replicates_under_way_max = 64;  // likewise; CopyLimits has the usual one
  size_t keeps_under_way_max = 1000;     // likewise
};

// Makes copies and drives trims (docs/protocols/moves.md): turns what CopyTable and TrimPlanner ask
// for into commands and log entries, and tells whoever offered a task how it ended. One for all
// that want copies: users, and planners of repair and rebalancing.
//
// Guarantees
//   * It waits for no tick: an offer, a result, a report and an applied entry each lead to a step
//     in one of the executor's next turns. (What only time tells comes by MaintenanceLoop's ticks.)
//   * When a move's outcome is told, the delete of the source's replica is in the source's outbox
//     if it may be ordered by then and the source can be reached.
//   * Every task's callback runs once, unless the process ends first.
//   * Everything it knows lasts a term; logged trims go on under every later leader.
//
// Concurrency: everything on `executor`. Ownership: references outlive it, and it outlives the
// intake's last call; tasks it posted must not run after its end.
class CopyEngine final : public ReplicaMover, public HeartbeatObserver {
 public:
  CopyEngine(Executor& executor, LiveView& view, HeartbeatIntake& intake, Proposer& proposer,
             CopyEngineLimits limits = {});
  ~CopyEngine() override;

  // `done` as in ReplicaMover.
  void Offer(const CopyTask& task, Done done);

  // To be called before the view's term ends: every task is told `status` or OUTCOME_UNKNOWN.
  void EndTerm(const absl::Status& status);

  // Looks at everything now.
  void Step();

  // --- ReplicaMover ---
  void Move(ChunkHandle handle, absl::string_view from_server_id, absl::string_view to_server_id,
            Done done) override;

  // --- HeartbeatObserver ---
  void OnCommandResult(ServerIndex server, const v1::CommandResult& result,
                       const std::optional<CommandLedger::Order>& order) override;
  void OnReport(ServerIndex server) override;

 private:
  using TrimKey = std::pair<ChunkHandle, ServerIndex>;

  // A step in one of the executor's next turns; several calls share one.
  void Poke();
  void Answer(Done done, absl::StatusOr<CopyOutcome> outcome);
  void OrderReplicate(LeaderState& leader, const CopyEffects::Replicate& order);
  void OrderVerify(ServerIndex server, ChunkHandle handle);
  void ProposeLocation(const CopyEffects::Log& log);
  void StepTrims(LeaderState& leader);
  void CarryOut(const TrimStep& step);
  void ProposeTrimEnd(const TrimStep& step);
  void Tell(CopyEffects::Finished& finished);

  Executor& executor_;
  LiveView& view_;
  HeartbeatIntake& intake_;
  Proposer& proposer_;
  OrderDesk desk_;
  const CopyEngineLimits limits_;
  bool poked_ = false;
  absl::btree_map<CopyId, Done> waiting_;  // of this term
  absl::btree_set<TrimKey> ending_;        // trims whose end is proposed, of this term
};

}  // namespace ballast::master
