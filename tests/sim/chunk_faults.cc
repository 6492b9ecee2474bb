// SPDX-License-Identifier: Apache-2.0
#include "tests/sim/chunk_faults.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"

namespace ballast::testing {
namespace {

constexpr size_t kServersLostMax = 2;

}  // namespace

ChunkFaults::ChunkFaults(ChunkCluster& cluster, bool harsh)
    : cluster_(cluster), harsh_(harsh), alive_(std::make_shared<ChunkFaults*>(this)) {}

ChunkFaults::~ChunkFaults() { cluster_.SetOnTrim(nullptr); }

void ChunkFaults::Later(absl::Duration delay, std::function<void()> task) {
  cluster_.sim().At(delay, [weak = std::weak_ptr<ChunkFaults*>(alive_), task = std::move(task)] {
    if (weak.lock() != nullptr) {
      task();
    }
  });
}

void ChunkFaults::Start() {
  active_ = true;
  cluster_.checker().OnFault();
  cluster_.SetOnTrim([this](ChunkHandle handle, size_t server) {
    if (active_ && cluster_.rng().OneIn(4)) {
      Later(absl::Milliseconds(cluster_.rng().Below(40)),
            [this, handle, server] { StrikeAtTrim(handle, server); });
    }
  });
  Next();
}

void ChunkFaults::Next() {
  const uint64_t most = harsh_ ? 900 : 3000;
  Later(absl::Milliseconds(cluster_.rng().Between(50, most)), [this] {
    if (active_) {
      OneFault();
      Next();
    }
  });
}

bool ChunkFaults::Did(const std::string& kind) {
  ++done_[kind];
  return true;
}

void ChunkFaults::OneFault() {
  switch (cluster_.rng().Below(23)) {
    case 0:
    case 1:
      KillSomeServer(/*power_loss=*/false);
      break;
    case 2:
    case 3:
      KillSomeServer(/*power_loss=*/true);
      break;
    case 4:
      FailSomeDiskSoon();
      break;
    case 5:
      PauseSomeServer();
      break;
    case 6:
      SendServerAway();
      break;
    case 7:
      LoseSomeServer();
      break;
    case 8:
      RotSomeReplica();
      break;
    case 9:
      FillSomeDisk();
      break;
    case 10:
    case 11:
      KillSomeMaster();
      break;
    case 12:
      PauseSomeMaster();
      break;
    case 13:
    case 14:
      ElectAnother();
      break;
    case 15:
      TrySomeImpostor();
      break;
    case 16:
      CutSomeLink();
      break;
    case 17:
      IsolateSomebody();
      break;
    case 18:
      BreakStreams();
      break;
    case 19:
      DrainSomeServer();
      break;
    case 20:
      AskForRebalancing();
      break;
    case 21:
      LetAnOldBootSpeak();
      break;
    default:
      ChangeWeather();
      break;
  }
}

// --- chunk servers ------------------------------------------------------------------------------

void ChunkFaults::RestartServerLater(size_t number, absl::Duration delay) {
  Later(delay, [this, number] {
    if (cluster_.server(number) == nullptr && !cluster_.Lost(number)) {
      cluster_.StartServer(number);
    }
  });
}

bool ChunkFaults::KillSomeServer(bool power_loss) {
  const size_t number = cluster_.rng().Below(cluster_.server_count());
  if (cluster_.server(number) == nullptr) {
    return false;
  }
  cluster_.KillServer(number, power_loss);
  RestartServerLater(number, absl::Milliseconds(cluster_.rng().Between(10, 8000)));
  return Did(power_loss ? "power loss" : "kill server");
}

// The next few disk operations are the last ones: dies in the middle of something.
bool ChunkFaults::FailSomeDiskSoon() {
  const size_t number = cluster_.rng().Below(cluster_.server_count());
  if (cluster_.server(number) == nullptr) {
    return false;
  }
  cluster_.disk(number).FailAfter(cluster_.rng().Between(1, 20));
  Later(absl::Milliseconds(cluster_.rng().Between(5, 3000)), [this, number] {
    if (cluster_.server(number) != nullptr) {
      cluster_.KillServer(number, /*power_loss=*/true);
    }
    RestartServerLater(number, absl::Milliseconds(cluster_.rng().Between(10, 4000)));
  });
  return Did("disk fails");
}

bool ChunkFaults::PauseSomeServer() {
  const size_t number = cluster_.rng().Below(cluster_.server_count());
  SimChunkServer* const server = cluster_.server(number);
  if (server == nullptr) {
    return false;
  }
  cluster_.Trace(absl::StrCat("pause ", server->place().name));
  server->process().Pause();
  const uint64_t most = cluster_.rng().OneIn(3) ? 20'000 : 3000;
  Later(absl::Milliseconds(cluster_.rng().Between(10, most)), [this, number] {
    if (cluster_.server(number) != nullptr) {
      cluster_.Trace(absl::StrCat("resume server", number));
      cluster_.server(number)->process().Resume();
    }
  });
  return Did("pause server");
}

// It comes back when the world has moved on, with whatever its disk still holds.
bool ChunkFaults::SendServerAway() {
  const size_t number = cluster_.rng().Below(cluster_.server_count());
  if (cluster_.server(number) == nullptr) {
    return false;
  }
  cluster_.KillServer(number, cluster_.rng().OneIn(2));
  RestartServerLater(number, absl::Milliseconds(cluster_.rng().Between(10'000, 40'000)));
  return Did("server away");
}

bool ChunkFaults::LoseSomeServer() {
  const size_t number = cluster_.rng().Below(cluster_.server_count());
  if (servers_lost_ >= kServersLostMax || cluster_.Lost(number) ||
      !cluster_.checker().MayDestroy(cluster_.disk_id(number))) {
    return false;
  }
  ++servers_lost_;
  cluster_.LoseServer(number);
  Later(absl::Milliseconds(cluster_.rng().Between(100, 5000)), [this] { cluster_.AddServer(); });
  return Did("lose server");
}

bool ChunkFaults::RotSomeReplica() {
  const size_t number = cluster_.rng().Below(cluster_.server_count());
  if (cluster_.Lost(number)) {
    return false;
  }
  const DiskId disk = cluster_.disk_id(number);
  const std::vector<ChunkHandle> chunks = cluster_.checker().ChunksOn(disk);
  if (chunks.empty()) {
    return false;
  }
  const ChunkHandle handle = chunks[cluster_.rng().Below(chunks.size())];
  if (!cluster_.checker().MayDestroy(disk, handle)) {
    return false;
  }
  Rot(number, handle);
  return Did("rot");
}

void ChunkFaults::Rot(size_t number, ChunkHandle handle) {
  const std::string path = chunkserver::StoreLayout(SimChunkServer::kFolder).ChunkFile(handle);
  const auto bytes = cluster_.disk(number).FileSize(path);
  const uint64_t byte = cluster_.rng().Below(*bytes);
  cluster_.Trace(absl::StrCat("rot at server", number, " ", handle.ToString(), " ", byte));
  if (cluster_.disk(number).FlipBit(path, byte, static_cast<int>(cluster_.rng().Below(8))).ok()) {
    cluster_.checker().OnRot(cluster_.disk_id(number), handle);
  }
}

void ChunkFaults::StrikeAtTrim(ChunkHandle handle, size_t server) {
  std::vector<size_t> others;
  for (size_t number = 0; number < cluster_.server_count(); ++number) {
    for (DiskId disk : cluster_.checker().SoundOn(handle)) {
      if (number != server && cluster_.disk_id(number) == disk) {
        others.push_back(number);
      }
    }
  }
  SimChunkServer* const source = cluster_.server(server);
  if (!active_ || source == nullptr || others.empty()) {
    return;
  }
  const size_t victim = others[cluster_.rng().Below(others.size())];
  if (servers_lost_ < kServersLostMax && cluster_.rng().OneIn(2) &&
      cluster_.checker().MayDestroy(cluster_.disk_id(victim))) {
    // The delete may be on its way; it is carried out when the master has seen what became of the
    // other one.
    source->process().Pause();
    Later(absl::Milliseconds(cluster_.rng().Between(300, 2500)), [this, server] {
      if (cluster_.server(server) != nullptr) {
        cluster_.server(server)->process().Resume();
      }
    });
    ++servers_lost_;
    cluster_.LoseServer(victim);
    Did("trim, then loss");
  } else if (cluster_.checker().MayDestroy(cluster_.disk_id(victim), handle)) {
    // The source comes back so late that nobody may still rely on the other one.
    const absl::Duration away = absl::Milliseconds(cluster_.rng().Between(31'000, 36'000));
    cluster_.KillServer(server, /*power_loss=*/false);
    RestartServerLater(server, away);
    away_until_ = std::max(away_until_, cluster_.sim().SteadyNow().SinceOrigin() + away);
    Rot(victim, handle);
    if (cluster_.server(victim) != nullptr) {
      cluster_.KillServer(victim, /*power_loss=*/false);
    }
    RestartServerLater(victim, absl::Milliseconds(cluster_.rng().Between(10, 1000)));
    Did("trim, then rot");
  }
}

bool ChunkFaults::FillSomeDisk() {
  const size_t number = cluster_.rng().Below(cluster_.server_count());
  if (cluster_.Lost(number)) {
    return false;
  }
  const auto space = cluster_.disk(number).Space("/");
  const uint64_t used = space->capacity_bytes - space->free_bytes;
  cluster_.disk(number).SetSpace(used + cluster_.rng().Below(30'000));
  Later(absl::Milliseconds(cluster_.rng().Between(500, 8000)),
        [this, number] { cluster_.disk(number).SetSpace(uint64_t{1} << 40); });
  return Did("full disk");
}

// --- masters ------------------------------------------------------------------------------------

bool ChunkFaults::KillSomeMaster() {
  const size_t number = cluster_.rng().Below(cluster_.master_count());
  if (cluster_.master(number) == nullptr) {
    return false;
  }
  cluster_.EndImpostor(number);
  if (cluster_.master(number) != nullptr) {
    cluster_.KillMaster(number);
  }
  Later(absl::Milliseconds(cluster_.rng().Between(10, 6000)), [this, number] {
    if (cluster_.master(number) == nullptr) {
      cluster_.StartMaster(number);
    }
  });
  return Did("kill master");
}

bool ChunkFaults::PauseSomeMaster() {
  const size_t number = cluster_.group().leader().value_or(0);
  SimMaster* const master = cluster_.master(number);
  if (master == nullptr) {
    return false;
  }
  cluster_.Trace(absl::StrCat("pause ", master->place().name));
  master->process().Pause();
  Later(absl::Milliseconds(cluster_.rng().Between(10, 8000)), [this, number] {
    if (cluster_.master(number) != nullptr) {
      cluster_.Trace(absl::StrCat("resume master", number));
      cluster_.master(number)->process().Resume();
    }
  });
  return Did("pause master");
}

bool ChunkFaults::ElectAnother() {
  if (cluster_.rng().OneIn(3)) {
    cluster_.group().TakeSnapshotOf(cluster_.rng().Below(cluster_.master_count()));
  }
  cluster_.group().ForceElection();
  return Did("election");
}

bool ChunkFaults::TrySomeImpostor() {
  if (!harsh_ || cluster_.rng().OneIn(2)) {
    return false;
  }
  const size_t number = cluster_.rng().Below(cluster_.master_count());
  const ChunkCluster::Folder folders[] = {ChunkCluster::Folder::kOld, ChunkCluster::Folder::kEmpty,
                                          ChunkCluster::Folder::kForeign};
  cluster_.StartImpostor(number, folders[cluster_.rng().Below(3)]);
  Later(absl::Milliseconds(cluster_.rng().Between(1000, 20'000)), [this, number] {
    cluster_.EndImpostor(number);
    if (cluster_.master(number) == nullptr) {
      cluster_.StartMaster(number);
    }
  });
  return Did("impostor");
}

// --- operators ----------------------------------------------------------------------------------

// Another operator, or the same one, takes it back.
bool ChunkFaults::DrainSomeServer() {
  const size_t number = cluster_.rng().Below(cluster_.server_count());
  cluster_.SetDraining(number, true);
  Later(absl::Milliseconds(cluster_.rng().Between(200, 15'000)),
        [this, number] { cluster_.SetDraining(number, false); });
  return Did("drain");
}

bool ChunkFaults::AskForRebalancing() {
  cluster_.AskRebalance(true);
  Later(absl::Milliseconds(cluster_.rng().Between(10, 5000)),
        [this] { cluster_.AskRebalance(false); });
  return Did("rebalancing started and stopped");
}

// --- network ------------------------------------------------------------------------------------

bool ChunkFaults::CutSomeLink() {
  Rng& rng = cluster_.rng();
  const NetNode master = cluster_.node_of_master(rng.Below(cluster_.master_count()));
  const NetNode server = cluster_.node_of_server(rng.Below(cluster_.server_count()));
  const bool up = rng.OneIn(2);
  const NetNode from = up ? server : master;
  const NetNode to = up ? master : server;
  cluster_.network().Cut(from, to);
  Later(absl::Milliseconds(rng.Between(100, 15'000)),
        [this, from, to] { cluster_.network().Restore(from, to); });
  return Did("one-way cut");
}

bool ChunkFaults::IsolateSomebody() {
  Rng& rng = cluster_.rng();
  const bool master = rng.OneIn(2);
  cluster_.network().Isolate(master ? cluster_.node_of_master(cluster_.group().leader().value_or(0))
                                    : cluster_.node_of_server(rng.Below(cluster_.server_count())));
  Later(absl::Milliseconds(rng.Between(100, 8000)), [this] { cluster_.network().Heal(); });
  return Did("isolation");
}

bool ChunkFaults::BreakStreams() {
  Rng& rng = cluster_.rng();
  cluster_.StreamsBreak(rng.OneIn(2) ? cluster_.node_of_master(rng.Below(cluster_.master_count()))
                                     : cluster_.node_of_server(rng.Below(cluster_.server_count())));
  return Did("streams break");
}

bool ChunkFaults::LetAnOldBootSpeak() {
  return cluster_.SayLate(cluster_.rng().Below(cluster_.server_count())) && Did("old boot speaks");
}

bool ChunkFaults::ChangeWeather() {
  Rng& rng = cluster_.rng();
  cluster_.sim().JumpWallClock(absl::Hours(static_cast<int64_t>(rng.Below(2000)) - 1000));
  cluster_.network().profile().delay_max = absl::Milliseconds(rng.Between(1, 60));
  cluster_.network().profile().loss_per_mille = static_cast<uint32_t>(rng.Below(60));
  cluster_.group().SetBeliefMax(absl::Milliseconds(rng.Between(100, 10'000)));
  const size_t number = rng.Below(cluster_.server_count());
  if (cluster_.server(number) != nullptr) {
    cluster_.server(number)->SetDiskDelay(absl::Milliseconds(rng.OneIn(3) ? 400 : 10));
  }
  return Did("weather");
}

}  // namespace ballast::testing
