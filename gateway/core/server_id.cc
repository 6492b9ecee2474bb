// SPDX-License-Identifier: Apache-2.0
#include "gateway/core/server_id.h"

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "common/routing/shard_router.h"

namespace ballast::gateway {

std::string ServerIdOf(absl::string_view cluster_id, absl::string_view name) {
  // Two independent halves of the same text. The line breaks keep the parts apart: neither an id
  // nor a name that can be registered holds one.
  const std::string text = absl::StrCat("ballast gateway server\n", cluster_id, "\n", name);
  uint64_t high = StableHash(absl::StrCat("1\n", text));
  uint64_t low = StableHash(absl::StrCat("2\n", text));
  high = (high & ~uint64_t{0xF000}) | 0x8000;                // version 8
  low = (low & ~(uint64_t{3} << 62)) | (uint64_t{2} << 62);  // RFC 9562, its variant
  return absl::StrFormat("%08x-%04x-%04x-%04x-%012x", high >> 32, (high >> 16) & 0xFFFF,
                         high & 0xFFFF, low >> 48, low & 0xFFFFFFFFFFFF);
}

}  // namespace ballast::gateway
