// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <grpcpp/server_context.h>
#include <grpcpp/support/byte_buffer.h>
#include <grpcpp/support/server_callback.h>

#include "protos/chunkserver_data_service.grpc.pb.h"
#include "services/chunkserver/data_context.h"

namespace ballast::chunkserver {

// The ChunkData service of the chunk servers of a directory, usually one. Bulk calls are raw
// methods, whose messages are never copied into Protocol Buffers objects
// (common/rpc/raw_block_codec.h); each is an object of its own (write_stream.h, read_stream.h).
// Reactions never block; disk work runs on the pool.
//
// Needs no master: it serves as soon as the stores do. Requests name the server meant by its id;
// those that may leave it out mean the only one.
// Lifetime: directory, pools and stores outlive it. To stop: Drain, shut the gRPC server down,
// WaitIdle, destroy.
class ChunkDataService final
    : public v1::ChunkData::WithRawCallbackMethod_WriteChunk<
          v1::ChunkData::WithRawCallbackMethod_ReadChunk<
              v1::ChunkData::WithCallbackMethod_StatChunk<
                  v1::ChunkData::WithCallbackMethod_GetServerStatus<v1::ChunkData::Service>>>> {
 public:
  ChunkDataService(const StoreDirectory& directory, ThreadPool& disk, BulkChannelPool& channels,
                   DataServiceOptions options)
      : context_(directory, disk, channels, std::move(options)) {}

  // From now on new calls get NOT_READY; running ones go on. Does not block.
  void Drain() { context_.Drain(); }
  // Blocks until every call is over, its disk work included.
  void WaitIdle() { context_.WaitIdle(); }

  grpc::ServerReadReactor<grpc::ByteBuffer>* WriteChunk(grpc::CallbackServerContext* call,
                                                        grpc::ByteBuffer* response) override;
  grpc::ServerWriteReactor<grpc::ByteBuffer>* ReadChunk(grpc::CallbackServerContext* call,
                                                        const grpc::ByteBuffer* request) override;
  grpc::ServerUnaryReactor* StatChunk(grpc::CallbackServerContext* call,
                                      const v1::StatChunkRequest* request,
                                      v1::StatChunkResponse* response) override;
  grpc::ServerUnaryReactor* GetServerStatus(grpc::CallbackServerContext* call,
                                            const v1::GetServerStatusRequest* request,
                                            v1::GetServerStatusResponse* response) override;

 private:
  // What holds for every call: cluster and, for streams, deadline. OK: the call has entered.
  absl::Status Enter(const grpc::CallbackServerContext& call, bool is_stream);

  DataContext context_;
};

// Memory of this process that is in use, in bytes; 0 if it cannot be told.
uint64_t ResidentBytes();

}  // namespace ballast::chunkserver
