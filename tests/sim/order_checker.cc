// SPDX-License-Identifier: Apache-2.0
#include "tests/sim/order_checker.h"

#include <algorithm>

#include "absl/strings/str_cat.h"

namespace ballast::testing {

void OrderChecker::OnReply(uint64_t stream, NetNode server, const v1::HeartbeatReply& reply) {
  for (const v1::Command& command : reply.commands()) {
    const FencePair fence{command.fence().config_version(), command.fence().term()};
    const auto heeded = heeded_.find({server, ChunkHandle(command.handle()).shard()});
    const bool stale = heeded != heeded_.end() && fence < heeded->second;
    orders_[{stream, command.command_id(), command.handle()}] = {fence, stale};
  }
}

void OrderChecker::OnResults(uint64_t stream, NetNode server, const v1::Heartbeat& heartbeat) {
  for (const v1::CommandResult& result : heartbeat.results()) {
    const auto order = orders_.find({stream, result.command_id(), result.handle()});
    if (result.code() != 0 || order == orders_.end()) {
      continue;  // of no effect, or given on an earlier stream
    }
    const ChunkHandle handle(result.handle());
    if (order->second.stale) {
      violate_(absl::StrCat("I2: a server carries out command ", result.command_id(), " on chunk ",
                            handle.ToString(),
                            " of an older leader than one whose commands it carried out before"));
    }
    FencePair& heeded = heeded_[{server, handle.shard()}];
    heeded = std::max(heeded, order->second.fence);
  }
}

void OrderChecker::OnHeard(const std::string& master, RaftTerm term, ServerIndex server,
                           uint64_t boot_epoch) {
  Boots& boots = boots_[master];
  if (boots.term != term) {
    boots = {term, {}};
  }
  uint64_t& highest = boots.highest[server];
  if (boot_epoch < highest) {
    violate_(absl::StrCat("I6: ", master, " heeds boot ", boot_epoch, " of server ", server.value(),
                          " after boot ", highest));
  }
  highest = std::max(highest, boot_epoch);
}

}  // namespace ballast::testing
