// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_set.h"
#include "absl/functional/any_invocable.h"
#include "absl/status/status.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "common/env/clock.h"
#include "common/env/executor.h"
#include "services/chunkserver/control/bandwidth_gate.h"
#include "services/chunkserver/control/chunk_source.h"
#include "services/chunkserver/control/post_blocking.h"
#include "services/chunkserver/store/chunk_store.h"

namespace ballast::chunkserver {

struct ChunkCopierOptions {
  // Copies at a time; kept by who orders them (CommandQueue).
  size_t copies_max = 8;
  // A source from which nothing comes for so long, though more was asked for, is left for the next.
  absl::Duration stall_timeout = absl::Seconds(20);
  // Longest that one source may take for the chunk, however slow; at most an hour.
  absl::Duration source_timeout = absl::Minutes(45);
  // Data a message, where no gate asks for less.
  uint64_t message_bytes = KiB(512);
};

// What to copy: Command.Replicate.
struct CopyOrder {
  ChunkHandle handle;
  uint32_t length_bytes = 0;  // 1..kChunkBytesMax
  Crc32c crc32c;
  std::vector<v1::ReplicaLocation> sources;                  // best first
  v1::TrafficClass traffic = v1::TRAFFIC_CLASS_UNSPECIFIED;  // sources are told
  std::shared_ptr<TrafficGate> gate;                         // what is received; null: no limit
};

struct CopyResult {
  // OK; ALREADY_EXISTS / CHUNK_EXISTS; RESOURCE_EXHAUSTED / NO_SPACE; CANCELLED; otherwise
  // UNAVAILABLE / COPY_FAILED, which says what went wrong with which source.
  absl::Status status;
  uint64_t bytes = 0;  // received and kept; 0: it was here already
};

class CopyTask;

// Makes replicas here of chunks that other chunk servers hold.
//
// Guarantees: a copy reserves its bytes before it asks anybody; every block and in the end the
// whole chunk are checked against their checksums and the order's before the chunk becomes visible,
// which it does durably; whatever fails leaves nothing behind. Sources are tried in turn, each from
// the front. A copy holds at most CopyTask::kHeldMax messages and what the connection reads ahead,
// and takes a disk thread only while there is something to do on the disk. Concurrency:
// thread-safe, does not block except WaitIdle. Several copies of one chunk at a time are the
// caller's to prevent: the second is refused as CHUNK_EXISTS. Lifetime: everything it is given
// outlives it. To stop: Cancel, WaitIdle while disk threads, sources and executor still work,
// destroy.
class ChunkCopier {
 public:
  using OnDone = absl::AnyInvocable<void(const CopyResult&)>;

  // `executor`: for timers.
  ChunkCopier(ChunkStore& store, PostBlocking post_blocking, ChunkSources& sources,
              Executor& executor, Clock& clock, const ChunkCopierOptions& options);
  ~ChunkCopier();
  ChunkCopier(const ChunkCopier&) = delete;
  ChunkCopier& operator=(const ChunkCopier&) = delete;

  const ChunkCopierOptions& options() const { return options_; }

  // `on_done` is called once, on any thread, possibly before this returns; it must not block.
  void Copy(CopyOrder order, OnDone on_done) ABSL_LOCKS_EXCLUDED(mu_);

  // Running copies end soon with CANCELLED, their bytes removed; new ones are refused likewise.
  void Cancel() ABSL_LOCKS_EXCLUDED(mu_);
  // Blocks until no copy is under way. Their callbacks have returned.
  void WaitIdle() ABSL_LOCKS_EXCLUDED(mu_);
  size_t running() ABSL_LOCKS_EXCLUDED(mu_);

 private:
  friend class CopyTask;
  void Ended(const std::shared_ptr<CopyTask>& task) ABSL_LOCKS_EXCLUDED(mu_);

  ChunkStore& store_;
  const PostBlocking post_blocking_;
  ChunkSources& sources_;
  Executor& executor_;
  Clock& clock_;
  const ChunkCopierOptions options_;

  absl::Mutex mu_;
  bool cancelled_ ABSL_GUARDED_BY(mu_) = false;
  absl::flat_hash_set<std::shared_ptr<CopyTask>> tasks_ ABSL_GUARDED_BY(mu_);
};

}  // namespace ballast::chunkserver
