// SPDX-License-Identifier: Apache-2.0
#include "services/chunkserver/chunk_data_service.h"

#include <unistd.h>

#include <fstream>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "common/base/status_macros.h"
#include "common/rpc/grpc_server.h"
#include "common/rpc/raw_block_codec.h"
#include "common/rpc/status_bridge.h"
#include "common/types/error.h"
#include "services/chunkserver/read_stream.h"
#include "services/chunkserver/write_stream.h"

namespace ballast::chunkserver {
namespace {

// Calls that end before they begin.
class RefusedWrite final : public grpc::ServerReadReactor<grpc::ByteBuffer> {
 public:
  explicit RefusedWrite(const absl::Status& status) { Finish(ToGrpc(status)); }
  void OnDone() override { delete this; }
};

class RefusedRead final : public grpc::ServerWriteReactor<grpc::ByteBuffer> {
 public:
  explicit RefusedRead(const absl::Status& status) { Finish(ToGrpc(status)); }
  void OnDone() override { delete this; }
};

}  // namespace

uint64_t ResidentBytes() {
  std::ifstream in("/proc/self/statm");
  uint64_t total = 0;
  uint64_t resident = 0;
  in >> total >> resident;
  return in ? resident * static_cast<uint64_t>(sysconf(_SC_PAGESIZE)) : 0;
}

absl::Status ChunkDataService::Enter(const grpc::CallbackServerContext& call, bool is_stream) {
  RETURN_IF_ERROR(CheckClusterId(call, context_.options.cluster_id));
  // A stream that nothing ends would hold its space for ever.
  if (is_stream &&
      absl::FromChrono(call.deadline()) > absl::Now() + context_.options.deadline_max) {
    return InvalidArgument(absl::StrCat("the call needs a deadline within ",
                                        absl::FormatDuration(context_.options.deadline_max)));
  }
  if (!context_.TryEnter()) {
    return context_.draining()
               ? NotReadyError("the chunk server is stopping", absl::Seconds(1))
               : MakeError(v1::REASON_OVERLOADED,
                           absl::StrCat("more than ", context_.options.streams_max, " streams"));
  }
  return absl::OkStatus();
}

grpc::ServerReadReactor<grpc::ByteBuffer>* ChunkDataService::WriteChunk(
    grpc::CallbackServerContext* call, grpc::ByteBuffer* response) {
  if (const absl::Status entered = Enter(*call, /*is_stream=*/true); !entered.ok()) {
    return new RefusedWrite(entered);
  }
  return WriteStream::Start(context_, call, response);
}

grpc::ServerWriteReactor<grpc::ByteBuffer>* ChunkDataService::ReadChunk(
    grpc::CallbackServerContext* call, const grpc::ByteBuffer* request) {
  v1::ReadChunkRequest parsed;
  if (!ParseMessage(*request, &parsed)) {
    return new RefusedRead(InvalidArgument("the request is no ReadChunkRequest"));
  }
  if (const absl::Status entered = Enter(*call, /*is_stream=*/true); !entered.ok()) {
    return new RefusedRead(entered);
  }
  return ReadStream::Start(context_, parsed);
}

grpc::ServerUnaryReactor* ChunkDataService::StatChunk(grpc::CallbackServerContext* call,
                                                      const v1::StatChunkRequest* request,
                                                      v1::StatChunkResponse* response) {
  grpc::ServerUnaryReactor* reactor = call->DefaultReactor();
  if (const absl::Status entered = Enter(*call, /*is_stream=*/false); !entered.ok()) {
    reactor->Finish(ToGrpc(entered));
    return reactor;
  }
  const absl::StatusOr<const ServedStore*> served =
      context_.directory.FindOrOnly(request->server_id());
  if (!served.ok()) {
    reactor->Finish(ToGrpc(served.status()));
    context_.Leave();
    return reactor;
  }
  const ChunkHandle handle(request->handle());
  context_.disk.Post([this, reactor, response, handle, store = (*served)->store,
                      verify = request->verify()] {
    const absl::StatusOr<ReplicaFacts> facts = verify ? store->Verify(handle) : store->Stat(handle);
    absl::Status status = facts.status();
    if (status.ok() && facts->state == ReplicaState::kCorrupt) {
      status = MakeError(v1::REASON_CHECKSUM_MISMATCH,
                         absl::StrCat("chunk ", handle.ToString(), " is damaged on this server"));
    }
    if (status.ok()) {
      response->set_length_bytes(facts->length_bytes);
      response->set_crc32c(facts->crc32c.value);
      response->set_verified(facts->state == ReplicaState::kVerified);
    }
    reactor->Finish(ToGrpc(status));
    context_.Leave();
  });
  return reactor;
}

grpc::ServerUnaryReactor* ChunkDataService::GetServerStatus(
    grpc::CallbackServerContext* call, const v1::GetServerStatusRequest* request,
    v1::GetServerStatusResponse* response) {
  grpc::ServerUnaryReactor* reactor = call->DefaultReactor();
  if (const absl::Status entered = Enter(*call, /*is_stream=*/false); !entered.ok()) {
    reactor->Finish(ToGrpc(entered));
    return reactor;
  }
  const absl::StatusOr<const ServedStore*> served =
      context_.directory.FindOrOnly(request->server_id());
  if (!served.ok()) {
    reactor->Finish(ToGrpc(served.status()));
    context_.Leave();
    return reactor;
  }
  // The file system is asked for its space, and a disk that hangs must not take gRPC's few threads
  // along, which carry the heartbeats, too.
  context_.disk.Post([this, reactor, response, served = *served] {
    const StoreUsage usage = served->store->Usage();
    response->set_server_id(served->server_id);
    response->set_boot_epoch(served->boot_epoch);
    response->set_loading(!served->store->serving());
    response->set_chunk_count(usage.chunk_count);
    response->set_capacity_bytes(usage.capacity_bytes);
    response->set_used_bytes(usage.used_bytes);
    response->set_corrupt_count(usage.corrupt_count);
    response->set_resident_bytes(ResidentBytes());
    reactor->Finish(grpc::Status::OK);
    context_.Leave();
  });
  return reactor;
}

}  // namespace ballast::chunkserver
