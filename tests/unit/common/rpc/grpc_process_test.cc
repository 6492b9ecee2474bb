// SPDX-License-Identifier: Apache-2.0
#include "common/rpc/grpc_process.h"

#include <grpcpp/client_context.h>
#include <grpcpp/generic/generic_stub.h>
#include <unistd.h>

#include <filesystem>
#include <memory>
#include <set>

#include "absl/strings/str_cat.h"
#include "absl/synchronization/notification.h"
#include "common/rpc/bulk_channel.h"
#include "common/rpc/channel_pool.h"
#include "gtest/gtest.h"

namespace ballast {
namespace {

// As calls of ours are: what it needs goes with its callback.
struct OwnCall {
  std::shared_ptr<grpc::Channel> channel;
  grpc::ClientContext context;
  const grpc::Slice nothing;
  const grpc::ByteBuffer request{&nothing, 1};
  grpc::ByteBuffer response;
};

// Makes a call on `channel` that fails, and waits until its callback has destroyed the channel.
// Returns the id of the thread on which that happened.
pid_t EndChannelInItsCallback(std::shared_ptr<grpc::Channel> channel) {
  pid_t thread = 0;
  absl::Notification callback_is_last;
  absl::Notification ended;
  std::shared_ptr<OwnCall> call(new OwnCall, [&](OwnCall* last) {
    thread = gettid();
    delete last;
    ended.Notify();
  });
  call->channel = std::move(channel);
  OwnCall& begun = *call;
  grpc::GenericStub(begun.channel)
      .UnaryCall(&begun.context, "/none", grpc::StubOptions(), &begun.request, &begun.response,
                 [owner = std::move(call), &callback_is_last](const grpc::Status& status) {
                   EXPECT_EQ(status.error_code(), grpc::StatusCode::UNAVAILABLE);
                   callback_is_last.WaitForNotification();
                 });
  callback_is_last.Notify();
  ended.WaitForNotification();
  return thread;
}

// The channels of this test are the only users of gRPC's callbacks in the process.
TEST(GrpcProcessTest, TheLastChannelMayEndInItsOwnCallback) {
  std::set<pid_t> threads;
  for (int i = 0; i < 20; ++i) {
    threads.insert(EndChannelInItsCallback(MakeChannel("127.0.0.1:1")));
    BulkChannelPool bulk(/*idle_max=*/1, absl::Seconds(1));
    threads.insert(EndChannelInItsCallback(bulk.TakeNew("127.0.0.1:1").channel()));
  }
  for (const pid_t thread : threads) {
    EXPECT_NE(thread, gettid());
    EXPECT_TRUE(std::filesystem::exists(absl::StrCat("/proc/self/task/", thread)))
        << "the thread has ended, or has come to grief, with its channel";
  }
}

}  // namespace
}  // namespace ballast
