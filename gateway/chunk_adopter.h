// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "client/metadata_client.h"
#include "common/routing/replica_digest.h"
#include "common/types/ids.h"
#include "gateway/core/adopted_chunks.h"

namespace ballast::gateway {

// The keys of adopted chunks begin with this, a character that Unicode keeps for no text. No other
// object of the cluster may have such a key.
inline constexpr absl::string_view kAdoptedKeyPrefix = "\xF4\x8F\xBF\xBF";  // U+10FFFF

// Makes the cluster know chunks that messages only name: each becomes an object of one chunk of
// zeros, that lies where the message says. By ordinary RPCs (Batch of BeginWrite, SealChunks and
// CommitObject): three calls, however many names. No bytes are written.
//
// Concurrency: thread-safe; calls block. Ownership: `metadata` outlives it.
class ChunkAdopter {
 public:
  // `chunk_bytes` in 1..kChunkBytesMax.
  ChunkAdopter(client::MetadataClient& metadata, uint64_t chunk_bytes);

  // Length and checksum of every adopted chunk.
  const ReplicaFacts& facts() const { return facts_; }

  struct Wish {
    std::string name;    // any text
    ServerIndex holder;  // registered; has the chunk
  };
  // An outcome each, in order. What failed may be tried again, also when it happened though its
  // answer was lost: a name that is adopted already, with these facts, gives the handle it has.
  std::vector<absl::StatusOr<ChunkHandle>> Adopt(absl::Span<const Wish> wishes);

  // Sets how many replicas these should have; one call. An outcome each, in order.
  std::vector<absl::Status> SetWanted(absl::Span<const AdoptedChunks::Growth> growth);

 private:
  // The chunk of a name that is adopted already.
  absl::StatusOr<ChunkHandle> FindAdopted(const std::string& name);

  client::MetadataClient& metadata_;
  const ReplicaFacts facts_;
};

}  // namespace ballast::gateway
