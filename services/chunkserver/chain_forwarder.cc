// SPDX-License-Identifier: Apache-2.0
#include "services/chunkserver/chain_forwarder.h"

#include <grpcpp/generic/generic_stub.h>

#include <utility>

#include "common/rpc/grpc_server.h"
#include "common/rpc/raw_block_codec.h"
#include "common/rpc/status_bridge.h"

namespace ballast::chunkserver {

std::shared_ptr<ChainForwarder> ChainForwarder::Start(DataContext& context,
                                                      const grpc::CallbackServerContext& upstream,
                                                      const v1::ReplicaLocation& next,
                                                      Events events) {
  std::shared_ptr<ChainForwarder> forwarder(new ChainForwarder(context, next, std::move(events)));
  forwarder->self_ = forwarder;
  forwarder->client_context_.AddMetadata(kClusterIdMetadata, context.options.cluster_id);
  forwarder->client_context_.set_deadline(upstream.deadline());
  grpc::TemplatedGenericStub<grpc::ByteBuffer, grpc::ByteBuffer> stub(forwarder->lease_.channel());
  stub.PrepareBidiStreamingCall(&forwarder->client_context_, "/ballast.v1.ChunkData/WriteChunk",
                                grpc::StubOptions(), forwarder.get());
  forwarder->AddHold();  // writes are begun outside of reactions
  forwarder->StartRead(&forwarder->response_);
  forwarder->StartCall();
  return forwarder;
}

ChainForwarder::ChainForwarder(DataContext& context, const v1::ReplicaLocation& next, Events events)
    : lease_(context.channels.Take(next.address())), events_(std::move(events)) {}

void ChainForwarder::Send(const grpc::ByteBuffer& message, bool last) {
  {
    absl::MutexLock lock(&mu_);
    if (closed_) {
      return;  // on_done tells
    }
    waiting_.push_back(Message{message, last});
    if (writing_) {
      return;
    }
    writing_ = true;
  }
  WriteNext();
}

// Called by the thread that set writing_.
void ChainForwarder::WriteNext() {
  bool last = false;
  {
    absl::MutexLock lock(&mu_);
    sending_ = waiting_.front().buffer;
    last = waiting_.front().last;
    waiting_.pop_front();
  }
  if (last) {
    StartWriteLast(&sending_, grpc::WriteOptions());
  } else {
    StartWrite(&sending_);
  }
}

void ChainForwarder::OnWriteDone(bool ok) {
  bool release = false;
  bool more = false;
  {
    absl::MutexLock lock(&mu_);
    sending_.Clear();
    closed_ = closed_ || !ok;
    more = !closed_ && !waiting_.empty();
    writing_ = more;
    if (closed_) {
      waiting_.clear();
      release = std::exchange(held_, false);
    }
  }
  if (ok) {
    events_.on_sent();
  }
  if (more) {
    WriteNext();
  }
  if (release) {
    RemoveHold();
  }
}

void ChainForwarder::OnReadDone(bool /*ok*/) {
  // The answer, or the end of the call: either way nothing more is to be sent.
  bool release = false;
  {
    absl::MutexLock lock(&mu_);
    closed_ = true;
    if (!writing_) {
      waiting_.clear();
      release = std::exchange(held_, false);
    }
  }
  if (release) {
    RemoveHold();
  }
}

void ChainForwarder::OnDone(const grpc::Status& status) {
  absl::StatusOr<v1::WriteChunkResponse> answer = v1::WriteChunkResponse();
  if (!status.ok()) {
    answer = FromGrpc(status);
  } else if (!ParseMessage(response_, &*answer)) {
    answer = absl::InternalError("the next server's answer is malformed");
  } else {
    lease_.KeepForReuse();
  }
  lease_ = BulkChannelPool::Lease();
  // Moved out, since whoever listens may hold this object and be held by its events.
  const std::shared_ptr<ChainForwarder> self = std::move(self_);
  Events events = std::move(events_);
  events.on_done(std::move(answer));
}

}  // namespace ballast::chunkserver
