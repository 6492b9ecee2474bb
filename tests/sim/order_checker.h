// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <tuple>
#include <utility>

#include "common/types/ids.h"
#include "protos/chunkserver_control_service.pb.h"
#include "tests/sim/chunk_network.h"

namespace ballast::testing {

// Who may speak and who may command, judged by what goes over the wire:
//
//   I2  a chunk server carries out no command that reaches it after it has carried out one of a
//       higher fence for the shard, in this process or an earlier one
//   I6  a master heeds no process of a server after a later boot of that server
//
// Concurrency: one thread.
class OrderChecker {
 public:
  // `violate` is told of every broken rule.
  explicit OrderChecker(std::function<void(const std::string&)> violate)
      : violate_(std::move(violate)) {}

  // A reply with commands has reached the process at `server` over this stream.
  void OnReply(uint64_t stream, NetNode server, const v1::HeartbeatReply& reply);
  // A heartbeat leaves a server: it tells what became of commands.
  void OnResults(uint64_t stream, NetNode server, const v1::Heartbeat& heartbeat);

  // A master accepted a heartbeat.
  void OnHeard(const std::string& master, RaftTerm term, ServerIndex server, uint64_t boot_epoch);
  void OnMasterEnd(const std::string& master) { boots_.erase(master); }

 private:
  using FencePair = std::pair<uint64_t, uint64_t>;  // configuration, term
  struct Boots {
    RaftTerm term;
    std::map<ServerIndex, uint64_t> highest;
  };

  const std::function<void(const std::string&)> violate_;
  struct Order {
    FencePair fence;
    bool stale = false;  // when it reached the server
  };
  std::map<std::pair<NetNode, ShardId>, FencePair> heeded_;  // highest that a server acted on
  std::map<std::tuple<uint64_t, uint64_t, uint64_t>, Order> orders_;  // stream, id, handle
  std::map<std::string, Boots> boots_;
};

}  // namespace ballast::testing
