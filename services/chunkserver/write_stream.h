// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <grpcpp/server_context.h>
#include <grpcpp/support/byte_buffer.h>
#include <grpcpp/support/server_callback.h>

#include <deque>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "common/rpc/raw_block_codec.h"
#include "services/chunkserver/chain_forwarder.h"
#include "services/chunkserver/data_context.h"

namespace ballast::chunkserver {

// One WriteChunk call: verifies what arrives, passes it on and stores it at the same time.
//
// Guarantees: all or nothing. The chunk becomes visible here only after the rest of the chain has
// answered that it is durable there; on any failure, cancellation included, what was stored here is
// removed before the caller is answered. A message is not received before those but kHeldMax before
// it are both stored here and passed on: that is the back-pressure, and the bound on memory.
// Concurrency: gRPC's reactions only note what happened; verification and disk work run on the disk
// pool, one piece at a time. Lifetime: keeps itself alive until the call is done and its last piece
// of work has ended.
class WriteStream final : public grpc::ServerReadReactor<grpc::ByteBuffer>,
                          public std::enable_shared_from_this<WriteStream> {
 public:
  // Messages received and not yet both stored and passed on.
  static constexpr uint64_t kHeldMax = 2;

  // Takes the call over; DataContext::TryEnter has succeeded for it.
  static grpc::ServerReadReactor<grpc::ByteBuffer>* Start(DataContext& context,
                                                          grpc::CallbackServerContext* call,
                                                          grpc::ByteBuffer* response);
  ~WriteStream() override;

 private:
  enum class Phase {
    kReceiving,
    kPrepared,  // own copy durable but invisible; the rest of the chain is awaited
    kCommitting,
    kFailing,  // status_ says why; own copy is being removed
    kAnswered,
  };

  WriteStream(DataContext& context, grpc::CallbackServerContext* call, grpc::ByteBuffer* response);

  // --- reactions ---
  void OnReadDone(bool ok) override;
  void OnCancel() override;
  void OnDone() override;

  // --- events of the forwarder ---
  void OnForwarded();
  void OnChainDone(absl::StatusOr<v1::WriteChunkResponse> answer);

  // --- disk pool ---
  void Work();
  absl::Status Process(grpc::ByteBuffer& buffer);
  absl::Status ProcessHeader(const v1::WriteChunkHeader& header);
  absl::Status Named(const absl::Status& status) const;

  void FailLocked(const absl::Status& status) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void KickLocked() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void MaybeReadLocked() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);

  DataContext& context_;
  grpc::CallbackServerContext* const call_;
  grpc::ByteBuffer* const response_;
  std::shared_ptr<WriteStream> self_;  // until OnDone
  grpc::ByteBuffer incoming_;          // belongs to the read under way

  // Used by Work alone, which runs once at a time.
  const ServedStore* served_ = nullptr;  // the server meant, once the header has named it
  std::unique_ptr<ChunkWriter> writer_;
  bool has_header_ = false;
  std::string next_server_id_;

  absl::Mutex mu_;
  Phase phase_ ABSL_GUARDED_BY(mu_) = Phase::kReceiving;
  absl::Status status_ ABSL_GUARDED_BY(mu_);
  std::deque<grpc::ByteBuffer> queue_ ABSL_GUARDED_BY(mu_);
  bool reading_ ABSL_GUARDED_BY(mu_) = false;
  bool working_ ABSL_GUARDED_BY(mu_) = false;
  bool input_ended_ ABSL_GUARDED_BY(mu_) = false;
  uint64_t received_ ABSL_GUARDED_BY(mu_) = 0;
  uint64_t stored_ ABSL_GUARDED_BY(mu_) = 0;
  uint64_t forwarded_ ABSL_GUARDED_BY(mu_) = 0;
  std::shared_ptr<ChainForwarder> forwarder_ ABSL_GUARDED_BY(mu_);  // set once
  std::optional<std::vector<std::string>> chain_servers_
      ABSL_GUARDED_BY(mu_);  // the chain's answer
};

}  // namespace ballast::chunkserver
