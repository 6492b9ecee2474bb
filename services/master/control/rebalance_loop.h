// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <deque>
#include <optional>
#include <string>
#include <vector>

#include "absl/functional/any_invocable.h"
#include "absl/status/statusor.h"
#include "common/env/executor.h"
#include "protos/master_service.pb.h"
#include "services/master/control/cluster_pictures.h"
#include "services/master/control/copy_desk.h"
#include "services/master/control/live_view.h"
#include "services/master/core/balance_goal.h"
#include "services/master/core/rebalance_episode.h"

namespace ballast::master {

struct RebalanceLimits {
  BalanceLimits balance;
  size_t visits_max = 4096;    // chunks looked at in one turn of planning
  size_t moves_max = 1 << 18;  // of one plan
  size_t tries_max = 256;      // moves tried in one step that must wait for limits
  CopySlots slots;
  // After an episode that ended out of balance, before the next one.
  int pause_intervals = 24;
  // Servers' reports must be this many heartbeats younger than the last move before they are
  // judged.
  uint64_t settle_heartbeats = 2;
};

// Keeps the servers evenly filled, in the background: begins an episode when a server is beyond the
// threshold (and rebalance_auto is on, or an operator says so), plans it in slices, hands its moves
// to the copy desk within the budget, and plans again until all are within the settling distance or
// nothing more can be done.
//
// Nothing begins while shards are not settled or many servers are silent together; repair has a
// budget of its own and is not waited for. Concurrency, ownership, lifetime: as RepairLoop.
class RebalanceLoop {
 public:
  RebalanceLoop(Executor& executor, LiveView& view, ClusterPictures& pictures, CopyDesk& copies,
                RebalanceLimits limits = {});

  // All of these: only while this node leads.
  //
  // A tick of the maintenance loop. `held`: why nothing may begin now, neither an episode nor a
  // move of one; empty: nothing holds it.
  void Tick(const std::string& held);

  // By an operator: also within the threshold.
  void Start();
  void Stop();

  // Makes a plan and does not carry it out. `done` runs on the executor, once, unless the term
  // ends.
  using PlanDone = absl::AnyInvocable<void(absl::StatusOr<v1::RebalanceState>)>;
  void Plan(uint32_t moves_shown, PlanDone done);

  v1::RebalanceState State(uint32_t moves_shown);

 private:
  struct Term {
    RaftTerm number;
    std::optional<RebalanceEpisode> episode;
    bool asked = false;  // an operator wants one
    bool stopping = false;
    SteadyTime not_before;  // no new episode by itself
    SteadyTime began;
    std::string note;
    std::string held;                  // as the last tick said
    std::vector<uint64_t> heartbeats;  // of the episode's servers when its last move ended
    bool settling = false;
  };
  struct DryRun {
    RaftTerm term;
    RebalanceEpisode episode;
    uint32_t moves_shown = 0;
    PlanDone done;
  };

  Term& Now();
  BalanceLimits Limits() const;
  // Other groups have chunks on the same servers, and plan for them.
  bool IsShared() const;
  void MaybeBegin();
  void PlanOn();
  void MoveOn();
  // In a turn of its own: moves that end until then share it.
  void MoveSoon();
  void Settle();
  bool HeartbeatsAreFresh();
  void End(const std::string& note);
  // A slice; the next one in a turn of its own.
  void StepDryRuns();
  v1::RebalanceState Describe(const RebalanceEpisode& episode, uint32_t moves_shown) const;

  Executor& executor_;
  LiveView& view_;
  ClusterPictures& pictures_;
  CopyDesk& copies_;
  const RebalanceLimits limits_;
  Term term_;
  std::deque<DryRun> dry_runs_;
  bool planning_ = false;  // a turn is posted
  bool showing_ = false;   // likewise, for dry runs
  bool moving_ = false;    // likewise
  bool waking_ = false;    // a timer waits for a lane
};

}  // namespace ballast::master
