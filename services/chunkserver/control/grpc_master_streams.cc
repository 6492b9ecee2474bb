// SPDX-License-Identifier: Apache-2.0
#include "services/chunkserver/control/grpc_master_streams.h"

#include <grpcpp/client_context.h>
#include <grpcpp/support/client_callback.h>

#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "common/rpc/channel_pool.h"
#include "common/rpc/status_bridge.h"
#include "protos/chunkserver_control_service.grpc.pb.h"

namespace ballast::chunkserver {

namespace {

// How long what was sent before a stream's end may take to leave.
constexpr absl::Duration kLastWords = absl::Seconds(1);

}  // namespace

struct GrpcMasterStreams::Shared {
  std::string cluster_id;
  absl::Mutex mu;
  uint64_t next_call ABSL_GUARDED_BY(mu) = 1;
  std::map<uint64_t, std::function<void()>> calls ABSL_GUARDED_BY(mu);  // how to cancel each
};

namespace {

// The call behind a stream. Keeps itself alive until gRPC is done with it.
class Call final : public grpc::ClientBidiReactor<v1::Heartbeat, v1::HeartbeatReply>,
                   public std::enable_shared_from_this<Call> {
 public:
  Call(const std::string& address, const std::string& cluster_id, MasterStreamEvents events,
       absl::AnyInvocable<void()> on_gone)
      : stub_(v1::ChunkServerControl::NewStub(MakeChannel(address))),
        events_(std::move(events)),
        on_gone_(std::move(on_gone)) {
    PrepareContext(context_, cluster_id, absl::InfiniteDuration());
  }

  void Start() {
    self_ = shared_from_this();
    stub_->async()->HeartbeatStream(&context_, this);
    AddHold();  // given up in Release
    StartRead(&reply_);
    StartCall();
  }

  void Send(v1::Heartbeat heartbeat) {
    {
      absl::MutexLock lock(&mu_);
      if (closed_) {
        return;
      }
      waiting_.push_back(std::move(heartbeat));
      if (writing_) {
        return;
      }
      writing_ = true;
    }
    WriteNext();
  }

  void CloseSends() {
    {
      absl::MutexLock lock(&mu_);
      if (closed_ || done_sending_) {
        return;
      }
      done_sending_ = true;
      if (writing_) {
        return;  // after the last message
      }
      writing_ = true;
    }
    StartWritesDone();
  }

  void Cancel() { context_.TryCancel(); }

  // Nobody is interested any more. What was sent before CloseSends is not taken back: also when all
  // of it has left, the master may not have read it, and never would once the call is cancelled.
  void Leave() {
    {
      absl::MutexLock lock(&mu_);
      if (done_sending_) {
        return;
      }
    }
    Cancel();
  }

 private:
  // Called by the thread that set writing_.
  void WriteNext() {
    {
      absl::MutexLock lock(&mu_);
      sending_ = std::move(waiting_.front());
      waiting_.pop_front();
    }
    StartWrite(&sending_);
  }

  void OnWriteDone(bool ok) override {
    enum { kNothing, kNext, kDone, kRelease } what = kNothing;
    {
      absl::MutexLock lock(&mu_);
      closed_ = closed_ || !ok;
      if (closed_) {
        writing_ = false;
        what = std::exchange(held_, false) ? kRelease : kNothing;
      } else if (!waiting_.empty()) {
        what = kNext;
      } else if (done_sending_) {
        what = kDone;
      } else {
        writing_ = false;
      }
    }
    switch (what) {
      case kNothing:
        break;
      case kNext:
        WriteNext();
        break;
      case kDone:
        StartWritesDone();
        break;
      case kRelease:
        RemoveHold();
        break;
    }
  }

  void OnWritesDoneDone(bool /*ok*/) override {
    bool release = false;
    {
      absl::MutexLock lock(&mu_);
      closed_ = true;
      writing_ = false;
      release = std::exchange(held_, false);
    }
    if (release) {
      RemoveHold();
    }
  }

  void OnReadDone(bool ok) override {
    if (ok) {
      events_.on_reply(std::move(reply_));
      reply_.Clear();
      StartRead(&reply_);
      return;
    }
    bool release = false;
    {
      absl::MutexLock lock(&mu_);
      closed_ = true;
      release = !writing_ && std::exchange(held_, false);
    }
    if (release) {
      RemoveHold();
    }
  }

  void OnDone(const grpc::Status& status) override {
    events_.on_end(FromGrpc(status));
    absl::AnyInvocable<void()> on_gone = std::move(on_gone_);
    self_.reset();  // perhaps the last reference: nothing of this object is used below
    on_gone();
  }

  const std::unique_ptr<v1::ChunkServerControl::Stub> stub_;
  grpc::ClientContext context_;
  MasterStreamEvents events_;
  absl::AnyInvocable<void()> on_gone_;
  v1::HeartbeatReply reply_;
  std::shared_ptr<Call> self_;  // until OnDone

  absl::Mutex mu_;
  std::deque<v1::Heartbeat> waiting_ ABSL_GUARDED_BY(mu_);
  v1::Heartbeat sending_;                      // belongs to the write under way
  bool writing_ ABSL_GUARDED_BY(mu_) = false;  // a write is under way or about to be begun
  bool done_sending_ ABSL_GUARDED_BY(mu_) = false;
  bool closed_ ABSL_GUARDED_BY(mu_) = false;  // nothing can be sent any more
  bool held_ ABSL_GUARDED_BY(mu_) = true;     // the reactor's hold; ends with closed_ && !writing_
};

class GrpcMasterStream final : public MasterStream {
 public:
  explicit GrpcMasterStream(std::shared_ptr<Call> call) : call_(std::move(call)) {}
  ~GrpcMasterStream() override { call_->Leave(); }
  void Send(v1::Heartbeat heartbeat) override { call_->Send(std::move(heartbeat)); }
  void CloseSends() override { call_->CloseSends(); }

 private:
  const std::shared_ptr<Call> call_;
};

}  // namespace

GrpcMasterStreams::GrpcMasterStreams(std::string cluster_id) : shared_(std::make_shared<Shared>()) {
  shared_->cluster_id = std::move(cluster_id);
}

GrpcMasterStreams::~GrpcMasterStreams() {
  absl::MutexLock lock(&shared_->mu);
  const auto none = [this]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(shared_->mu) {
    return shared_->calls.empty();
  };
  shared_->mu.AwaitWithTimeout(absl::Condition(&none), kLastWords);
  for (const auto& [id, cancel] : shared_->calls) {
    cancel();
  }
  shared_->mu.Await(absl::Condition(&none));
}

std::unique_ptr<MasterStream> GrpcMasterStreams::Open(const std::string& address,
                                                      MasterStreamEvents events) {
  uint64_t id = 0;
  {
    absl::MutexLock lock(&shared_->mu);
    id = shared_->next_call++;
  }
  auto call = std::make_shared<Call>(address, shared_->cluster_id, std::move(events),
                                     [shared = shared_, id] {
                                       absl::MutexLock lock(&shared->mu);
                                       shared->calls.erase(id);
                                     });
  {
    absl::MutexLock lock(&shared_->mu);
    shared_->calls[id] = [weak = std::weak_ptr<Call>(call)] {
      if (const auto still = weak.lock()) {
        still->Cancel();
      }
    };
  }
  call->Start();
  return std::make_unique<GrpcMasterStream>(std::move(call));
}

}  // namespace ballast::chunkserver
