// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <grpcpp/client_context.h>
#include <grpcpp/server_context.h>
#include <grpcpp/support/byte_buffer.h>
#include <grpcpp/support/client_callback.h>

#include <deque>
#include <memory>
#include <string>

#include "absl/base/thread_annotations.h"
#include "absl/functional/any_invocable.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "protos/chunkserver_data_service.pb.h"
#include "protos/common.pb.h"
#include "services/chunkserver/data_context.h"

namespace ballast::chunkserver {

// Passes a chunk on to the next server of its chain while it arrives.
//
// Guarantees: messages go out in the order of Send; `on_sent` is called once for each that was
// given to the connection, `on_done` exactly once, last, with the next server's answer: OK only if
// the whole rest of the chain has the chunk durable. Both run on gRPC's threads and must not block.
// Concurrency: thread-safe. Lifetime: keeps itself alive until on_done has returned.
class ChainForwarder final : public grpc::ClientBidiReactor<grpc::ByteBuffer, grpc::ByteBuffer>,
                             public std::enable_shared_from_this<ChainForwarder> {
 public:
  struct Events {
    absl::AnyInvocable<void()> on_sent;
    absl::AnyInvocable<void(absl::StatusOr<v1::WriteChunkResponse>)> on_done;
  };

  // Begins the call to `next` under the deadline of `upstream`, the call it belongs to.
  static std::shared_ptr<ChainForwarder> Start(DataContext& context,
                                               const grpc::CallbackServerContext& upstream,
                                               const v1::ReplicaLocation& next, Events events);

  // `last`: the message with finish; none may follow. Never blocks; the caller bounds how many
  // wait.
  void Send(const grpc::ByteBuffer& message, bool last);

  // Ends the call soon; on_done reports an error unless the answer was there already.
  void Cancel() { client_context_.TryCancel(); }

 private:
  ChainForwarder(DataContext& context, const v1::ReplicaLocation& next, Events events);
  void OnWriteDone(bool ok) override;
  void OnReadDone(bool ok) override;
  void OnDone(const grpc::Status& status) override;
  void WriteNext() ABSL_LOCKS_EXCLUDED(mu_);

  BulkChannelPool::Lease lease_;
  grpc::ClientContext client_context_;
  Events events_;
  grpc::ByteBuffer response_;
  std::shared_ptr<ChainForwarder> self_;  // until OnDone

  absl::Mutex mu_;
  struct Message {
    grpc::ByteBuffer buffer;
    bool last;
  };
  std::deque<Message> waiting_ ABSL_GUARDED_BY(mu_);
  grpc::ByteBuffer sending_;  // belongs to the write under way
  // A write is under way, or about to be begun by the thread that set this.
  bool writing_ ABSL_GUARDED_BY(mu_) = false;
  // The call has ended or the answer is here: nothing more is written. The reactor's hold is given
  // up once closed_ && !writing_.
  bool closed_ ABSL_GUARDED_BY(mu_) = false;
  bool held_ ABSL_GUARDED_BY(mu_) = true;
};

}  // namespace ballast::chunkserver
