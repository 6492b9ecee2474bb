// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

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

// All registered servers at one moment: an immutable value, the input of planners.
class ClusterView {
 public:
  explicit ClusterView(std::vector<ServerView> servers) : servers_(std::move(servers)) {
    uint32_t last = 0;
    for (const ServerView& server : servers_) {
      last = std::max(last, server.server.value());
    }
    position_.assign(last + 1, -1);
    zone_.reserve(servers_.size());
    std::vector<std::string> zones;
    for (size_t i = 0; i < servers_.size(); ++i) {
      position_[servers_[i].server.value()] = static_cast<int32_t>(i);
      const auto it = std::find(zones.begin(), zones.end(), servers_[i].zone);
      zone_.push_back(static_cast<uint32_t>(it - zones.begin()));
      if (it == zones.end()) {
        zones.push_back(servers_[i].zone);
      }
    }
  }

  const std::vector<ServerView>& servers() const { return servers_; }
  size_t size() const { return servers_.size(); }
  const ServerView& at(size_t position) const { return servers_[position]; }

  // Position in servers(), -1 if it is not there. O(1).
  int PositionOf(ServerIndex server) const {
    return server.value() < position_.size() ? position_[server.value()] : -1;
  }
  const ServerView* Find(ServerIndex server) const {
    const int position = PositionOf(server);
    return position < 0 ? nullptr : &servers_[static_cast<size_t>(position)];
  }
  // A small number for the zone of the server at this position; equal zones have equal numbers.
  uint32_t ZoneAt(size_t position) const { return zone_[position]; }

 private:
  std::vector<ServerView> servers_;
  std::vector<int32_t> position_;  // by server index
  std::vector<uint32_t> zone_;     // by position
};

}  // namespace ballast::master
