// SPDX-License-Identifier: Apache-2.0
#include "tests/sim/chunk_network.h"

#include <algorithm>
#include <optional>

#include "absl/strings/str_cat.h"
#include "common/types/error.h"

namespace ballast::testing {
namespace {

constexpr absl::Duration kRetransmit = absl::Milliseconds(150);
// As HeartbeatService: replies that wait for the network; unsolicited ones beyond it are refused.
constexpr size_t kRepliesMax = 16;

}  // namespace

void ChunkNetwork::Isolate(NetNode node) {
  for (NetNode other = 0; other < nodes_; ++other) {
    if (other != node) {
      Cut(node, other);
      Cut(other, node);
    }
  }
}

absl::Duration ChunkNetwork::DrawDelay() {
  // Mostly quick, sometimes so late that others overtake it.
  Rng& rng = sim_.rng();
  absl::Duration most = rng.OneIn(30) ? 30 * profile_.delay_max : profile_.delay_max;
  if (profile_.stragglers && rng.OneIn(1000)) {
    most = 1000 * profile_.delay_max;
  }
  return absl::Microseconds(50 + rng.Below(absl::ToInt64Microseconds(most) + 1));
}

void ChunkNetwork::Send(NetNode from, NetNode to, Task deliver) {
  if (!Reaches(from, to) || sim_.rng().Below(1000) < profile_.loss_per_mille) {
    return;
  }
  sim_.At(DrawDelay(), [this, from, to, deliver = std::move(deliver)]() mutable {
    if (Reaches(from, to)) {
      deliver();
    }
  });
}

// --- one stream ---------------------------------------------------------------------------------

class StreamHub::Connection final : public master::HeartbeatSink,
                                    public std::enable_shared_from_this<StreamHub::Connection> {
 public:
  Connection(StreamHub* hub, uint64_t number, NetNode client, std::string cluster_id,
             std::string address, chunkserver::MasterStreamEvents events)
      : hub_(hub),
        number_(number),
        client_(client),
        cluster_id_(std::move(cluster_id)),
        address_(std::move(address)),
        events_(std::move(events)) {
    const auto it = hub_->listeners_.find(address_);
    if (it != hub_->listeners_.end()) {
      listener_ = it->second.number;
      master_ = it->second.node;
    }
  }

  void Open() {
    if (listener_ == 0) {
      hub_->network_.sim().At(hub_->network_.DrawDelay(), [self = shared_from_this()] {
        self->EndClient(absl::UnavailableError("connection refused"));
      });
      return;
    }
    Send(up_, [this] {
      OnMaster([this](Listener& listener) {
        if (master_ended_) {
          return;  // it was broken before it began
        }
        if (listener.cluster_id != cluster_id_) {
          SendEnd(MakeError(v1::REASON_WRONG_CLUSTER, "another cluster's master"));
          return;
        }
        stream_ = listener.intake->OnStreamBegan(this);
      });
    });
  }

  // --- the chunk server's side ---
  void ClientSend(v1::Heartbeat heartbeat) {
    if (hub_->taps_.sent) {
      hub_->taps_.sent(number_, client_, heartbeat);
    }
    Send(up_, [this, heartbeat = std::move(heartbeat)]() mutable {
      OnMaster([this, heartbeat = std::move(heartbeat)](Listener&) mutable {
        inbox_.push_back(std::move(heartbeat));
        Read();
      });
    });
  }
  // Destroyed, half-closed or died: the master hears of it behind what was sent, or instead of it.
  void ClientGone() {
    client_open_ = false;
    if (hub_->network_.sim().rng().OneIn(3)) {
      up_.queue.clear();
    }
    Send(up_, [this] { EndMaster(); });
  }

  // --- HeartbeatSink ---
  void Answer(v1::HeartbeatReply reply) override {
    SendReply(std::move(reply));
    may_read_ = true;
    OnMaster([this](Listener&) { Read(); });
  }
  bool Push(v1::HeartbeatReply reply) override {
    if (down_.queue.size() >= kRepliesMax) {
      return false;
    }
    SendReply(std::move(reply));
    return true;
  }
  void Close(const absl::Status& status) override {
    stream_ = 0;
    SendEnd(status);
  }

  // --- faults ---
  void Break() {
    if (broken_) {
      return;
    }
    broken_ = true;
    Rng& rng = hub_->network_.sim().rng();
    for (Pipe* pipe : {&up_, &down_}) {
      if (rng.OneIn(2)) {
        pipe->queue.clear();
      }
    }
    const int64_t latest = absl::ToInt64Milliseconds(hub_->network_.profile().keepalive);
    const auto later = [&] { return absl::Milliseconds(rng.Below(latest + 1)); };
    hub_->network_.sim().At(later(), [self = shared_from_this()] {
      self->EndClient(absl::UnavailableError("the connection broke"));
    });
    hub_->network_.sim().At(later(), [self = shared_from_this()] { self->EndMaster(); });
  }
  // The master process has died: its kernel says so, if it is heard.
  void MasterGone() {
    listener_ = 0;
    stream_ = 0;
    up_.queue.clear();
    Send(down_, [this] { EndClient(absl::UnavailableError("connection reset")); });
  }

  bool done() const { return !client_open_ && (listener_ == 0 || master_ended_); }
  NetNode client() const { return client_; }
  NetNode master() const { return master_; }
  uint64_t listener() const { return listener_; }

 private:
  struct Message {
    absl::Duration due;
    Task deliver;
  };
  struct Pipe {
    std::deque<Message> queue;
    absl::Duration last_due = absl::ZeroDuration();
    std::optional<absl::Duration> stuck_since;
    bool pumping = false;
  };

  // In order; waits while the link is cut, until the keepalive gives up.
  void Send(Pipe& pipe, Task deliver) {
    if (broken_) {
      return;
    }
    const absl::Duration now = hub_->network_.sim().SteadyNow().SinceOrigin();
    pipe.last_due = std::max(pipe.last_due, now + hub_->network_.DrawDelay());
    pipe.queue.push_back({pipe.last_due, std::move(deliver)});
    if (!pipe.pumping) {
      Pump(pipe, pipe.last_due - now);
    }
  }
  void Pump(Pipe& pipe, absl::Duration delay) {
    pipe.pumping = true;
    hub_->network_.sim().At(delay, [self = shared_from_this(), &pipe] { self->Deliver(pipe); });
  }
  void Deliver(Pipe& pipe) {
    pipe.pumping = false;
    if (pipe.queue.empty()) {
      return;
    }
    const absl::Duration now = hub_->network_.sim().SteadyNow().SinceOrigin();
    const bool up = &pipe == &up_;
    if (!hub_->network_.Reaches(up ? client_ : master_, up ? master_ : client_)) {
      if (!pipe.stuck_since.has_value()) {
        pipe.stuck_since = now;
      }
      if (now - *pipe.stuck_since >= hub_->network_.profile().keepalive) {
        pipe.stuck_since.reset();
        if (broken_) {
          pipe.queue.clear();
        }
        Break();
      }
      if (!pipe.queue.empty()) {
        Pump(pipe, kRetransmit);
      }
      return;
    }
    pipe.stuck_since.reset();
    if (pipe.queue.front().due > now) {
      Pump(pipe, pipe.queue.front().due - now);
      return;
    }
    Task deliver = std::move(pipe.queue.front().deliver);
    pipe.queue.pop_front();
    if (hub_->taps_.trace) {
      hub_->taps_.trace(absl::StrCat("stream ", number_, up ? " up" : " down"));
    }
    deliver();
    if (!pipe.queue.empty() && !pipe.pumping) {
      Pump(pipe, std::max(pipe.queue.front().due - now, absl::ZeroDuration()));
    }
  }

  // Runs on the master's executor, if it is still the same process.
  void OnMaster(absl::AnyInvocable<void(Listener&)> work) {
    Listener* const listener = hub_->FindListener(address_, listener_);
    if (listener == nullptr) {
      return;
    }
    listener->executor->Post(
        [self = shared_from_this(), number = listener_, work = std::move(work)]() mutable {
          if (Listener* const still = self->hub_->FindListener(self->address_, number)) {
            work(*still);
          }
        });
  }
  // As the service: one heartbeat at a time, the next one after the answer.
  void Read() {
    if (!may_read_ || inbox_.empty() || stream_ == 0) {
      return;
    }
    may_read_ = false;
    auto heartbeat = std::make_shared<v1::Heartbeat>(std::move(inbox_.front()));
    inbox_.pop_front();
    if (!heartbeat->server_id().empty()) {  // only the first message need say it
      speaker_ = {heartbeat->server_id(), heartbeat->boot_epoch()};
    }
    if (hub_->taps_.before) {
      hub_->taps_.before(address_, speaker_);
    }
    hub_->FindListener(address_, listener_)->intake->OnStreamHeartbeat(stream_, heartbeat);
    if (hub_->taps_.after) {
      hub_->taps_.after(address_, speaker_);
    }
  }
  void SendReply(v1::HeartbeatReply reply) {
    Send(down_, [this, reply = std::move(reply)]() mutable {
      if (client_open_) {
        if (hub_->taps_.received) {
          hub_->taps_.received(number_, client_, reply);
        }
        events_.on_reply(std::move(reply));
      }
    });
  }
  void SendEnd(const absl::Status& status) {
    master_ended_ = true;
    Send(down_, [this, status] { EndClient(status); });
  }
  void EndClient(const absl::Status& status) {
    if (client_open_) {
      client_open_ = false;
      events_.on_end(status);
    }
  }
  void EndMaster() {
    master_ended_ = true;
    OnMaster([this](Listener& listener) {
      if (stream_ != 0) {
        listener.intake->OnStreamEnded(std::exchange(stream_, 0));
      }
    });
  }

  friend class StreamHub;
  StreamHub* const hub_;
  const uint64_t number_;
  const NetNode client_;
  const std::string cluster_id_;
  const std::string address_;
  chunkserver::MasterStreamEvents events_;
  NetNode master_ = 0;
  uint64_t listener_ = 0;  // 0: nobody listened, or the process has died
  bool client_open_ = true;
  bool master_ended_ = false;
  bool broken_ = false;
  uint64_t stream_ = 0;  // the intake's number; 0: not begun or ended there
  bool may_read_ = true;
  Taps::Speaker speaker_;
  std::deque<v1::Heartbeat> inbox_;
  Pipe up_;
  Pipe down_;
};

class StreamHub::ClientStream final : public chunkserver::MasterStream {
 public:
  explicit ClientStream(std::shared_ptr<Connection> connection)
      : connection_(std::move(connection)) {}
  ~ClientStream() override { CloseSends(); }
  void Send(v1::Heartbeat heartbeat) override {
    if (!closed_) {
      connection_->ClientSend(std::move(heartbeat));
    }
  }
  void CloseSends() override {
    if (!std::exchange(closed_, true)) {
      connection_->ClientGone();
    }
  }

