// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <atomic>
#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "client/chunk_transport.h"
#include "client/metadata_client.h"
#include "client/options.h"
#include "client/source.h"
#include "common/base/crc32c.h"

namespace ballast::client {

// Bytes done so far, for progress bars; read from any thread while the operation runs. May go back
// when a chunk is sent again.
struct Progress {
  std::atomic<uint64_t> bytes_done{0};
  std::atomic<uint64_t> bytes_total{0};  // 0: not known
};

struct PutOptions {
  uint32_t replicas = 0;  // wanted; 0: the cluster's default
  // 0: the object must not exist; n: its generation must be n.
  std::optional<uint64_t> if_generation_match;
  std::vector<std::pair<std::string, std::string>> metadata;
  Cancellation* cancel = nullptr;
  Progress* progress = nullptr;
};

struct PutResult {
  uint64_t generation = 0;
  uint64_t size_bytes = 0;
  Crc32c crc32c;
  uint64_t chunk_count = 0;      // 0: stored inline
  uint32_t wanted_replicas = 0;  // 0: stored inline, as often as its group has masters
  uint32_t least_replicas = 0;   // of the chunk that has the fewest; < wanted: worth a warning
};

// Stores objects: small values with one call, larger ones as chunks of a draft that becomes visible
// as a whole, or not at all.
//
// Guarantees: after OK the whole value is durable on at least the required number of servers and
// visible. After an error without OUTCOME_UNKNOWN nothing is visible and the draft is aborted (if
// its master could be reached; else it ends by itself), which frees what was stored. Chunk writes
// that fail are repeated on other servers. A draft is renewed while a slow source keeps it waiting.
// Memory: see ClientOptions::stream_chunk_bytes; rereadable sources need no buffer here.
// Concurrency: thread-safe; each Put runs up to options.puts_in_flight threads of its own.
// Ownership: everything given must outlive it.
// Failure, besides MetadataClient's: INVALID_ARGUMENT (key, metadata, replicas, too large), the
// source's errors, TOO_FEW_SERVERS, NO_SPACE, UNAVAILABLE (chunk servers kept failing), CANCELLED.
class ObjectWriter {
 public:
  ObjectWriter(MetadataClient& metadata, ChunkTransport& transport, ServerHealth& health,
               const ClientOptions& options)
      : metadata_(metadata), transport_(transport), health_(health), options_(options) {}

  // Values of up to `inline_bytes` (the cluster's setting) are stored inline.
  absl::StatusOr<PutResult> Put(const std::string& key, Source& source, const PutOptions& put,
                                uint64_t inline_bytes);

 private:
  absl::StatusOr<PutResult> PutInline(const std::string& key, const std::string& value,
                                      const PutOptions& put);

  MetadataClient& metadata_;
  ChunkTransport& transport_;
  ServerHealth& health_;
  const ClientOptions& options_;
};

}  // namespace ballast::client
