// SPDX-License-Identifier: Apache-2.0
#include "common/rpc/bulk_channel.h"

#include <grpcpp/create_channel.h>
#include <grpcpp/security/credentials.h>
#include <malloc.h>

#include <algorithm>

#include "common/rpc/grpc_process.h"
#include "common/types/limits.h"

namespace ballast {
namespace {

// A frame takes a whole message with its checksums: fewer, larger pieces on the way.
constexpr int kFrameBytes = static_cast<int>(kBulkPayloadBytesMax + KiB(64));
// What a peer may send before the reader asks for it; with the message being read and those held by
// the stream this keeps a stream below 4 MiB. A fixed window: probing would let it grow.
constexpr int kLookaheadBytes = static_cast<int>(MiB(1));
// One read of a socket: from small, so that an idle connection costs little, up to a large part of
// a message.
constexpr int kSocketReadBytesMin = static_cast<int>(KiB(64));
constexpr int kSocketReadBytes = static_cast<int>(KiB(256));
constexpr int kSocketReadBytesMax = static_cast<int>(KiB(512));
constexpr int kMallocKeptBytes = static_cast<int>(MiB(16));

constexpr std::pair<const char*, int> kBothSides[] = {
    {GRPC_ARG_HTTP2_MAX_FRAME_SIZE, kFrameBytes},
    {GRPC_ARG_HTTP2_STREAM_LOOKAHEAD_BYTES, kLookaheadBytes},
    {GRPC_ARG_HTTP2_BDP_PROBE, 0},
    {GRPC_ARG_HTTP2_WRITE_BUFFER_SIZE, static_cast<int>(KiB(64))},
    {GRPC_ARG_TCP_READ_CHUNK_SIZE, kSocketReadBytes},
    {GRPC_ARG_TCP_MIN_READ_CHUNK_SIZE, kSocketReadBytesMin},
    {GRPC_ARG_TCP_MAX_READ_CHUNK_SIZE, kSocketReadBytesMax},
};

std::shared_ptr<grpc::Channel> MakeBulkChannel(const std::string& address,
                                               absl::Duration connect_timeout) {
  PrepareGrpcProcess();
  grpc::ChannelArguments args;
  for (const auto& [name, value] : kBothSides) {
    args.SetInt(name, value);
  }
  args.SetMaxReceiveMessageSize(static_cast<int>(kMessageBytesMax));
  args.SetMaxSendMessageSize(static_cast<int>(kMessageBytesMax));
  // Otherwise gRPC would lay channels to the same address onto one connection.
  args.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
  // Retries belong to those who know what a half-written chunk means; gRPC's would buffer for them.
  args.SetInt(GRPC_ARG_ENABLE_RETRIES, 0);
  args.SetInt(GRPC_ARG_KEEPALIVE_TIME_MS, 10000);
  args.SetInt(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, 10000);
  args.SetInt(GRPC_ARG_HTTP2_MAX_PINGS_WITHOUT_DATA, 0);
  // The least back-off is also what a connection attempt may take.
  const int connect_ms = static_cast<int>(absl::ToInt64Milliseconds(connect_timeout));
  args.SetInt(GRPC_ARG_INITIAL_RECONNECT_BACKOFF_MS, connect_ms);
  args.SetInt(GRPC_ARG_MIN_RECONNECT_BACKOFF_MS, connect_ms);
  args.SetInt(GRPC_ARG_MAX_RECONNECT_BACKOFF_MS, connect_ms);
  return grpc::CreateCustomChannel(address, grpc::InsecureChannelCredentials(), args);
}

}  // namespace

void TuneBulkServer(grpc::ServerBuilder& builder) {
  for (const auto& [name, value] : kBothSides) {
    builder.AddChannelArgument(name, value);
  }
}

void TuneBulkMemory() {
  // Setting both switches off glibc's own adjusting, which trims the heap after every message.
  mallopt(M_MMAP_THRESHOLD, kMallocKeptBytes);
  mallopt(M_TRIM_THRESHOLD, kMallocKeptBytes);
  // Each arena keeps memory of its own; two suffice for the few threads that receive.
  mallopt(M_ARENA_MAX, 2);
}

BulkChannelPool::BulkChannelPool(size_t idle_max, absl::Duration connect_timeout)
    : idle_max_(idle_max), connect_timeout_(connect_timeout) {}

BulkChannelPool::Lease& BulkChannelPool::Lease::operator=(Lease&& other) noexcept {
  Release();
  pool_ = std::exchange(other.pool_, nullptr);
  address_ = std::move(other.address_);
  channel_ = std::move(other.channel_);
  reused_ = other.reused_;
  keep_ = std::exchange(other.keep_, false);
  return *this;
}

void BulkChannelPool::Lease::Release() {
  if (pool_ != nullptr && keep_) {
    pool_->Return(std::move(address_), std::move(channel_));
  }
  pool_ = nullptr;
  channel_.reset();
}

BulkChannelPool::Lease BulkChannelPool::Take(const std::string& address) {
  Lease lease;
  lease.pool_ = this;
  lease.address_ = address;
  Idle dropped;  // destroyed outside the lock
  absl::MutexLock lock(&mu_);
  for (auto it = idle_.begin(); it != idle_.end() && lease.channel_ == nullptr;) {
    const auto next = std::next(it);
    if (it->first == address) {
      if (it->second->GetState(/*try_to_connect=*/false) == GRPC_CHANNEL_READY) {
        lease.channel_ = std::move(it->second);
        lease.reused_ = true;
        idle_.erase(it);
      } else {
        dropped.splice(dropped.end(), idle_, it);
      }
    }
    it = next;
  }
  if (lease.channel_ == nullptr) {
    lease.channel_ = MakeBulkChannel(address, connect_timeout_);
  }
  return lease;
}

BulkChannelPool::Lease BulkChannelPool::TakeNew(const std::string& address) {
  Idle dropped;
  {
    absl::MutexLock lock(&mu_);
    for (auto it = idle_.begin(); it != idle_.end();) {
      const auto next = std::next(it);
      if (it->first == address) {
        dropped.splice(dropped.end(), idle_, it);
      }
      it = next;
    }
  }
  Lease lease;
  lease.pool_ = this;
  lease.address_ = address;
  lease.channel_ = MakeBulkChannel(address, connect_timeout_);
  return lease;
}

void BulkChannelPool::Return(std::string address, std::shared_ptr<grpc::Channel> channel) {
  Idle dropped;
  absl::MutexLock lock(&mu_);
  idle_.emplace_front(std::move(address), std::move(channel));
  if (idle_.size() > idle_max_) {
    dropped.splice(dropped.end(), idle_, std::prev(idle_.end()));
  }
}

}  // namespace ballast
