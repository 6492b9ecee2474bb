// SPDX-License-Identifier: Apache-2.0
#include "services/chunkserver/core/command_queue.h"

#include <algorithm>
#include <utility>

#include "absl/container/btree_set.h"
#include "absl/strings/str_cat.h"
#include "common/base/check.h"
#include "common/base/uuid.h"
#include "common/types/error.h"
#include "common/types/limits.h"
#include "common/types/shard_config.h"

namespace ballast::chunkserver {
namespace {

constexpr int kCopySourcesMax = 7;

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

absl::Status Overtaken() {
  return absl::AbortedError("a later command wants this replica to be here");
}

absl::Status ValidateReplicate(const v1::Command::Replicate& order) {
  if (order.sources_size() < 1 || order.sources_size() > kCopySourcesMax) {
    return InvalidArgument(absl::StrCat("a copy needs 1 to ", kCopySourcesMax, " sources"));
  }
  for (const v1::ReplicaLocation& source : order.sources()) {
    if (!IsUuid(source.server_id())) {
      return InvalidArgument("a source's server id must be a UUID");
    }
    if (const absl::Status valid = ValidateAddress(source.address()); !valid.ok()) {
      return valid;
    }
  }
  if (order.length_bytes() < 1 || order.length_bytes() > kChunkBytesMax) {
    return InvalidArgument(absl::StrCat("a chunk has 1 to ", kChunkBytesMax, " bytes"));
  }
  return absl::OkStatus();
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
    case v1::Command::kKeep:
      return absl::OkStatus();
    case v1::Command::kReplicate:
      return ValidateReplicate(command.replicate());
    case v1::Command::ORDER_NOT_SET:
      break;
  }
  return InvalidArgument("a command of a kind this server does not know");
}

bool Same(const v1::Command& a, const v1::Command& b) {
  return a.handle() == b.handle() && a.command_id() == b.command_id() && PairOf(a) == PairOf(b);
}

}  // namespace

v1::CommandResult MakeCommandResult(const v1::Command& command, const absl::Status& status,
                                    uint64_t bytes) {
  v1::CommandResult result;
  result.set_command_id(command.command_id());
  result.set_handle(command.handle());
  result.set_code(static_cast<uint32_t>(status.code()));
  result.set_reason(ReasonOf(status));
  std::string text(status.message().substr(0, kResultTextBytesMax));
  // The text may be another server's, and a string that is no UTF-8 would spoil the whole
  // heartbeat.
  std::replace_if(
      text.begin(), text.end(), [](char c) { return c < ' ' || c > '~'; }, '?');
  result.set_text(std::move(text));
  result.set_bytes(bytes);
  return result;
}

CommandQueue::CommandQueue(const CommandLimits& limits, FenceTable durable)
    : limits_(limits),
      fences_(std::move(durable)),
      durable_version_(fences_.version()),
      late_deletes_(limits.wanted_max) {}

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
  const ChunkHandle handle(command.handle());
  if (command.has_delete_replica() &&
      late_deletes_.IsLate(handle, PairOf(command), command.command_id())) {
    return MakeCommandResult(command, Overtaken());
  }
  if (queue_.size() >= limits_.commands_max) {
    return MakeCommandResult(
        command, MakeError(v1::REASON_OVERLOADED,
                           absl::StrCat(queue_.size(), " commands are waiting on this server")));
  }
  if (command.has_keep() || command.has_replicate()) {
    late_deletes_.Want(handle, PairOf(command), command.command_id());
  }
  if (command.has_keep()) {
    for (Entry& entry : queue_) {
      const v1::Command& earlier = entry.queued.command;
      if (earlier.handle() == command.handle() && earlier.has_delete_replica() && !entry.running) {
        entry.cancelled = true;
      }
    }
  }
  queue_.push_back(Entry{.queued = QueuedCommand{.source = source, .command = command},
                         .fence_version = fences_.version(),
                         .running = false,
                         .cancelled = false});
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
    if (it->cancelled) {
      Next next{.queued = it->queued, .refused = MakeCommandResult(command, Overtaken())};
      queue_.erase(it);
      return next;
    }
    const bool is_free = busy.insert(command.handle()).second;
    size_t& running = command.has_replicate() ? copies_running_ : others_running_;
    const size_t running_max = command.has_replicate() ? limits_.copies_max : limits_.others_max;
    if (it->running || !is_free || it->fence_version > durable_version_) {
      continue;
    }
    Next next{.queued = it->queued, .refused = std::nullopt};
    const FencePair highest = fences_.Highest(ShardOf(command));
    if (PairOf(command) < highest) {
      next.refused = MakeCommandResult(command, StaleFence(command, highest));
      queue_.erase(it);
      return next;
    }
    if (running >= running_max) {
      continue;
    }
    it->running = true;
    ++running;
    return next;
  }
  return std::nullopt;
}

void CommandQueue::Finish(const QueuedCommand& done) {
  const auto it = std::find_if(queue_.begin(), queue_.end(), [&](const Entry& entry) {
    return entry.running && Same(entry.queued.command, done.command);
  });
  CHECK(it != queue_.end()) << done.command.handle();
  --(done.command.has_replicate() ? copies_running_ : others_running_);
  queue_.erase(it);
}

}  // namespace ballast::chunkserver
