// SPDX-License-Identifier: Apache-2.0
#include "gateway/core/adopted_chunks.h"

#include <algorithm>
#include <utility>

#include "common/base/check.h"
#include "common/types/limits.h"

namespace ballast::gateway {

// --- names ---------------------------------------------------------------------------------------

std::optional<ChunkHandle> AdoptedChunks::Find(absl::string_view name) const {
  const auto it = handles_.find(name);
  return it == handles_.end() ? std::nullopt : std::optional(it->second);
}

std::string AdoptedChunks::NameOf(ChunkHandle handle) const {
  const auto it = chunks_.find(handle);
  return it == chunks_.end() ? handle.ToString() : it->second.name;
}

void AdoptedChunks::Adopt(const std::string& name, ChunkHandle handle) {
  CHECK(handles_.emplace(name, handle).second);
  Chunk chunk;
  chunk.name = name;
  CHECK(chunks_.emplace(handle, std::move(chunk)).second);
}

// --- who holds what ------------------------------------------------------------------------------

AdoptedChunks::Replica* AdoptedChunks::FindReplica(ServerIndex server, ChunkHandle handle) {
  const auto known = servers_.find(server);
  if (known == servers_.end()) {
    return nullptr;
  }
  const auto it = known->second.replicas.find(handle);
  return it == known->second.replicas.end() ? nullptr : &it->second;
}

void AdoptedChunks::AddLister(ChunkHandle handle, ServerIndex server) {
  if (const auto chunk = chunks_.find(handle); chunk != chunks_.end()) {
    chunk->second.listed_by.push_back(server);
  }
}

void AdoptedChunks::RemoveLister(ChunkHandle handle, ServerIndex server) {
  const auto chunk = chunks_.find(handle);
  if (chunk == chunks_.end()) {
    return;
  }
  auto& listers = chunk->second.listed_by;
  const auto it = std::find(listers.begin(), listers.end(), server);
  if (it != listers.end()) {
    *it = listers.back();
    listers.pop_back();
  }
}

std::vector<ChunkHandle> AdoptedChunks::TakeList(ServerIndex server,
                                                 absl::Span<const ChunkHandle> listed,
                                                 SteadyTime now) {
  Server& known = servers_[server];
  known.listed_at = now;
  for (auto& [handle, replica] : known.replicas) {
    replica.listed = false;
  }
  for (const ChunkHandle handle : listed) {
    const auto [it, is_new] = known.replicas.try_emplace(handle);
    it->second.listed = true;
    if (is_new) {
      AddLister(handle, server);
    } else if (it->second.origin == Origin::kDeleted) {
      it->second.to_tell = true;
    }
  }
  std::vector<ChunkHandle> dropped;
  for (auto it = known.replicas.begin(); it != known.replicas.end();) {
    const auto current = it++;
    Replica& replica = current->second;
    // A delete that is still to be told keeps its place until then.
    const bool untold = replica.origin == Origin::kDeleted && replica.to_tell;
    if (replica.listed || replica.origin == Origin::kReceived || untold) {
      continue;
    }
    if (replica.origin == Origin::kListed) {
      RemoveLister(current->first, server);
      dropped.push_back(current->first);
    }
    known.replicas.erase(current);
  }
  std::sort(dropped.begin(), dropped.end());
  return dropped;
}

void AdoptedChunks::OnReceived(ServerIndex server, ChunkHandle handle) {
  RemoveLister(handle, server);
  Replica& replica = servers_[server].replicas[handle];
  replica = Replica{.origin = Origin::kReceived, .listed = replica.listed};
}

void AdoptedChunks::OnDeleted(ServerIndex server, ChunkHandle handle) {
  RemoveLister(handle, server);
  Replica& replica = servers_[server].replicas[handle];
  replica = Replica{.origin = Origin::kDeleted, .to_tell = true, .listed = replica.listed};
}

void AdoptedChunks::OnFoundCorrupt(ServerIndex server, ChunkHandle handle) {
  if (Replica* const replica = FindReplica(server, handle)) {
    replica->corrupt = true;
  }
}

void AdoptedChunks::OnMovedAway(ServerIndex server, ChunkHandle handle) {
  if (Replica* const replica = FindReplica(server, handle)) {
    RemoveLister(handle, server);
    replica->leaving = true;
  }
}

void AdoptedChunks::OnKept(ServerIndex server, ChunkHandle handle) {
  Replica* const replica = FindReplica(server, handle);
  if (replica != nullptr && std::exchange(replica->leaving, false) &&
      replica->origin == Origin::kListed) {
    AddLister(handle, server);
  }
}

bool AdoptedChunks::Holds(ServerIndex server, ChunkHandle handle) const {
  const auto known = servers_.find(server);
  if (known == servers_.end()) {
    return false;
  }
  const auto it = known->second.replicas.find(handle);
  return it != known->second.replicas.end() && it->second.origin != Origin::kDeleted;
}

std::vector<HeldReplica> AdoptedChunks::HeldBy(ServerIndex server) const {
  std::vector<HeldReplica> held;
  if (const auto known = servers_.find(server); known != servers_.end()) {
    held.reserve(known->second.replicas.size());
    for (const auto& [handle, replica] : known->second.replicas) {
      if (replica.origin != Origin::kDeleted) {
        held.push_back({handle, replica.corrupt});
      }
    }
  }
  std::sort(held.begin(), held.end(),
            [](const HeldReplica& a, const HeldReplica& b) { return a.handle < b.handle; });
  return held;
}

std::vector<ServerIndex> AdoptedChunks::HoldersOf(ChunkHandle handle) const {
  std::vector<ServerIndex> holders;
  for (const auto& [server, known] : servers_) {
    if (Holds(server, handle)) {
      holders.push_back(server);
    }
  }
  return holders;
}

AdoptedChunks::Tally AdoptedChunks::TallyOf(ServerIndex server) const {
  Tally tally;
  if (const auto known = servers_.find(server); known != servers_.end()) {
    for (const auto& [handle, replica] : known->second.replicas) {
      tally.listed += replica.listed ? 1 : 0;
      tally.received_untold += replica.origin == Origin::kReceived && !replica.listed ? 1 : 0;
      tally.deleted_untold += replica.origin == Origin::kDeleted && replica.listed ? 1 : 0;
    }
  }
  return tally;
}

// --- what follows --------------------------------------------------------------------------------

std::vector<ChunkHandle> AdoptedChunks::TakeDeletesToTell(ServerIndex server) {
  std::vector<ChunkHandle> deletes;
  for (auto& [handle, replica] : servers_[server].replicas) {
    if (std::exchange(replica.to_tell, false)) {
      deletes.push_back(handle);
    }
  }
  std::sort(deletes.begin(), deletes.end());
  return deletes;
}

void AdoptedChunks::OnCopyOrdered(ServerIndex server, ChunkHandle handle) {
  servers_[server].copies_to_tell.insert(handle);
}

void AdoptedChunks::OnCopyEnded(ServerIndex server, ChunkHandle handle) {
  servers_[server].copies_to_tell.erase(handle);
}

std::vector<ChunkHandle> AdoptedChunks::TakeCopiesToTell(ServerIndex server) {
  const auto copies = std::exchange(servers_[server].copies_to_tell, {});
  return {copies.begin(), copies.end()};
}

std::vector<AdoptedChunks::Growth> AdoptedChunks::WantedGrowth(
    absl::Span<const ChunkHandle> handles, SteadyTime now) const {
  std::vector<Growth> growth;
  for (const ChunkHandle handle : handles) {
    const auto chunk = chunks_.find(handle);
    if (chunk == chunks_.end()) {
      continue;
    }
    uint32_t at_once = 0;
    for (const ServerIndex server : chunk->second.listed_by) {
      at_once += now - servers_.at(server).listed_at <= list_age_max_ ? 1 : 0;
    }
    const uint32_t wanted = std::min(at_once, kReplicasMax);
    if (wanted > chunk->second.wanted) {
      growth.push_back({chunk->second.name, handle, wanted});
    }
  }
  return growth;
}

void AdoptedChunks::SetWanted(ChunkHandle handle, uint32_t wanted) {
  const auto chunk = chunks_.find(handle);
  CHECK(chunk != chunks_.end());
  chunk->second.wanted = wanted;
}

}  // namespace ballast::gateway
