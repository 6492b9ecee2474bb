// SPDX-License-Identifier: Apache-2.0
#include "common/cli/descriptors.h"

#include <sys/resource.h>

#include <algorithm>

namespace ballast {
namespace {

// More than anybody needs; "unlimited" is not taken at its word.
constexpr rlim_t kWanted = 1 << 20;

}  // namespace

void AllowManyDescriptors() {
  rlimit limit = {};
  if (getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur >= kWanted) {
    return;
  }
  limit.rlim_cur = std::max(limit.rlim_cur, std::min(limit.rlim_max, kWanted));
  setrlimit(RLIMIT_NOFILE, &limit);
}

}  // namespace ballast
