// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <map>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "client/chunk_io.h"
#include "common/env/clock.h"

namespace ballast::client {

// Single tries at chunk servers: the seam between the logic of Put and Get and the bytes. The
// contracts are ChunkIo's. Thread-safe.
class ChunkTransport {
 public:
  virtual ~ChunkTransport() = default;
  virtual absl::StatusOr<ChunkWriteResult> WriteChunk(const ChunkWriteRequest& request,
                                                      ChunkSource source) = 0;
  virtual ChunkReadResult ReadChunk(const ChunkReadRequest& request, ChunkSink sink) = 0;
};

// Chunk servers that failed lately, as this client saw it, by server id: asked last, and avoided by
// new chunks. Only a preference; the masters decide who is alive. Thread-safe.
class ServerHealth {
 public:
  explicit ServerHealth(absl::Duration memory) : memory_(memory) {}

  void Failed(const std::string& server_id, SteadyTime now);
  void Works(const std::string& server_id);
  bool FailedLately(const std::string& server_id, SteadyTime now) const;
  std::vector<std::string> AllFailedLately(SteadyTime now) const;

 private:
  const absl::Duration memory_;
  mutable absl::Mutex mu_;
  std::map<std::string, SteadyTime> failed_ ABSL_GUARDED_BY(mu_);  // bounded by kServerIndexMax
};

}  // namespace ballast::client
