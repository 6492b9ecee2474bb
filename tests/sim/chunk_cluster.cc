// SPDX-License-Identifier: Apache-2.0
#include "tests/sim/chunk_cluster.h"

#include <algorithm>
#include <iostream>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "common/base/check.h"
#include "common/base/crc32c.h"
#include "common/types/error.h"

namespace ballast::testing {
namespace {

constexpr char kCluster[] = "c1d2e3f4-0000-4000-8000-000000000001";
constexpr char kForeignCluster[] = "f0f0f0f0-0000-4000-8000-000000000002";
constexpr absl::Duration kReportsLimit = absl::Minutes(1);
constexpr absl::Duration kConvergeLimit = absl::Minutes(15);

}  // namespace

absl::StatusOr<uint32_t> SimShardctl::Register(const std::string& server_id,
                                               const std::string& address, const std::string& zone,
                                               uint64_t boot_epoch) {
  for (v1::RegisteredServer& server : *registry_.mutable_servers()) {
    if (server.server_id() != server_id) {
      continue;
    }
    if (server.state() == v1::SERVER_STATE_REMOVED) {
      return MakeError(v1::REASON_UNKNOWN_SERVER, "this server was removed");
    }
    if (boot_epoch < server.boot_epoch()) {
      return MakeError(v1::REASON_STALE_BOOT, "a later boot is registered");
    }
    if (boot_epoch == server.boot_epoch() && address != server.address()) {
      return MakeError(v1::REASON_DUPLICATE_SERVER, "a copy of its folder?");
    }
    server.set_boot_epoch(boot_epoch);
    server.set_address(address);
    registry_.set_version(registry_.version() + 1);
    return server.server_index();
  }
  v1::RegisteredServer& server = *registry_.add_servers();
  server.set_server_id(server_id);
  server.set_server_index(static_cast<uint32_t>(registry_.servers_size()));
  server.set_address(address);
  server.set_zone(zone);
  server.set_state(v1::SERVER_STATE_ACTIVE);
  server.set_boot_epoch(boot_epoch);
  registry_.set_version(registry_.version() + 1);
  return server.server_index();
}

void SimShardctl::SetState(const std::string& server_id, v1::ServerState state) {
  for (v1::RegisteredServer& server : *registry_.mutable_servers()) {
    if (server.server_id() == server_id && server.state() != state) {
      server.set_state(state);
      registry_.set_version(registry_.version() + 1);
    }
  }
}

ShardConfig ChunkCluster::MakeConfig() {
  ShardConfig config;
  config.version = ConfigVersion(1);
  config.owners.assign(profile_.shards, GroupId(1));
  GroupMembers& group = config.groups.emplace_back();
  group.group = GroupId(1);
  for (size_t i = 0; i < profile_.masters; ++i) {
    MasterSlot& slot = masters_.emplace_back();
    slot.place = {absl::StrCat("master", i), absl::StrCat("10.0.0.", i + 1, ":7500"),
                  network_.AddNode(), i, kCluster};
    slot.place.repair.surplus_hold_intervals = profile_.surplus_hold_intervals;
    master_addresses_.push_back(slot.place.address);
    group.masters.push_back({NodeId(static_cast<uint32_t>(i + 1)), slot.place.address});
  }
  return config;
}

v1::Settings ChunkCluster::MakeSettings() const {
  v1::Settings settings;
  settings.set_default_replicas(3);
  settings.set_min_replicas(2);
  settings.set_inline_bytes(0);
  settings.set_heartbeat_interval_ms(profile_.heartbeat_ms);
  settings.set_draft_expiry_ms(profile_.draft_expiry_ms);
  settings.set_grace_ms(profile_.grace_ms);
  settings.set_session_idle_ms(profile_.session_idle_ms);
  return settings;
}

ChunkCluster::ChunkCluster(uint64_t seed, const Profile& profile)
    : seed_(seed),
      profile_(profile),
      sim_(seed),
      checker_(sim_, seed, GroupId(1), profile.shards),
      orders_([this](const std::string& what) { checker_.Violate(what); }),
      network_(sim_),
      streams_(network_),
      shardctl_(network_.AddNode(), MakeConfig(), MakeSettings()),
      world_{.sim = sim_,
             .network = network_,
             .streams = streams_,
             .checker = checker_,
             .shardctl = shardctl_,
             .cluster_id = kCluster,
             .master_at = [this](const std::string& address) -> SimMaster* {
               for (const MasterSlot& slot : masters_) {
                 if (slot.place.address == address) {
                   return slot.impostor ? nullptr : slot.process.get();
                 }
               }
               return nullptr;
             },
             .server_at = [this](const std::string& address) -> SimChunkServer* {
               for (const ServerSlot& slot : servers_) {
                 if (slot.place.address == address) {
                   return slot.process.get();
                 }
               }
               return nullptr;
             },
             .trace = [this](const std::string& event) { Trace(event); }} {
  streams_.SetTaps(MakeTaps());
  group_ = std::make_unique<GroupLog>(
      sim_, profile_.masters,
      GroupLog::World{
          .runs =
              [this](size_t i) {
                return !masters_[i].impostor && masters_[i].process != nullptr &&
                       !masters_[i].process->process().paused();
              },
          .converse =
              [this](size_t a, size_t b) {
                return network_.Converse(masters_[a].place.node, masters_[b].place.node);
              },
          .on_commit = [this](RaftIndex index,
                              const GroupLog::Entry& entry) { OnCommit(index, entry); },
          .on_restore =
              [this](uint64_t applied, const StateMachine& machine) {
                CheckRestored(applied, static_cast<const master::MasterMachine&>(machine));
              }});
  for (size_t i = 0; i < profile_.masters; ++i) {
    StartMaster(i);
  }
  for (size_t i = 0; i < profile_.servers; ++i) {
    AddServer();
  }
  for (size_t i = 0; i < profile_.clients; ++i) {
    clients_.push_back(std::make_unique<SimClient>(world_, i, master_addresses_));
  }
}

ChunkCluster::~ChunkCluster() {
  clients_.clear();
  for (ServerSlot& slot : servers_) {
    slot.process.reset();
  }
  for (MasterSlot& slot : masters_) {
    slot.process.reset();
    slot.impostor_log.reset();
    slot.impostor_machine.reset();
    checker_.OnOldTrims(nullptr);
  }
}

StreamHub::Taps ChunkCluster::MakeTaps() {
  // (index, heartbeats accepted) of the sender at the master, impostors included.
  const auto look = [this](const std::string& address, const std::string& server_id)
      -> std::pair<SimMaster*, std::pair<ServerIndex, uint64_t>> {
    for (const MasterSlot& slot : masters_) {
      if (slot.place.address != address || slot.process == nullptr || !slot.process->leads()) {
        continue;
      }
      master::LiveView& view = slot.process->view();
      if (const auto* server = view.directory().FindById(server_id)) {
        const ServerIndex index(server->server_index());
        return {slot.process.get(), {index, view.leader()->liveness.heartbeat_count(index)}};
      }
    }
    return {nullptr, {}};
  };
  StreamHub::Taps taps;
  taps.before = [this, look](const std::string& address, const StreamHub::Taps::Speaker& speaker) {
    heartbeats_before_ = look(address, speaker.server_id).second.second;
  };
  taps.after = [this, look](const std::string& address, const StreamHub::Taps::Speaker& speaker) {
    const auto [master, counted] = look(address, speaker.server_id);
    if (master != nullptr && counted.second > heartbeats_before_) {
      checker_.OnHeartbeat(master->place().name, counted.first, master->process().RunningTime());
      orders_.OnHeard(master->place().name, master->view().leader()->term(), counted.first,
                      speaker.boot_epoch);
    }
  };
  taps.sent = [this](uint64_t stream, NetNode server, const v1::Heartbeat& heartbeat) {
    orders_.OnResults(stream, server, heartbeat);
    if (!heartbeat.server_id().empty()) {
      spoken_[heartbeat.server_id()].try_emplace(heartbeat.boot_epoch(), heartbeat);
    }
  };
  taps.received = [this](uint64_t stream, NetNode server, const v1::HeartbeatReply& reply) {
    orders_.OnReply(stream, server, reply);
  };
  taps.trace = [this](const std::string& what) { Trace(what); };
  return taps;
}

void ChunkCluster::Trace(const std::string& event) {
  const int64_t now = absl::ToInt64Nanoseconds(sim_.SteadyNow().SinceOrigin());
  trace_ = ExtendCrc32c(Crc32c{trace_}, absl::StrCat(now, " ", event)).value;
  if (std::getenv("BALLAST_SIM_TRACE") != nullptr) {
    std::cerr << absl::StrFormat("%10.3f ", static_cast<double>(now) / 1e9) << event << "\n";
  }
}

std::string ChunkCluster::NewUuid() {
  const uint64_t high = rng().Next();
  const uint64_t low = rng().Next();
  return absl::StrFormat("%08x-%04x-4%03x-8%03x-%012x", high >> 32, (high >> 16) & 0xffff,
                         high & 0xfff, (low >> 48) & 0xfff, low & 0xffffffffffff);
}

// --- masters ------------------------------------------------------------------------------------

void ChunkCluster::StartMaster(size_t number) {
  EndImpostor(number);
  MasterSlot& slot = masters_[number];
  CHECK(slot.process == nullptr);
  Trace(absl::StrCat("start ", slot.place.name));
  slot.process = std::make_unique<SimMaster>(world_, slot.place, *group_, master_addresses_);
}

void ChunkCluster::KillMaster(size_t number) {
  MasterSlot& slot = masters_[number];
  Trace(absl::StrCat("kill ", slot.place.name));
  slot.process.reset();
  orders_.OnMasterEnd(slot.place.name);
}

void ChunkCluster::StartImpostor(size_t number, Folder folder) {
  MasterSlot& slot = masters_[number];
  slot.process.reset();
  slot.impostor = true;
  const uint64_t entries = folder == Folder::kOld ? OldFolder() : 0;
  if (entries > 0) {
    checker_.OnOldFolder();
  }
  GroupLog::World world{.runs =
                            [this, number](size_t) {
                              return masters_[number].process != nullptr &&
                                     !masters_[number].process->process().paused();
                            },
                        .converse = [](size_t, size_t) { return true; },
                        .on_commit =
                            [this, number](RaftIndex index, const GroupLog::Entry& entry) {
                              masters_[number].impostor_machine->Apply(index, entry.command);
                              checker_.OnOldTrims(masters_[number].impostor_machine.get());
                            }};
  slot.impostor_machine = std::make_unique<master::MasterMachine>(GroupId(1), profile_.shards);
  for (uint64_t index = 1; index <= entries; ++index) {
    slot.impostor_machine->Apply(RaftIndex(index), group_->entry(index).command);
  }
  slot.impostor_log = std::make_unique<GroupLog>(sim_, *group_, entries, std::move(world));
  if (rng().OneIn(2)) {
    slot.impostor_log->RaiseTerm(group_->term());  // it was restarted as often
  }
  SimMaster::Place place = slot.place;
  place.member = 0;
  place.name = absl::StrCat("impostor", number);
  if (folder == Folder::kForeign) {
    place.cluster_id = kForeignCluster;
  }
  Trace(absl::StrCat("start ", place.name, " with ", entries, " entries"));
  slot.process = std::make_unique<SimMaster>(world_, place, *slot.impostor_log,
                                             std::vector<std::string>{place.address});
}

// How much of the log an old copy has: up to a moment at which no write and no trim was open
// (a draft that was open then, and was committed since, would be expired by such a master:
// docs/testing.md).
uint64_t ChunkCluster::OldFolder() {
  const uint64_t most = rng().Below(group_->committed() + 1);
  master::MasterMachine machine(GroupId(1), profile_.shards);
  uint64_t found = 0;
  for (uint64_t index = 1; index <= most; ++index) {
    machine.Apply(RaftIndex(index), group_->entry(index).command);
    bool open = machine.Count().drafts > 0;
    machine.ForEachShard([&](const master::Shard& shard) { open |= !shard.trims().empty(); });
    found = open ? found : index;
  }
  return found;
}

void ChunkCluster::EndImpostor(size_t number) {
  MasterSlot& slot = masters_[number];
  if (std::exchange(slot.impostor, false)) {
    Trace(absl::StrCat("end impostor", number));
    impostor_term_ = std::max(impostor_term_, slot.impostor_log->term());
    orders_.OnMasterEnd(absl::StrCat("impostor", number));
    slot.process.reset();
    slot.impostor_log.reset();
  }
}

// --- chunk servers ------------------------------------------------------------------------------

size_t ChunkCluster::AddServer() {
  const size_t number = servers_.size();
  ServerSlot& slot = servers_.emplace_back();
  slot.fs = std::make_unique<MemFileSystem>();
  slot.place = {.name = absl::StrCat("server", number),
                .address = absl::StrCat("10.0.1.", number + 1, ":7600"),
                .zone = absl::StrCat("zone", number % 3),
                .node = network_.AddNode(),
                .fs = slot.fs.get(),
                .capacity_bytes = profile_.capacity_bytes};
  slot.server_id = NewUuid();
  CHECK_OK(chunkserver::FormatFolder(*slot.fs, SimChunkServer::kFolder, kCluster, slot.server_id));
  slot.place.disk =
      checker_.AddDisk(*slot.fs, SimChunkServer::kFolder, kCluster, profile_.capacity_bytes);
  StartServer(number);
  return number;
}

void ChunkCluster::StartServer(size_t number) {
  ServerSlot& slot = servers_[number];
  CHECK(slot.process == nullptr && !slot.lost);
  Trace(absl::StrCat("start ", slot.place.name));
  slot.process =
      std::make_unique<SimChunkServer>(world_, slot.place, [this, number](const absl::Status&) {
        KillServer(number, /*power_loss=*/false);
        // Somebody starts it again.
        sim_.At(absl::Milliseconds(rng().Between(500, 4000)), [this, number] {
          if (servers_[number].process == nullptr && !servers_[number].lost) {
            StartServer(number);
          }
        });
      });
  if (!slot.process->opened()) {
    KillServer(number, /*power_loss=*/true);
  }
}

void ChunkCluster::KillServer(size_t number, bool power_loss) {
  ServerSlot& slot = servers_[number];
  Trace(absl::StrCat(power_loss ? "power loss at " : "kill ", slot.place.name));
  slot.process.reset();
  if (power_loss) {
    slot.fs->Crash(&rng());
  } else {
    slot.fs->EndProcess();
  }
  checker_.OnProcessEnd(slot.place.disk);
}

void ChunkCluster::LoseServer(size_t number) {
  ServerSlot& slot = servers_[number];
  Trace(absl::StrCat("lose ", slot.place.name));
  slot.process.reset();
  slot.fs->EndProcess();
  slot.lost = true;
  checker_.LoseDisk(slot.place.disk);
  shardctl_.SetState(slot.server_id, v1::SERVER_STATE_REMOVED);
}

void ChunkCluster::SetDraining(size_t number, bool draining) {
  if (servers_[number].lost) {
    return;
  }
  Trace(absl::StrCat(draining ? "drain " : "undrain ", servers_[number].place.name));
  shardctl_.SetState(servers_[number].server_id,
                     draining ? v1::SERVER_STATE_DRAINING : v1::SERVER_STATE_ACTIVE);
}

bool ChunkCluster::SayLate(size_t number) {
  const auto& boots = spoken_[servers_[number].server_id];
  const std::optional<size_t> leader = group_->leader();
  if (boots.size() < 2 || !leader.has_value() || masters_[*leader].impostor) {
    return false;
  }
  const auto old =
      std::next(boots.begin(), static_cast<std::ptrdiff_t>(rng().Below(boots.size() - 1)));
  Trace(absl::StrCat("boot ", old->first, " of ", servers_[number].place.name, " speaks"));
  streams_.SayLate(servers_[number].place.node, kCluster, masters_[*leader].place.address,
                   old->second);
  return true;
}

// --- running ------------------------------------------------------------------------------------

void ChunkCluster::StartClients() {
  for (const auto& client : clients_) {
    client->Start();
  }
}

void ChunkCluster::StartMoving() {
  moving_ = true;
  sim_.At(absl::Milliseconds(rng().Between(10, 800)), [this] {
    if (moving_) {
      MoveSomething();
      StartMoving();
    }
  });
}

void ChunkCluster::AskRebalance(bool start) {
  for (MasterSlot& slot : masters_) {
    if (slot.process != nullptr && slot.process->leads() && !slot.impostor) {
      slot.process->AskRebalance(start);
    }
  }
}

void ChunkCluster::OnCommit(RaftIndex index, const GroupLog::Entry& entry) {
  Trace(absl::StrCat("commit ", index.value(), " ", ComputeCrc32c(entry.command).value));
  checker_.OnCommit(index, entry.command);
  std::set<std::pair<ChunkHandle, ServerIndex>> trims;
  checker_.log().ForEachShard([&](const master::Shard& shard) {
    shard.trims().ForEach([&](uint64_t sequence, ServerIndex server, uint32_t) {
      trims.insert({ChunkHandle(shard.id(), sequence), server});
    });
  });
  for (const auto& [handle, server] : trims) {
    for (size_t number = 0; number < servers_.size() && on_trim_; ++number) {
      if (!trims_.contains({handle, server}) && checker_.ServerOn(disk_id(number)) == server) {
        on_trim_(handle, number);
      }
    }
  }
  trims_ = std::move(trims);
}

void ChunkCluster::CheckRestored(uint64_t applied, const master::MasterMachine& restored) {
  master::MasterMachine machine(GroupId(1), profile_.shards);
  for (uint64_t index = 1; index <= applied; ++index) {
    machine.Apply(RaftIndex(index), group_->entry(index).command);
  }
  const auto facts = [](const master::MasterMachine& of) {
    std::string out;
    of.ForEachShard([&](const master::Shard& shard) {
      absl::StrAppend(&out, "shard ", shard.id().value(), ": ", shard.chunks().size(),
                      " chunks of ", shard.chunks().length_sum(), " bytes, ", shard.drafts().size(),
                      " drafts, ", shard.doomed().handle_count(), " doomed;");
      shard.trims().ForEach([&](uint64_t sequence, ServerIndex server, uint32_t keep) {
        absl::StrAppend(&out, " trim of ", sequence, " on ", server.value(), " keeps ", keep);
      });
    });
    return out;
  };
  if (facts(machine) != facts(restored)) {
    checker_.Violate(absl::StrCat("I5: a snapshot at ", applied, " is restored as ",
                                  facts(restored), ", the log says ", facts(machine)));
  }
}

void ChunkCluster::MoveSomething() {
  const std::optional<ChunkHandle> handle = checker_.SomeChunk();
  const int registered = shardctl_.registry().servers_size();
  if (!handle.has_value() || registered == 0) {
    return;
  }
  master::CopyTask task;
  task.handle = *handle;
  task.target = ServerIndex(static_cast<uint32_t>(rng().Between(1, registered)));
  const master::ServerList logged = checker_.log().FindChunk(*handle)->LoggedServers();
  if (!logged.empty() && !rng().OneIn(3)) {
    task.source = logged[rng().Below(logged.size())];
  }
  for (MasterSlot& slot : masters_) {
    if (slot.process != nullptr && slot.process->leads() && !slot.impostor) {
      slot.process->OfferCopy(
          task, [this](const absl::Status& status) { copies_done_ += status.ok() ? 1 : 0; });
    }
  }
}

bool ChunkCluster::RunUntil(const std::function<bool()>& done, absl::Duration limit) {
  bool finished = false;
  sim_.RunUntilTrue(
      [&] {
        checker_.AfterStep();
        if (!violation().empty()) {
          return true;
        }
        finished = done();
        return finished;
      },
      limit);
  return finished;
}

uint64_t ChunkCluster::puts() const {
  uint64_t puts = 0;
  for (const auto& client : clients_) {
    puts += client->puts();
  }
  return puts;
}

bool ChunkCluster::AllQuiet() const {
  return std::all_of(clients_.begin(), clients_.end(),
                     [](const auto& client) { return client->idle(); });
}

void ChunkCluster::ReadEverything() {
  for (const auto& client : clients_) {
    std::optional<std::string> missing;
    client->ReadAll([&](std::string problems) { missing = std::move(problems); });
    RunUntil([&] { return missing.has_value(); }, absl::Minutes(1));
    if (missing != "" && violation().empty()) {
      checker_.Violate(absl::StrCat("I7: not readable: ", missing.value_or("no answer")));
    }
  }
}

void ChunkCluster::AwaitReports() {
  const auto reported = [this] {
    const std::optional<size_t> number = group_->leader();
    SimMaster* const leader = number.has_value() ? master(*number) : nullptr;
    if (leader == nullptr || !leader->leads()) {
      return false;
    }
    master::LiveView& view = leader->view();
    const std::vector<ShardId>& shards = view.catalog().owned_shards();
    return !shards.empty() && std::all_of(shards.begin(), shards.end(), [&](ShardId shard) {
      return view.leader()->IsSettled(shard);
    });
  };
  if (!RunUntil(reported, kReportsLimit) && violation().empty()) {
    checker_.Violate("I7: servers that nothing happens to are not heard in full");
  }
}

void ChunkCluster::Converge() {
  Trace("converge");
  moving_ = false;
  network_.Heal();
  network_.profile() = ChunkNetwork::Profile();
  network_.profile().loss_per_mille = 0;
  network_.profile().stragglers = false;
  for (size_t i = 0; i < masters_.size(); ++i) {
    EndImpostor(i);
    if (masters_[i].process == nullptr) {
      StartMaster(i);
    }
    masters_[i].process->process().Resume();
  }
  // Whoever ran the wrong master made the servers heed its term; restarts get the group above it.
  group_->RaiseTerm(impostor_term_);
  group_->SetBeliefMax(absl::Milliseconds(200));
  group_->ForceElection();
  for (size_t i = 0; i < servers_.size(); ++i) {
    ServerSlot& slot = servers_[i];
    if (slot.lost) {
      continue;
    }
    slot.fs->SetSpace(uint64_t{1} << 40);
    SetDraining(i, false);
    if (slot.process != nullptr && !slot.process->store()->healthy()) {
      KillServer(i, /*power_loss=*/false);
    }
    if (slot.process == nullptr) {
      StartServer(i);
    }
    slot.process->process().Resume();
    slot.process->SetDiskDelay(absl::Milliseconds(5));
  }
  for (const auto& client : clients_) {
    client->Stop();
  }
  if (!RunUntil([this] { return AllQuiet(); }, absl::Minutes(3)) && violation().empty()) {
    checker_.Violate("I7: a client does not come to rest");
  }
  for (const auto& client : clients_) {
    client->CheckKeys();
  }
  std::string unfinished;
  const absl::Duration end = sim_.SteadyNow().SinceOrigin() + kConvergeLimit;
  while (violation().empty()) {
    RunFor(absl::Seconds(2));
    unfinished = checker_.Unfinished();
    if (unfinished.empty() || sim_.SteadyNow().SinceOrigin() > end) {
      break;
    }
  }
  if (!unfinished.empty() && violation().empty()) {
    checker_.Violate(absl::StrCat("I7: does not converge:", unfinished));
  }
  if (violation().empty()) {
    ReadEverything();
  }
}

}  // namespace ballast::testing
