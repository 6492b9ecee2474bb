// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <utility>

#include "absl/container/btree_set.h"
#include "common/types/ids.h"

namespace ballast::master {

// Replicas of one shard's chunks that neither count nor are served from their log entry on, by
// (chunk sequence, server), until revoked or finished. Concurrency: none.
class TrimSet {
 public:
  size_t size() const { return trims_.size(); }
  bool Contains(uint64_t sequence, ServerIndex server) const {
    return trims_.contains({sequence, server});
  }
  // False if it was in the set.
  bool Add(uint64_t sequence, ServerIndex server) {
    return trims_.emplace(sequence, server).second;
  }
  // False if it was not in the set.
  bool Remove(uint64_t sequence, ServerIndex server) {
    return trims_.erase({sequence, server}) > 0;
  }
  // Forgets all trims of a chunk that is gone.
  void RemoveChunk(uint64_t sequence) {
    if (trims_.empty()) return;
    trims_.erase(trims_.lower_bound({sequence, ServerIndex(0)}),
                 trims_.lower_bound({sequence + 1, ServerIndex(0)}));
  }
  // fn(uint64_t sequence, ServerIndex) for each, in order.
  template <typename Fn>
  void ForEach(Fn&& fn) const {
    for (const auto& [sequence, server] : trims_) fn(sequence, server);
  }
  // True if (sequence, server) comes after all in the set.
  bool IsLast(uint64_t sequence, ServerIndex server) const {
    return trims_.empty() || *trims_.rbegin() < std::make_pair(sequence, server);
  }

 private:
  absl::btree_set<std::pair<uint64_t, ServerIndex>> trims_;
};

}  // namespace ballast::master
