// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "client/chunk_pages.h"
#include "client/chunk_transport.h"
#include "client/metadata_client.h"
#include "client/options.h"
#include "common/base/crc32c.h"
#include "common/base/rng.h"

namespace ballast::client {

// A range of one chunk, and where it belongs in what the caller wants.
struct Piece {
  v1::ChunkInfo chunk;
  uint64_t begin = 0;  // in the chunk, half-open
  uint64_t end = 0;
  uint64_t out_offset = 0;  // of `begin` in the range being read

  uint64_t length() const { return end - begin; }
  bool IsWholeChunk() const { return begin == 0 && end == chunk.length_bytes(); }
};

// Gets the bytes of single pieces from whichever replica has them.
//
// Guarantees: `deliver` gets the piece's bytes in order, verified; after a replica failed, the next
// goes on where it stopped. Only a whole chunk that fails its own checksum is delivered anew from
// its start. Replicas are tried as the master ordered them, by `choice` one drawn by lot before the
// others, those that failed lately last; after all failed, their list is fetched anew, with growing
// waits. Bad ones are reported once a piece.
// Concurrency: thread-safe. Ownership: everything given must outlive it.
class ChunkReader {
 public:
  // `offset` is from the piece's begin. An error ends the piece.
  using Deliver = absl::FunctionRef<absl::Status(uint64_t offset, absl::string_view bytes)>;

  ChunkReader(MetadataClient& metadata, ChunkTransport& transport, ServerHealth& health,
              const ClientOptions& options, ReplicaChoice choice, ChunkPages& pages,
              Cancellation& stop)
      : metadata_(metadata),
        transport_(transport),
        health_(health),
        options_(options),
        choice_(choice),
        pages_(pages),
        stop_(stop) {}

  // Returns the checksum of the piece's bytes. Blocks. Errors of `deliver` are returned as they
  // are.
  absl::StatusOr<Crc32c> Read(Piece piece, Deliver deliver);

 private:
  struct Attempt;  // what is known after each replica's try

  std::vector<v1::ReplicaLocation> InOrder(const v1::ChunkInfo& chunk, Rng& rng) const;
  // One replica; adds what it delivered to `attempt`.
  void TryReplica(const Piece& piece, const v1::ReplicaLocation& replica, Deliver deliver,
                  Attempt& attempt);
  void Report(const Piece& piece, const std::string& server_id, const absl::Status& why,
              Attempt& attempt);

  MetadataClient& metadata_;
  ChunkTransport& transport_;
  ServerHealth& health_;
  const ClientOptions& options_;
  const ReplicaChoice choice_;
  ChunkPages& pages_;
  Cancellation& stop_;
};

}  // namespace ballast::client
