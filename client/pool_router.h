// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/synchronization/mutex.h"
#include "common/routing/shared_ring.h"
#include "common/rpc/shardctl_client.h"

namespace ballast::client {

// Routes keys over one pool of the cluster without asking anybody: a thread follows the pool
// (WatchPool) and keeps its ring up to date.
//
// Guarantees: after a change of the pool was answered, look-ups follow within one round trip while
// the shard controller can be reached; while it cannot, or the pool is deleted, the last ring goes
// on. Routes are those of docs/protocols/hash_ring.md.
// Concurrency: thread-safe; look-ups are wait-free but for the copies of names. Start and the
// destructor block.
// Failure: only Start: POOL_NOT_FOUND, and ShardctlClient's errors.
class PoolRouter {
 public:
  static absl::StatusOr<std::unique_ptr<PoolRouter>> Start(ShardctlClientOptions options,
                                                           std::string pool);
  ~PoolRouter();
  PoolRouter(const PoolRouter&) = delete;
  PoolRouter& operator=(const PoolRouter&) = delete;

  // The server of a key; empty if no server takes requests.
  std::string ServerOf(absl::string_view key) const;
  // The same and those that follow it, at most `count`.
  std::vector<std::string> ServersOf(absl::string_view key, size_t count) const;
  // For look-ups without copies.
  const SharedRing& ring() const { return ring_; }

 private:
  PoolRouter(ShardctlClientOptions options, std::string pool)
      : controller_(std::move(options)), pool_(std::move(pool)) {}
  // One WatchPool call.
  absl::Status Follow(uint32_t wait_ms);
  void Run();

  ShardctlClient controller_;
  const std::string pool_;
  SharedRing ring_;
  uint64_t version_ = 0;  // of the ring; used by Start, then by the thread
  absl::Mutex mu_;
  bool stop_ ABSL_GUARDED_BY(mu_) = false;
  std::thread thread_;
};

}  // namespace ballast::client
