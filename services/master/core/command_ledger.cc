// SPDX-License-Identifier: Apache-2.0
#include "services/master/core/command_ledger.h"

#include <vector>

namespace ballast::master {

void CommandLedger::Erase(Orders& orders, Key key) {
  const auto it = orders.by_key.find(key);
  if (it != orders.by_key.end()) {
    orders.by_id.erase(it->second.command_id);
    orders.by_key.erase(it);
    --orders.counts[static_cast<size_t>(key.kind)];
  }
}

void CommandLedger::EraseExpired(Orders& orders, SteadyTime now) {
  std::vector<Key> expired;
  for (const auto& [key, sent] : orders.by_key) {
    if (sent.until <= now) {
      expired.push_back(key);
    }
  }
  for (const Key& key : expired) {
    Erase(orders, key);
  }
}

uint64_t CommandLedger::TryBegin(ServerIndex server, OrderKind kind, ChunkHandle handle,
                                 size_t limit, SteadyTime now, absl::Duration patience) {
  Orders& orders = servers_[server];
  const Key key{kind, handle};
  if (const auto same = orders.by_key.find(key); same != orders.by_key.end()) {
    if (now < same->second.until) {
      return 0;
    }
    Erase(orders, key);
  }
  if (orders.counts[static_cast<size_t>(kind)] >= limit) {
    return 0;
  }
  const uint64_t id = ++last_id_;
  orders.by_key.emplace(key, Sent{id, now + patience});
  orders.by_id.emplace(id, key);
  ++orders.counts[static_cast<size_t>(kind)];
  return id;
}

void CommandLedger::Tick(SteadyTime now) {
  for (auto& [server, orders] : servers_) {
    EraseExpired(orders, now);
  }
}

std::optional<CommandLedger::Order> CommandLedger::Finish(ServerIndex server, uint64_t command_id,
                                                          bool done) {
  const auto orders = servers_.find(server);
  if (orders == servers_.end()) {
    return std::nullopt;
  }
  const auto it = orders->second.by_id.find(command_id);
  if (it == orders->second.by_id.end()) {
    return std::nullopt;
  }
  const Key key = it->second;
  if (done || key.kind == OrderKind::kReplicate) {
    Erase(orders->second, key);
  } else {
    orders->second.by_id.erase(it);
  }
  return Order{key.kind, key.handle};
}

void CommandLedger::Cancel(ServerIndex server, OrderKind kind, ChunkHandle handle) {
  if (const auto orders = servers_.find(server); orders != servers_.end()) {
    Erase(orders->second, {kind, handle});
  }
}

bool CommandLedger::IsUnderWay(ServerIndex server, OrderKind kind, ChunkHandle handle) const {
  const auto orders = servers_.find(server);
  return orders != servers_.end() && orders->second.by_key.contains({kind, handle});
}

size_t CommandLedger::under_way(ServerIndex server, OrderKind kind) const {
  const auto orders = servers_.find(server);
  return orders == servers_.end() ? 0 : orders->second.counts[static_cast<size_t>(kind)];
}

}  // namespace ballast::master
