// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>

#include "tests/sim/chunk_cluster.h"

namespace ballast::testing {

// What goes wrong in a simulated cluster, at random.
//
// The budget, within which nothing acknowledged may be lost:
//   * any process may be killed, paused, cut off and restarted at any time, any number at once
//   * any disk may lose power: what was not synced is gone or torn
//   * rot and the loss of whole disks never take the last sound replica, trimmed ones not counted,
//     that the log needs; nor a second one before the first was noticed; nor one of an object that
//     wants a single replica, which is what a move would rely on (ChunkChecker::MayDestroy)
//   * a master with an old, empty or foreign folder gets no clients, and runs for less time than a
//     draft takes to expire (docs/testing.md says why)
//
// Concurrency: one thread. Ownership: the cluster outlives it.
class ChunkFaults {
 public:
  ChunkFaults(ChunkCluster& cluster, bool harsh);
  ~ChunkFaults();

  void Start();
  // No new faults; those under way end by themselves or in Converge.
  void Stop() { active_ = false; }
  // How often each kind was done.
  const std::map<std::string, uint64_t>& done() const { return done_; }
  // Until then a server is away that is to find another world.
  absl::Duration away_until() const { return away_until_; }

 private:
  void Next();
  void OneFault();
  void Later(absl::Duration delay, std::function<void()> task);
  bool Did(const std::string& kind);

  bool KillSomeServer(bool power_loss);
  bool FailSomeDiskSoon();
  bool PauseSomeServer();
  bool SendServerAway();
  bool LoseSomeServer();
  bool RotSomeReplica();
  bool FillSomeDisk();
  bool KillSomeMaster();
  bool PauseSomeMaster();
  bool ElectAnother();
  bool TrySomeImpostor();
  bool CutSomeLink();
  bool IsolateSomebody();
  bool BreakStreams();
  bool ChangeWeather();
  bool DrainSomeServer();
  bool AskForRebalancing();
  bool LetAnOldBootSpeak();
  // The master has just logged that the replica at `server` may go: what it relied on changes
  // before the delete is carried out.
  void StrikeAtTrim(ChunkHandle handle, size_t server);
  void Rot(size_t number, ChunkHandle handle);
  void RestartServerLater(size_t number, absl::Duration delay);

  ChunkCluster& cluster_;
  const bool harsh_;
  const std::shared_ptr<ChunkFaults*> alive_;
  bool active_ = false;
  absl::Duration away_until_ = absl::ZeroDuration();
  size_t servers_lost_ = 0;
  std::map<std::string, uint64_t> done_;
};

}  // namespace ballast::testing
