// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "absl/status/statusor.h"
#include "client/chunk_transport.h"
#include "client/metadata_client.h"
#include "client/object_writer.h"
#include "client/options.h"
#include "client/sink.h"

namespace ballast::client {

struct GetOptions {
  uint64_t offset_bytes = 0;
  std::optional<uint64_t> length_bytes;  // absent: to the end; cut at the end
  ReplicaChoice replica_choice = ReplicaChoice::kPreferred;
  Cancellation* cancel = nullptr;
  Progress* progress = nullptr;
};

struct GetResult {
  v1::ObjectInfo object;  // of the generation that was read
  uint64_t delivered_bytes = 0;
};

// Reads objects: ranges of several chunks at once, verified, from whichever replica works.
//
// Guarantees: a sink gets bytes of one generation only, each verified by its block's checksum;
// whole chunks are checked as a whole too, and an inline value always. A replica that fails, is
// slow or is wrong costs time, not correctness: the next one goes on where it stopped; bad ones are
// reported to the masters. OK: all bytes of the range were given and are right. Memory: unordered
// sinks need none here (one message a piece in transport); ordered ones at most ordered_piece_bytes
// * (gets_in_flight + 1). Concurrency: thread-safe; each Get runs up to options.gets_in_flight
// threads of its own. Ownership: everything given must outlive it. Failure, besides
// MetadataClient's: OUT_OF_RANGE (begins at or past the end), ABORTED / GENERATION_GONE (replaced
// and its grace is over; start anew), UNAVAILABLE / CHUNK_UNAVAILABLE (no replica could be read for
// chunk_read_retry), DATA_LOSS (every replica is wrong), CANCELLED, the sink's errors. The sink may
// have been given a part of the bytes then.
class ObjectReader {
 public:
  ObjectReader(MetadataClient& metadata, ChunkTransport& transport, ServerHealth& health,
               const ClientOptions& options)
      : metadata_(metadata), transport_(transport), health_(health), options_(options) {}

  absl::StatusOr<GetResult> Get(const std::string& key, Sink& sink, const GetOptions& get);

 private:
  MetadataClient& metadata_;
  ChunkTransport& transport_;
  ServerHealth& health_;
  const ClientOptions& options_;
};

}  // namespace ballast::client
