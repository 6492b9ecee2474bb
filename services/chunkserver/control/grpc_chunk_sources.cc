// SPDX-License-Identifier: Apache-2.0
#include "services/chunkserver/control/grpc_chunk_sources.h"

#include <grpcpp/client_context.h>
#include <grpcpp/generic/generic_stub.h>
#include <grpcpp/support/byte_buffer.h>
#include <grpcpp/support/client_callback.h>

#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/clock.h"
#include "common/rpc/grpc_server.h"
#include "common/rpc/raw_block_codec.h"
#include "common/rpc/status_bridge.h"
#include "protos/chunkserver_data_service.pb.h"

namespace ballast::chunkserver {
namespace {

// One ReadChunk call. It is begun with a hold, since reads are begun outside of reactions; the hold
// is given up when no further read will be.
class GrpcSourceStream final : public SourceStream,
                               public grpc::ClientBidiReactor<grpc::ByteBuffer, grpc::ByteBuffer> {
 public:
  GrpcSourceStream(BulkChannelPool::Lease lease, const SourceRequest& request,
                   const std::string& cluster_id, SourceEvents events)
      : lease_(std::move(lease)), was_idle_(lease_.reused()), events_(std::move(events)) {
    context_.AddMetadata(kClusterIdMetadata, cluster_id);
    context_.set_deadline(absl::ToChronoTime(absl::Now() + request.timeout));
    v1::ReadChunkRequest wire;
    wire.set_handle(request.handle.value());
    wire.set_server_id(request.source.server_id());
    wire.set_traffic(request.traffic);
    wire.set_message_bytes(static_cast<uint32_t>(request.message_bytes));
    request_ = SerializeMessage(wire);
  }

  void Start(std::shared_ptr<GrpcSourceStream> self) {
    self_ = std::move(self);
    grpc::TemplatedGenericStub<grpc::ByteBuffer, grpc::ByteBuffer> stub(lease_.channel());
    stub.PrepareBidiStreamingCall(&context_, "/ballast.v1.ChunkData/ReadChunk", grpc::StubOptions(),
                                  this);
    AddHold();
    StartWriteLast(&request_, grpc::WriteOptions());
    StartCall();
  }

  void Next() override {
    {
      absl::MutexLock lock(&mu_);
      reading_ = true;
    }
    StartRead(&incoming_);
  }

  void Cancel() override {
    bool release = false;
    {
      absl::MutexLock lock(&mu_);
      cancelled_ = true;
      release = !reading_ && std::exchange(held_, false);
    }
    context_.TryCancel();
    if (release) {
      RemoveHold();
    }
  }

  bool on_idle_connection() const override { return was_idle_; }

 private:
  void OnReadDone(bool ok) override {
    absl::StatusOr<BulkPayload> payload = absl::OutOfRangeError("the end");
    if (ok) {
      payload = DecodeReadChunk(incoming_);
      incoming_.Clear();
    }
    bool release = false;
    {
      absl::MutexLock lock(&mu_);
      reading_ = false;
      if (ok && !payload.ok()) {
        malformed_ = payload.status();
      }
      release = (!payload.ok() || cancelled_) && std::exchange(held_, false);
    }
    if (ok && !payload.ok()) {
      context_.TryCancel();
    }
    if (release) {
      RemoveHold();
    } else if (payload.ok()) {
      auto owner = std::make_shared<BulkPayload>(*std::move(payload));
      SourceMessage message;
      message.offset_bytes = owner->offset_bytes;
      message.blocks = owner->blocks;
      message.pieces = owner->pieces();
      message.owner = std::move(owner);
      events_.on_message(std::move(message));
    }
  }

  void OnDone(const grpc::Status& status) override {
    absl::Status end = FromGrpc(status);
    {
      absl::MutexLock lock(&mu_);
      if (!malformed_.ok()) {
        end = absl::InternalError(malformed_.message());
      }
    }
    if (end.ok()) {
      lease_.KeepForReuse();
    }
    lease_ = BulkChannelPool::Lease();
    // Moved out, since whoever listens holds this object and is held by its events.
    const std::shared_ptr<GrpcSourceStream> self = std::move(self_);
    SourceEvents events = std::move(events_);
    events.on_end(std::move(end));
  }

  BulkChannelPool::Lease lease_;
  const bool was_idle_;
  SourceEvents events_;
  grpc::ClientContext context_;
  grpc::ByteBuffer request_;
  grpc::ByteBuffer incoming_;               // belongs to the read under way
  std::shared_ptr<GrpcSourceStream> self_;  // until OnDone

  absl::Mutex mu_;
  bool reading_ ABSL_GUARDED_BY(mu_) = false;
  bool cancelled_ ABSL_GUARDED_BY(mu_) = false;
  bool held_ ABSL_GUARDED_BY(mu_) = true;
  absl::Status malformed_ ABSL_GUARDED_BY(mu_);
};

}  // namespace

std::shared_ptr<SourceStream> GrpcChunkSources::Open(const SourceRequest& request,
                                                     SourceEvents events) {
  const std::string& address = request.source.address();
  auto stream = std::make_shared<GrpcSourceStream>(
      request.new_connection ? channels_.TakeNew(address) : channels_.Take(address), request,
      cluster_id_, std::move(events));
  stream->Start(stream);
  return stream;
}

}  // namespace ballast::chunkserver
