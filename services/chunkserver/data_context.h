// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <atomic>
#include <cstddef>
#include <memory>
#include <string>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "common/env/executor.h"
#include "common/rpc/buffer_pool.h"
#include "common/rpc/bulk_channel.h"
#include "services/chunkserver/store/chunk_store.h"

namespace ballast::chunkserver {

struct DataServiceOptions {
  std::string server_id;
  std::string cluster_id;
  uint64_t boot_epoch = 0;
  size_t streams_max = 256;  // reads and writes together; more are refused with OVERLOADED
  absl::Duration deadline_max = absl::Hours(1);       // streams must name a deadline within this
  absl::Duration connect_timeout = absl::Seconds(5);  // to the next server of a chain
  uint64_t read_message_bytes = KiB(512);             // where the reader names none
};

// What all streams of the data service share. Thread-safe; outlives them all.
class DataContext {
 public:
  // Read buffers and idle connections that are kept.
  static constexpr size_t kBuffersKept = 16;
  static constexpr size_t kIdleConnections = 32;

  DataContext(ChunkStore& store_in, ThreadPool& disk_in, DataServiceOptions options_in)
      : store(store_in),
        disk(disk_in),
        options(std::move(options_in)),
        channels(kIdleConnections, options.connect_timeout),
        read_buffers(BufferPool::Make(kBulkPayloadBytesMax, kBuffersKept)) {}

  ChunkStore& store;
  ThreadPool& disk;
  const DataServiceOptions options;
  BulkChannelPool channels;
  const std::shared_ptr<BufferPool> read_buffers;

  // One more stream. False: draining, or too many.
  bool TryEnter() ABSL_LOCKS_EXCLUDED(mu_) {
    absl::MutexLock lock(&mu_);
    if (draining_ || streams_ >= options.streams_max) {
      return false;
    }
    ++streams_;
    return true;
  }
  void Leave() ABSL_LOCKS_EXCLUDED(mu_) {
    absl::MutexLock lock(&mu_);
    --streams_;
  }
  // No new streams from now on.
  void Drain() ABSL_LOCKS_EXCLUDED(mu_) {
    absl::MutexLock lock(&mu_);
    draining_ = true;
  }
  bool draining() ABSL_LOCKS_EXCLUDED(mu_) {
    absl::MutexLock lock(&mu_);
    return draining_;
  }
  // Blocks until the last stream is gone with all its disk work.
  void WaitIdle() ABSL_LOCKS_EXCLUDED(mu_) {
    const auto idle = [this]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_) { return streams_ == 0; };
    mu_.LockWhen(absl::Condition(&idle));
    mu_.Unlock();
  }

 private:
  absl::Mutex mu_;
  bool draining_ ABSL_GUARDED_BY(mu_) = false;
  size_t streams_ ABSL_GUARDED_BY(mu_) = 0;
};

}  // namespace ballast::chunkserver
