// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

namespace ballast::bench {

// How often this thread has called operator new. Linking this counts for the whole program.
uint64_t Allocations();

}  // namespace ballast::bench
