// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

#include "absl/container/btree_map.h"
#include "common/types/ids.h"
#include "gateway/core/adopted_chunks.h"

namespace ballast::gateway {

// How much servers hold and can hold, whose messages tell a percentage and a list of chunks. Only
// background rebalancing needs it: it reckons in bytes.
//
// A server is taken to be as large as makes its list fill the percentage it told. One that cannot
// be judged like this (it lists nothing, or tells 0 %) is as large as the others on average. What a
// server received or deleted by command and does not tell of yet is added to, or taken from, what
// it told; so rebalancing ends although messages repeat old figures for a while.
//
// Pure bookkeeping. Not thread-safe.
class ToldUsage {
 public:
  // All chunks are so long; `default_capacity_bytes` is for servers while none can be judged.
  ToldUsage(uint64_t chunk_bytes, uint64_t default_capacity_bytes)
      : chunk_bytes_(chunk_bytes), default_capacity_bytes_(default_capacity_bytes) {}

  struct Usage {
    uint64_t capacity_bytes = 0;
    double utilization_pct = 0;  // 0..100
  };
  // The server told `pct` (what is not within 0..100 counts as the nearest that is).
  Usage OnTold(ServerIndex server, double pct, const AdoptedChunks::Tally& tally);

 private:
  uint64_t MeanCapacity() const;

  const uint64_t chunk_bytes_;
  const uint64_t default_capacity_bytes_;
  absl::btree_map<ServerIndex, uint64_t> capacities_;  // of servers that could be judged
};

}  // namespace ballast::gateway