 private:
  const std::shared_ptr<Connection> connection_;
  bool closed_ = false;
};

class StreamHub::Client final : public chunkserver::MasterStreams {
 public:
  Client(StreamHub* hub, NetNode node, std::string cluster_id)
      : hub_(hub), node_(node), cluster_id_(std::move(cluster_id)) {}
  std::unique_ptr<chunkserver::MasterStream> Open(const std::string& address,
                                                  chunkserver::MasterStreamEvents events) override {
    std::erase_if(hub_->connections_, [](const auto& entry) { return entry.second->done(); });
    const uint64_t number = ++hub_->last_connection_;
    auto connection =
        std::make_shared<Connection>(hub_, number, node_, cluster_id_, address, std::move(events));
    hub_->connections_[number] = connection;
    connection->Open();
    return std::make_unique<ClientStream>(connection);
  }

 private:
  StreamHub* const hub_;
  const NetNode node_;
  const std::string cluster_id_;
};

StreamHub::~StreamHub() {
  for (auto& [number, connection] : connections_) {
    connection->up_.queue.clear();
    connection->down_.queue.clear();
    connection->inbox_.clear();
  }
}

void StreamHub::Listen(const std::string& address, NetNode node, std::string cluster_id,
                       master::HeartbeatIntake& intake, Executor& executor) {
  listeners_[address] = {node, std::move(cluster_id), &intake, &executor, ++last_listener_};
}

void StreamHub::StopListening(const std::string& address) {
  const auto it = listeners_.find(address);
  if (it == listeners_.end()) {
    return;
  }
  const uint64_t number = it->second.number;
  listeners_.erase(it);
  for (auto& [id, connection] : connections_) {
    if (connection->listener() == number) {
      connection->MasterGone();
    }
  }
}

std::unique_ptr<chunkserver::MasterStreams> StreamHub::MakeClient(NetNode node,
                                                                  std::string cluster_id) {
  return std::make_unique<Client>(this, node, std::move(cluster_id));
}

void StreamHub::SayLate(NetNode node, const std::string& cluster_id, const std::string& address,
                        const v1::Heartbeat& heartbeat) {
  const uint64_t number = ++last_connection_;
  chunkserver::MasterStreamEvents nobody;
  nobody.on_reply = [](const v1::HeartbeatReply&) {};
  nobody.on_end = [](const absl::Status&) {};
  auto connection =
      std::make_shared<Connection>(this, number, node, cluster_id, address, std::move(nobody));
  connections_[number] = connection;
  connection->Open();
  connection->ClientSend(heartbeat);
  network_.sim().At(absl::Seconds(2), [connection] { connection->ClientGone(); });
}

void StreamHub::BreakStreamsOf(NetNode node) {
  for (auto& [number, connection] : connections_) {
    if (connection->client() == node || connection->master() == node) {
      connection->Break();
    }
  }
}

StreamHub::Listener* StreamHub::FindListener(const std::string& address, uint64_t number) {
  const auto it = listeners_.find(address);
  return it == listeners_.end() || it->second.number != number ? nullptr : &it->second;
}

}  // namespace ballast::testing
