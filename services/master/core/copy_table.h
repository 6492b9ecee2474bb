// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <deque>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/container/btree_map.h"
#include "absl/container/btree_set.h"
#include "absl/container/inlined_vector.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "common/base/steady_time.h"
#include "common/types/ids.h"
#include "services/master/core/copy_view.h"

namespace ballast::master {

// Who wants a copy, for people who ask why.
enum class CopyPurpose { kRequested, kRepair, kRebalance, kDrain };
absl::string_view CopyPurposeName(CopyPurpose purpose);

// One more replica of a chunk on `target`. With a `source` it is a move: the source's replica is
// trimmed as soon as the new one counts.
struct CopyTask {
  ChunkHandle handle;
  ServerIndex target;
  ServerIndex source;  // 0: nothing is trimmed
  CopyPurpose purpose = CopyPurpose::kRequested;
  uint32_t total_share_ppm = 0;  // of what its traffic may use in the cluster; 0: all of it
};

// How a task ended. OK: the new replica's location is logged, and the trim if it is a move.
// Otherwise nothing that counts has changed, but the target may hold one replica more. Reasons:
// master_service.proto, MoveReplicas.
struct CopyOutcome {
  absl::Status status;
  uint64_t bytes_copied = 0;  // by the target's account, also if the task failed later
};

using CopyId = uint64_t;  // > 0

struct CopyLimits {
  size_t waiting_max = 16384;  // tasks not begun
  size_t under_way_max = 256;  // tasks begun
  // Of those, to one server, and whose first source is one server: what both budgets together may
  // have there (CopySlots), so that what they let through does not wait here again.
  size_t per_target_max = 32;
  size_t per_source_max = 32;
  size_t examined_max = 1024;                           // waiting tasks looked at in one step
  int orders_max = 16;                                  // Replicate sent for one task
  absl::Duration start_patience = absl::Seconds(60);    // for servers that have not reported yet
  absl::Duration report_patience = absl::Minutes(10);   // from the target's result to the log
  absl::Duration absence_patience = absl::Seconds(10);  // see Step; and two heartbeats
};

// What Step wants done. Verifies may repeat from step to step; whoever sends them knows what is
// under way.
struct CopyEffects {
  struct Replicate {
    CopyId copy = 0;
    CopyTask task;
    ChunkFacts facts;
    absl::InlinedVector<ServerIndex, ChunkRecord::kSlots> sources;  // best first
    bool is_first = false;  // the bytes are to be promised to the target
  };
  struct Verify {
    ServerIndex server;
    ChunkHandle handle;
  };
  // One log entry: `add` becomes a location and `drop`, if any, is none any more; `trim`, if any,
  // is trimmed with `keep`. Answer: OnLogged.
  struct Log {
    CopyId copy = 0;
    ChunkHandle handle;
    ServerIndex add;
    ServerIndex drop;
    ServerIndex trim;
    uint32_t keep = 0;
  };
  struct Finished {
    CopyId copy = 0;
    CopyTask task;
    CopyOutcome outcome;
  };
  std::vector<Replicate> replicates;
  std::vector<Verify> verifies;
  std::vector<Log> logs;
  std::vector<Finished> finished;
};

// The copies of a leader's term: tasks in, outcomes out (docs/protocols/moves.md, "A copy").
//
//   waiting ----> ordered ----> reporting ----> logging ----> finished, OK
//      |             |              |  ^___________|
//      +-------------+--------------+--------------------> finished, failed
//
//   waiting    not begun: limits, an earlier task of the same chunk, or servers that have not
//              reported yet. Whether target and source will do is judged when it begins.
//   ordered    Replicate is to be under way at the target; sent whenever it is not
//   reporting  the target says that it is done. Waits until the target reports the replica live and
//              verified and, for a move, `keep` other replicas of the source are firm
//   logging    the entry is proposed
//
// Guarantees
//   * A trim is asked for only while at least keep = min(wanted, replicas that counted or were
//     expected before the copy) other replicas are firm (ReplicaStanding).
//   * Tasks of one chunk run one after another, in the order of their offers; so never two copies
//     of a chunk go to one target, and each one sees what the one before has logged.
//   * Every task ends, if Step is called from time to time: each wait is for something that its
//     server reports, or for that server's death, or has a patience.
//   * Deadlines end waits and never prove anything: a task that is given up leaves a replica that
//     counts once it is reported.
//
// Level-triggered: a step looks at every task under way anew, so events may be lost, doubled or
// late. Concurrency: none. Ownership: nothing. Never fails but Offer.
class CopyTable {
 public:
  explicit CopyTable(CopyLimits limits = {}) : limits_(limits) {}

