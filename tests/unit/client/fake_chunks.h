// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "client/chunk_transport.h"

namespace ballast::client {

// Chunk servers in memory, by server id, with faults on demand.
class FakeChunks final : public ChunkTransport {
 public:
  struct Faults {
    bool down = false;                             // refuses everything: UNAVAILABLE
    bool full = false;                             // NO_SPACE for every write
    std::optional<uint64_t> dies_in_write_after;   // bytes; down from then on
    std::optional<uint64_t> dies_in_read_after;    // bytes of one read; down from then on
    std::optional<uint64_t> stalls_in_read_after;  // bytes of every read: DEADLINE_EXCEEDED
    bool corrupt = false;                          // DATA_LOSS before the first byte of every read
    bool missing = false;                          // CHUNK_NOT_FOUND for every read
    bool wrong_bytes = false;  // every read gives other bytes, with checksums that fit them
    bool too_short = false;    // every read ends one byte early, without an error
  };

  absl::StatusOr<ChunkWriteResult> WriteChunk(const ChunkWriteRequest& request,
                                              ChunkSource source) override;
  ChunkReadResult ReadChunk(const ChunkReadRequest& request, ChunkSink sink) override;

  // Runs `change` on one server's faults.
  void Set(const std::string& server_id, const std::function<void(Faults&)>& change);
  // Runs before every read, without the lock.
  void OnRead(std::function<void()> action);

  std::vector<ChunkReadRequest> reads() const;
  std::vector<ChunkWriteRequest> writes() const;
  size_t chunks_on(const std::string& server_id) const;
  int writes_at_once_max() const;

 private:
  struct Server {
    Faults faults;
    std::map<ChunkHandle, std::string> chunks;
  };

  mutable absl::Mutex mu_;
  std::map<std::string, Server> servers_ ABSL_GUARDED_BY(mu_);
  std::vector<ChunkReadRequest> reads_ ABSL_GUARDED_BY(mu_);
  std::vector<ChunkWriteRequest> writes_ ABSL_GUARDED_BY(mu_);
  std::function<void()> on_read_ ABSL_GUARDED_BY(mu_);
  int writing_ ABSL_GUARDED_BY(mu_) = 0;
  int writing_max_ ABSL_GUARDED_BY(mu_) = 0;
};

}  // namespace ballast::client
