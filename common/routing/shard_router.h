// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

#include "absl/strings/string_view.h"
#include "common/types/ids.h"

namespace ballast {

// The shard of a key: XXH64(key bytes, seed 0) mod shard_count. Fixed for ever; the test vectors in
// tests/unit/common/routing hold it. `shard_count` > 0.
ShardId ShardOfKey(absl::string_view key, uint32_t shard_count);

// XXH64 with seed 0: the project's stable hash (XXH64 specification, Collet). Same value on every
// machine and in every language.
uint64_t StableHash(absl::string_view bytes);

}  // namespace ballast
