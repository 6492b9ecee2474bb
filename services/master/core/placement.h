// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "common/base/rng.h"
#include "common/types/ids.h"

namespace ballast::master {

// A server that may take new replicas: alive, active, not registered with
// no_placement, its start-up scan done, its disk sound.
// Everything else never gets here.
struct PlacementCandidate {
  ServerIndex server;
  std::string zone;         // empty is a zone too
  uint64_t free_bytes = 0;  // after what is being written to it and what was promised to others
  bool avoid = false;       // the caller would rather not
};

// How all registered servers stand, to explain a refusal.
struct ServerCensus {
  uint32_t registered = 0;  // not removed
  uint32_t alive = 0;
  uint32_t suspect = 0;
  uint32_t dead = 0;
  uint32_t pending = 0;       // not heard of since this leader began, or still loading
  uint32_t min_replicas = 0;  // the setting
  uint32_t no_placement = 0;  // of the registered: never to be placed on
};

struct ChunksToPlace {
  uint32_t chunk_count = 0;
  uint32_t wanted_replicas = 0;    // >= 1
  uint32_t required_replicas = 0;  // 1..wanted
  uint32_t chunk_bytes = 0;
};

// The servers of each new chunk, first of its chain first.
using Chains = std::vector<std::vector<ServerIndex>>;

// Chooses servers for new chunks.
//
// A server has *room* for a chunk if its free bytes, less what this call has placed on it, are at
// least chunk_bytes. Each replica goes to a server with room that the chunk is not on yet, in a
// zone that the chunk is not in yet while there is one, drawn with a probability proportional to
// free bytes at the start of the call: fuller servers fill more slowly, and no two writers follow
// the same order. Example: free 300, 200, 100 GiB in three zones, wanted 1: the first server gets
// half of all chunks.
//
// Guarantees: every chain has required..wanted different servers, as many as have room; servers to
// avoid are used only if fewer than required others have room. Equal inputs give equal chains.
//   UNAVAILABLE / NOT_READY                 too few now, but servers that have not reported yet, or
//   are
//                                           still loading, would do
//   FAILED_PRECONDITION / TOO_FEW_SERVERS   fewer candidates than required; the text says what to
//   do RESOURCE_EXHAUSTED / NO_SPACE           fewer than required have room for all of it
// The refusals also hold for chunk_count 0.
// Concurrency: none needed; pure.
absl::StatusOr<Chains> PlaceChunks(absl::Span<const PlacementCandidate> candidates,
                                   const ServerCensus& census, const ChunksToPlace& request,
                                   Rng& rng);

}  // namespace ballast::master
