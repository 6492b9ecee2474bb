// SPDX-License-Identifier: Apache-2.0
#include "gateway/core/config_history.h"

namespace ballast::gateway {

ConfigHistory::Verdict ConfigHistory::JudgeSet(uint64_t version,
                                               const std::vector<uint32_t>& shards) const {
  const bool same = internal_ > 0 && version == version_ && shards == shards_;
  return same ? Verdict::kSame : Verdict::kChange;
}

ConfigHistory::Verdict ConfigHistory::JudgeUpdate(uint64_t version,
                                                  const std::vector<uint32_t>& shards) const {
  if (JudgeSet(version, shards) == Verdict::kSame) {
    return Verdict::kSame;
  }
  // Not version_ + 1: that could overflow.
  return version > 0 && version - 1 == version_ ? Verdict::kChange : Verdict::kRefuse;
}

void ConfigHistory::Record(uint64_t version, const std::vector<uint32_t>& shards) {
  version_ = version;
  shards_ = shards;
  ++internal_;
}

}  // namespace ballast::gateway
