// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>

#include "absl/container/btree_map.h"
#include "absl/time/time.h"
#include "common/base/steady_time.h"
#include "common/types/ids.h"

namespace ballast::master {

enum class OrderKind { kDelete, kVerify, kReplicate, kKeep };
inline constexpr size_t kOrderKinds = 4;

// Which orders are under way at which chunk server, so that what is derived anew at every tick is
// not sent anew at every tick, and no server has more than its limit.
//
// An order is under way from TryBegin until it was carried out, the end of `patience`, or the end
// of the server's session. One that failed stays under way until its patience is over, so that what
// cannot be done is not ordered again at every tick; a copy's end is its owner's business and ends
// at once. Ids count from 1 and are unique in one ledger, that is, in one leader's term.
//
// Concurrency: none. Never fails.
class CommandLedger {
 public:
  // 0 if the same order is under way already, or `limit` orders of its kind at that server.
  uint64_t TryBegin(ServerIndex server, OrderKind kind, ChunkHandle handle, size_t limit,
                    SteadyTime now, absl::Duration patience);

  struct Order {
    OrderKind kind;
    ChunkHandle handle;
  };
  // The order that this result belongs to; none if it is unknown, was given up or had its result.
  std::optional<Order> Finish(ServerIndex server, uint64_t command_id, bool done);
  // The order was taken back: it is over.
  void Cancel(ServerIndex server, OrderKind kind, ChunkHandle handle);

  // Gives up what has waited for longer than its patience.
  void Tick(SteadyTime now);

  // Its orders may be lost: all are over.
  void ForgetServer(ServerIndex server) { servers_.erase(server); }

  bool IsUnderWay(ServerIndex server, OrderKind kind, ChunkHandle handle) const;
  size_t under_way(ServerIndex server, OrderKind kind) const;

 private:
  struct Key {
    OrderKind kind;
    ChunkHandle handle;
    friend auto operator<=>(const Key&, const Key&) = default;
  };
  struct Sent {
    uint64_t command_id;
    SteadyTime until;
  };
  struct Orders {
    absl::btree_map<Key, Sent> by_key;
    absl::btree_map<uint64_t, Key> by_id;      // those without a result
    std::array<size_t, kOrderKinds> counts{};  // of by_key
  };
  static void Erase(Orders& orders, Key key);
  static void EraseExpired(Orders& orders, SteadyTime now);

  uint64_t last_id_ = 0;
  absl::btree_map<ServerIndex, Orders> servers_;
};

}  // namespace ballast::master
