// SPDX-License-Identifier: Apache-2.0
#include "client/chunk_io.h"

#include <grpcpp/client_context.h>
#include <grpcpp/completion_queue.h>
#include <grpcpp/generic/generic_stub.h>

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "client/range_receiver.h"
#include "common/base/check.h"
#include "common/base/status_macros.h"
#include "common/rpc/buffer_pool.h"
#include "common/rpc/bulk_channel.h"
#include "common/rpc/channel_pool.h"
#include "common/rpc/raw_block_codec.h"
#include "common/rpc/status_bridge.h"
#include "common/types/blocks.h"
#include "common/types/error.h"
#include "protos/chunkserver_data_service.grpc.pb.h"

namespace ballast::client {
namespace {

constexpr char kWriteMethod[] = "/ballast.v1.ChunkData/WriteChunk";
constexpr char kReadMethod[] = "/ballast.v1.ChunkData/ReadChunk";
// Buffers that are kept between streams.
constexpr size_t kBuffersKept = 16;

// One streaming call on the calling thread, which does the connection's work while it waits.
// Every operation is waited for at most `stall_timeout`; then the call is cancelled and all that
// follow fail.
class BlockingCall {
 public:
  BlockingCall(const std::shared_ptr<grpc::Channel>& channel, const char* method,
               absl::string_view cluster_id, absl::Duration timeout, absl::Duration stall_timeout)
      : stall_timeout_(stall_timeout), stub_(channel) {
    PrepareContext(context_, cluster_id, timeout);
    stream_ = stub_.PrepareCall(&context_, method, &queue_);
  }

  // A call that was not finished is cancelled.
  ~BlockingCall() {
    if (!finished_) {
      context_.TryCancel();
      Finish().IgnoreError();
    }
    queue_.Shutdown();
    void* tag = nullptr;
    bool ok = false;
    while (queue_.Next(&tag, &ok)) {
    }
  }

  // False: the call has ended or is unusable; Finish tells why.
  bool Start() {
    stream_->StartCall(this);
    return Wait();
  }
  bool Write(const grpc::ByteBuffer& message, bool last) {
    if (last) {
      stream_->WriteLast(message, grpc::WriteOptions(), this);
    } else {
      stream_->Write(message, this);
    }
    return Wait();
  }
  bool Read(grpc::ByteBuffer* message) {
    stream_->Read(message, this);
    return Wait();
  }
  // The call's end; once. Cancels nothing: without it, waits for the server's status.
  absl::Status Finish() {
    CHECK(!finished_);
    finished_ = true;
    grpc::Status status;
    stream_->Finish(&status, this);
    Wait();
    if (stalled_) {
      return absl::DeadlineExceededError(
          absl::StrCat("no progress for ", absl::FormatDuration(stall_timeout_)));
    }
    return FromGrpc(status);
  }

 private:
  bool Wait() {
    void* tag = nullptr;
    bool ok = false;
    const auto patience = absl::ToChronoTime(absl::Now() + stall_timeout_);
    switch (queue_.AsyncNext(&tag, &ok, patience)) {
      case grpc::CompletionQueue::GOT_EVENT:
        return ok;
      case grpc::CompletionQueue::TIMEOUT:
        stalled_ = true;
        context_.TryCancel();  // ends the operation that is awaited
        CHECK(queue_.Next(&tag, &ok));
        return false;
      case grpc::CompletionQueue::SHUTDOWN:
        break;
    }
    CHECK(false) << "a call's queue was shut down under it";
    return false;
  }

  const absl::Duration stall_timeout_;
  grpc::ClientContext context_;
  grpc::CompletionQueue queue_;
  grpc::TemplatedGenericStub<grpc::ByteBuffer, grpc::ByteBuffer> stub_;
  std::unique_ptr<grpc::ClientAsyncReaderWriter<grpc::ByteBuffer, grpc::ByteBuffer>> stream_;
  bool stalled_ = false;
  bool finished_ = false;
};

absl::Status ValidateWrite(const ChunkWriteRequest& request) {
  if (request.handle.value() == 0 || request.chain.empty() || request.chain.size() > kReplicasMax ||
      request.length_hint_bytes > kChunkBytesMax) {
    return InvalidArgument(absl::StrCat("a chunk needs a handle, a chain of 1 to ", kReplicasMax,
                                        " servers and at most ", kChunkBytesMax, " bytes"));
  }
  return absl::OkStatus();
}

// Cuts what a source gives into the messages of one write, checksums made on the way.
class WriteMessages {
 public:
  WriteMessages(const ChunkWriteRequest& request, BufferPool& buffers)
      : request_(request),
        buffers_(buffers),
        length_max_(request.length_hint_bytes == 0 ? kChunkBytesMax : request.length_hint_bytes) {}

