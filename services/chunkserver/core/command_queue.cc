// SPDX-License-Identifier: Apache-2.0
#include "services/chunkserver/core/command_queue.h"

#include <algorithm>
#include <utility>

#include "absl/container/btree_set.h"
#include "absl/strings/str_cat.h"
#include "common/base/check.h"
#include "common/types/error.h"

namespace ballast::chunkserver {
namespace {

FencePair PairOf(const v1::Command& command) {
  return FencePair{ConfigVersion(command.fence().config_version()),
                   RaftTerm(command.fence().term())};
}

ShardId ShardOf(const v1::Command& command) { return ChunkHandle(command.handle()).shard(); }

absl::Status StaleFence(const v1::Command& command, FencePair highest) {
  const FencePair own = PairOf(command);
  return MakeError(
      v1::REASON_STALE_FENCE,
      absl::StrCat("command of (configuration ", own.config_version.value(), ", term ",
                   own.term.value(), ") after one of (", highest.config_version.value(), ", ",
                   highest.term.value(), ") for shard ", ShardOf(command).value()));
}

absl::Status Validate(const v1::Command& command) {
  if (command.handle() == 0 || command.command_id() == 0) {
    return InvalidArgument("a command needs a handle and an id");
  }
  if (command.fence().config_version() == 0 || command.fence().term() == 0) {
    return InvalidArgument("a command needs a fence with configuration and term");
  }
  switch (command.order_case()) {
    case v1::Command::kDeleteReplica:
      if (command.delete_replica().cause() == v1::Command::Delete::CAUSE_UNSPECIFIED) {
        return InvalidArgument("a delete needs a cause");
      }
      return absl::OkStatus();
    case v1::Command::kVerify:
      return absl::OkStatus();
    case v1::Command::kKeep:
    case v1::Command::kReplicate:
      return MakeError(v1::REASON_NOT_SUPPORTED_YET, "this server cannot copy chunks from others");
    case v1::Command::ORDER_NOT_SET:
      break;
  }
  return InvalidArgument("a command of a kind this server does not know");
}

bool Same(const v1::Command& a, const v1::Command& b) {
  return a.handle() == b.handle() && a.command_id() == b.command_id() && PairOf(a) == PairOf(b);
}

}  // namespace

v1::CommandResult MakeCommandResult(const v1::Command& command, const absl::Status& status) {
  v1::CommandResult result;
  result.set_command_id(command.command_id());
  result.set_handle(command.handle());
  result.set_code(static_cast<uint32_t>(status.code()));
  result.set_reason(ReasonOf(status));
  result.set_text(std::string(status.message().substr(0, 256)));
  return result;
}

CommandQueue::CommandQueue(size_t commands_max, FenceTable durable)
    : commands_max_(commands_max),
      fences_(std::move(durable)),
      durable_version_(fences_.version()) {}

std::optional<v1::CommandResult> CommandQueue::Offer(uint64_t source, const v1::Command& command) {
  if (const absl::Status valid = Validate(command); !valid.ok()) {
    return MakeCommandResult(command, valid);
  }
  if (!fences_.Admit(ShardOf(command), PairOf(command))) {
    return MakeCommandResult(command, StaleFence(command, fences_.Highest(ShardOf(command))));
  }
  for (Entry& entry : queue_) {
    if (Same(entry.queued.command, command)) {
      if (!entry.running) {
        entry.queued.source = source;  // the older stream is likely gone
      }
      return std::nullopt;
    }
  }
  if (queue_.size() >= commands_max_) {
    return MakeCommandResult(
        command, MakeError(v1::REASON_OVERLOADED,
                           absl::StrCat(queue_.size(), " commands are waiting on this server")));
  }
  queue_.push_back(Entry{.queued = QueuedCommand{.source = source, .command = command},
                         .fence_version = fences_.version(),
                         .running = false});
  return std::nullopt;
}

void CommandQueue::OnFencesDurable(uint64_t version) {
  CHECK_LE(version, fences_.version());
  durable_version_ = std::max(durable_version_, version);
}

std::optional<CommandQueue::Next> CommandQueue::TakeNext() {
  absl::btree_set<uint64_t> busy;
  for (auto it = queue_.begin(); it != queue_.end(); ++it) {
    const v1::Command& command = it->queued.command;
    const bool is_free = busy.insert(command.handle()).second;
    if (it->running || !is_free || it->fence_version > durable_version_) {
      continue;
    }
    Next next{.queued = it->queued, .refused = std::nullopt};
    const FencePair highest = fences_.Highest(ShardOf(command));
    if (PairOf(command) < highest) {
      next.refused = MakeCommandResult(command, StaleFence(command, highest));
      queue_.erase(it);
    } else {
      it->running = true;
    }
    return next;
  }
  return std::nullopt;
}

void CommandQueue::Finish(const QueuedCommand& done) {
  const auto it = std::find_if(queue_.begin(), queue_.end(), [&](const Entry& entry) {
    return entry.running && Same(entry.queued.command, done.command);
  });
  CHECK(it != queue_.end()) << done.command.handle();
  queue_.erase(it);
}

}  // namespace ballast::chunkserver
