// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <vector>

namespace ballast::gateway {

// How the messages' configurations of one group become configurations without gaps.
//
// Messages number their configurations as they like: set_config may set any number, config_update
// only the next one. A replica group applies 1, 2, 3, ... So every change of (version, shards) gets
// the next *internal* number, and this remembers what the latest one stands for.
// Pure; not thread-safe.
class ConfigHistory {
 public:
  enum class Verdict {
    kChange,  // a new configuration: to be applied as internal() + 1, then Record
    kSame,    // it is the current one already
    kRefuse,  // an old one, or one that would skip a version
  };

  // set_config: always the wish of whoever sets it.
  Verdict JudgeSet(uint64_t version, const std::vector<uint32_t>& shards) const;
  // config_update: the next version, or the current one again.
  Verdict JudgeUpdate(uint64_t version, const std::vector<uint32_t>& shards) const;

  // The group has applied it as internal() + 1.
  void Record(uint64_t version, const std::vector<uint32_t>& shards);

  uint64_t version() const { return version_; }    // as messages number; 0: none yet
  uint64_t internal() const { return internal_; }  // as the group numbers; 0: none yet

 private:
  uint64_t version_ = 0;
  uint64_t internal_ = 0;
  std::vector<uint32_t> shards_;
};

}  // namespace ballast::gateway