  // The next message; once at_end() there is none. Errors of the source as they are.
  absl::StatusOr<grpc::ByteBuffer> Next(ChunkSource source) {
    std::unique_ptr<BufferPool::Buffer> buffer = buffers_.Take();
    const size_t wanted = std::min<uint64_t>(buffer->size(), length_max_ - length_);
    ASSIGN_OR_RETURN(const size_t got, source(buffer->data(), wanted));
    CHECK_LE(got, wanted);
    if (length_ == 0 && got == 0) {
      return InvalidArgument("a chunk has at least one byte");
    }
    WriteChunkMessage message;
    message.payload.offset_bytes = length_;
    for (size_t at = 0; at < got; at += kBlockBytes) {
      const size_t bytes = std::min<size_t>(kBlockBytes, got - at);
      message.payload.blocks.push_back(
          ComputeCrc32c(absl::string_view(buffer->data() + at, bytes)));
    }
    if (length_ == 0) {
      v1::WriteChunkHeader& header = message.header.emplace();
      header.set_handle(request_.handle.value());
      header.set_server_id(request_.chain.front().server_id());
      header.mutable_forward()->Assign(request_.chain.begin() + 1, request_.chain.end());
      header.set_length_hint_bytes(static_cast<uint32_t>(request_.length_hint_bytes));
    }
    crc_ = AppendBlocks(crc_, message.payload.blocks, got);
    length_ += static_cast<uint32_t>(got);
    message.payload.data.push_back(SliceOf(std::move(buffer), got));
    at_end_ = got < wanted || length_ == length_max_;
    if (at_end_) {
      message.finish.emplace().set_length_bytes(length_);
      message.finish->set_crc32c(crc_.value);
    }
    return EncodeWriteChunk(message);
  }

  bool at_end() const { return at_end_; }
  uint32_t length_bytes() const { return length_; }
  Crc32c crc32c() const { return crc_; }

 private:
  const ChunkWriteRequest& request_;
  BufferPool& buffers_;
  const uint64_t length_max_;
  uint32_t length_ = 0;
  Crc32c crc_;
  bool at_end_ = false;
};

}  // namespace

absl::StatusOr<size_t> StringChunkSource::operator()(char* out, size_t bytes) const {
  const size_t n = left_.copy(out, bytes);
  left_.remove_prefix(n);
  return n;
}

struct ChunkIo::Impl {
  explicit Impl(ChunkIoOptions options_in)
      : options(std::move(options_in)),
        channels(options.idle_connections_max, options.connect_timeout),
        buffers(BufferPool::Make(options.message_bytes, kBuffersKept)) {}

  const ChunkIoOptions options;
  BulkChannelPool channels;
  const std::shared_ptr<BufferPool> buffers;
  ChannelPool control;  // calls without bulk

  // A call that has begun with its first message, and the connection it runs on.
  struct Begun {
    BulkChannelPool::Lease lease;
    std::unique_ptr<BlockingCall> call;
    bool open = false;  // false: Finish tells why
  };

  // An idle connection may have died without anybody noticing; then the call is begun again on a
  // new one.
  Begun Begin(const std::string& address, const char* method, absl::Duration timeout,
              const grpc::ByteBuffer& first, bool last) {
    Begun begun;
    for (const bool fresh : {false, true}) {
      begun.call.reset();
      begun.lease = fresh ? channels.TakeNew(address) : channels.Take(address);
      begun.call = std::make_unique<BlockingCall>(begun.lease.channel(), method, options.cluster_id,
                                                  timeout, options.stall_timeout);
      begun.open = begun.call->Start() && begun.call->Write(first, last);
      if (begun.open || !begun.lease.reused()) {
        break;
      }
    }
    return begun;
  }

