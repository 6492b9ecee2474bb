// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>
#include <utility>

#include "absl/container/btree_map.h"
#include "common/types/ids.h"

namespace ballast::master {

// Replicas of one shard's chunks that neither count nor are served from their log entry on, by
// (chunk sequence, server), until revoked or finished; and for each how many other verified
// replicas there must be before it is deleted. Concurrency: none.
class TrimSet {
 public:
  using Key = std::pair<uint64_t, ServerIndex>;  // sequence, server

  size_t size() const { return trims_.size(); }
  bool empty() const { return trims_.empty(); }
  bool Contains(uint64_t sequence, ServerIndex server) const {
    return trims_.contains({sequence, server});
  }
  // As logged: 1..5, or 0 for the chunk's wanted number. None if there is no such trim.
  std::optional<uint32_t> KeepOf(uint64_t sequence, ServerIndex server) const {
    const auto it = trims_.find({sequence, server});
    return it == trims_.end() ? std::nullopt : std::optional<uint32_t>(it->second);
  }
  // False if it was in the set; the first one's number stands.
  bool Add(uint64_t sequence, ServerIndex server, uint32_t keep) {
    return trims_.try_emplace({sequence, server}, keep).second;
  }
  // False if it was not in the set.
  bool Remove(uint64_t sequence, ServerIndex server) {
    return trims_.erase({sequence, server}) > 0;
  }
  // Forgets all trims of a chunk that is gone. False if there were none.
  bool RemoveChunk(uint64_t sequence) {
    const size_t before = trims_.size();
    if (before > 0) {
      trims_.erase(trims_.lower_bound({sequence, ServerIndex(0)}),
                   trims_.lower_bound({sequence + 1, ServerIndex(0)}));
    }
    return trims_.size() < before;
  }
  // fn(uint64_t sequence, ServerIndex, uint32_t keep) for each, in order.
  template <typename Fn>
  void ForEach(Fn&& fn) const {
    for (const auto& [key, keep] : trims_) fn(key.first, key.second, keep);
  }
  // The same from `begin` on, while fn returns true.
  template <typename Fn>
  void ForEachFrom(Key begin, Fn&& fn) const {
    for (auto it = trims_.lower_bound(begin); it != trims_.end(); ++it) {
      if (!fn(it->first.first, it->first.second, it->second)) return;
    }
  }
  // True if (sequence, server) comes after all in the set.
  bool IsLast(uint64_t sequence, ServerIndex server) const {
    return trims_.empty() || trims_.rbegin()->first < Key(sequence, server);
  }

 private:
  absl::btree_map<Key, uint32_t> trims_;
};

}  // namespace ballast::master
