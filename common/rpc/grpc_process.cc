// SPDX-License-Identifier: Apache-2.0
#include "common/rpc/grpc_process.h"

#include <grpcpp/client_context.h>
#include <grpcpp/create_channel.h>
#include <grpcpp/generic/generic_stub.h>
#include <stdlib.h>

#include <memory>
#include <mutex>

namespace ballast {
namespace {

// A call that fails at once, on a channel that leads nowhere.
struct CallToNobody {
  std::shared_ptr<grpc::Channel> channel =
      grpc::CreateCustomChannel("", /*creds=*/nullptr, grpc::ChannelArguments());
  grpc::ClientContext context;
  const grpc::Slice nothing;
  const grpc::ByteBuffer request{&nothing, 1};
  grpc::ByteBuffer response;
};

// The library starts the threads that run callbacks with the first channel or server that has any,
// and joins them when the last of these is destroyed. Our calls own their channels, so that may
// happen at the end of a callback, on one of those threads: it then joins itself, which fails
// unnoticed, frees the queue that it serves and goes on serving it (grpc/grpc issue 37858, pull
// request 32584; every release with these threads has it). A channel that had a callback and is
// never destroyed keeps them. It is left to the end of the process on purpose: at its orderly end a
// callback may still be running.
void KeepCallbackThreads() {
  static auto* const call = new CallToNobody;
  grpc::GenericStub(call->channel)
      .UnaryCall(&call->context, "/", grpc::StubOptions(), &call->request, &call->response,
                 [](const grpc::Status&) {});
}

}  // namespace

void PrepareGrpcProcess() {
  static std::once_flag once;
  std::call_once(once, [] {
    // While no call is under way nobody but the library's backup poller drives a channel's
    // connection attempt. Its default of 5 s is how long a client would go on failing after its
    // server came back. An operator's own value wins.
    setenv("GRPC_CLIENT_CHANNEL_BACKUP_POLL_INTERVAL_MS", "100", /*overwrite=*/0);
    KeepCallbackThreads();
  });
}

}  // namespace ballast
