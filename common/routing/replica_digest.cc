// SPDX-License-Identifier: Apache-2.0
#include "common/routing/replica_digest.h"

#include <array>

#include "common/routing/shard_router.h"

namespace ballast {
namespace {

template <typename T>
char* PutLittleEndian(T value, char* out) {
  for (size_t i = 0; i < sizeof(T); ++i) {
    *out++ = static_cast<char>(value >> (8 * i));
  }
  return out;
}

}  // namespace

uint64_t ReplicaHash(ChunkHandle handle, const ReplicaFacts& facts) {
  std::array<char, 17> bytes;
  char* out = PutLittleEndian(handle.value(), bytes.data());
  out = PutLittleEndian(facts.length_bytes, out);
  out = PutLittleEndian(facts.crc32c, out);
  *out = facts.corrupt ? 1 : 0;
  return StableHash(absl::string_view(bytes.data(), bytes.size()));
}

}  // namespace ballast
