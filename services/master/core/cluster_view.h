// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/strings/string_view.h"
#include "common/types/ids.h"

namespace ballast::master {

// A chunk server as planners see it.
struct ServerView {
  ServerIndex server;
  std::string zone;  // empty is a zone too
  uint64_t capacity_bytes = 0;
  uint64_t used_bytes = 0;     // as reported, plus what was promised and has not shown yet
  double utilization_pct = 0;  // as reported, 0..100
  bool live = false;           // alive or suspect: its replicas count
  bool accepts = false;        // may take new replicas: alive, active, sound, placement allowed
  bool draining = false;       // its replicas are to go elsewhere
  bool managed = true;         // false: placement is not allowed; planners leave it alone
  friend bool operator==(const ServerView&, const ServerView&) = default;
};

// All registered servers at one moment: an immutable value, the input of planners. Copies share it.
class ClusterView {
 public:
  explicit ClusterView(std::vector<ServerView> servers)
      : all_(std::make_shared<const All>(std::move(servers))) {}

  const std::vector<ServerView>& servers() const { return all_->servers; }
  size_t size() const { return all_->servers.size(); }
  const ServerView& at(size_t position) const { return all_->servers[position]; }

  // Position in servers(), -1 if it is not there. O(1).
  int PositionOf(ServerIndex server) const {
    return server.value() < all_->position.size() ? all_->position[server.value()] : -1;
  }
  const ServerView* Find(ServerIndex server) const {
    const int position = PositionOf(server);
    return position < 0 ? nullptr : &at(static_cast<size_t>(position));
  }
  // A small number for the zone of the server at this position; equal zones have equal numbers.
  uint32_t ZoneAt(size_t position) const { return all_->zone[position]; }

 private:
  struct All {
    explicit All(std::vector<ServerView> of) : servers(std::move(of)) {
      uint32_t last = 0;
      for (const ServerView& server : servers) {
        last = std::max(last, server.server.value());
      }
      position.assign(last + 1, -1);
      zone.reserve(servers.size());
      absl::flat_hash_map<absl::string_view, uint32_t> zones;
      for (size_t i = 0; i < servers.size(); ++i) {
        position[servers[i].server.value()] = static_cast<int32_t>(i);
        const auto number = static_cast<uint32_t>(zones.size());
        zone.push_back(zones.try_emplace(servers[i].zone, number).first->second);
      }
    }
    const std::vector<ServerView> servers;
    std::vector<int32_t> position;  // by server index
    std::vector<uint32_t> zone;     // by position
  };
  std::shared_ptr<const All> all_;
};

}  // namespace ballast::master
