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
  bool Write(const grpc::ByteBuffer& message) {
    stream_->Write(message, this);
    return Wait();
  }
  bool WriteLast(const grpc::ByteBuffer& message) {
    stream_->WriteLast(message, grpc::WriteOptions(), this);
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
  absl::Status CancelAndFinish() {
    context_.TryCancel();
    return Finish();
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
};

ChunkIo::ChunkIo(ChunkIoOptions options) : impl_(std::make_unique<Impl>(std::move(options))) {
  const uint64_t bytes = impl_->options.message_bytes;
  CHECK(bytes >= kBlockBytes && bytes <= kBulkPayloadBytesMax && bytes % kBlockBytes == 0) << bytes;
}

ChunkIo::~ChunkIo() = default;

absl::StatusOr<ChunkWriteResult> ChunkIo::WriteChunk(const ChunkWriteRequest& request,
                                                     ChunkSource source) {
  RETURN_IF_ERROR(ValidateWrite(request));
  const uint64_t length_max =
      request.length_hint_bytes == 0 ? kChunkBytesMax : request.length_hint_bytes;
  ChunkWriteResult result;
  BulkChannelPool::Lease lease = impl_->channels.Take(request.chain.front().address());
  BlockingCall call(lease.channel(), kWriteMethod, impl_->options.cluster_id, request.timeout,
                    impl_->options.stall_timeout);
  bool open = call.Start();
  bool at_end = false;
  for (bool first = true; open && !at_end; first = false) {
    std::unique_ptr<BufferPool::Buffer> buffer = impl_->buffers->Take();
    const size_t wanted = std::min<uint64_t>(buffer->size(), length_max - result.length_bytes);
    const absl::StatusOr<size_t> got = source(buffer->data(), wanted);
    if (!got.ok() || (*got == 0 && first)) {
      call.CancelAndFinish().IgnoreError();
      return got.ok() ? InvalidArgument("a chunk has at least one byte") : got.status();
    }
    CHECK_LE(*got, wanted);
    at_end = *got < wanted || result.length_bytes + *got == length_max;
    WriteChunkMessage message;
    message.payload.offset_bytes = result.length_bytes;
    for (size_t at = 0; at < *got; at += kBlockBytes) {
      const size_t bytes = std::min<size_t>(kBlockBytes, *got - at);
      message.payload.blocks.push_back(
          ComputeCrc32c(absl::string_view(buffer->data() + at, bytes)));
    }
    result.crc32c = AppendBlocks(result.crc32c, message.payload.blocks, *got);
    result.length_bytes += static_cast<uint32_t>(*got);
    message.payload.data.push_back(SliceOf(std::move(buffer), *got));
    if (first) {
      v1::WriteChunkHeader& header = message.header.emplace();
      header.set_handle(request.handle.value());
      header.set_server_id(request.chain.front().server_id());
      header.mutable_forward()->Assign(request.chain.begin() + 1, request.chain.end());
      header.set_length_hint_bytes(static_cast<uint32_t>(request.length_hint_bytes));
    }
    if (at_end) {
      message.finish.emplace().set_length_bytes(result.length_bytes);
      message.finish->set_crc32c(result.crc32c.value);
    }
    const grpc::ByteBuffer encoded = EncodeWriteChunk(message);
    open = at_end ? call.WriteLast(encoded) : call.Write(encoded);
  }
  grpc::ByteBuffer answer;
  if (open) {
    call.Read(&answer);
  }
  RETURN_IF_ERROR(call.Finish());
  v1::WriteChunkResponse response;
  if (!ParseMessage(answer, &response)) {
    return absl::InternalError("the chunk server's answer is malformed");
  }
  lease.KeepForReuse();
  result.server_ids.assign(response.server_ids().begin(), response.server_ids().end());
  return result;
}

ChunkReadResult ChunkIo::ReadChunk(const ChunkReadRequest& request, ChunkSink sink) {
  ChunkReadResult result;
  BulkChannelPool::Lease lease = impl_->channels.Take(request.replica.address());
  BlockingCall call(lease.channel(), kReadMethod, impl_->options.cluster_id, request.timeout,
                    impl_->options.stall_timeout);
  v1::ReadChunkRequest wire;
  wire.set_handle(request.handle.value());
  wire.set_offset_bytes(request.offset_bytes);
  wire.set_length_bytes(request.length_bytes);
  wire.set_message_bytes(static_cast<uint32_t>(impl_->options.message_bytes));
  bool open = call.Start() && call.WriteLast(SerializeMessage(wire));
  RangeReceiver receiver(request.offset_bytes, request.length_bytes);
  while (open) {
    grpc::ByteBuffer buffer;
    open = call.Read(&buffer);
    if (!open) {
      break;
    }
    absl::Status taken = receiver.Take(buffer, sink);
    if (!taken.ok()) {
      call.CancelAndFinish().IgnoreError();
      result.status = std::move(taken);
      result.delivered_bytes = receiver.delivered_bytes();
      result.crc32c = receiver.crc32c();
      return result;
    }
  }
  result.status = call.Finish();
  result.delivered_bytes = receiver.delivered_bytes();
  result.crc32c = receiver.crc32c();
  if (result.status.ok()) {
    lease.KeepForReuse();
  }
  return result;
}

absl::StatusOr<v1::StatChunkResponse> ChunkIo::StatChunk(const v1::ReplicaLocation& replica,
                                                         ChunkHandle handle, bool verify,
                                                         absl::Duration timeout) {
  grpc::ClientContext context;
  PrepareContext(context, impl_->options.cluster_id, timeout);
  v1::StatChunkRequest request;
  request.set_handle(handle.value());
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
