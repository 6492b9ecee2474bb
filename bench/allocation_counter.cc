// SPDX-License-Identifier: Apache-2.0
#include "bench/allocation_counter.h"

#include <cstdlib>
#include <new>

namespace {
thread_local uint64_t allocations = 0;
}  // namespace

// In a file of their own: inlined into their callers they look mismatched to the compiler. The
// other forms come back to these.
void* operator new(size_t bytes) {
  ++allocations;
  void* const memory = std::malloc(bytes == 0 ? 1 : bytes);
  if (memory == nullptr) {
    std::abort();
  }
  return memory;
}
void operator delete(void* memory) noexcept { std::free(memory); }
void operator delete(void* memory, size_t) noexcept { std::free(memory); }

namespace ballast::bench {

uint64_t Allocations() { return allocations; }

}  // namespace ballast::bench
