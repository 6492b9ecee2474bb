// SPDX-License-Identifier: Apache-2.0
#include "services/chunkserver/core/late_deletes.h"

#include <algorithm>

namespace ballast::chunkserver {

void LateDeletes::Want(ChunkHandle handle, FencePair pair, uint64_t command_id) {
  const Asked asked{.pair = pair, .command_id = command_id};
  Asked& last = wanted_[handle];
  if (asked <= last) {
    return;  // a command that was repeated or overtaken
  }
  last = asked;
  order_.push_back(Order{.handle = handle, .asked = asked});
  while (order_.size() > chunks_max_) {
    const Order oldest = order_.front();
    order_.pop_front();
    const auto it = wanted_.find(oldest.handle);
    if (it != wanted_.end() && it->second == oldest.asked) {
      wanted_.erase(it);
      Asked& highest = forgotten_[oldest.handle.shard()];
      highest = std::max(highest, oldest.asked);
    }
  }
}

bool LateDeletes::IsLate(ChunkHandle handle, FencePair pair, uint64_t command_id) const {
  if (const auto it = wanted_.find(handle);
      it != wanted_.end() && IsBefore(pair, command_id, it->second)) {
    return true;
  }
  const auto it = forgotten_.find(handle.shard());
  return it != forgotten_.end() && IsBefore(pair, command_id, it->second);
}

}  // namespace ballast::chunkserver
