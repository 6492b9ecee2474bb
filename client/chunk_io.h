// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "common/base/crc32c.h"
#include "common/types/ids.h"
#include "common/types/limits.h"
#include "protos/chunkserver_data_service.pb.h"
#include "protos/common.pb.h"

namespace ballast::client {

struct ChunkIoOptions {
  // Sent with every call; a server of another cluster answers WRONG_CLUSTER. Empty: not sent.
  std::string cluster_id;
  // A stream that makes no progress for this long is given up with DEADLINE_EXCEEDED.
  absl::Duration stall_timeout = absl::Seconds(20);
  // How long opening a connection may take before the call fails with UNAVAILABLE.
  absl::Duration connect_timeout = absl::Seconds(5);
  // Payload of a message: a multiple of kBlockBytes up to kBulkPayloadBytesMax.
  uint64_t message_bytes = KiB(512);
  // Connections kept open for the next stream, over all servers.
  size_t idle_connections_max = 32;
};

// Where the bytes of a chunk come from: fills `out` with up to `bytes` bytes and returns how many;
// fewer than asked, 0 included, only at the end of the data; then it is not called again.
using ChunkSource = absl::FunctionRef<absl::StatusOr<size_t>(char* out, size_t bytes)>;

// Where they go: `bytes` follow without a gap what the previous call got. Their checksums fit.
// A status that is not OK ends the stream and becomes its result.
using ChunkSink = absl::FunctionRef<absl::Status(absl::string_view bytes)>;

// A source that reads `data`, which must outlive it. Copyable; each copy starts at the front.
class StringChunkSource {
 public:
  explicit StringChunkSource(absl::string_view data) : left_(data) {}
  // Const, as FunctionRef wants it; advances all the same.
  absl::StatusOr<size_t> operator()(char* out, size_t bytes) const;

 private:
  mutable absl::string_view left_;
};

struct ChunkWriteRequest {
  ChunkHandle handle;
  // The servers that shall hold the chunk, 1 to kReplicasMax, distinct; the first receives it from
  // here and each passes it on to the next.
  std::vector<v1::ReplicaLocation> chain;
  // The length if it is known, so that servers can reserve it; 0 = unknown. No more is taken from
  // the source; if it has fewer, those are stored, which the result shows.
  uint64_t length_hint_bytes = 0;
  absl::Duration timeout = absl::Minutes(2);
};

struct ChunkWriteResult {
  uint32_t length_bytes = 0;
  Crc32c crc32c;                        // of the whole chunk
  std::vector<std::string> server_ids;  // on each of these it is durable: the whole chain
};

struct ChunkReadRequest {
  ChunkHandle handle;
  v1::ReplicaLocation replica;  // `address` is where to ask
  uint64_t offset_bytes = 0;
  uint64_t length_bytes = 0;  // 0: to the end; cut at the end of the chunk
  absl::Duration timeout = absl::Minutes(2);
};

struct ChunkReadResult {
  // OK: the whole range was delivered. Otherwise see ReadChunk.
  absl::Status status;
  // Bytes that the sink took, also after a failure: another replica can go on from there.
  uint64_t delivered_bytes = 0;
  // CRC32C of the delivered bytes: for a whole chunk, to be compared with the chunk table's.
  Crc32c crc32c;
};

// Bytes of single chunks to and from chunk servers: one chain, one range, one try. Which servers,
// what to do after a failure and what the chunks mean are its caller's business.
//
// Guarantees: payload is never copied between socket and caller's buffer more than once, never
// delivered unverified, and a stream holds at most 4 MiB, however slow the other side is.
//
// Concurrency: thread-safe; calls block, sources and sinks run on the calling thread. For several
// chunks at once call from several threads; each stream has a connection of its own.
// Failure: the statuses of chunkserver_data_service.proto, with their reasons; in addition
// UNAVAILABLE (no connection, or lost) and DEADLINE_EXCEEDED (timeout or stall_timeout).
class ChunkIo {
 public:
  explicit ChunkIo(ChunkIoOptions options);
  ~ChunkIo();  // no call may be running
  ChunkIo(const ChunkIo&) = delete;
  ChunkIo& operator=(const ChunkIo&) = delete;

  // Writes one chunk: what `source` gives until it ends or length_hint_bytes or kChunkBytesMax are
  // reached; no byte at all is INVALID_ARGUMENT. OK: the chunk is durable on every server of the
  // chain. After any error the handle is spent: use a new one (and a fresh source). An error of
  // `source` is returned as it is; then no server keeps the chunk.
  //   UNAVAILABLE / CHAIN_FAILED: hint.server_id names the server after the first that failed
  //   RESOURCE_EXHAUSTED / NO_SPACE: hint.server_id names the full server
  absl::StatusOr<ChunkWriteResult> WriteChunk(const ChunkWriteRequest& request, ChunkSource source);

  // Reads a range into `sink`. On failure what was delivered so far is right and counted.
  //   NOT_FOUND / CHUNK_NOT_FOUND, DATA_LOSS / CHECKSUM_MISMATCH: try another replica
  //   OUT_OF_RANGE / OUT_OF_RANGE: offset at or past the end
  ChunkReadResult ReadChunk(const ChunkReadRequest& request, ChunkSink sink);

  // Facts of a replica; with `verify` after the server has read and checked all of it.
  absl::StatusOr<v1::StatChunkResponse> StatChunk(const v1::ReplicaLocation& replica,
                                                  ChunkHandle handle, bool verify,
                                                  absl::Duration timeout);

  // The server at `address`.
  absl::StatusOr<v1::GetServerStatusResponse> ServerStatus(const std::string& address,
                                                           absl::Duration timeout);

 private:
  struct Impl;
  const std::unique_ptr<Impl> impl_;
};

}  // namespace ballast::client
