// SPDX-License-Identifier: Apache-2.0
#include "services/chunkserver/control/grpc_master_streams.h"

#include <grpcpp/server_context.h>
#include <grpcpp/support/server_callback.h>

#include <memory>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "absl/synchronization/notification.h"
#include "common/rpc/grpc_server.h"
#include "gmock/gmock.h"
#include "protos/chunkserver_control_service.grpc.pb.h"
#include "tests/support/status_matchers.h"

namespace ballast::chunkserver {
namespace {

using ::testing::ElementsAre;

constexpr char kCluster[] = "00000000-0000-4000-8000-0000000000aa";

// A master that is busy: of a stream whose first heartbeat has sequence 1 it reads no other before
// GoOn. Other streams are answered at once.
class BusyMaster final : public v1::ChunkServerControl::CallbackService {
 public:
  BusyMaster() : port_(*GrpcServer::Start("127.0.0.1:0", {this})) {}
  ~BusyMaster() override { port_->Shutdown(absl::ZeroDuration()); }

  const std::string& address() const { return port_->address(); }

  void AwaitBusy() { busy_.WaitForNotification(); }
  void GoOn() {
    Stream* held = nullptr;
    {
      absl::MutexLock lock(&mu_);
      std::swap(held, held_);
    }
    held->ReadNext();
  }
  // The sequences that the slow stream brought, once it has ended.
  std::vector<uint64_t> AwaitEnd() {
    ended_.WaitForNotification();
    absl::MutexLock lock(&mu_);
    return sequences_;
  }

  grpc::ServerBidiReactor<v1::Heartbeat, v1::HeartbeatReply>* HeartbeatStream(
      grpc::CallbackServerContext*) override {
    auto* const stream = new Stream(*this);
    stream->ReadNext();
    return stream;
  }

 private:
  class Stream final : public grpc::ServerBidiReactor<v1::Heartbeat, v1::HeartbeatReply> {
   public:
    explicit Stream(BusyMaster& master) : master_(master) {}
    void ReadNext() { StartRead(&heartbeat_); }

   private:
    void OnReadDone(bool ok) override {
      if (!ok) {
        Finish(grpc::Status::OK);
        return;
      }
      slow_ = slow_ || heartbeat_.sequence() == 1;
      if (!slow_) {
        reply_.set_sequence(heartbeat_.sequence());
        StartWrite(&reply_);
        return;
      }
      const bool first = heartbeat_.sequence() == 1;
      {
        absl::MutexLock lock(&master_.mu_);
        master_.sequences_.push_back(heartbeat_.sequence());
        master_.held_ = first ? this : nullptr;
      }
      if (first) {
        master_.busy_.Notify();
      } else {
        ReadNext();
      }
    }
    void OnWriteDone(bool) override { ReadNext(); }
    void OnDone() override {
      if (slow_) {
        master_.ended_.Notify();
      }
      delete this;
    }

    BusyMaster& master_;
    bool slow_ = false;
    v1::Heartbeat heartbeat_;
    v1::HeartbeatReply reply_;
  };

  absl::Mutex mu_;
  std::vector<uint64_t> sequences_ ABSL_GUARDED_BY(mu_);
  Stream* held_ ABSL_GUARDED_BY(mu_) = nullptr;
  absl::Notification busy_;
  absl::Notification ended_;
  std::unique_ptr<GrpcServer> port_;
};

MasterStreamEvents Ignore() {
  return {.on_reply = [](const v1::HeartbeatReply&) {}, .on_end = [](const absl::Status&) {}};
}

v1::Heartbeat Numbered(uint64_t sequence) {
  v1::Heartbeat heartbeat;
  heartbeat.set_sequence(sequence);
  return heartbeat;
}

TEST(GrpcMasterStreamsTest, ABusyMasterStillReadsTheLastWordsOfAStreamThatIsGone) {
  BusyMaster master;
  GrpcMasterStreams streams(kCluster);
  std::unique_ptr<MasterStream> leaving = streams.Open(master.address(), Ignore());
  leaving->Send(Numbered(1));
  master.AwaitBusy();
  leaving->Send(Numbered(2));
  leaving->CloseSends();
  // While another stream has its first answer, these have left, too.
  absl::Notification answered;
  MasterStreamEvents events = Ignore();
  events.on_reply = [&](const v1::HeartbeatReply&) { answered.Notify(); };
  const std::unique_ptr<MasterStream> other = streams.Open(master.address(), std::move(events));
  other->Send(Numbered(7));
  answered.WaitForNotification();
  leaving.reset();
  master.GoOn();
  EXPECT_THAT(master.AwaitEnd(), ElementsAre(1u, 2u));
}

}  // namespace
}  // namespace ballast::chunkserver
