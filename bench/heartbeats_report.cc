// SPDX-License-Identifier: Apache-2.0
// heartbeats_bench --operation report: one server that holds all chunks of a cluster lists them,
// loses its stream and comes back, and loses a message with a change. Chunks are made by
// BeginWrite, AllocateChunks and SealChunks; no bytes are stored anywhere. What is sent is made by
// the chunk server's own ReportBuilder.
#include <grpcpp/grpcpp.h>

#include <algorithm>
#include <atomic>
#include <memory>
#include <nlohmann/json.hpp>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/clock.h"
#include "bench/heartbeats_bench.h"
#include "common/base/check.h"
#include "common/routing/shard_router.h"
#include "common/rpc/channel_pool.h"
#include "common/rpc/status_bridge.h"
#include "common/types/limits.h"
#include "protos/chunkserver_control_service.grpc.pb.h"
#include "protos/master_service.grpc.pb.h"
#include "services/chunkserver/core/report_builder.h"

namespace ballast {
namespace {

using chunkserver::ChunkIndex;
using chunkserver::ReplicaState;
using chunkserver::ReportBuilder;

constexpr uint32_t kLengthBytes = 1 << 20;

chunkserver::ReplicaFacts FactsOf(ChunkHandle handle) {
  return {.length_bytes = kLengthBytes,
          .crc32c = Crc32c{static_cast<uint32_t>(handle.value() * 2654435761u)},
          .state = ReplicaState::kUnverified};
}

// Makes the chunks of one shard.
class ShardFiller {
 public:
  ShardFiller(v1::Master::Stub& stub, const HeartbeatsTarget& target, uint32_t shard,
              uint32_t server)
      : stub_(stub), target_(target), shard_(shard), server_(server) {}

  std::vector<ChunkHandle> Fill(uint64_t chunks) {
    v1::OpenSessionsRequest open;
    open.add_shards(shard_);
    session_ = Call<v1::OpenSessionsResponse>(&v1::Master::Stub::OpenSessions, open).session_ids(0);
    const std::string key = KeyInShard();
    std::vector<ChunkHandle> all;
    while (all.size() < chunks) {
      // A draft each: only what begins a write gives handles without asking for servers.
      v1::BeginWriteRequest begin;
      *begin.mutable_request() = NextRequest();
      begin.set_key(key);
      begin.set_wanted_replicas(1);
      begin.set_chunk_count(
          static_cast<uint32_t>(std::min<uint64_t>(kAllocateChunksMax, chunks - all.size())));
      begin.set_chunk_bytes(kLengthBytes);
      begin.set_no_placement(true);
      Seal(Call<v1::BeginWriteResponse>(&v1::Master::Stub::BeginWrite, begin), all);
    }
    return all;
  }

 private:
  void Seal(const v1::BeginWriteResponse& begun, std::vector<ChunkHandle>& all) {
    v1::SealChunksRequest seal;
    *seal.mutable_request() = NextRequest();
    seal.set_draft_id(begun.draft_id());
    for (const v1::ChunkPlacement& placed : begun.chunks()) {
      const ChunkHandle handle(placed.handle());
      v1::SealedChunk& chunk = *seal.add_chunks();
      chunk.set_handle(handle.value());
      chunk.set_position(static_cast<uint64_t>(seal.chunks_size() - 1));
      chunk.set_length_bytes(kLengthBytes);
      chunk.set_crc32c(FactsOf(handle).crc32c.value);
      chunk.add_server_indexes(server_);
      all.push_back(handle);
    }
    Call<v1::SealChunksResponse>(&v1::Master::Stub::SealChunks, seal);
  }
  v1::RequestId NextRequest() {
    v1::RequestId id;
    id.set_session_id(session_);
    id.set_sequence(++sequence_);
    id.set_first_incomplete(sequence_);
    return id;
  }
  std::string KeyInShard() const {
    for (int i = 0;; ++i) {
      std::string key = absl::StrCat("report/", i);
      if (ShardOfKey(key, target_.shard_count) == ShardId(shard_)) {
        return key;
      }
    }
  }
  // The master may not have heard of the server yet.
  template <typename Response, typename Method, typename Request>
  Response Call(Method method, const Request& request) {
    for (int tries = 0;; ++tries) {
      grpc::ClientContext context;
      PrepareContext(context, target_.cluster_id, absl::Seconds(30));
      Response response;
      const absl::Status status = FromGrpc((stub_.*method)(&context, request, &response));
      if (status.ok()) {
        return response;
      }
      if (tries == 50) {
        Fail(status, Request::descriptor()->full_name());
      }
      absl::SleepFor(absl::Milliseconds(100));
    }
  }

