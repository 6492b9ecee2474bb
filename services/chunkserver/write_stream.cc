// SPDX-License-Identifier: Apache-2.0
#include "services/chunkserver/write_stream.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/check.h"
#include "common/base/status_macros.h"
#include "common/base/uuid.h"
#include "common/env/clock.h"
#include "common/rpc/status_bridge.h"
#include "common/types/error.h"
#include "common/types/shard_config.h"

namespace ballast::chunkserver {
namespace {

absl::Status CheckChain(const v1::WriteChunkHeader& header) {
  if (header.forward_size() > static_cast<int>(kReplicasMax) - 1) {
    return InvalidArgument(absl::StrCat("a chain has at most ", kReplicasMax, " servers"));
  }
  std::vector<std::string> ids = {header.server_id()};
  for (const v1::ReplicaLocation& next : header.forward()) {
    RETURN_IF_ERROR(ValidateAddress(next.address()));
    ids.push_back(next.server_id());
  }
  std::sort(ids.begin(), ids.end());
  if (std::adjacent_find(ids.begin(), ids.end()) != ids.end()) {
    return InvalidArgument("a server occurs twice in the chain");
  }
  return absl::OkStatus();
}

// Names the server behind this one that failed: the one it named itself, or it.
absl::Status ChainFailed(const absl::Status& status, const std::string& next_server_id) {
  v1::ErrorDetail detail;
  detail.set_reason(v1::REASON_CHAIN_FAILED);
  const auto inner = DetailOf(status);
  detail.set_server_id(inner.has_value() && inner->reason() == v1::REASON_CHAIN_FAILED &&
                               inner->hint_case() == v1::ErrorDetail::kServerId
                           ? inner->server_id()
                           : next_server_id);
  return MakeError(detail, absl::StrCat("chunk server ", next_server_id, ": ", status.message()));
}

}  // namespace

grpc::ServerReadReactor<grpc::ByteBuffer>* WriteStream::Start(DataContext& context,
                                                              grpc::CallbackServerContext* call,
                                                              grpc::ByteBuffer* response) {
  std::shared_ptr<WriteStream> stream(new WriteStream(context, call, response));
  stream->self_ = stream;
  absl::MutexLock lock(&stream->mu_);
  stream->MaybeReadLocked();
  return stream.get();
}

WriteStream::WriteStream(DataContext& context, grpc::CallbackServerContext* call,
                         grpc::ByteBuffer* response)
    : context_(context), call_(call), response_(response) {}

WriteStream::~WriteStream() { context_.Leave(); }

void WriteStream::MaybeReadLocked() {
  if (phase_ == Phase::kReceiving && !reading_ && !input_ended_ &&
      received_ - std::min(stored_, forwarded_) < kHeldMax) {
    reading_ = true;
    StartRead(&incoming_);
  }
}

void WriteStream::KickLocked() {
  if (!working_) {
    working_ = true;
    context_.disk.Post([self = shared_from_this()] { self->Work(); });
  }
}

void WriteStream::FailLocked(const absl::Status& status) {
  if (phase_ != Phase::kReceiving && phase_ != Phase::kPrepared) {
    return;  // committing cannot be undone any more; it answers by itself
  }
  phase_ = Phase::kFailing;
  status_ = status;
  queue_.clear();
  if (forwarder_ != nullptr) {
    forwarder_->Cancel();
  }
  KickLocked();
}

void WriteStream::OnReadDone(bool ok) {
  absl::MutexLock lock(&mu_);
  reading_ = false;
  if (phase_ != Phase::kReceiving) {
    return;
  }
  if (!ok) {
    input_ended_ = true;  // what is queued may still hold the finish
    KickLocked();
    return;
  }
  ++received_;
  queue_.push_back(std::move(incoming_));
  incoming_ = grpc::ByteBuffer();
  KickLocked();
  MaybeReadLocked();
}

void WriteStream::OnCancel() {
  absl::MutexLock lock(&mu_);
  FailLocked(absl::CancelledError("the writer went away, or its deadline passed"));
}

void WriteStream::OnDone() { const std::shared_ptr<WriteStream> self = std::move(self_); }

void WriteStream::OnForwarded() {
  absl::MutexLock lock(&mu_);
  ++forwarded_;
  MaybeReadLocked();
}

void WriteStream::OnChainDone(absl::StatusOr<v1::WriteChunkResponse> answer) {
  absl::MutexLock lock(&mu_);
  if (!answer.ok()) {
    FailLocked(ChainFailed(answer.status(), next_server_id_));
    return;
  }
  chain_servers_.emplace(answer->server_ids().begin(), answer->server_ids().end());
  if (phase_ == Phase::kPrepared) {
    KickLocked();
  }
}

absl::Status WriteStream::Named(const absl::Status& status) const {
  if (ReasonOf(status) != v1::REASON_NO_SPACE || served_ == nullptr) {
    return status;
  }
  v1::ErrorDetail detail = *DetailOf(status);
  detail.set_server_id(served_->server_id);
  return MakeError(detail, status.message());
}

void WriteStream::Work() {
  while (true) {
    grpc::ByteBuffer buffer;
    bool commit = false;
    {
      absl::MutexLock lock(&mu_);
      if (phase_ == Phase::kPrepared && chain_servers_.has_value()) {
        phase_ = Phase::kCommitting;
        commit = true;
      } else if (phase_ == Phase::kReceiving && !queue_.empty()) {
        buffer = queue_.front();
        queue_.pop_front();
      } else if (phase_ == Phase::kReceiving && input_ended_) {
        FailLocked(InvalidArgument("the stream ended without a finish"));
      } else if (phase_ != Phase::kFailing) {
        working_ = false;
        return;
      }
    }
    absl::Status status;
    if (commit) {
      status = Named(writer_->Commit());
      writer_.reset();  // removes what a failed commit left
    } else if (buffer.Valid()) {
      status = Named(Process(buffer));
    } else {
      writer_.reset();  // removes what was written
    }
    absl::MutexLock lock(&mu_);
    if (phase_ == Phase::kFailing) {
      if (writer_ == nullptr) {
        phase_ = Phase::kAnswered;
        Finish(ToGrpc(status_));
        return;
      }
      continue;
    }
    if (commit) {
      phase_ = Phase::kAnswered;
      if (status.ok()) {
        v1::WriteChunkResponse answer;
        answer.add_server_ids(served_->server_id);
        for (const std::string& id : *chain_servers_) {
          answer.add_server_ids(id);
        }
        *response_ = SerializeMessage(answer);
      }
      Finish(ToGrpc(status));
      return;
    }
    if (!status.ok()) {
      FailLocked(status);
      continue;
    }
    ++stored_;
    if (forwarder_ == nullptr) {
      forwarded_ = stored_;
    }
    MaybeReadLocked();
  }
}

absl::Status WriteStream::ProcessHeader(const v1::WriteChunkHeader& header) {
  ASSIGN_OR_RETURN(served_, context_.directory.Find(header.server_id()));
  RETURN_IF_ERROR(CheckChain(header));
  ASSIGN_OR_RETURN(writer_, served_->store->StartWrite(ChunkHandle(header.handle()),
                                                       header.length_hint_bytes()));
  if (header.forward_size() > 0) {
    next_server_id_ = header.forward(0).server_id();
    ChainForwarder::Events events;
    events.on_sent = [self = shared_from_this()] { self->OnForwarded(); };
    events.on_done = [self = shared_from_this()](absl::StatusOr<v1::WriteChunkResponse> answer) {
      self->OnChainDone(std::move(answer));
    };
    std::shared_ptr<ChainForwarder> forwarder =
        ChainForwarder::Start(context_, *call_, header.forward(0), std::move(events));
    absl::MutexLock lock(&mu_);
    forwarder_ = std::move(forwarder);
    if (phase_ == Phase::kFailing) {
      forwarder_->Cancel();  // it failed before there was one to cancel
    }
  } else {
    absl::MutexLock lock(&mu_);
    chain_servers_.emplace();
  }
  return absl::OkStatus();
}

absl::Status WriteStream::Process(grpc::ByteBuffer& buffer) {
  ASSIGN_OR_RETURN(WriteChunkMessage message, DecodeWriteChunk(buffer));
  if (message.header.has_value() == has_header_) {
    return InvalidArgument("the header belongs into the first message, and only there");
  }
  if (message.header.has_value()) {
    has_header_ = true;
    RETURN_IF_ERROR(ProcessHeader(*message.header));
  }
  if (message.payload.offset_bytes != writer_->length_bytes()) {
    return InvalidArgument(absl::StrCat("data for offset ", message.payload.offset_bytes,
                                        ", after ", writer_->length_bytes(), " bytes"));
  }
  ASSIGN_OR_RETURN(const VerifiedBlocks blocks,
                   VerifiedBlocks::Verify(message.payload.pieces(), message.payload.blocks));
  std::shared_ptr<ChainForwarder> forwarder;
  {
    absl::MutexLock lock(&mu_);
    forwarder = forwarder_;
  }
  if (forwarder != nullptr) {
    if (message.header.has_value()) {
      v1::WriteChunkHeader& header = *message.header;
      header.set_server_id(header.forward(0).server_id());
      header.mutable_forward()->DeleteSubrange(0, 1);
      forwarder->Send(EncodeWriteChunk(message), message.finish.has_value());
    } else {
      forwarder->Send(buffer, message.finish.has_value());
    }
  }
  const SteadyTime begin = RealClock().SteadyNow();
  RETURN_IF_ERROR(writer_->Append(blocks));
  if (context_.options.traffic != nullptr) {
    context_.options.traffic->OnServed(ForegroundMonitor::Kind::kWrite,
                                       RealClock().SteadyNow() - begin);
  }
  if (message.finish.has_value()) {
    RETURN_IF_ERROR(
        writer_->Prepare(message.finish->length_bytes(), Crc32c{message.finish->crc32c()}));
    absl::MutexLock lock(&mu_);
    if (phase_ == Phase::kReceiving) {
      phase_ = Phase::kPrepared;
    }
  }
  return absl::OkStatus();
}

}  // namespace ballast::chunkserver
