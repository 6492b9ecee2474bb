// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "common/raft/raft_log.h"
#include "tests/support/mem_file_system.h"
#include "tests/support/set_machine.h"
#include "tests/support/sim_scheduler.h"

namespace ballast::testing {

// A replicated group in virtual time: real RaftLogs on simulated disks and an unreliable network,
// with oracles that watch every step. All chance comes from one seed.
//
// Oracles, the first broken rule goes to violation():
//   - no two members apply different commands at one index (and SetMachine: none applies one twice)
//   - a term has one leader, as the members tell it
//   - a leader that says so has applied all that was acknowledged in earlier terms
//   - a read sees everything acknowledged, and every read answered, before it began
//   - a command refused with NOT_LEADER is applied nowhere
//   - after healing: every acknowledged command is on every member, all are equal (Converge)
class RaftCluster {
 public:
  struct Profile {
    size_t voters = 3;
    absl::Duration delay_max = absl::Milliseconds(2);
    uint32_t loss_per_mille = 0;
    uint32_t duplicate_per_mille = 0;
    absl::Duration disk_jitter = absl::Milliseconds(2);
    // Each member's own, where they differ: as if their clocks ran at different speeds.
    std::vector<absl::Duration> election_timeouts;
    uint64_t snapshot_log_bytes = 6000;
    uint64_t segment_bytes = 4096;
    uint32_t trailing_entries_max = 100;
    uint32_t inflight_entries_max = 64;
    size_t fetch_page_bytes = 100;
    absl::Duration fetch_lease = absl::Milliseconds(300);
  };

  RaftCluster(uint64_t seed, const Profile& profile);
  ~RaftCluster();

  // --- members, 0 .. voters-1 -------------------------------------------------------------------
  void Start(size_t member);
  // The process dies; what its disk had not synced is lost or torn.
  void Crash(size_t member);
  // The next few disk operations are the last ones: dies in the middle of something.
  void CrashSoon(size_t member);
  bool Running(size_t member) const { return members_[member].log != nullptr; }
  RaftLog* log(size_t member) { return members_[member].log.get(); }
  const SetMachine& machine(size_t member) const;
  MemFileSystem& disk(size_t member) { return *members_[member].fs; }
  // The member that says it leads with the highest term.
  std::optional<size_t> Leader() const;

  // --- network ----------------------------------------------------------------------------------
  void Cut(size_t from, size_t to) { cut_[from][to] = true; }
  void Isolate(size_t member);
  void HealNetwork();
  Profile& profile() { return profile_; }

  // --- clients ----------------------------------------------------------------------------------
  // A new command at that member; its fate is recorded.
  void Propose(size_t member, size_t padding = 20);
  void Read(size_t member);
  // Proposes until `count` are acknowledged or `limit` has passed.
  bool ProposeUntilAcknowledged(size_t count, absl::Duration limit);
  uint64_t acknowledged() const { return acknowledged_.size(); }
  uint64_t reads_served() const { return reads_served_; }
  uint64_t installs() const { return installs_; }
  uint64_t leaderships() const { return leader_of_term_.size(); }

  // --- running ----------------------------------------------------------------------------------
  SimScheduler& sim() { return sim_; }
  Rng& rng() { return sim_.rng(); }
  // Random clients and faults for that long.
  void RunFaults(absl::Duration span, bool harsh);
  // Heals everything and waits until all members are equal and take new commands.
  void Converge();

  const std::string& violation() const { return violation_; }
  uint32_t trace_hash() const { return trace_; }

 private:
  class Transport;
  class Machine;
  class Disk;
  struct Member {
    std::unique_ptr<MemFileSystem> fs;
    uint64_t incarnation = 0;
    std::unique_ptr<Executor> owner;
    std::unique_ptr<Disk> disk;
    std::unique_ptr<Transport> transport;
    std::unique_ptr<Machine> machine;
    std::unique_ptr<RaftLog> log;
    absl::Status failure;
    absl::Duration disk_jitter;
    bool disk_fails = false;  // by our own doing: its log may fail
  };

  RaftLogOptions OptionsOf(size_t member);
  void Deliver(size_t from, size_t to, const std::string& bytes);
  void OnApplied(uint64_t index, absl::string_view command);
  void OnRole(size_t member, const ReplicatedLog::State& state);
  void CheckLeaders();
  void Violate(const std::string& what);
  void Trace(absl::string_view event);
  void OneFault(bool harsh);
  void DeposeLeaderAndCrashIt(size_t leader);
  void ClientTick();
  std::string States() const;
  template <typename Condition>
  void Await(const char* what, Condition condition);

  const uint64_t seed_;
  Profile profile_;
  SimScheduler sim_;
  std::vector<Member> members_;
  std::vector<std::vector<bool>> cut_;
  uint64_t next_id_ = 1;
  bool faults_ = false;  // clients and faults are under way

  std::map<uint64_t, std::string> applied_;            // index -> command
  std::map<uint64_t, uint64_t> leader_of_term_;        // term -> node id
  std::map<uint64_t, uint64_t> acknowledged_by_term_;  // term -> highest acknowledged index
  std::set<uint64_t> acknowledged_;                    // command ids
  std::set<uint64_t> refused_;
  uint64_t index_seen_ = 0;  // highest acknowledged or read
  uint64_t reads_served_ = 0;
  uint64_t installs_ = 0;
  uint32_t trace_ = 0;
  std::string violation_;
};

}  // namespace ballast::testing
