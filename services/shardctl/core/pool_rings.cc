// SPDX-License-Identifier: Apache-2.0
#include "services/shardctl/core/pool_rings.h"

#include <utility>
#include <vector>

#include "common/base/check.h"
#include "services/shardctl/core/pool_table.h"

namespace ballast::shardctl {
namespace {

// More changed servers than this, and a new ring is cheaper.
constexpr size_t kStepsMax = 8;

// The ring over `servers`, which are ordered by id, from one over others.
HashRing Follow(const HashRing& ring, const std::vector<HashRing::Server>& servers) {
  std::vector<std::string> gone;
  std::vector<HashRing::Server> put;
  auto old = ring.servers().begin();
  for (const HashRing::Server& server : servers) {
    for (; old != ring.servers().end() && old->id < server.id; ++old) {
      gone.push_back(old->id);
    }
    if (old == ring.servers().end() || *old != server) {
      put.push_back(server);
    }
    old += old != ring.servers().end() && old->id == server.id ? 1 : 0;
  }
  for (; old != ring.servers().end(); ++old) {
    gone.push_back(old->id);
  }
  // A pool's limits are within a ring's, so nothing is refused.
  if (gone.size() + put.size() > kStepsMax) {
    auto fresh = HashRing::Make(servers);
    CHECK(fresh.ok()) << fresh.status();
    return *std::move(fresh);
  }
  HashRing result = ring;
  for (const std::string& id : gone) {
    result = *result.Without(id);
  }
  for (HashRing::Server& server : put) {
    auto next = result.With(std::move(server));
    CHECK(next.ok()) << next.status();
    result = *std::move(next);
  }
  return result;
}

}  // namespace

const HashRing& PoolRings::RingOf(const v1::shardctl_log::Pool& pool) {
  Kept& kept = rings_[pool.name()];
  if (kept.version != pool.version()) {
    kept.ring = Follow(kept.ring, RingServersOf(pool));
    kept.version = pool.version();
    MakeRoom(pool.name());
  }
  return rings_.at(pool.name()).ring;
}

void PoolRings::MakeRoom(const std::string& keep) {
  size_t bytes = 0;
  for (const auto& [name, kept] : rings_) {
    bytes += kept.ring.memory_bytes();
  }
  for (auto it = rings_.begin(); it != rings_.end() && bytes > bytes_max_;) {
    const auto current = it++;
    if (current->first != keep) {
      bytes -= current->second.ring.memory_bytes();
      rings_.erase(current);
    }
  }
}

}  // namespace ballast::shardctl
