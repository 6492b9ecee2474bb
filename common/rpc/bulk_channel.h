// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <grpcpp/channel.h>
#include <grpcpp/server_builder.h>
#include <grpcpp/support/channel_arguments.h>

#include <list>
#include <memory>
#include <string>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"

// Connections for bulk bytes: how they are tuned (in one place for both sides) and how they are
// shared, namely not: each stream has a TCP connection of its own while it runs.

namespace ballast {

// Settings of a server that sends or receives bulk data.
void TuneBulkServer(grpc::ServerBuilder& builder);

// Keeps freed memory in the process instead of giving it back to the system after every message:
// bulk receiving allocates and frees megabytes a millisecond. Once, at the start of a process.
void TuneBulkMemory();

// Connections to bulk servers, reused one stream at a time.
//
// Guarantees: a leased channel is used by nobody else; one that failed or is not connected is not
// used again. At most `idle_max` unused ones are kept, the longest unused go first.
// Concurrency: thread-safe. Lifetime: leases must not outlive the pool.
class BulkChannelPool {
 public:
  // `connect_timeout`: of each attempt to open a connection.
  BulkChannelPool(size_t idle_max, absl::Duration connect_timeout);

  class Lease {
   public:
    Lease() = default;
    Lease(Lease&& other) noexcept { *this = std::move(other); }
    Lease& operator=(Lease&& other) noexcept;
    ~Lease() { Release(); }

    const std::shared_ptr<grpc::Channel>& channel() const { return channel_; }
    // The connection served an earlier stream; it may have died since.
    bool reused() const { return reused_; }
    // Call it when the stream has ended as it should: the connection may be used again.
    void KeepForReuse() { keep_ = true; }

   private:
    friend class BulkChannelPool;
    void Release();
    BulkChannelPool* pool_ = nullptr;
    std::string address_;
    std::shared_ptr<grpc::Channel> channel_;
    bool reused_ = false;
    bool keep_ = false;
  };

  // A channel to "host:port": connected already, or new and connecting at the first call.
  Lease Take(const std::string& address);
  // A new one, and idle ones to that address are dropped: for when one of them proved dead.
  Lease TakeNew(const std::string& address);

 private:
  using Idle = std::list<std::pair<std::string, std::shared_ptr<grpc::Channel>>>;
  void Return(std::string address, std::shared_ptr<grpc::Channel> channel);

  const size_t idle_max_;
  const absl::Duration connect_timeout_;
  absl::Mutex mu_;
  Idle idle_ ABSL_GUARDED_BY(mu_);  // used last first
};

}  // namespace ballast
