// SPDX-License-Identifier: Apache-2.0
#include "common/raft/grpc_raft_transport.h"

#include <algorithm>
#include <atomic>
#include <deque>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "common/base/check.h"
#include "common/base/crc32c.h"
#include "common/base/log.h"
#include "common/rpc/channel_pool.h"
#include "common/rpc/grpc_server.h"
#include "common/rpc/status_bridge.h"
#include "common/types/error.h"
#include "protos/raft_service.grpc.pb.h"

namespace ballast {

// --- sending ------------------------------------------------------------------------------------

// The stream to one peer, opened when there is something to send.
// mu_ is never held while gRPC is called for anything that may call back at once.
class GrpcRaftTransport::Link final : public std::enable_shared_from_this<Link> {
 public:
  Link(const GrpcRaftTransportOptions& options, NodeId to, const std::string& address,
       Executor& executor)
      : options_(options),
        to_(to),
        executor_(executor),
        stub_(v1::RaftTransport::NewStub(MakeChannel(address))),
        pause_(options.backoff_min) {}

  void Send(std::string payload) {
    std::shared_ptr<Stream> opened;
    {
      absl::MutexLock lock(&mu_);
      if (closed_) {
        return;
      }
      queue_bytes_ += payload.size();
      queue_.push_back(std::move(payload));
      while (queue_.size() > options_.queue_messages_max ||
             (queue_bytes_ > options_.queue_bytes_max && queue_.size() > 1)) {
        queue_bytes_ -= queue_.front().size();
        queue_.pop_front();
      }
      if (stream_ == nullptr && !pausing_) {
        opened = stream_ = std::make_shared<Stream>(shared_from_this());
      } else if (stream_ != nullptr) {
        stream_->WriteNext();
      }
    }
    if (opened != nullptr) {
      opened->Open();
    }
  }

  // Ends the stream and waits until gRPC has forgotten it.
  void Close() {
    absl::MutexLock lock(&mu_);
    closed_ = true;
    if (stream_ != nullptr) {
      stream_->Cancel();
    }
    mu_.Await(absl::Condition(
        +[](Link* link)
             ABSL_EXCLUSIVE_LOCKS_REQUIRED(link->mu_) { return link->stream_ == nullptr; },
        this));
  }

 private:
  class Stream final : public grpc::ClientWriteReactor<v1::RaftEnvelope> {
   public:
    explicit Stream(std::shared_ptr<Link> link) : link_(std::move(link)) {}

    void Open() {
      PrepareContext(context_, link_->options_.cluster_id, absl::InfiniteDuration());
      link_->stub_->async()->Exchange(&context_, &response_, this);
      // Writes start outside reactions: gRPC must not end the call while one may still come.
      AddHold();
      StartCall();
      absl::MutexLock lock(&link_->mu_);
      open_ = true;
      WriteNext();
      if (link_->closed_) {
        Cancel();
      }
    }

    void WriteNext() {
      link_->mu_.AssertHeld();
      if (!open_ || writing_ || broken_ || link_->queue_.empty()) {
        return;
      }
      std::string payload = std::move(link_->queue_.front());
      link_->queue_.pop_front();
      link_->queue_bytes_ -= payload.size();
      message_.set_cluster_id(link_->options_.cluster_id);
      message_.set_group_id(link_->options_.group.value());
      message_.set_from(link_->options_.self.value());
      message_.set_to(link_->to_.value());
      message_.set_payload_crc32c(ComputeCrc32c(payload).value);
      message_.set_payload(std::move(payload));
      writing_ = true;
      StartWrite(&message_);
    }

    void Cancel() {
      link_->mu_.AssertHeld();
      context_.TryCancel();
      if (open_ && !writing_) {
        Break();
      }
    }

    void OnWriteDone(bool ok) override {
      absl::MutexLock lock(&link_->mu_);
      writing_ = false;
      if (ok && !link_->closed_) {
        link_->pause_ = link_->options_.backoff_min;
        WriteNext();
      } else {
        Break();
      }
    }

    // A receiver that refuses the stream ends it while nothing is being written.
    void OnReadInitialMetadataDone(bool ok) override {
      if (!ok) {
        absl::MutexLock lock(&link_->mu_);
        if (!writing_) {
          Break();
        }
      }
    }

    void OnDone(const grpc::Status& status) override {
      const std::shared_ptr<Link> link = link_;
      link->StreamEnded(status);  // may destroy this
    }

   private:
    void Break() {
      link_->mu_.AssertHeld();
      if (!broken_) {
        broken_ = true;
        RemoveHold();
      }
    }

    const std::shared_ptr<Link> link_;
    grpc::ClientContext context_;
    v1::RaftExchangeResponse response_;
    v1::RaftEnvelope message_;  // being written
    bool open_ ABSL_GUARDED_BY(link_->mu_) = false;
    bool writing_ ABSL_GUARDED_BY(link_->mu_) = false;
    bool broken_ ABSL_GUARDED_BY(link_->mu_) = false;
  };

  void StreamEnded(const grpc::Status& status) {
    std::shared_ptr<Stream> ended;
    absl::Duration pause;
    {
      absl::MutexLock lock(&mu_);
      ended = std::move(stream_);
      stream_ = nullptr;
      queue_.clear();  // old by the time there is a new stream
      queue_bytes_ = 0;
      if (closed_) {
        return;
      }
      pausing_ = true;
      pause = pause_;
      pause_ = std::min(2 * pause_, options_.backoff_max);
    }
    LogDebug("raft.stream_ended", {{"to", to_.value()}, {"error", status.error_message()}});
    executor_.RunAfter(pause, [weak = weak_from_this()] {
      if (const std::shared_ptr<Link> link = weak.lock()) {
        absl::MutexLock lock(&link->mu_);
        link->pausing_ = false;  // the next message opens a stream
      }
    });
  }

