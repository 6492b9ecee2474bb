// SPDX-License-Identifier: Apache-2.0
#include "services/chunkserver/read_stream.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/status_macros.h"
#include "common/env/clock.h"
#include "common/rpc/raw_block_codec.h"
#include "common/rpc/status_bridge.h"
#include "common/types/error.h"

namespace ballast::chunkserver {

grpc::ServerWriteReactor<grpc::ByteBuffer>* ReadStream::Start(DataContext& context,
                                                              const v1::ReadChunkRequest& request) {
  std::shared_ptr<ReadStream> stream(new ReadStream(context, request));
  if (context.options.traffic != nullptr && request.traffic() == v1::TRAFFIC_CLASS_UNSPECIFIED) {
    stream->waits_since_ = RealClock().SteadyNow();
  }
  stream->self_ = stream;
  stream->Advance();
  return stream.get();
}

ReadStream::ReadStream(DataContext& context, const v1::ReadChunkRequest& request)
    : context_(context),
      request_(request),
      gate_(context.options.traffic == nullptr
                ? nullptr
                : context.options.traffic->SendGate(request.traffic())) {}

ReadStream::~ReadStream() { context_.Leave(); }

void ReadStream::Advance() {
  bool write = false;
  bool write_is_last = false;
  absl::Status finish_with;
  bool finish = false;
  {
    absl::MutexLock lock(&mu_);
    if (!status_.ok()) {
      ready_.clear();
      if (ticket_.has_value()) {
        gate_->Cancel(*ticket_);
        ticket_.reset();
      }
    }
    const bool may_work = !working_ && !all_read_ && status_.ok();
    if (may_work && ready_.size() + (writing_ ? 1 : 0) < kAheadMax) {
      working_ = true;
      context_.disk.Post([self = shared_from_this()] { self->Work(); });
    }
    if (!writing_ && !answered_) {
      if (!ready_.empty() && MayPassLocked()) {
        passed_ = false;
        sending_ = ready_.front();
        ready_.pop_front();
        writing_ = true;
        write = true;
        write_is_last = all_read_ && ready_.empty();
        answered_ = write_is_last;
      } else if (ready_.empty() && !working_ && (all_read_ || !status_.ok())) {
        answered_ = true;
        finish = true;
        finish_with = status_;
      }
    }
  }
  if (write_is_last) {
    StartWriteAndFinish(&sending_, grpc::WriteOptions(), grpc::Status::OK);
  } else if (write) {
    StartWrite(&sending_);
  } else if (finish) {
    Finish(ToGrpc(finish_with));
  }
}

bool ReadStream::MayPassLocked() {
  if (gate_ == nullptr || passed_) {
    return true;
  }
  if (!ticket_.has_value()) {
    ticket_ = gate_->Ask(ready_.front().Length(), [weak = weak_from_this()] {
      if (const auto self = weak.lock()) {
        self->OnPassed();
      }
    });
    passed_ = !ticket_.has_value();
  }
  return passed_;
}

void ReadStream::OnPassed() {
  {
    absl::MutexLock lock(&mu_);
    if (!ticket_.has_value()) {
      return;  // given up meanwhile
    }
    ticket_.reset();
    passed_ = true;
  }
  Advance();
}

void ReadStream::OnWriteDone(bool ok) {
  {
    absl::MutexLock lock(&mu_);
    writing_ = false;
    sending_.Clear();
    if (!ok && status_.ok()) {
      status_ = absl::CancelledError("the reader went away");
    }
  }
  Advance();
}

void ReadStream::OnCancel() {
  {
    absl::MutexLock lock(&mu_);
    if (status_.ok()) {
      status_ = absl::CancelledError("the reader went away, or its deadline passed");
    }
  }
  Advance();
}

void ReadStream::OnDone() { const std::shared_ptr<ReadStream> self = std::move(self_); }

absl::Status ReadStream::Open() {
  const uint64_t message_bytes = request_.message_bytes() == 0 ? context_.options.read_message_bytes
                                                               : request_.message_bytes();
  if (message_bytes < kBlockBytes || message_bytes > kBulkPayloadBytesMax ||
      message_bytes % kBlockBytes != 0) {
    return InvalidArgument("message_bytes must be whole blocks of 64 KiB, 1 to 16");
  }
  ASSIGN_OR_RETURN(const ServedStore* const served,
                   context_.directory.FindOrOnly(request_.server_id()));
  store_ = served->store;
  ASSIGN_OR_RETURN(chunk_, store_->Open(ChunkHandle(request_.handle())));
  const uint64_t length = chunk_->header.length_bytes;
  const uint64_t begin = request_.offset_bytes();
  if (begin >= length) {
    return MakeError(v1::REASON_OUT_OF_RANGE,
                     absl::StrCat("offset ", begin, " of a chunk of ", length, " bytes"));
  }
  const uint64_t wanted = request_.length_bytes() == 0 ? length : request_.length_bytes();
  const uint64_t end = begin + std::min(wanted, length - begin);
  // Small messages against the rate, so that it holds within every second.
  blocks_at_once_ =
      (gate_ == nullptr ? message_bytes : std::min(message_bytes, gate_->PieceBytes())) /
      kBlockBytes;
  next_block_ = begin / kBlockBytes;
  end_block_ = BlockCount(end);
  if (request_.traffic() == v1::TRAFFIC_CLASS_UNSPECIFIED) {
    store_->CountRead(ChunkHandle(request_.handle()));  // a copy makes no chunk hot
  }
  return absl::OkStatus();
}

absl::StatusOr<grpc::ByteBuffer> ReadStream::ReadOne() {
  std::unique_ptr<BufferPool::Buffer> buffer = context_.read_buffers->Take();
  const uint64_t count = std::min(blocks_at_once_, end_block_ - next_block_);
  ASSIGN_OR_RETURN(const size_t bytes,
                   store_->ReadBlocks(*chunk_, next_block_, count, buffer->data()));
  BulkPayload payload;
  payload.offset_bytes = next_block_ * kBlockBytes;
  const auto first = chunk_->header.blocks.begin() + static_cast<ptrdiff_t>(next_block_);
  payload.blocks.assign(first, first + static_cast<ptrdiff_t>(count));
  payload.data.push_back(SliceOf(std::move(buffer), bytes));
  next_block_ += count;
  return EncodeReadChunk(payload);
}

void ReadStream::Work() {
  absl::Status status = chunk_ == nullptr ? Open() : absl::OkStatus();
  while (status.ok()) {
    absl::StatusOr<grpc::ByteBuffer> message = ReadOne();
    status = message.status();
    if (!status.ok()) {
      break;
    }
    if (waits_since_.has_value()) {
      context_.options.traffic->OnServed(ForegroundMonitor::Kind::kRead,
                                         RealClock().SteadyNow() - *waits_since_);
      waits_since_.reset();
    }
    {
      absl::MutexLock lock(&mu_);
      ready_.push_back(*std::move(message));
      all_read_ = next_block_ == end_block_;
      if (all_read_ || !status_.ok() || ready_.size() + (writing_ ? 1 : 0) >= kAheadMax) {
        working_ = false;
        break;
      }
    }
    Advance();
  }
  if (!status.ok()) {
    absl::MutexLock lock(&mu_);
    working_ = false;
    if (status_.ok()) {
      status_ = status;
    }
  }
  Advance();
}

}  // namespace ballast::chunkserver
