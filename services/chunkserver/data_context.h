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
#include "services/chunkserver/control/traffic_control.h"
#include "services/chunkserver/store_directory.h"

namespace ballast::chunkserver {

struct DataServiceOptions {
  std::string cluster_id;
  size_t streams_max = 256;  // reads and writes together; more are refused with OVERLOADED
  absl::Duration deadline_max = absl::Hours(1);  // streams must name a deadline within this
  uint64_t read_message_bytes = KiB(512);        // where the reader names none
  // Limits what is sent to others, and is told how clients are served; null: no limits.
  TrafficControl* traffic = nullptr;
};

// How a chunk server keeps its connections to others: idle ones, and the time to open one.
inline constexpr size_t kIdleConnections = 32;
inline constexpr absl::Duration kConnectTimeout = absl::Seconds(5);

// What all streams of the data service share. Thread-safe; outlives them all, as does what it is
// given.
class DataContext {
 public:
  static constexpr size_t kBuffersKept = 16;  // read buffers

  DataContext(const StoreDirectory& directory_in, ThreadPool& disk_in, BulkChannelPool& channels_in,
              DataServiceOptions options_in)
      : directory(directory_in),
        disk(disk_in),
        channels(channels_in),
        options(std::move(options_in)),
        read_buffers(BufferPool::Make(kBulkPayloadBytesMax, kBuffersKept)) {}

  const StoreDirectory& directory;
  ThreadPool& disk;
  BulkChannelPool& channels;  // to the next servers of chains
  const DataServiceOptions options;
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