  const GrpcRaftTransportOptions options_;
  const NodeId to_;
  Executor& executor_;
  const std::unique_ptr<v1::RaftTransport::Stub> stub_;

  absl::Mutex mu_;
  bool closed_ ABSL_GUARDED_BY(mu_) = false;
  bool pausing_ ABSL_GUARDED_BY(mu_) = false;
  absl::Duration pause_ ABSL_GUARDED_BY(mu_);
  std::deque<std::string> queue_ ABSL_GUARDED_BY(mu_);
  uint64_t queue_bytes_ ABSL_GUARDED_BY(mu_) = 0;
  std::shared_ptr<Stream> stream_ ABSL_GUARDED_BY(mu_);
};

// --- receiving ----------------------------------------------------------------------------------

class GrpcRaftTransport::Service final : public v1::RaftTransport::CallbackService {
 public:
  Service(const GrpcRaftTransportOptions& options, Executor& executor)
      : options_(options), executor_(executor), shared_(std::make_shared<Shared>()) {}

  void SetReceiver(Receiver receiver) { shared_->receiver = std::move(receiver); }

  grpc::ServerReadReactor<v1::RaftEnvelope>* Exchange(grpc::CallbackServerContext* context,
                                                      v1::RaftExchangeResponse*) override {
    auto* reader = new Reader(*this);
    const absl::Status ours = CheckClusterId(*context, options_.cluster_id);
    if (ours.ok()) {
      reader->ReadNext();
    } else {
      reader->Finish(ToGrpc(ours));
    }
    return reader;
  }

 private:
  struct Shared {
    Receiver receiver;                  // on the executor only
    std::map<NodeId, uint64_t> newest;  // on the executor only: a sender's newest stream
  };

  class Reader final : public grpc::ServerReadReactor<v1::RaftEnvelope> {
   public:
    explicit Reader(Service& service) : service_(service), number_(++service.streams_) {}

    void ReadNext() { StartRead(&message_); }

    void OnReadDone(bool ok) override {
      if (!ok) {
        Finish(grpc::Status::OK);
        return;
      }
      const absl::Status valid = service_.Check(message_);
      if (!valid.ok()) {
        LogWarning("raft.stream_refused", {{"from", message_.from()}, {"error", valid.ToString()}});
        Finish(ToGrpc(valid));
        return;
      }
      // The next is read once this one was taken in: the sender's queue is the only long one.
      service_.executor_.Post([delivery = Delivery(this)]() mutable { delivery.Run(); });
    }

    void OnDone() override { delete this; }

    void Deliver() {
      Shared& shared = *service_.shared_;
      const NodeId from(message_.from());
      uint64_t& newest = shared.newest[from];
      newest = std::max(newest, number_);
      if (newest == number_ && shared.receiver) {
        shared.receiver(from, std::move(*message_.mutable_payload()));
      }
      ReadNext();
    }

   private:
    // Whether it runs or is dropped with the executor, the reader goes on or ends.
    class Delivery {
     public:
      explicit Delivery(Reader* reader) : reader_(reader) {}
      Delivery(Delivery&& other) noexcept : reader_(std::exchange(other.reader_, nullptr)) {}
      ~Delivery() {
        if (reader_ != nullptr) {
          reader_->Finish(grpc::Status(grpc::StatusCode::UNAVAILABLE, "stopping"));
        }
      }
      void Run() { std::exchange(reader_, nullptr)->Deliver(); }

     private:
      Reader* reader_;
    };

    Service& service_;
    const uint64_t number_;
    v1::RaftEnvelope message_;
  };

  absl::Status Check(const v1::RaftEnvelope& message) const {
    if (message.cluster_id() != options_.cluster_id ||
        message.group_id() != options_.group.value()) {
      return MakeError(v1::REASON_WRONG_CLUSTER, "a message of another cluster or group");
    }
    if (message.to() != options_.self.value() ||
        options_.peers.count(NodeId(message.from())) == 0) {
      return InvalidArgument("a message from a stranger or to another member");
    }
    if (ComputeCrc32c(message.payload()).value != message.payload_crc32c()) {
      return InvalidArgument("a message that does not fit its checksum");
    }
    return absl::OkStatus();
  }

  const GrpcRaftTransportOptions& options_;
  Executor& executor_;
  const std::shared_ptr<Shared> shared_;
  std::atomic<uint64_t> streams_ = 0;
};

// --- both ---------------------------------------------------------------------------------------

GrpcRaftTransport::GrpcRaftTransport(GrpcRaftTransportOptions options, Executor& executor)
    : options_(std::move(options)), service_(std::make_unique<Service>(options_, executor)) {
  for (const auto& [id, address] : options_.peers) {
    CHECK(id != options_.self);
    links_[id] = std::make_shared<Link>(options_, id, address, executor);
  }
}

GrpcRaftTransport::~GrpcRaftTransport() {
  for (const auto& [id, link] : links_) {
    link->Close();
  }
}

grpc::Service* GrpcRaftTransport::service() { return service_.get(); }

void GrpcRaftTransport::Send(NodeId to, std::string envelope) {
  const auto link = links_.find(to);
  CHECK(link != links_.end()) << "no peer " << to;
  link->second->Send(std::move(envelope));
}

void GrpcRaftTransport::SetReceiver(Receiver receiver) {
  service_->SetReceiver(std::move(receiver));
}

}  // namespace ballast
