// SPDX-License-Identifier: Apache-2.0
#include "services/master/core/leader_state.h"

#include <algorithm>
#include <iterator>
#include <utility>

namespace ballast::master {
namespace {

LivenessLimits LimitsOf(const v1::Settings& settings) {
  LivenessLimits limits;
  limits.interval = absl::Milliseconds(settings.heartbeat_interval_ms());
  return limits;
}

// As far as the registry has a say in it.
CopyLimits CopyLimitsOf(const LivenessLimits& times) {
  CopyLimits limits;
  limits.start_patience = times.window() * 2;
  limits.absence_patience = times.interval * 2;
  return limits;
}

ServerIndex IndexOf(const v1::RegisteredServer& server) {
  return ServerIndex(server.server_index());
}

}  // namespace

bool MayTakeReplicas(const v1::RegisteredServer& server) {
  return server.state() == v1::SERVER_STATE_ACTIVE && !server.no_placement();
}

LeaderState::LeaderState(RaftTerm term, ChunkCatalog& catalog, const ServerDirectory& directory,
                         SteadyTime now)
    : liveness(LimitsOf(directory.settings()), now),
      replicas(catalog),
      copies(CopyLimitsOf(LimitsOf(directory.settings()))),
      term_(term),
      directory_(directory) {
  OnRegistryChanged(now);
  for (ShardId shard : catalog.owned_shards()) {
    if (const TrimSet* const logged = catalog.trims(shard); logged != nullptr && !logged->empty()) {
      trims.NoteShard(shard);
    }
  }
}

std::vector<ServerIndex> LeaderState::OnRegistryChanged(SteadyTime now) {
  liveness.SetLimits(LimitsOf(directory_.settings()));
  copies.SetLimits(CopyLimitsOf(liveness.limits()));
  std::vector<ServerIndex> removed;
  for (const v1::RegisteredServer& server : directory_.registry().servers()) {
    const ServerIndex index = IndexOf(server);
    if (server.state() != v1::SERVER_STATE_REMOVED) {
      liveness.OnRegistered(index, server.boot_epoch(), now);
    } else if (liveness.OnRemoved(index)) {
      replicas.OnServerForgotten(index);
      ledger.ForgetServer(index);
      reports_.erase(index);
      promised_.erase(index);
      ++facts_version_;
      removed.push_back(index);
    }
  }
  return removed;
}

bool LeaderState::IsSettled(ShardId shard) {
  if (settled_.contains(shard)) {
    return true;
  }
  if (!directory_.known()) {
    return false;  // nobody is missing where nobody is known
  }
  const auto is_missing = [&](ServerIndex server) {
    return liveness.state(server) != LivenessState::kDead && !replicas.IsKnown(server, shard);
  };
  // Mostly it is still the one of the last time.
  const auto last = waits_for_.find(shard);
  if (last != waits_for_.end() && is_missing(last->second)) {
    return false;
  }
  for (const v1::RegisteredServer& server : directory_.registry().servers()) {
    if (is_missing(IndexOf(server))) {
      waits_for_[shard] = IndexOf(server);
      return false;
    }
  }
  waits_for_.erase(shard);
  settled_.insert(shard);
  return true;
}

std::vector<PlacementCandidate> LeaderState::Candidates(
    const std::vector<std::string>& avoid_ids) const {
  std::vector<PlacementCandidate> candidates;
  for (const v1::RegisteredServer& server : directory_.registry().servers()) {
    const ServerIndex index = IndexOf(server);
    const ServerReport* const report = FindReport(index);
    if (!MayTakeReplicas(server) || report == nullptr || report->health != v1::SERVER_HEALTH_OK ||
        liveness.state(index) != LivenessState::kAlive) {
      continue;
    }
    candidates.push_back(
        {index, server.zone(), FreeBytes(index),
         std::find(avoid_ids.begin(), avoid_ids.end(), server.server_id()) != avoid_ids.end()});
  }
  return candidates;
}

uint64_t LeaderState::FreeBytes(ServerIndex server) const {
  const ServerReport* const report = FindReport(server);
  if (report == nullptr) {
    return 0;
  }
  const auto promised = promised_.find(server);
  const uint64_t taken = report->used_bytes + report->incoming_bytes +
                         (promised == promised_.end() ? 0 : promised->second.bytes);
  return report->capacity_bytes - std::min(taken, report->capacity_bytes);
}

ServerCensus LeaderState::Census() const {
  ServerCensus census;
  census.min_replicas = directory_.settings().min_replicas();
  for (const v1::RegisteredServer& server : directory_.registry().servers()) {
    if (server.state() == v1::SERVER_STATE_REMOVED) {
      continue;
    }
    ++census.registered;
    const bool may_be_used = MayTakeReplicas(server);
    census.no_placement += server.no_placement() ? 1 : 0;
    switch (liveness.state(IndexOf(server))) {
      case LivenessState::kUnknown:
        census.pending += may_be_used ? 1 : 0;
        break;
      case LivenessState::kAlive: {
        ++census.alive;
        const ServerReport* const report = FindReport(IndexOf(server));
        census.pending +=
            may_be_used && report != nullptr && report->health == v1::SERVER_HEALTH_LOADING ? 1 : 0;
        break;
      }
      case LivenessState::kSuspect:
        ++census.suspect;
        break;
      case LivenessState::kDead:
        ++census.dead;
        break;
    }
  }
  return census;
}

void LeaderState::Promised::DropFirst() {
  bytes -= chunks.front().second;
  chunks.pop_front();
}

void LeaderState::Promise(ServerIndex server, uint64_t bytes, SteadyTime now) {
  Promised& promised = promised_[server];
  promised.chunks.emplace_back(now + liveness.limits().interval * 3, bytes);
  promised.bytes += bytes;
  ++facts_version_;
}

void LeaderState::KeepPromises(ServerIndex server, uint64_t count) {
  const auto it = promised_.find(server);
  if (it == promised_.end() || count == 0) {
    return;
  }
  for (; count > 0 && !it->second.chunks.empty(); --count) {
    it->second.DropFirst();
  }
  if (it->second.chunks.empty()) {
    promised_.erase(it);
  }
  ++facts_version_;
}

void LeaderState::ExpirePromises(SteadyTime now) {
  for (auto it = promised_.begin(); it != promised_.end();) {
    Promised& promised = it->second;
    while (!promised.chunks.empty() && promised.chunks.front().first <= now) {
      promised.DropFirst();
      ++facts_version_;
    }
    it = promised.chunks.empty() ? promised_.erase(it) : std::next(it);
  }
}

void LeaderState::SetReport(ServerIndex server, ServerReport report) {
  ServerReport& known = reports_[server];
  if (known != report) {
    known = std::move(report);
    ++facts_version_;
  }
}

const ServerReport* LeaderState::FindReport(ServerIndex server) const {
  const auto it = reports_.find(server);
  return it == reports_.end() ? nullptr : &it->second;
}

const std::string& LeaderState::AddressOf(const v1::RegisteredServer& server) const {
  const ServerReport* const report = FindReport(IndexOf(server));
  return report != nullptr && !report->address.empty() ? report->address : server.address();
}

}  // namespace ballast::master
