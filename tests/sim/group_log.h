// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/time/time.h"
#include "common/raft/replicated_log.h"
#include "common/raft/state_machine.h"
#include "tests/support/sim_scheduler.h"

namespace ballast::testing {

// A replicated log of one group as its members see it, without the protocol that makes it true
// (that is RaftCluster's business): one list of committed entries, terms that only grow, one
// elected leader a term. What members may go through:
//   * a leader that was replaced goes on believing for a while: what it proposes then never commits
//   * of what a lost or replaced leader had proposed, an arbitrary prefix commits all the same
//   * followers apply late; a member that starts replays everything, at times from a snapshot
//   * without a majority that runs and converses nothing commits
//
// Concurrency: one thread; calls into members run on their owners' executors. Lifetime: outlives
// what Open returned.
class GroupLog {
 public:
  struct Entry {
    RaftTerm term;
    std::string command;
  };
  struct World {
    std::function<bool(size_t member)> runs;                 // up, and not standing still
    std::function<bool(size_t a, size_t b)> converse;        // the network lets them
    std::function<void(RaftIndex, const Entry&)> on_commit;  // at once, in order
    // A member begins from a snapshot of the first `applied` entries. May be null.
    std::function<void(uint64_t applied, const StateMachine&)> on_restore = nullptr;
  };

  GroupLog(SimScheduler& sim, size_t members, World world);
  // Another history that begins like `other` does, up to `entries`: a copy of an old folder.
  GroupLog(SimScheduler& sim, const GroupLog& other, uint64_t entries, World world);
  ~GroupLog();

  // A member starts: replays into `machine` and takes part. Its destruction is its crash.
  std::unique_ptr<ReplicatedLog> Open(size_t member, Executor& owner, StateMachine& machine);

  uint64_t committed() const { return entries_.size(); }
  const Entry& entry(uint64_t index) const { return entries_[index - 1]; }
  RaftTerm term() const { return term_; }
  // The elected one, whether it knows or not.
  std::optional<size_t> leader() const { return leader_; }
  // Another leader, or the same one in a higher term, soon.
  void ForceElection();
  // The next election is for a term above this one.
  void RaiseTerm(RaftTerm above);
  // Members keep an image of their state; a later start may begin from it.
  void TakeSnapshotOf(size_t member);
  // Deposed leaders learn of it within this time.
  void SetBeliefMax(absl::Duration belief_max) { belief_max_ = belief_max; }

 private:
  class Member;
  struct Snapshot {
    uint64_t applied = 0;
    std::vector<std::pair<std::string, std::string>> images;
  };
  bool HasMajority(size_t member) const;
  void Tick();
  void Elect(size_t member);
  void Commit(Entry entry);
  void Later(absl::Duration delay, absl::AnyInvocable<void()> task);

  SimScheduler& sim_;
  const World world_;
  const std::shared_ptr<GroupLog*> alive_;
  std::vector<Entry> entries_;
  RaftTerm term_;
  std::optional<size_t> leader_;
  std::vector<Member*> members_;            // null: not running
  std::deque<std::string> orphans_;         // proposed by a leader that has died; may commit
  std::optional<absl::Duration> headless_;  // since when nobody leads who could
  absl::Duration patience_;                 // of the next election
  std::optional<Snapshot> snapshot_;
  absl::Duration belief_max_ = absl::Seconds(2);
};

}  // namespace ballast::testing
