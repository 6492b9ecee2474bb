// SPDX-License-Identifier: Apache-2.0
#include "services/chunkserver/control/command_runner.h"

#include <utility>

#include "common/base/log.h"
#include "common/types/error.h"

namespace ballast::chunkserver {

CommandRunner::CommandRunner(ChunkStore& store, ServerIdentity& identity, FenceTable fences,
                             std::shared_ptr<PostGate> gate, PostBlocking post_blocking,
                             OnResult on_result)
    : store_(store),
      identity_(identity),
      gate_(std::move(gate)),
      post_blocking_(std::move(post_blocking)),
      on_result_(std::move(on_result)),
      queue_(kCommandsMax, std::move(fences)) {}

void CommandRunner::Take(uint64_t source,
                         const google::protobuf::RepeatedPtrField<v1::Command>& commands) {
  for (const v1::Command& command : commands) {
    if (std::optional<v1::CommandResult> refused = queue_.Offer(source, command)) {
      on_result_(QueuedCommand{.source = source, .command = command}, *std::move(refused));
    }
  }
  Advance();
}

void CommandRunner::Advance() {
  if (queue_.NeedsFencesDurable() && !storing_fences_) {
    storing_fences_ = true;
    post_blocking_([this, gate = gate_, &identity = identity_, encoded = queue_.fences().Encode(),
                    version = queue_.fences().version()] {
      const absl::Status status = identity.StoreFences(encoded);
      gate->Post([this, version, status] { OnFencesStored(version, status); });
    });
  }
  while (running_ < kRunningMax) {
    std::optional<CommandQueue::Next> next = queue_.TakeNext();
    if (!next.has_value()) {
      return;
    }
    if (next->refused.has_value()) {
      on_result_(next->queued, *std::move(next->refused));
    } else {
      Run(std::move(next->queued));
    }
  }
}

void CommandRunner::OnFencesStored(uint64_t version, const absl::Status& status) {
  if (!status.ok()) {
    // What the disk holds now is unknown, so storing stays "under way" and no command runs again;
    // the masters see no results and turn to other servers.
    LogError("command_runner.fences_not_stored", {{"error", status.ToString()}});
    return;
  }
  storing_fences_ = false;
  queue_.OnFencesDurable(version);
  Advance();
}

absl::Status CommandRunner::Execute(ChunkStore& store, const v1::Command& command) {
  const ChunkHandle handle(command.handle());
  if (command.has_delete_replica()) {
    const absl::Status deleted = store.Delete(handle, command.delete_replica().length_bytes());
    if (deleted.ok()) {
      LogInfo("command_runner.deleted",
              {{"chunk", handle.ToString()},
               {"cause", v1::Command::Delete::Cause_Name(command.delete_replica().cause())}});
    }
    return deleted;
  }
  return store.Verify(handle).status();
}

void CommandRunner::Run(QueuedCommand queued) {
  ++running_;
  post_blocking_([this, gate = gate_, &store = store_, queued = std::move(queued)] {
    const absl::Status status = Execute(store, queued.command);
    gate->Post([this, queued, status] {
      --running_;
      queue_.Finish(queued);
      on_result_(queued, MakeCommandResult(queued.command, status));
      Advance();
    });
  });
}

}  // namespace ballast::chunkserver
