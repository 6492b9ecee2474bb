// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>

#include "absl/container/btree_map.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "common/types/ids.h"

namespace ballast::chunkserver {

// Orders the masters that may command about a shard: the configuration at which the sender's group
// acquired the shard, then the sender's term.
struct FencePair {
  ConfigVersion config_version;
  RaftTerm term;
  friend constexpr auto operator<=>(const FencePair&, const FencePair&) = default;
};

// Per shard the highest pair seen. A pair never goes down. Pure; its owner serialises and keeps the
// encoded form on disk (docs/formats/chunk_server_folder.md).
class FenceTable {
 public:
  // False if `pair` is below the highest seen for the shard: the command is from a deposed master.
  // Otherwise the pair is remembered.
  bool Admit(ShardId shard, FencePair pair);

  // The highest seen; the zero pair if none was.
  FencePair Highest(ShardId shard) const;

  // Grows with every change: a command may act once an encoding of at least the version after its
  // Admit is durable.
  uint64_t version() const { return version_; }

  std::string Encode() const;
  // DATA_LOSS for anything but an encoding, whole; any input is safe.
  static absl::StatusOr<FenceTable> Decode(absl::string_view bytes);

 private:
  absl::btree_map<ShardId, FencePair> highest_;
  uint64_t version_ = 0;
};

}  // namespace ballast::chunkserver
