// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/time/time.h"
#include "common/env/executor.h"
#include "services/chunkserver/control/master_stream.h"
#include "services/master/control/heartbeat_intake.h"
#include "tests/support/sim_scheduler.h"

namespace ballast::testing {

// A machine's place in the network; processes come and go on it.
using NetNode = size_t;

// Links between machines: delay, loss, one-way cuts. Single messages may overtake each other and
// get lost; a stream keeps its order and waits out a cut, as a connection does.
//
// Concurrency: one thread. All chance comes from the scheduler's Rng.
class ChunkNetwork {
 public:
  struct Profile {
    absl::Duration delay_max = absl::Milliseconds(3);
    bool stragglers = true;       // a few messages take a thousand times as long
    uint32_t loss_per_mille = 5;  // of single messages
    // A connection on which nothing gets through for so long is given up.
    absl::Duration keepalive = absl::Seconds(4);
  };

  explicit ChunkNetwork(SimScheduler& sim) : sim_(sim) {}

  NetNode AddNode() { return nodes_++; }
  Profile& profile() { return profile_; }
  SimScheduler& sim() { return sim_; }

  void Cut(NetNode from, NetNode to) { cut_.insert({from, to}); }
  void Isolate(NetNode node);
  void Restore(NetNode from, NetNode to) { cut_.erase({from, to}); }
  void Heal() { cut_.clear(); }
  bool Reaches(NetNode from, NetNode to) const { return !cut_.contains({from, to}); }
  bool Converse(NetNode a, NetNode b) const { return Reaches(a, b) && Reaches(b, a); }

  // Runs `deliver` at the receiver's side later, or never.
  void Send(NetNode from, NetNode to, Task deliver);
  absl::Duration DrawDelay();

 private:
  SimScheduler& sim_;
  Profile profile_;
  NetNode nodes_ = 0;
  std::set<std::pair<NetNode, NetNode>> cut_;
};

// Heartbeat streams over the network, the twin of GrpcMasterStreams and HeartbeatService together.
// Each end notices a broken stream in its own time; what was under way may arrive after that, or
// never.
//
// Concurrency: one thread; events reach a master on its executor and a chunk server through its own
// gate.
class StreamHub {
 public:
  explicit StreamHub(ChunkNetwork& network) : network_(network) {}
  ~StreamHub();

  // A master process listens; intake and executor live until StopListening. Kill: no farewell.
  void Listen(const std::string& address, NetNode node, std::string cluster_id,
              master::HeartbeatIntake& intake, Executor& executor);
  void StopListening(const std::string& address);

  // What a chunk server process opens streams with. Destroying it is the process's end.
  std::unique_ptr<chunkserver::MasterStreams> MakeClient(NetNode node, std::string cluster_id);

  // All streams of a machine break.
  void BreakStreamsOf(NetNode node);

  // A process that stood still since before the last boot of its server comes to life: opens a
  // stream to whoever listens there, and this is what it says.
  void SayLate(NetNode node, const std::string& cluster_id, const std::string& address,
               const v1::Heartbeat& heartbeat);

  // Told of every heartbeat that a master is about to handle, and after it: (address, speaker);
  // of heartbeats that leave a chunk server and of replies that reach one, with the stream's
  // number.
  struct Taps {
    // As the stream's heartbeats up to this one said.
    struct Speaker {
      std::string server_id;
      uint64_t boot_epoch = 0;
    };
    std::function<void(const std::string& address, const Speaker& speaker)> before;
    std::function<void(const std::string& address, const Speaker& speaker)> after;
    std::function<void(uint64_t stream, NetNode server, const v1::Heartbeat& heartbeat)> sent;
    std::function<void(uint64_t stream, NetNode server, const v1::HeartbeatReply& reply)> received;
    std::function<void(const std::string& what)> trace;
  };
  void SetTaps(Taps taps) { taps_ = std::move(taps); }

 private:
  class Connection;
  class ClientStream;
  class Client;
  struct Listener {
    NetNode node = 0;
    std::string cluster_id;
    master::HeartbeatIntake* intake = nullptr;
    Executor* executor = nullptr;
    uint64_t number = 0;  // tells a listener from its successor at the same address
  };
  Listener* FindListener(const std::string& address, uint64_t number);

  ChunkNetwork& network_;
  Taps taps_;
  std::map<std::string, Listener> listeners_;
  uint64_t last_listener_ = 0;
  uint64_t last_connection_ = 0;
  std::map<uint64_t, std::shared_ptr<Connection>> connections_;
};

}  // namespace ballast::testing
