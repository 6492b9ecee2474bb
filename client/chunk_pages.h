// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "client/metadata_client.h"
#include "protos/master_service.pb.h"

namespace ballast::client {

// The chunks of one generation of one object, fetched a page at a time as a reader gets to them.
//
// Guarantees: what it returns fits the object's facts (position, offset, length, no gap), whatever
// the master sent. Never mixes generations. Holds one page.
// Concurrency: thread-safe; at most one page fetch at a time.
// Failure: ABORTED / GENERATION_GONE when the generation is no longer readable (also where the
// master says NOT_FOUND: it was there when the reader began); INTERNAL for a list that does not add
// up; otherwise MetadataClient's.
class ChunkPages {
 public:
  // `object` as GetObject gave it, with chunks.
  ChunkPages(MetadataClient& metadata, const v1::GetObjectResponse& object, CallControl control);

  // OK if the first page fits the object's facts. Must be OK before the rest is used.
  absl::Status Check() const;

  // Length of every chunk but the last.
  uint64_t chunk_bytes() const { return chunk_bytes_; }

  // The chunk at a position below chunk_count, from the page at hand or a new one.
  absl::StatusOr<v1::ChunkInfo> At(uint64_t position);

  // The same, asked anew: for its replicas as they are now.
  absl::StatusOr<v1::ChunkInfo> Refetch(const v1::ChunkInfo& old);

 private:
  absl::StatusOr<std::vector<v1::ChunkInfo>> Fetch(uint64_t first_position, uint32_t count);
  absl::Status CheckChunk(const v1::ChunkInfo& chunk, uint64_t position) const;

  MetadataClient& metadata_;
  const v1::ObjectInfo object_;
  const CallControl control_;
  uint64_t chunk_bytes_ = 0;  // constant after construction

  absl::Mutex fetch_mu_;  // held over a page's fetch, so that others wait for it; before mu_
  mutable absl::Mutex mu_;
  uint64_t page_begin_ ABSL_GUARDED_BY(mu_) = 0;
  std::vector<v1::ChunkInfo> page_ ABSL_GUARDED_BY(mu_);
};

}  // namespace ballast::client
