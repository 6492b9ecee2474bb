// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <list>
#include <optional>

#include "absl/status/status.h"
#include "protos/chunkserver_control_service.pb.h"
#include "services/chunkserver/core/fence_table.h"
#include "services/chunkserver/core/late_deletes.h"

namespace ballast::chunkserver {

// A command and the stream it came on, to which its result goes back.
struct QueuedCommand {
  uint64_t source = 0;
  v1::Command command;
};

struct CommandLimits {
  size_t commands_max = 4096;  // wait or run
  size_t copies_max = 8;       // of these, Replicates that run
  size_t others_max = 2;       // of these, others that run
  size_t wanted_max = 4096;    // chunks whose last Keep or Replicate is remembered one by one
};

// Orders of masters, waiting to be carried out.
//
// Guarantees: commands about one chunk run one at a time, in the order in which they came; a
// command that is waiting or running is not queued again; CommandLimits hold, so that copies, which
// are slow, and the rest do not wait for each other. None runs before its fence pair is durable,
// and none at all once a higher pair for its shard was seen. A Keep that is taken in cancels the
// Deletes of its chunk that wait before it. A Delete that was given before a Keep or Replicate of
// its chunk and comes after it is refused (core/late_deletes.h). Commands are repeated by the
// masters that need them, so that refusing one loses nothing.
//
// Concurrency: none; its owner serialises. Pure.
class CommandQueue {
 public:
  // `durable` is the table as it is on disk.
  CommandQueue(const CommandLimits& limits, FenceTable durable);

  // Takes a command in. A result: it was refused (STALE_FENCE, OVERLOADED, INVALID_ARGUMENT, and
  // ABORTED for a late Delete) and that is to be sent back. None: it is queued, or was already.
  std::optional<v1::CommandResult> Offer(uint64_t source, const v1::Command& command);

  // True while commands wait for fence pairs that are not durable. Then fences().Encode() is to be
  // written, and OnFencesDurable called with the version() it had when it was encoded.
  bool NeedsFencesDurable() const {
    return durable_version_ < fences_.version() && !queue_.empty();
  }
  const FenceTable& fences() const { return fences_; }
  void OnFencesDurable(uint64_t version);

  struct Next {
    QueuedCommand queued;
    // Present: do not act, send this back; the command is done with.
    std::optional<v1::CommandResult> refused;
  };
  // The next command that may run now; Finish must be called for it unless it is refused.
  std::optional<Next> TakeNext();
  void Finish(const QueuedCommand& done);

  size_t size() const { return queue_.size(); }

 private:
  struct Entry {
    QueuedCommand queued;
    uint64_t fence_version;  // durable from this version of the table on
    bool running = false;
    bool cancelled = false;  // by a Keep
  };

  const CommandLimits limits_;
  FenceTable fences_;
  uint64_t durable_version_;
  LateDeletes late_deletes_;
  std::list<Entry> queue_;  // in order of arrival, running ones included
  size_t copies_running_ = 0;
  size_t others_running_ = 0;
};

// Longest text of a result.
inline constexpr size_t kResultTextBytesMax = 256;

// A result that reports `status` for `command`. Its text is cut, and plain ASCII whatever strangers
// put into the status.
v1::CommandResult MakeCommandResult(const v1::Command& command, const absl::Status& status,
                                    uint64_t bytes = 0);

}  // namespace ballast::chunkserver