  // One try of a read; what it delivers goes through `receiver`.
  absl::Status Read(const ChunkReadRequest& request, RangeReceiver& receiver, ChunkSink sink,
                    bool* on_old_connection);
};

ChunkIo::ChunkIo(ChunkIoOptions options) : impl_(std::make_unique<Impl>(std::move(options))) {
  const uint64_t bytes = impl_->options.message_bytes;
  CHECK(bytes >= kBlockBytes && bytes <= kBulkPayloadBytesMax && bytes % kBlockBytes == 0) << bytes;
}

ChunkIo::~ChunkIo() = default;

absl::StatusOr<ChunkWriteResult> ChunkIo::WriteChunk(const ChunkWriteRequest& request,
                                                     ChunkSource source) {
  RETURN_IF_ERROR(ValidateWrite(request));
  WriteMessages messages(request, *impl_->buffers);
  ASSIGN_OR_RETURN(grpc::ByteBuffer message, messages.Next(source));
  Impl::Begun begun = impl_->Begin(request.chain.front().address(), kWriteMethod, request.timeout,
                                   message, messages.at_end());
  while (begun.open && !messages.at_end()) {
    message.Clear();
    ASSIGN_OR_RETURN(message, messages.Next(source));  // on failure the call is cancelled
    begun.open = begun.call->Write(message, messages.at_end());
  }
  grpc::ByteBuffer answer;
  if (begun.open) {
    begun.call->Read(&answer);
  }
  RETURN_IF_ERROR(begun.call->Finish());
  v1::WriteChunkResponse response;
  if (!ParseMessage(answer, &response)) {
    return absl::InternalError("the chunk server's answer is malformed");
  }
  begun.lease.KeepForReuse();
  ChunkWriteResult result;
  result.length_bytes = messages.length_bytes();
  result.crc32c = messages.crc32c();
  result.server_ids.assign(response.server_ids().begin(), response.server_ids().end());
  return result;
}

absl::Status ChunkIo::Impl::Read(const ChunkReadRequest& request, RangeReceiver& receiver,
                                 ChunkSink sink, bool* on_old_connection) {
  v1::ReadChunkRequest wire;
  wire.set_handle(request.handle.value());
  wire.set_server_id(request.replica.server_id());
  wire.set_offset_bytes(request.offset_bytes);
  wire.set_length_bytes(request.length_bytes);
  wire.set_message_bytes(static_cast<uint32_t>(options.message_bytes));
  Begun begun = Begin(request.replica.address(), kReadMethod, request.timeout,
                      SerializeMessage(wire), /*last=*/true);
  *on_old_connection = begun.lease.reused();
  grpc::ByteBuffer message;
  while (begun.open && begun.call->Read(&message)) {
    RETURN_IF_ERROR(receiver.Take(message, sink));  // on failure the call is cancelled
    message.Clear();
  }
  const absl::Status status = begun.call->Finish();
  if (status.ok()) {
    begun.lease.KeepForReuse();
  }
  return status;
}

ChunkReadResult ChunkIo::ReadChunk(const ChunkReadRequest& request, ChunkSink sink) {
  RangeReceiver receiver(request.offset_bytes, request.length_bytes);
  ChunkReadResult result;
  bool on_old_connection = false;
  result.status = impl_->Read(request, receiver, sink, &on_old_connection);
  if (absl::IsUnavailable(result.status) && ReasonOf(result.status) == v1::REASON_UNSPECIFIED &&
      on_old_connection && receiver.delivered_bytes() == 0) {
    // The request went into a connection that had died; nothing was taken yet.
    result.status = impl_->Read(request, receiver, sink, &on_old_connection);
  }
  result.delivered_bytes = receiver.delivered_bytes();
  result.crc32c = receiver.crc32c();
  return result;
}

absl::StatusOr<v1::StatChunkResponse> ChunkIo::StatChunk(const v1::ReplicaLocation& replica,
                                                         ChunkHandle handle, bool verify,
                                                         absl::Duration timeout) {
  grpc::ClientContext context;
  PrepareContext(context, impl_->options.cluster_id, timeout);
  v1::StatChunkRequest request;
  request.set_handle(handle.value());
  request.set_server_id(replica.server_id());
  request.set_verify(verify);
  v1::StatChunkResponse response;
  RETURN_IF_ERROR(FromGrpc(v1::ChunkData::NewStub(impl_->control.Get(replica.address()))
                               ->StatChunk(&context, request, &response)));
  return response;
}

absl::StatusOr<v1::GetServerStatusResponse> ChunkIo::ServerStatus(const std::string& address,
                                                                  absl::Duration timeout) {
  grpc::ClientContext context;
  PrepareContext(context, impl_->options.cluster_id, timeout);
  v1::GetServerStatusResponse response;
  RETURN_IF_ERROR(
      FromGrpc(v1::ChunkData::NewStub(impl_->control.Get(address))
                   ->GetServerStatus(&context, v1::GetServerStatusRequest(), &response)));
  return response;
}

}  // namespace ballast::client
