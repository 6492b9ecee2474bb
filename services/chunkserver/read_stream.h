// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <grpcpp/server_context.h>
#include <grpcpp/support/byte_buffer.h>
#include <grpcpp/support/server_callback.h>

#include <deque>
#include <memory>
#include <optional>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/synchronization/mutex.h"
#include "common/base/steady_time.h"
#include "protos/chunkserver_data_service.pb.h"
#include "services/chunkserver/data_context.h"

namespace ballast::chunkserver {

// One ReadChunk call: reads and verifies blocks and sends them, reading ahead of the sender.
//
// Guarantees: only verified blocks are sent. At most kAheadMax messages are read and not yet taken
// by the connection: the bound on memory, and the back-pressure on the disk. What is for another
// chunk server waits at the gate of its class, message by message. Concurrency: gRPC's
// reactions only note what happened; disk work and verification run on the disk pool, one piece at
// a time. Lifetime: keeps itself alive until the call is done and its last piece of work has ended.
class ReadStream final : public grpc::ServerWriteReactor<grpc::ByteBuffer>,
                         public std::enable_shared_from_this<ReadStream> {
 public:
  static constexpr size_t kAheadMax = 2;

  // Takes the call over; DataContext::TryEnter has succeeded for it.
  static grpc::ServerWriteReactor<grpc::ByteBuffer>* Start(DataContext& context,
                                                           const v1::ReadChunkRequest& request);
  ~ReadStream() override;

 private:
  ReadStream(DataContext& context, const v1::ReadChunkRequest& request);

  // --- reactions ---
  void OnWriteDone(bool ok) override;
  void OnCancel() override;
  void OnDone() override;

  // --- disk pool ---
  void Work();
  absl::Status Open();
  absl::StatusOr<grpc::ByteBuffer> ReadOne();

  // Called by the gate, on its executor.
  void OnPassed() ABSL_LOCKS_EXCLUDED(mu_);
  // Whether the message at the front may go now; if not, OnPassed comes.
  bool MayPassLocked() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);

  // Starts whatever can be started now. Called without mu_, by any thread, after each event.
  void Advance() ABSL_LOCKS_EXCLUDED(mu_);

  DataContext& context_;
  const v1::ReadChunkRequest request_;
  const std::shared_ptr<TrafficGate> gate_;  // null: no limit
  std::shared_ptr<ReadStream> self_;         // until OnDone
  grpc::ByteBuffer sending_;                 // belongs to the write under way

  // Used by Work alone, which runs once at a time.
  ChunkStore* store_ = nullptr;  // of the server meant
  std::shared_ptr<const OpenChunk> chunk_;
  // When a client began to wait for its first data; none: it is no client, or has got them.
  std::optional<SteadyTime> waits_since_;
  uint64_t blocks_at_once_ = 0;
  uint64_t next_block_ = 0;
  uint64_t end_block_ = 0;

  absl::Mutex mu_;
  absl::Status status_ ABSL_GUARDED_BY(mu_);  // the first failure
  std::deque<grpc::ByteBuffer> ready_ ABSL_GUARDED_BY(mu_);
  bool working_ ABSL_GUARDED_BY(mu_) = false;
  bool all_read_ ABSL_GUARDED_BY(mu_) = false;
  bool passed_ ABSL_GUARDED_BY(mu_) = false;  // the gate has let the front of ready_ through
  std::optional<TrafficGate::Ticket> ticket_ ABSL_GUARDED_BY(mu_);  // while it waits there
  // A write is under way, or about to be begun by the thread that set this.
  bool writing_ ABSL_GUARDED_BY(mu_) = false;
  bool answered_ ABSL_GUARDED_BY(mu_) = false;
};

}  // namespace ballast::chunkserver
