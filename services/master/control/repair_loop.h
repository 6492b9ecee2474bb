// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/container/btree_map.h"
#include "common/base/rng.h"
#include "common/env/executor.h"
#include "protos/master_service.pb.h"
#include "services/master/control/cluster_pictures.h"
#include "services/master/control/copy_desk.h"
#include "services/master/control/live_view.h"
#include "services/master/control/order_desk.h"
#include "services/master/control/proposer.h"
#include "services/master/core/loss_breaker.h"
#include "services/master/core/repair_planner.h"
#include "services/master/core/repair_queue.h"

namespace ballast::master {

struct RepairLimits {
  size_t examined_max = 2048;             // chunks looked at in a tick
  size_t examined_fresh_max = 4096;       // and in one turn of a round that a death began
  size_t offers_max = 256;                // needs dealt with in one step, but fewer if
  size_t servers_examined_max = 1 << 16;  // so many servers were looked at for them, of all needs
  size_t busy_max = 64;                   // needs of one class found waiting for limits: enough
  CopySlots slots;
  // Before less urgent chunks are repaired, a fresh round gets so long to find the most urgent
  // ones.
  absl::Duration urgent_first = absl::Milliseconds(100);
  // Surplus replicas are trimmed when nothing died or came back for so many heartbeat intervals.
  int surplus_hold_intervals = 60;
  size_t trims_proposed_max = 64;  // of damaged and surplus replicas, not answered yet
  size_t verifies_under_way_max = 16;
  // Chunks of which it is remembered why nothing can be done for them; and, with these, chunks
  // whose copy has failed and is not tried again at once. There must be room for the latter,
  // however many of the former there are: else such a copy would be made over and over.
  size_t reasons_max = 4096;
  size_t back_offs_max = 65536;
};

// Keeps every chunk at its wanted number of replicas: repairs what lost some, most endangered
// first, empties servers that drain, trims damaged and surplus replicas.
//
// Level-triggered: it finds what lacks something by walking (RepairQueue), decides with the planner
// and offers copies; whatever fails is found again. A death begins a fresh round at once. While
// many servers are silent together (LossBreaker) only last copies are repaired.
//
// Concurrency: everything on the executor; tasks it posted must not run after its end. Ownership:
// references outlive it. What it knows lasts a term.
class RepairLoop {
 public:
  RepairLoop(Executor& executor, LiveView& view, ClusterPictures& pictures, CopyDesk& copies,
             HeartbeatIntake& intake, Proposer& proposer, uint64_t seed, RepairLimits limits = {});

  // All of these: only while this node leads.
  //
  // A tick of the maintenance loop, after OnTransition for all that liveness had to tell.
  void Tick();
  void OnTransition(const Liveness::Transition& change);
  // Servers began or ended to drain, came or went.
  void OnRegistryChanged();
  // Chunks whose replicas changed: looked at soon.
  void Note(absl::Span<const ChunkHandle> handles);
  // An operator's word that silent servers will not come back.
  void ReleaseBreaker();

  // --- for people ---
  v1::RepairState State();
  std::vector<v1::DrainState> Drains();
  // Why nothing can be done for this chunk now; empty: nothing is known.
  std::string BlockedReason(ChunkHandle handle);
  uint64_t TrimCount() const;
  // Empty, or what is so unusual that nothing should be rebalanced now. Drains wait for most of it,
  // too.
  std::string WhyNotRebalance();

 private:
  struct DrainProgress {
    uint64_t bytes_most = 0;
    double pct = 0;
  };
  struct Blocked {
    uint64_t round = 0;
    std::string why;
    SteadyTime until;  // not tried again before
  };
  // Made anew for each term.
  struct Term {
    RaftTerm number;
    RepairQueue queue;
    LossBreaker breaker;
    SteadyTime fresh_since;
    SteadyTime last_change;  // a server died or came back
    uint64_t registry_version = 0;
    uint64_t round = 0;
    // Why chunks cannot be repaired now; those not found so again for a round are forgotten.
    // Bounded.
    absl::btree_map<ChunkHandle, Blocked> blocked;
    absl::btree_map<ServerIndex, DrainProgress> drains;
    size_t trims_proposed = 0;
    // Rounds of the garbage planner after which what it has counted is true of all servers; none:
    // not all have reported.
    std::optional<uint64_t> counted_from;
  };

  Term& Now();
  void Walk(size_t examine_max);
  void WalkOn();
  void Repair();
  // Repair in a turn of its own, with a fresh picture: what comes until then shares it.
  void RepairSoon();
  RepairQueue::Verdict Take(ChunkHandle handle);
  RepairQueue::Verdict Copy(const ChunkPicture& picture, ChunkNeed need);
  // Trims one replica that its server says is damaged, once `keep` others are firm.
  RepairQueue::Verdict TrimDamaged(const ChunkPicture& picture, uint32_t keep);
  RepairQueue::Verdict Trim(const ChunkPicture& picture, ServerIndex victim, uint32_t keep);
  // `patience`: for how long it makes no sense to try again.
  RepairQueue::Verdict Block(ChunkHandle handle, const absl::Status& why, absl::Duration patience);
  void SeeRound(Term& term);
  std::optional<ChunkPicture> Picture(ChunkHandle handle);
  double CapacityShare(ServerIndex server) const;
  void WakeWhenLanesFree();
  // Why nothing that ends in a delete should be begun now; empty: nothing is in the way. Servers
  // must have reported, and none of them chunks that this group never gave out as far as its
  // metadata knows: it may be old or foreign then.
  std::string WhyNotTrim() const;
  // Sees when all shards are settled and what servers hold was compared with the metadata once.
  void SeeReported(Term& term);

  Executor& executor_;
  LiveView& view_;
  ClusterPictures& pictures_;
  CopyDesk& copies_;
  OrderDesk orders_;
  HeartbeatIntake& intake_;
  Proposer& proposer_;
  Rng rng_;
  const RepairLimits limits_;
  Term term_;
  ClusterView servers_{{}};                    // of the step under way
  std::vector<CopyLoad> loads_[kCopyBudgets];  // likewise, with what the step adds
  bool walking_ = false;                       // a turn is posted
  bool repairing_ = false;                     // likewise
  bool waking_ = false;                        // a timer waits for a lane
};

}  // namespace ballast::master
