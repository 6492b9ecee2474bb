// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "gateway/core/adopted_chunks.h"

namespace ballast::gateway {

// The bookkeeping of adopted chunks and its lock, shared by whoever takes heartbeats and whoever
// carries commands out. A leaf: nothing blocks or calls out with it held.
struct ChunkBook {
  explicit ChunkBook(absl::Duration list_age_max) : chunks(list_age_max) {}
  absl::Mutex mu;
  AdoptedChunks chunks ABSL_GUARDED_BY(mu);
};

}  // namespace ballast::gateway
