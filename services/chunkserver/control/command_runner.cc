// SPDX-License-Identifier: Apache-2.0
#include "services/chunkserver/control/command_runner.h"

#include <utility>

#include "common/base/log.h"
#include "common/types/error.h"

namespace ballast::chunkserver {

CommandRunner::CommandRunner(ChunkStore& store, ServerIdentity& identity, FenceTable fences,
                             std::shared_ptr<PostGate> gate, PostBlocking post_blocking,
                             ChunkCopier& copier, TrafficControl* traffic, OnResult on_result)
    : store_(store),
      identity_(identity),
      gate_(std::move(gate)),
      post_blocking_(std::move(post_blocking)),
      copier_(copier),
      traffic_(traffic),
      on_result_(std::move(on_result)),
      queue_(CommandLimits{.commands_max = kCommandsMax,
                           .copies_max = copier.options().copies_max,
                           .others_max = kRunningMax},
             std::move(fences)) {}

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
  while (std::optional<CommandQueue::Next> next = queue_.TakeNext()) {
    if (next->refused.has_value()) {
      on_result_(next->queued, *std::move(next->refused));
    } else if (next->queued.command.has_replicate()) {
      RunCopy(std::move(next->queued));
    } else {
      Run(std::move(next->queued));
    }
  }
}

void CommandRunner::OnFencesStored(uint64_t version, const absl::Status& status) {
  storing_fences_ = false;
  if (!status.ok()) {
    // Perhaps the disk is full, and what waits are the deletes that would change that. The file
    // holds the old table or the new one, and whatever waits goes on waiting; the next command that
    // comes, which is one of these again at the latest, tries anew with a new file.
    LogError("command_runner.fences_not_stored", {{"error", status.ToString()}});
    return;
  }
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
  if (command.has_keep()) {
    // The queue has cancelled the deletes that waited; what ran is over.
    return store.Stat(handle).status();
  }
  return store.Verify(handle).status();
}

void CommandRunner::Run(QueuedCommand queued) {
  post_blocking_([this, gate = gate_, &store = store_, queued = std::move(queued)] {
    const absl::Status status = Execute(store, queued.command);
    gate->Post([this, queued, status] { OnDone(queued, status, 0); });
  });
}

void CommandRunner::RunCopy(QueuedCommand queued) {
  const v1::Command::Replicate& replicate = queued.command.replicate();
  CopyOrder order;
  order.handle = ChunkHandle(queued.command.handle());
  order.length_bytes = replicate.length_bytes();
  order.crc32c = Crc32c{replicate.crc32c()};
  order.traffic = replicate.traffic();
  if (traffic_ != nullptr) {
    order.gate = traffic_->GateForCopy(replicate.traffic(), replicate.total_share_ppm());
  }
  order.sources.assign(replicate.sources().begin(), replicate.sources().end());
  copier_.Copy(std::move(order), [this, gate = gate_, queued](const CopyResult& result) {
    gate->Post([this, queued, result] { OnDone(queued, result.status, result.bytes); });
  });
}

void CommandRunner::OnDone(const QueuedCommand& queued, const absl::Status& status,
                           uint64_t bytes) {
  queue_.Finish(queued);
  on_result_(queued, MakeCommandResult(queued.command, status, bytes));
  Advance();
}

}  // namespace ballast::chunkserver
