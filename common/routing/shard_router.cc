// SPDX-License-Identifier: Apache-2.0
#include "common/routing/shard_router.h"

#define XXH_INLINE_ALL  // the call across a library costs as much as the hash of a short key
#include <xxhash.h>

#include "common/base/check.h"

namespace ballast {

uint64_t StableHash(absl::string_view bytes) { return XXH64(bytes.data(), bytes.size(), 0); }

ShardId ShardOfKey(absl::string_view key, uint32_t shard_count) {
  CHECK_GT(shard_count, 0u);
  return ShardId(static_cast<uint32_t>(StableHash(key) % shard_count));
}

}  // namespace ballast