  // Hold at once, for tasks under way as well.
  void SetLimits(const CopyLimits& limits) { limits_ = limits; }

  // RESOURCE_EXHAUSTED / OVERLOADED if too many tasks wait.
  absl::StatusOr<CopyId> Offer(const CopyTask& task, SteadyTime now);

  // The Replicate that the last step asked for was sent as `command_id`.
  void OnOrdered(CopyId copy, uint64_t command_id);
  // A command's result; those of other commands are ignored.
  void OnResult(ServerIndex server, uint64_t command_id, const absl::Status& status,
                uint64_t bytes);
  // OK: applied. OVERLOADED: it will be proposed again. Otherwise the task fails with it.
  void OnLogged(CopyId copy, const absl::Status& status);

  // Looks at every task under way, then begins what may begin.
  void Step(const CopyView& view, SteadyTime now, CopyEffects& effects);

  bool empty() const { return copies_.empty(); }
  // Some task of this chunk has not ended.
  bool HasChunk(ChunkHandle handle) const { return by_chunk_.contains(handle); }
  size_t waiting_count() const { return copies_.size() - under_way_.size(); }
  size_t under_way_count() const { return under_way_.size(); }
  // True once its first Replicate was asked for.
  bool HasBegun(CopyId copy) const { return under_way_.contains(copy); }

 private:
  enum class State { kWaiting, kOrdered, kReporting, kLogging };
  struct Copy {
    CopyTask task;
    State state = State::kWaiting;
    SteadyTime since;  // of the state
    uint32_t keep = 0;
    ServerIndex counted_source;                // whose limit it takes
    std::optional<Liveness::Holder> holder;    // of the target, when it began
    absl::InlinedVector<uint64_t, 2> ordered;  // command ids
    std::optional<absl::Status> result;        // of Replicate, or of the log; to be looked at
    uint64_t bytes = 0;
    uint64_t heartbeat_count = 0;  // of the target when it began to report
  };
  // What the start of one step has given away already.
  using Granted = absl::btree_map<ServerIndex, uint64_t>;

  void Examine(CopyId id, Copy& copy, const CopyView& view, SteadyTime now, CopyEffects& effects);
  void ExamineOrdered(CopyId id, Copy& copy, const CopyView& view, SteadyTime now,
                      CopyEffects& effects);
  void ExamineReporting(CopyId id, Copy& copy, const CopyView& view, SteadyTime now,
                        CopyEffects& effects);
  // What is between a reporting copy and its log entry: OK if nothing, UNAVAILABLE / NOT_READY if
  // it must be waited for, otherwise why the task fails.
  absl::Status JudgeTarget(const Copy& copy, const ChunkStanding& chunk, const CopyView& view,
                           SteadyTime now, CopyEffects& effects) const;
  absl::Status JudgeSource(const Copy& copy, const ChunkStanding& chunk, const CopyView& view,
                           CopyEffects& effects) const;
  void BeginSome(const CopyView& view, SteadyTime now, CopyEffects& effects);
  // OK if it may begin now, NOT_READY if it must wait, otherwise why it fails.
  absl::Status JudgeStart(const Copy& copy, const CopyView& view, const Granted& granted) const;
  void TryBegin(CopyId id, Copy& copy, const CopyView& view, SteadyTime now, Granted& granted,
                CopyEffects& effects);
  bool HasRoomInLimits(const CopyTask& task, ServerIndex source) const;
  absl::InlinedVector<ServerIndex, ChunkRecord::kSlots> SourcesOf(const CopyTask& task,
                                                                  const ChunkStanding& chunk) const;
  void Finish(CopyId id, absl::Status status, CopyEffects& effects);

  CopyLimits limits_;
  CopyId last_id_ = 0;
  absl::btree_map<CopyId, Copy> copies_;
  absl::btree_set<CopyId> under_way_;
  absl::btree_set<CopyId> first_waiting_;  // waiting, and the first task of its chunk
  CopyId next_waiting_ = 0;                // where the next step looks on in first_waiting_
  absl::btree_map<ChunkHandle, std::deque<CopyId>> by_chunk_;  // in the order of their offers
  absl::btree_map<uint64_t, CopyId> by_command_;
  absl::btree_map<ServerIndex, size_t> targets_;  // tasks under way
  absl::btree_map<ServerIndex, size_t> sources_;
};

}  // namespace ballast::master
