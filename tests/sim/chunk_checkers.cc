// SPDX-License-Identifier: Apache-2.0
#include "tests/sim/chunk_checkers.h"

#include <algorithm>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "services/chunkserver/core/chunk_format.h"

namespace ballast::testing {
namespace {

// Longer than any pause of a server with a delete in its queue.
constexpr absl::Duration kLateDelete = absl::Seconds(30);

using chunkserver::StoreLayout;

// The handle of a chunk file's path; none for other files.
std::optional<ChunkHandle> HandleOf(absl::string_view path, const std::string& folder) {
  if (!absl::StartsWith(path, StoreLayout(folder).ChunksFolder())) {
    return std::nullopt;
  }
  uint64_t value = 0;
  const std::vector<absl::string_view> parts = absl::StrSplit(path, '/');
  if (parts.back().size() != 16 || !absl::SimpleHexAtoi(parts.back(), &value)) {
    return std::nullopt;
  }
  return ChunkHandle(value);
}

}  // namespace

ChunkChecker::ChunkChecker(SimScheduler& sim, uint64_t seed, GroupId group, uint32_t shard_count)
    : sim_(sim), seed_(seed), log_(group, shard_count) {}

void ChunkChecker::Violate(const std::string& what) {
  if (violation_.empty()) {
    violation_ = absl::StrCat("seed ", seed_, " at ",
                              absl::FormatDuration(sim_.SteadyNow().SinceOrigin()), ": ", what);
  }
}

void ChunkChecker::OnOldTrims(const master::MasterMachine* log) {
  for (auto& [key, trim] : old_trims_) {
    trim.until = std::min(trim.until, Entitled());
  }
  if (log == nullptr) {
    return;
  }
  log->ForEachShard([&](const master::Shard& shard) {
    shard.trims().ForEach([&](uint64_t sequence, ServerIndex server, uint32_t keep) {
      old_trims_[{ChunkHandle(shard.id(), sequence), server}] = {keep, absl::InfiniteDuration()};
    });
  });
}

void ChunkChecker::OnCommit(RaftIndex index, absl::string_view command) {
  log_.Apply(index, command);
}

// --- disks --------------------------------------------------------------------------------------

DiskId ChunkChecker::AddDisk(MemFileSystem& fs, const std::string& folder,
                             const std::string& cluster_id, uint64_t capacity_bytes) {
  const DiskId id = disks_.size();
  auto disk = std::make_unique<Disk>();
  disk->fs = &fs;
  disk->folder = folder;
  disk->cluster_id = cluster_id;
  disk->capacity_bytes = capacity_bytes;
  disks_.push_back(std::move(disk));
  fs.SetObserver([this, id](const std::string& what) { OnDiskOperation(id, what); });
  return id;
}

void ChunkChecker::LoseDisk(DiskId disk) {
  disks_[disk]->fs->SetObserver(nullptr);
  disks_[disk]->lost = true;
  for (auto& [handle, chunk] : chunks_) {
    if (chunk.sound.erase(disk) > 0) {
      chunk.rotten[disk] = Entitled();
      CheckNotLost(handle, chunk);
    }
  }
}

std::string ChunkChecker::PathOf(const Disk& disk, ChunkHandle handle) const {
  return StoreLayout(disk.folder).ChunkFile(handle);
}

std::vector<ChunkHandle> ChunkChecker::ChunksOn(DiskId disk) const {
  std::vector<ChunkHandle> handles;
  for (const std::string& path : disks_[disk]->fs->Files()) {
    if (const auto handle = HandleOf(path, disks_[disk]->folder)) {
      handles.push_back(*handle);
    }
  }
  return handles;
}

std::vector<DiskId> ChunkChecker::SoundOn(ChunkHandle handle) const {
  const auto it = chunks_.find(handle);
  return it == chunks_.end()
             ? std::vector<DiskId>()
             : std::vector<DiskId>(it->second.sound.begin(), it->second.sound.end());
}

void ChunkChecker::OnProcessEnd(DiskId disk) {
  disks_[disk]->touched.clear();
  for (ChunkHandle handle : std::exchange(disks_[disk]->rotting, {})) {
    std::map<DiskId, absl::Duration>& rotten = chunks_.at(handle).rotten;
    if (rotten.contains(disk)) {
      rotten[disk] = Entitled();
    }
  }
  for (ChunkHandle handle : ChunksOn(disk)) {
    dirty_.insert({disk, handle});
  }
  for (const auto& [handle, chunk] : chunks_) {
    if (chunk.sound.contains(disk)) {
      dirty_.insert({disk, handle});
    }
    // Without a scrubber's notes the next process does not know what this one had noticed.
    if (chunk.rotten.contains(disk)) {
      disks_[disk]->unseen.insert(handle);
    }
  }
}

void ChunkChecker::OnRot(DiskId disk, ChunkHandle handle) {
  const auto it = chunks_.find(handle);
  if (it != chunks_.end() && it->second.sound.contains(disk)) {
    it->second.rotten[disk] = absl::InfiniteDuration();
    disks_[disk]->rotting.insert(handle);
    disks_[disk]->unseen.insert(handle);
  }
  Examine(disk, handle);
}

absl::Duration ChunkChecker::Entitled() const {
  return sim_.SteadyNow().SinceOrigin() + kLateDelete;
}

void ChunkChecker::LookForNoticed(DiskId disk, chunkserver::ChunkStore& store) {
  for (ChunkHandle handle : std::set<ChunkHandle>(disks_[disk]->unseen)) {
    const auto facts = store.Stat(handle);
    if (facts.ok() ? facts->state == chunkserver::ReplicaState::kCorrupt : store.serving()) {
      disks_[disk]->unseen.erase(handle);
      std::map<DiskId, absl::Duration>& rotten = chunks_.at(handle).rotten;
      if (disks_[disk]->rotting.erase(handle) > 0 && rotten.contains(disk)) {
        rotten[disk] = Entitled();
      }
    }
  }
}

std::optional<ChunkHandle> ChunkChecker::SomeChunk() const {
  for (int tries = 0; tries < 8 && !chunks_.empty(); ++tries) {
    const ChunkHandle handle = made_[sim_.rng().Below(made_.size())];
    if (log_.FindChunk(handle) != nullptr) {
      return handle;
    }
  }
  return std::nullopt;
}

void ChunkChecker::OnDiskOperation(DiskId id, const std::string& what) {
  Disk& disk = *disks_[id];
  const std::vector<absl::string_view> words = absl::StrSplit(what, ' ');
  if (words[0] == "remove") {
    if (const auto handle = HandleOf(words[1], disk.folder)) {
      CheckRemoval(id, *handle);
      dirty_.insert({id, *handle});
      disk.touched.insert(*handle);
    }
  } else if (words[0] == "rename") {
    for (const absl::string_view path : {words[1], words[2]}) {
      if (const auto handle = HandleOf(path, disk.folder)) {
        dirty_.insert({id, *handle});
        disk.touched.insert(*handle);
      }
    }
  } else if (absl::StartsWith(what, "sync folder")) {
    for (ChunkHandle handle : std::exchange(disk.touched, {})) {
      dirty_.insert({id, handle});
    }
  } else if (words[0] == "write" || words[0] == "truncate") {
    if (const auto handle = HandleOf(words[1], disk.folder)) {
      Violate(absl::StrCat("chunk ", handle->ToString(), " is changed in place: ", what));
    }
  }
}

void ChunkChecker::Examine(DiskId id, ChunkHandle handle) {
  const auto it = chunks_.find(handle);
  if (it == chunks_.end()) {
    return;
  }
  const Disk& disk = *disks_[id];
  bool sound = false;
  if (!disk.lost) {
    const std::optional<std::string> file = disk.fs->DurableContent(PathOf(disk, handle));
    if (file.has_value() && file->size() > chunkserver::kChunkPrefixBytes) {
      const auto header = chunkserver::DecodeChunkPrefix(
          absl::string_view(*file).substr(0, chunkserver::kChunkPrefixBytes), file->size());
      sound = header.ok() && header->handle == handle && header->cluster_id == disk.cluster_id &&
              absl::string_view(*file).substr(chunkserver::kChunkPrefixBytes) == *it->second.bytes;
    }
  }
  if (sound) {
    it->second.sound.insert(id);
    it->second.rotten.erase(id);
  } else if (it->second.sound.erase(id) > 0) {
    CheckNotLost(handle, it->second);
  }
}

void ChunkChecker::AfterStep() {
  for (const auto& [disk, handle] : std::exchange(dirty_, {})) {
    Examine(disk, handle);
  }
}

// --- rules --------------------------------------------------------------------------------------

bool ChunkChecker::Needed(ChunkHandle handle, const Chunk& chunk) const {
  if (old_folder_ && IsDoomed(handle)) {
    return false;
  }
  return log_.FindChunk(handle) != nullptr || (chunk.acked && log_.IsReferenced(handle));
}

bool ChunkChecker::IsDoomed(ChunkHandle handle) const {
  const master::Shard* const shard = log_.FindShard(handle.shard());
  bool found = false;
  if (shard != nullptr) {
    shard->doomed().Export([&](const master::mlog::Doomed& entry) {
      for (const master::mlog::Run& run : entry.chunks()) {
        found = found || (handle.sequence() >= run.first_sequence() &&
                          handle.sequence() - run.first_sequence() < run.count());
      }
    });
  }
  return found;
}

void ChunkChecker::CheckNotLost(ChunkHandle handle, const Chunk& chunk) {
  if (chunk.sound.empty() && chunk.acked && Needed(handle, chunk)) {
    Violate(absl::StrCat("I1: chunk ", handle.ToString(), " has no sound replica left"));
  }
}

std::optional<int> ChunkChecker::KeepOf(ChunkHandle handle, ServerIndex server) const {
  const master::Shard* const shard = log_.FindShard(handle.shard());
  const master::ChunkRecord* const record = log_.FindChunk(handle);
  if (shard == nullptr || record == nullptr) {
    return std::nullopt;
  }
  std::optional<uint32_t> keep = shard->trims().KeepOf(handle.sequence(), server);
  const auto old = old_trims_.find({handle, server});
  if (!keep.has_value() && old != old_trims_.end() &&
      old->second.until > sim_.SteadyNow().SinceOrigin()) {
    keep = old->second.keep;
  }
  if (!keep.has_value()) {
    return std::nullopt;
  }
  return static_cast<int>(*keep == 0 ? record->wanted_replicas() : *keep);
}

int ChunkChecker::OthersThatCount(DiskId disk, ChunkHandle handle, const Chunk& chunk,
                                  bool with_rotten) const {
  std::set<DiskId> others = chunk.sound;
  for (const auto& [rotten, until] : chunk.rotten) {
    if (with_rotten && until > sim_.SteadyNow().SinceOrigin()) {
      others.insert(rotten);
    }
  }
  return static_cast<int>(std::count_if(others.begin(), others.end(), [&](DiskId other) {
    return other != disk && !KeepOf(handle, disks_[other]->server).has_value();
  }));
}

void ChunkChecker::CheckRemoval(DiskId id, ChunkHandle handle) {
  Examine(id, handle);
  ++counts_.removed;
  const auto it = chunks_.find(handle);
  const std::string name =
      absl::StrCat("chunk ", handle.ToString(), " on server ", disks_[id]->server.value());
  if (it == chunks_.end()) {
    Violate(absl::StrCat("I6: ", name, " is removed, and nobody has ever written it"));
    return;
  }
  const Chunk& chunk = it->second;
  if (!chunk.sound.contains(id)) {
    return;  // never durable, or damaged: it is no replica that counts
  }
  if (!Needed(handle, chunk)) {
    if (!log_.IsProvableGarbage(handle) && !IsDoomed(handle)) {
      Violate(absl::StrCat(
          "I6: ", name, " is removed, and the log ",
          log_.IsReferenced(handle) ? "has an open draft for it" : "cannot account for it"));
    }
    return;
  }
  const std::optional<int> keep = KeepOf(handle, disks_[id]->server);
  if (!keep.has_value()) {
    Violate(absl::StrCat("I2: ", name, " is removed, and no trim of it is logged"));
    return;
  }
  ++counts_.removed_by_trim;
  const int others = OthersThatCount(id, handle, chunk, /*with_rotten=*/true);
  if (others < *keep) {
    Violate(
        absl::StrCat("I2: ", name, " is removed with ", others, " others, to keep are ", *keep));
  }
  const size_t wanted = std::min<size_t>(log_.FindChunk(handle)->wanted_replicas(), chunk.acked_on);
  if (calm_ && static_cast<size_t>(others) < wanted) {
    Violate(absl::StrCat("I2: ", name, " is removed with ", others,
                         " others though nothing went wrong, wanted are ", wanted));
  }
}

bool ChunkChecker::MayDestroy(DiskId disk, ChunkHandle handle) const {
  const auto it = chunks_.find(handle);
  if (it == chunks_.end() || !it->second.sound.contains(disk)) {
    return true;
  }
  const bool matters =
      Needed(handle, it->second) || (it->second.server_acked && log_.IsReferenced(handle));
  if (!matters) {
    return true;
  }
  // A master that has not noticed counts the replica as one of those to keep. With two or more to
  // keep, and one such replica, whatever it orders leaves a sound one.
  const int sound = OthersThatCount(disk, handle, it->second, /*with_rotten=*/false);
  const int counted = OthersThatCount(disk, handle, it->second, /*with_rotten=*/true);
  const master::ChunkRecord* const record = log_.FindChunk(handle);
  return sound > 0 && counted == sound && (record == nullptr || record->wanted_replicas() > 1);
}

bool ChunkChecker::MayDestroy(DiskId disk) const {
  return std::all_of(chunks_.begin(), chunks_.end(),
                     [&](const auto& entry) { return MayDestroy(disk, entry.first); });
}

void ChunkChecker::OnChunkMade(ChunkHandle handle, std::shared_ptr<const std::string> bytes) {
  if (!chunks_.emplace(handle, Chunk{std::move(bytes), false, false, 0, {}, {}}).second) {
    Violate(absl::StrCat("handle ", handle.ToString(), " was given out twice"));
  }
  made_.push_back(handle);
}

void ChunkChecker::OnServerAck(DiskId disk, ChunkHandle handle) {
  Examine(disk, handle);
  Chunk& chunk = chunks_.at(handle);
  chunk.server_acked = true;
  if (!chunk.sound.contains(disk)) {
    Violate(absl::StrCat("I1: server ", disks_[disk]->server.value(), " acknowledges chunk ",
                         handle.ToString(), ", which is not durable there"));
  }
}

void ChunkChecker::OnChunkAcked(ChunkHandle handle) {
  Chunk& chunk = chunks_.at(handle);
  chunk.acked = true;
  chunk.acked_on = chunk.sound.size();
  ++counts_.chunks_acked;
  CheckNotLost(handle, chunk);
}

void ChunkChecker::OnRead(ChunkHandle handle, absl::string_view bytes) {
  ++counts_.reads;
  const auto it = chunks_.find(handle);
  if (it == chunks_.end() || *it->second.bytes != bytes) {
    Violate(absl::StrCat("I3: wrong bytes were returned for chunk ", handle.ToString()));
  }
}

const std::string* ChunkChecker::BytesOf(ChunkHandle handle) const {
  const auto it = chunks_.find(handle);
  return it == chunks_.end() ? nullptr : it->second.bytes.get();
}

// --- liveness -----------------------------------------------------------------------------------

void ChunkChecker::OnHeartbeat(const std::string& master, ServerIndex server,
                               absl::Duration running) {
  judges_[master].heard[server] = running;
}

void ChunkChecker::CheckLiveness(const std::string& master, master::LiveView& view,
                                 absl::Duration running) {
  master::LeaderState* const leader = view.leader();
  if (leader == nullptr) {
    return;
  }
  Judge& judge = judges_[master];
  if (judge.term != leader->term()) {
    judge = Judge{leader->term(), running, {}, {}};
  }
  for (const v1::RegisteredServer& server : view.directory().registry().servers()) {
    const ServerIndex index(server.server_index());
    if (server.state() == v1::SERVER_STATE_REMOVED ||
        leader->liveness.state(index) != master::LivenessState::kDead) {
      judge.dead.erase(index);
      continue;
    }
    if (!judge.dead.insert(index).second) {
      continue;
    }
    ++counts_.deaths;
    const auto heard = judge.heard.find(index);
    const absl::Duration since =
        running - std::max(judge.term_began,
                           heard == judge.heard.end() ? absl::ZeroDuration() : heard->second);
    if (since < leader->liveness.limits().window()) {
      Violate(absl::StrCat("I6: ", master, " declares server ", index.value(), " dead after ",
                           absl::FormatDuration(since), " of silence"));
    }
  }
}

// --- the end ------------------------------------------------------------------------------------

uint64_t ChunkChecker::FreeBytes(const Disk& disk) const {
  uint64_t used = 0;
  for (const std::string& path : disk.fs->Files()) {
    used += disk.fs->FileSize(path).value_or(0);
  }
  return disk.capacity_bytes - std::min(used, disk.capacity_bytes);
}

bool ChunkChecker::CouldHaveOneMore(ChunkHandle handle, const Chunk& chunk) const {
  return std::any_of(disks_.begin(), disks_.end(), [&](const auto& disk) {
    return !disk->lost && !disk->fs->FileSize(PathOf(*disk, handle)).ok() &&
           FreeBytes(*disk) > 2 * (chunk.bytes->size() + chunkserver::kChunkPrefixBytes);
  });
}

std::string ChunkChecker::Unfinished() const {
  std::string out;
  const auto add = [&](const auto&... what) {
    if (out.size() < 800) {
      absl::StrAppend(&out, "\n  ", what...);
    }
  };
  log_.ForEachShard([&](const master::Shard& shard) {
    if (shard.drafts().size() + shard.doomed().handle_count() > 0) {
      add("shard ", shard.id().value(), ": ", shard.drafts().size(), " drafts, ",
          shard.doomed().handle_count(), " doomed");
    }
    shard.trims().ForEach([&](uint64_t sequence, ServerIndex server, uint32_t keep) {
      add("chunk ", ChunkHandle(shard.id(), sequence).ToString(), " has a trim on server ",
          server.value(), " that keeps ", keep);
    });
  });
  std::set<std::pair<size_t, ChunkHandle>> lying;  // by position of the disk
  for (size_t id = 0; id < disks_.size(); ++id) {
    const auto& disk = disks_[id];
    if (disk->lost) {
      continue;
    }
    for (const std::string& path : disk->fs->Files()) {
      const auto handle = HandleOf(path, disk->folder);
      if (handle.has_value()) {
        lying.insert({id, *handle});
      }
      if (handle.has_value() && !log_.IsReferenced(*handle)) {
        add("garbage: ", path, " on server ", disk->server.value());
      } else if (absl::StartsWith(path, StoreLayout(disk->folder).StagingFolder() + "/")) {
        add("staging: ", path, " on server ", disk->server.value());
      }
    }
  }
  for (const auto& [handle, chunk] : chunks_) {
    const master::ChunkRecord* const record = log_.FindChunk(handle);
    if (record == nullptr) {
      continue;
    }
    // Rot that nobody has noticed is not repaired.
    const auto unseen = std::count_if(disks_.begin(), disks_.end(), [h = handle](const auto& disk) {
      return !disk->lost && disk->unseen.contains(h);
    });
    if (chunk.sound.size() + static_cast<size_t>(unseen) < record->wanted_replicas() &&
        CouldHaveOneMore(handle, chunk)) {
      add("chunk ", handle.ToString(), " has ", chunk.sound.size(), " replicas, wanted are ",
          record->wanted_replicas());
    }
    for (size_t id = 0; id < disks_.size(); ++id) {
      const Disk& disk = *disks_[id];
      const bool noticed = !disk.lost && !chunk.sound.contains(static_cast<DiskId>(id)) &&
                           !disk.unseen.contains(handle);
      if (noticed && unseen == 0 && chunk.sound.size() >= record->wanted_replicas() &&
          lying.contains({id, handle})) {
        add("chunk ", handle.ToString(), " lies damaged on server ", disk.server.value());
      }
    }
    for (DiskId id : chunk.sound) {
      const ServerIndex server = disks_[id]->server;
      if ((record->FlagsOf(server) & master::ChunkRecord::kLogged) == 0 &&
          record->LoggedServers().size() < kReplicasMax) {
        add("chunk ", handle.ToString(), " lies on server ", server.value(), " and is not logged");
      }
    }
    for (ServerIndex server : record->LoggedServers()) {
      const bool there = std::any_of(disks_.begin(), disks_.end(), [&](const auto& disk) {
        const auto id = static_cast<DiskId>(&disk - disks_.data());
        return disk->server == server && (chunk.sound.contains(id) || chunk.rotten.contains(id));
      });
      const bool lost = std::all_of(disks_.begin(), disks_.end(), [&](const auto& disk) {
        return disk->server != server || disk->lost;
      });
      if (!there && !lost) {
        add("chunk ", handle.ToString(), " is logged on server ", server.value(),
            " and does not lie there");
      }
    }
  }
  return out;
}

}  // namespace ballast::testing
