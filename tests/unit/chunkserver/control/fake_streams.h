// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "protos/chunkserver_control_service.pb.h"
#include "services/chunkserver/control/master_stream.h"

namespace ballast::chunkserver {

// Streams whose other end is the test.
class FakeStreams final : public MasterStreams {
 public:
  struct Stream {
    std::string address;
    MasterStreamEvents events;
    std::vector<v1::Heartbeat> received;
    bool closed_by_server = false;  // CloseSends
    bool gone = false;              // destroyed by the heartbeater
  };

  std::unique_ptr<MasterStream> Open(const std::string& address,
                                     MasterStreamEvents events) override {
    auto stream = std::make_shared<Stream>();
    stream->address = address;
    stream->events = std::move(events);
    all.push_back(stream);
    return std::make_unique<Handle>(*this, stream);
  }

  Stream& last() { return *all.back(); }

  std::vector<std::shared_ptr<Stream>> all;
  std::function<void(Stream&, const v1::Heartbeat&)> on_heartbeat;

 private:
  class Handle final : public MasterStream {
   public:
    Handle(FakeStreams& owner, std::shared_ptr<Stream> stream)
        : owner_(owner), stream_(std::move(stream)) {}
    ~Handle() override { stream_->gone = true; }
    void Send(v1::Heartbeat heartbeat) override {
      stream_->received.push_back(heartbeat);
      if (owner_.on_heartbeat != nullptr) {
        owner_.on_heartbeat(*stream_, heartbeat);
      }
    }
    void CloseSends() override { stream_->closed_by_server = true; }

   private:
    FakeStreams& owner_;
    const std::shared_ptr<Stream> stream_;
  };
};

}  // namespace ballast::chunkserver
