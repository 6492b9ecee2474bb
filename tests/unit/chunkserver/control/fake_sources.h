// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "common/base/check.h"
#include "common/types/blocks.h"
#include "services/chunkserver/control/chunk_source.h"
#include "tests/support/sim_scheduler.h"

namespace ballast::chunkserver {

// Chunk servers as a copier sees them, in virtual time: each address has a script.
class FakeSources final : public ChunkSources {
 public:
  struct Script {
    std::string data;
    absl::Duration message_delay = absl::Milliseconds(1);
    absl::Status end;                  // after all data
    size_t messages_max = SIZE_MAX;    // after so many messages it ends with `end`
    size_t stall_after = SIZE_MAX;     // after so many messages nothing comes any more
    size_t bad_message = SIZE_MAX;     // of this one the checksums do not fit
    uint64_t skewed_bytes = 0;         // added to every offset
    bool idle_connection = false;      // of the first stream
    std::function<void()> on_message;  // called before each message is sent
  };
  struct Opened {
    SourceRequest request;
    size_t messages_asked = 0;
    bool cancelled = false;
    bool ended = false;
  };

  explicit FakeSources(::ballast::testing::SimScheduler& world) : world_(world) {}

  std::shared_ptr<SourceStream> Open(const SourceRequest& request, SourceEvents events) override {
    for (const auto& earlier : opened) {
      CHECK(earlier->ended || earlier->request.handle != request.handle)
          << "two streams of one copy at a time";
    }
    opened.push_back(std::make_shared<Opened>());
    opened.back()->request = request;
    const bool idle = scripts[request.source.address()].idle_connection && !request.new_connection;
    auto stream = std::make_shared<Stream>(*this, opened.back(), std::move(events), idle);
    if (idle) {  // it turns out to be dead
      stream->End(absl::UnavailableError("connection reset"));
    }
    return stream;
  }

  std::map<std::string, Script> scripts;
  std::vector<std::shared_ptr<Opened>> opened;

 private:
  class Stream final : public SourceStream, public std::enable_shared_from_this<Stream> {
   public:
    Stream(FakeSources& owner, std::shared_ptr<Opened> facts, SourceEvents events, bool idle)
        : owner_(owner),
          facts_(std::move(facts)),
          script_(owner.scripts[facts_->request.source.address()]),
          events_(std::move(events)),
          idle_(idle) {}

    void Next() override {
      CHECK(!asked_) << "asked again before the answer";
      asked_ = true;
      const size_t number = facts_->messages_asked++;
      if (idle_ || number >= script_.stall_after) {
        return;
      }
      owner_.world_.At(script_.message_delay,
                       [self = shared_from_this(), number] { self->Answer(number); });
    }
    void Cancel() override {
      facts_->cancelled = true;
      End(absl::CancelledError("cancelled"));
    }
    bool on_idle_connection() const override { return idle_; }

    void End(const absl::Status& status) {
      if (!ending_) {
        ending_ = true;
        owner_.world_.At(absl::Milliseconds(1), [self = shared_from_this(), status] {
          self->facts_->ended = true;
          SourceEvents events = std::move(self->events_);
          events.on_end(status);
        });
      }
    }

   private:
    void Answer(size_t number) {
      if (ending_) {
        return;
      }
      const uint64_t at = number * facts_->request.message_bytes;
      if (number >= script_.messages_max || at >= script_.data.size()) {
        End(script_.end);
        return;
      }
      if (script_.on_message != nullptr) {
        script_.on_message();
      }
      auto bytes =
          std::make_shared<std::string>(script_.data.substr(at, facts_->request.message_bytes));
      SourceMessage message;
      message.offset_bytes = at + script_.skewed_bytes;
      for (size_t block = 0; block < bytes->size(); block += kBlockBytes) {
        message.blocks.push_back(
            ComputeCrc32c(absl::string_view(*bytes).substr(block, kBlockBytes)));
      }
      if (number == script_.bad_message) {
        message.blocks.back().value ^= 1;
      }
      message.pieces = {*bytes};
      message.owner = bytes;
      asked_ = false;
      events_.on_message(std::move(message));
    }

    FakeSources& owner_;
    const std::shared_ptr<Opened> facts_;
    const Script script_;
    SourceEvents events_;
    const bool idle_;
    bool asked_ = false;
    bool ending_ = false;
  };

  ::ballast::testing::SimScheduler& world_;
};

}  // namespace ballast::chunkserver