  v1::Master::Stub& stub_;
  const HeartbeatsTarget& target_;
  const uint32_t shard_;
  const uint32_t server_;
  uint64_t session_ = 0;
  uint64_t sequence_ = 0;
};

void MakeChunks(const HeartbeatsOptions& options, const HeartbeatsTarget& target, uint32_t server,
                ChunkIndex& index) {
  absl::Mutex mu;
  std::atomic<uint32_t> next{0};
  std::vector<std::thread> threads;
  for (int i = 0; i < 8; ++i) {
    threads.emplace_back([&] {
      const auto stub = v1::Master::NewStub(MakeChannel(target.master));
      for (uint32_t shard = next++; shard < target.shard_count; shard = next++) {
        const uint64_t share = options.chunks * (shard + 1) / target.shard_count -
                               options.chunks * shard / target.shard_count;
        const auto handles = ShardFiller(*stub, target, shard, server).Fill(share);
        absl::MutexLock lock(&mu);
        for (const ChunkHandle handle : handles) {
          CHECK(index.Insert(handle, FactsOf(handle)));
        }
      }
    });
  }
  for (std::thread& thread : threads) {
    thread.join();
  }
}

// The server's side of one conversation after the other.
class Reporter {
 public:
  Reporter(const HeartbeatsTarget& target, ChunkIndex& index)
      : target_(target),
        index_(index),
        builder_(index),
        stub_(v1::ChunkServerControl::NewStub(MakeChannel(target.master))) {}

  void Connect() {
    Disconnect();
    context_ = std::make_unique<grpc::ClientContext>();
    PrepareContext(*context_, target_.cluster_id, absl::InfiniteDuration());
    stream_ = stub_->HeartbeatStream(context_.get());
    first_ = true;
    for (uint32_t shard = 0; shard < target_.shard_count; ++shard) {
      builder_.Start(ShardId(shard));
    }
  }
  void Disconnect() {
    if (stream_ != nullptr) {
      context_->TryCancel();
      stream_->Finish();
      stream_.reset();
    }
  }
  // Sends all there is to be said and answers what the master asks until it is content.
  std::string Talk(const char* phase) {
    const absl::Time begun = absl::Now();
    uint64_t messages = 0;
    uint64_t bytes = 0;
    uint64_t replicas = 0;
    do {
      const v1::Heartbeat message = Next();
      ++messages;
      bytes += message.ByteSizeLong();
      for (const v1::ShardReport& report : message.shards()) {
        replicas += static_cast<uint64_t>(report.replicas_size());
      }
      CHECK(stream_->Write(message)) << " the stream has ended";
      v1::HeartbeatReply reply;
      CHECK(stream_->Read(&reply)) << " the stream has ended";
      bytes += reply.ByteSizeLong();
      builder_.OnReply(reply);
    } while (builder_.HasNews());
    nlohmann::ordered_json out;
    out["phase"] = phase;
    out["messages"] = messages;
    out["bytes"] = bytes;
    out["replicas"] = replicas;
    out["seconds"] = absl::ToDoubleSeconds(absl::Now() - begun);
    return out.dump();
  }
  // As if the master had asked for everything.
  void ListAgain() {
    v1::HeartbeatReply reply;
    for (uint32_t shard = 0; shard < target_.shard_count; ++shard) {
      reply.add_resend_shards(shard);
    }
    builder_.OnReply(reply);
  }
  // A change whose message never leaves.
  void LoseAChange(ChunkHandle handle) {
    const auto before = index_.Find(handle);
    CHECK(index_.Erase(handle));
    builder_.OnChange(handle, before);
    Next();
  }

 private:
  v1::Heartbeat Next() {
    v1::Heartbeat message =
        std::exchange(first_, false) ? FirstHeartbeat(target_, 0) : IdleHeartbeat();
    message.set_sequence(++sequence_);
    builder_.Build(kReportPageChunksMax, 1024, /*with_heat=*/true, message.mutable_shards());
    if (const auto told = builder_.AllTold()) {
      message.set_lists_digest(told->digest);
      message.set_lists_replica_count(told->count);
    }
    return message;
  }

  const HeartbeatsTarget& target_;
  ChunkIndex& index_;
  ReportBuilder builder_;
  const std::unique_ptr<v1::ChunkServerControl::Stub> stub_;
  std::unique_ptr<grpc::ClientContext> context_;
  std::unique_ptr<grpc::ClientReaderWriter<v1::Heartbeat, v1::HeartbeatReply>> stream_;
  bool first_ = true;
  uint64_t sequence_ = 0;
};

}  // namespace

void RunReport(const HeartbeatsOptions& options) {
  const HeartbeatsTarget target = FindTarget(options);
  const uint32_t server = Register(options, 1);
  ChunkIndex index;
  MakeChunks(options, target, server, index);
  Reporter reporter(target, index);
  Say(nlohmann::json{{"phase", "created"}, {"chunks", index.size()}}.dump());
  Await();
  reporter.Connect();
  Say(reporter.Talk("listed"));
  Await();
  reporter.ListAgain();
  Say(reporter.Talk("listed again"));
  Await();
  reporter.Connect();
  Say(reporter.Talk("offered"));
  Await();
  ChunkHandle some;
  index.Visit(ChunkHandle(), [&](ChunkHandle handle, const chunkserver::ReplicaFacts&) {
    some = handle;
    return false;
  });
  reporter.LoseAChange(some);
  reporter.Connect();
  Say(reporter.Talk("resynchronised"));
  Await();
  reporter.Disconnect();
}

}  // namespace ballast
