// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

#include "absl/container/btree_map.h"
#include "common/routing/hash_ring.h"
#include "protos/shardctl_log.pb.h"

namespace ballast::shardctl {

// The rings of pools that were routed over lately, brought up to date when they are asked for: a
// few changed servers cost O(points), others a new ring.
//
// Concurrency: none. Pure; what it keeps can be made again from the pools, and is bounded.
class PoolRings {
 public:
  explicit PoolRings(size_t bytes_max = size_t{256} << 20) : bytes_max_(bytes_max) {}

  // Valid until the next call. Requires: a pool of PoolTable.
  const HashRing& RingOf(const v1::shardctl_log::Pool& pool);

  size_t size() const { return rings_.size(); }

 private:
  struct Kept {
    uint64_t version = 0;
    HashRing ring;
  };
  void MakeRoom(const std::string& keep);

  const size_t bytes_max_;
  absl::btree_map<std::string, Kept> rings_;
};

}  // namespace ballast::shardctl
