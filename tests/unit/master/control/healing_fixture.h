// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <set>
#include <vector>

#include "tests/unit/master/control/heartbeat_world.h"

namespace ballast::master {

// A leading master that repairs and levels, and its chunk servers, in virtual time.
class HealingTest : public HeartbeatWorld {
 protected:
  explicit HealingTest(RepairLimits limits = RepairLimits()) : HeartbeatWorld(limits) {}

  // Chunk servers that tell at once what became of a command.
  void Eager() {
    for (auto& server : servers_) {
      sim_.At(absl::Milliseconds(20), [this, raw = server.get()] { Report(*raw); });
    }
  }
  void Report(FakeChunkServer& server) {
    if (server.connected() && server.HasNews() && !muted_[server.index().value()]) {
      server.Beat(kShards);
    }
    sim_.At(absl::Milliseconds(20), [this, &server] { Report(server); });
  }
  // With room for 100 chunks each.
  void MakeSmall() {
    for (auto& server : servers_) {
      server->is_small = true;
      server->capacity_bytes = 100'000;
    }
  }
  std::set<uint32_t> Holders(ChunkHandle handle) {
    std::set<uint32_t> holders;
    for (const auto& server : servers_) {
      if (server->Holds(handle)) holders.insert(server->index().value());
    }
    return holders;
  }
  void Silence(uint32_t index) {
    muted_[index] = true;
    server(index).Disconnect();
  }
  void Return(uint32_t index) {
    muted_[index] = false;
    server(index).Connect();
    server(index).Beat(kShards);
    KeepBeating(server(index));
  }
  size_t Replicates() { return Count(&v1::Command::has_replicate); }
  size_t Deletes() { return Count(&v1::Command::has_delete_replica); }
  template <typename Has>
  size_t Count(Has has) {
    size_t count = 0;
    for (const auto& server : servers_) {
      count += static_cast<size_t>(
          std::count_if(server->commands.begin(), server->commands.end(),
                        [has](const v1::Command& command) { return (command.*has)(); }));
    }
    return count;
  }
};

}  // namespace ballast::master
