// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "tests/sim/chunk_checkers.h"
#include "tests/sim/chunk_network.h"
#include "tests/sim/chunk_workload.h"
#include "tests/sim/chunk_world.h"
#include "tests/sim/group_log.h"
#include "tests/sim/order_checker.h"
#include "tests/sim/sim_chunk_server.h"
#include "tests/sim/sim_master.h"

namespace ballast::testing {

// A whole cluster in virtual time: the masters of one group, chunk servers on disks of their own,
// clients, a network, and checkers that look at the world after every step. All chance comes from
// one seed. The parts of masters and chunk servers are the real ones; see SimMaster and
// SimChunkServer for what is left out, GroupLog for what stands for consensus.
//
// Concurrency: one thread.
class ChunkCluster {
 public:
  struct Profile {
    size_t masters = 3;
    size_t servers = 5;
    size_t clients = 3;
    uint32_t shards = 4;
    uint64_t capacity_bytes = 8 << 20;
    uint32_t heartbeat_ms = 1000;
    uint32_t draft_expiry_ms = 45'000;
    uint32_t grace_ms = 6'000;
    uint32_t session_idle_ms = 60'000;
    int surplus_hold_intervals = 60;
  };

  ChunkCluster(uint64_t seed, const Profile& profile);
  ~ChunkCluster();

  // --- masters ----------------------------------------------------------------------------------
  size_t master_count() const { return masters_.size(); }
  SimMaster* master(size_t number) { return masters_[number].process.get(); }
  void StartMaster(size_t number);
  void KillMaster(size_t number);
  GroupLog& group() { return *group_; }

  // In place of master `number`, a process that believes in an old, empty or foreign folder. Ends
  // with EndImpostor, or when the master is started.
  enum class Folder { kOld, kEmpty, kForeign };
  void StartImpostor(size_t number, Folder folder);
  void EndImpostor(size_t number);

  // --- chunk servers ----------------------------------------------------------------------------
  size_t server_count() const { return servers_.size(); }
  SimChunkServer* server(size_t number) { return servers_[number].process.get(); }
  MemFileSystem& disk(size_t number) { return *servers_[number].fs; }
  DiskId disk_id(size_t number) const { return servers_[number].place.disk; }
  // A new, empty server.
  size_t AddServer();
  void StartServer(size_t number);
  void KillServer(size_t number, bool power_loss);
  // It is gone for good with its disk, and an operator removes it from the registry.
  void LoseServer(size_t number);
  bool Lost(size_t number) const { return servers_[number].lost; }
  // An operator empties it, or takes that back.
  void SetDraining(size_t number, bool draining);
  // A process of an earlier boot, which stood still since then, speaks to the leader. False: there
  // is none.
  bool SayLate(size_t number);

  NetNode node_of_master(size_t number) const { return masters_[number].place.node; }
  NetNode node_of_server(size_t number) const { return servers_[number].place.node; }

  // --- running ----------------------------------------------------------------------------------
  SimScheduler& sim() { return sim_; }
  Rng& rng() { return sim_.rng(); }
  ChunkNetwork& network() { return network_; }
  void StreamsBreak(NetNode node) { streams_.BreakStreamsOf(node); }
  ChunkChecker& checker() { return checker_; }
  SimShardctl& shardctl() { return shardctl_; }
  const Profile& profile() const { return profile_; }
  SimClient& client(size_t number) { return *clients_[number]; }
  void StartClients();
  // Until Converge somebody asks for copies and moves of chunks at random, of whoever believes to
  // lead.
  void StartMoving();
  // An operator starts or stops rebalancing.
  void AskRebalance(bool start);
  // Told of every trim that is logged.
  void SetOnTrim(std::function<void(ChunkHandle, size_t server)> on_trim) {
    on_trim_ = std::move(on_trim);
  }
  // Steps until the time is over, `done`, or a rule is broken.
  bool RunUntil(const std::function<bool()>& done, absl::Duration limit);
  void RunFor(absl::Duration span) {
    RunUntil([] { return false; }, span);
  }
  // Of a young cluster: waits until the leader knows from all servers what they hold.
  void AwaitReports();
  // Ends all faults and clients, restarts what is down, and waits until the world is as it should
  // be; then reads everything.
  void Converge();

  const std::string& violation() const { return checker_.violation(); }
  uint32_t trace_hash() const { return trace_; }
  uint64_t puts() const;
  uint64_t copies_done() const { return copies_done_; }
  void Trace(const std::string& event);

 private:
  struct MasterSlot {
    SimMaster::Place place;
    std::unique_ptr<GroupLog> impostor_log;
    std::unique_ptr<master::MasterMachine> impostor_machine;  // what that log says
    std::unique_ptr<SimMaster> process;
    bool impostor = false;
  };
  struct ServerSlot {
    std::unique_ptr<MemFileSystem> fs;
    SimChunkServer::Place place;
    std::string server_id;
    std::unique_ptr<SimChunkServer> process;
    bool lost = false;
  };
  ShardConfig MakeConfig();
  v1::Settings MakeSettings() const;
  std::string NewUuid();
  uint64_t OldFolder();
  void MoveSomething();
  void OnCommit(RaftIndex index, const GroupLog::Entry& entry);
  // A machine that was made from a snapshot is what the log makes of it.
  void CheckRestored(uint64_t applied, const master::MasterMachine& restored);
  // Tells the checker which heartbeats a master accepted.
  StreamHub::Taps MakeTaps();
  void ReadEverything();
  bool AllQuiet() const;

  const uint64_t seed_;
  const Profile profile_;
  SimScheduler sim_;
  ChunkChecker checker_;
  OrderChecker orders_;
  ChunkNetwork network_;
  StreamHub streams_;
  std::vector<MasterSlot> masters_;  // before shardctl_, whose configuration names them
  std::vector<std::string> master_addresses_;
  SimShardctl shardctl_;
  ChunkWorld world_;
  std::unique_ptr<GroupLog> group_;
  std::vector<ServerSlot> servers_;
  std::vector<std::unique_ptr<SimClient>> clients_;
  uint64_t heartbeats_before_ = 0;  // accepted from the sender of the one being handled
  RaftTerm impostor_term_;          // highest that an impostor has led in
  std::function<void(ChunkHandle, size_t)> on_trim_;
  std::set<std::pair<ChunkHandle, ServerIndex>> trims_;  // logged
  // The first heartbeat of each boot, by server id.
  std::map<std::string, std::map<uint64_t, v1::Heartbeat>> spoken_;
  bool moving_ = false;
  uint64_t copies_done_ = 0;
  uint32_t trace_ = 0;
};

}  // namespace ballast::testing
