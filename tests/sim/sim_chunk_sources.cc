// SPDX-License-Identifier: Apache-2.0
#include "tests/sim/sim_chunk_sources.h"

#include <utility>

#include "common/types/error.h"
#include "tests/sim/sim_chunk_server.h"

namespace ballast::testing {
namespace {

// A message that is not answered for so long: the connection is dead.
constexpr absl::Duration kSilenceMax = absl::Seconds(4);

}  // namespace

class SimChunkSources::Stream final : public chunkserver::SourceStream,
                                      public std::enable_shared_from_this<Stream> {
 public:
  Stream(ChunkWorld& world, NetNode node, chunkserver::SourceRequest request,
         chunkserver::SourceEvents events)
      : world_(world), node_(node), request_(std::move(request)), events_(std::move(events)) {}

  void Next() override {
    const uint64_t number = ++asked_;
    Later(kSilenceMax, [number](Stream& self) {
      if (self.answered_ < number) {
        self.Finish(absl::UnavailableError("the connection is silent"));
      }
    });
    SimChunkServer* const there = world_.server_at(request_.source.address());
    if (there == nullptr) {
      Later(absl::Milliseconds(1),
            [](Stream& self) { self.Finish(absl::UnavailableError("connection refused")); });
      return;
    }
    const NetNode source = there->place().node;
    world_.network.Send(node_, source,
                        [self = shared_from_this(), source, number] { self->Ask(source, number); });
  }
  void Cancel() override {
    Later(absl::ZeroDuration(),
          [](Stream& self) { self.Finish(absl::CancelledError("cancelled")); });
  }
  bool on_idle_connection() const override { return false; }

  void Finish(const absl::Status& status) {
    if (!std::exchange(ended_, true)) {
      chunkserver::SourceEvents events = std::move(events_);
      events.on_end(status);
    }
  }

 private:
  void Later(absl::Duration delay, std::function<void(Stream&)> task) {
    world_.sim.At(delay, [self = shared_from_this(), task = std::move(task)] {
      if (!self->ended_) {
        task(*self);
      }
    });
  }
  // At the source's door.
  void Ask(NetNode source, uint64_t number) {
    SimChunkServer* const server = world_.server_at(request_.source.address());
    if (server == nullptr || ended_) {
      return;
    }
    ChunkPartReply reply = [self = shared_from_this(), source,
                            number](const absl::StatusOr<ChunkPart>& part) {
      self->world_.network.Send(source, self->node_,
                                [self, number, part] { self->Answer(number, part); });
    };
    if (server->server_id() != request_.source.server_id()) {
      reply(absl::NotFoundError("another server lives here now"));
      return;
    }
    server->ReadPart(request_.handle, offset_, request_.message_bytes, std::move(reply));
  }
  void Answer(uint64_t number, const absl::StatusOr<ChunkPart>& part) {
    if (ended_ || number != asked_ || number == answered_) {
      return;
    }
    answered_ = number;
    if (!part.ok() || part->data == nullptr) {
      Finish(part.status());
      return;
    }
    offset_ = part->offset + part->data->size();
    chunkserver::SourceMessage message;
    message.offset_bytes = part->offset;
    message.blocks = part->blocks;
    if (world_.rng().OneIn(200)) {
      (*part->data)[world_.rng().Below(part->data->size())] ^= 1;
    }
    message.pieces = {*part->data};
    message.owner = part->data;
    events_.on_message(std::move(message));
  }

  ChunkWorld& world_;
  const NetNode node_;
  const chunkserver::SourceRequest request_;
  chunkserver::SourceEvents events_;
  uint64_t asked_ = 0;
  uint64_t answered_ = 0;
  uint64_t offset_ = 0;
  bool ended_ = false;
};

std::shared_ptr<chunkserver::SourceStream> SimChunkSources::Open(
    const chunkserver::SourceRequest& request, chunkserver::SourceEvents events) {
  std::erase_if(streams_, [](const std::weak_ptr<Stream>& stream) { return stream.expired(); });
  auto stream = std::make_shared<Stream>(world_, node_, request, std::move(events));
  streams_.push_back(stream);
  return stream;
}

void SimChunkSources::EndAll() {
  for (const std::weak_ptr<Stream>& weak : std::exchange(streams_, {})) {
    if (const auto stream = weak.lock()) {
      stream->Finish(absl::CancelledError("the process ends"));
    }
  }
}

}  // namespace ballast::testing
