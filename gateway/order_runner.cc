// SPDX-License-Identifier: Apache-2.0
#include "gateway/order_runner.h"

#include <utility>

#include "absl/synchronization/notification.h"
#include "common/base/byte_units.h"
#include "common/base/log.h"
#include "common/base/status_macros.h"
#include "common/types/error.h"
#include "gateway/core/replica_lists.h"

namespace ballast::gateway {
namespace {

// Adopted chunks take no space: what the disk holds is no bound of a store.
constexpr uint64_t kStoreBytes = uint64_t{1} << 60;

bool Failed(const v1::CommandResult& result, absl::StatusCode code) {
  return result.code() == static_cast<uint32_t>(code);
}

v1::CommandResult Refusal(const v1::Command& command, const absl::Status& status) {
  v1::CommandResult result;
  result.set_command_id(command.command_id());
  result.set_handle(command.handle());
  result.set_code(static_cast<uint32_t>(status.code()));
  result.set_reason(static_cast<uint32_t>(ReasonOf(status)));
  result.set_text(std::string(status.message()));
  return result;
}

}  // namespace

OrderRunner::OrderRunner(std::unique_ptr<chunkserver::HostedServers> hosted, std::string folder,
                         const ReplicaFacts& facts, HeartbeatRelay& relay, ChunkBook& book)
    : folder_(std::move(folder)),
      facts_(facts),
      relay_(relay),
      book_(book),
      executor_(MakeThreadExecutor("gateway-orders")),
      hosted_(std::move(hosted)) {}

OrderRunner::~OrderRunner() {
  stopping_ = true;
  absl::Notification idle;
  executor_->Post([&] { idle.Notify(); });
  idle.WaitForNotification();  // no task uses the hosted servers from here on
  hosted_.reset();             // its last results are posted, and come to nothing
  executor_.reset();
}

void OrderRunner::Take(RelayedServer& server, HeartbeatRelay::Commands commands) {
  if (commands.empty()) {
    return;
  }
  {
    absl::MutexLock lock(&book_.mu);
    for (const v1::Command& command : commands) {
      if (command.has_replicate()) {
        book_.chunks.OnCopyOrdered(server.index, ChunkHandle(command.handle()));
      }
    }
  }
  {
    absl::MutexLock lock(&mu_);
    for (const v1::Command& command : commands) {
      deletes_[server.index] += command.has_delete_replica() ? 1 : 0;
    }
  }
  executor_->Post([this, &server, commands = std::move(commands)] { Begin(server, commands); });
}

void OrderRunner::Drop(RelayedServer& server, std::vector<ChunkHandle> handles) {
  if (handles.empty()) {
    return;
  }
  executor_->Post([this, &server, handles = std::move(handles)] {
    chunkserver::ChunkStore* const store = stopping_ ? nullptr : hosted_->store(server.id);
    for (const ChunkHandle handle : handles) {
      if (store == nullptr) {
        return;
      }
      {
        absl::MutexLock lock(&book_.mu);
        if (book_.chunks.Holds(server.index, handle)) {
          continue;  // it came back meanwhile
        }
      }
      const absl::Status status = store->Delete(handle, /*length_bytes=*/0);
      if (!status.ok() && !absl::IsNotFound(status)) {
        LogWarning("gateway.file_left", {{"server", server.name},
                                         {"chunk", handle.ToString()},
                                         {"error", std::string(status.message())}});
      }
    }
  });
}

bool OrderRunner::WaitForDeletes(const RelayedServer& server, absl::Duration patience) {
  absl::MutexLock lock(&mu_);
  const auto done = [&]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_) {
    const auto it = deletes_.find(server.index);
    return it == deletes_.end() || it->second == 0;
  };
  return mu_.AwaitWithTimeout(absl::Condition(&done), patience);
}

void OrderRunner::End(const RelayedServer& server, bool is_delete) {
  if (is_delete) {
    absl::MutexLock lock(&mu_);
    --deletes_[server.index];
  }
}

// --- carrying out --------------------------------------------------------------------------------

void OrderRunner::Begin(RelayedServer& server, const HeartbeatRelay::Commands& commands) {
  for (const v1::Command& command : commands) {
    if (stopping_) {
      return;
    }
    absl::Status status = Prepare(server, command);
    if (status.ok()) {
      status = hosted_->Execute(
          server.id, {command}, [this, &server, command](const v1::CommandResult& result) {
            executor_->Post([this, &server, command, result] { Finish(server, command, result); });
          });
    }
    if (!status.ok()) {
      Finish(server, command, Refusal(command, status));
    }
  }
}

// Whatever the command reads or removes is there afterwards.
absl::Status OrderRunner::Prepare(RelayedServer& server, const v1::Command& command) {
  RETURN_IF_ERROR(OpenStore(server).status());
  const ChunkHandle handle(command.handle());
  if (!command.has_replicate()) {
    return Materialise(server, handle);
  }
  for (const v1::ReplicaLocation& source : command.replicate().sources()) {
    if (const RelayedServer* const holder = relay_.FindById(source.server_id())) {
      RETURN_IF_ERROR(Materialise(*holder, handle));
    }
  }
  return absl::OkStatus();
}

absl::StatusOr<chunkserver::ChunkStore*> OrderRunner::OpenStore(const RelayedServer& server) {
  if (chunkserver::ChunkStore* const store = hosted_->store(server.id)) {
    return store;
  }
  chunkserver::HostedServer hosted;
  hosted.server_id = server.id;
  hosted.folder = JoinPath(folder_, server.id);
  hosted.capacity_bytes = kStoreBytes;
  hosted.capacity_is_nominal = true;
  RETURN_IF_ERROR(hosted_->AddServer(hosted));
  return hosted_->store(server.id);
}

absl::Status OrderRunner::Materialise(const RelayedServer& server, ChunkHandle handle) {
  {
    absl::MutexLock lock(&book_.mu);
    if (!book_.chunks.Holds(server.index, handle)) {
      return absl::OkStatus();  // the store will say that it is not there
    }
  }
  ASSIGN_OR_RETURN(chunkserver::ChunkStore* const store, OpenStore(server));
  if (store->Stat(handle).ok()) {
    return absl::OkStatus();
  }
  const absl::Status status = store->CreateZeroChunk(handle, facts_.length_bytes);
  return absl::IsAlreadyExists(status) ? absl::OkStatus() : status;
}

void OrderRunner::Finish(RelayedServer& server, const v1::Command& command,
                         v1::CommandResult result) {
  if (stopping_) {
    return;
  }
  const ChunkHandle handle(command.handle());
  {
    absl::MutexLock lock(&book_.mu);
    AdoptedChunks& chunks = book_.chunks;
    const bool done = result.code() == 0;
    if (command.has_replicate()) {
      chunks.OnCopyEnded(server.index, handle);
    }
    const bool gone = Failed(result, absl::StatusCode::kNotFound);
    if (command.has_delete_replica() && (done || gone)) {
      chunks.OnDeleted(server.index, handle);
    } else if (command.has_replicate() && done) {
      chunks.OnReceived(server.index, handle);
    } else if (command.has_verify() && Failed(result, absl::StatusCode::kDataLoss)) {
      chunks.OnFoundCorrupt(server.index, handle);
    } else if (command.has_keep() && done) {
      chunks.OnKept(server.index, handle);
    }
  }
  if (result.code() != 0) {
    LogInfo("gateway.command_failed", {{"server", server.name},
                                       {"chunk", handle.ToString()},
                                       {"code", result.code()},
                                       {"text", result.text()}});
  }
  relay_.AddResult(server, std::move(result));
  finished_.emplace_back(&server, command.has_delete_replica());
  // One report for all results that are there by the time of its turn.
  if (to_report_.insert(&server).second) {
    executor_->Post([this, &server] { Report(server); });
  }
}

void OrderRunner::Report(RelayedServer& server) {
  to_report_.erase(&server);
  if (stopping_) {
    return;
  }
  auto commands = relay_.Report(server, [&](HeartbeatRelay::Lists* lists) {
    std::vector<HeldReplica> held;
    {
      absl::MutexLock lock(&book_.mu);
      held = book_.chunks.HeldBy(server.index);
    }
    FillLists(held, facts_, lists);
  });
  if (commands.ok()) {
    Take(server, *std::move(commands));
  } else {
    // What was to be told goes with the next heartbeat.
    LogInfo("gateway.report_failed",
            {{"server", server.name}, {"error", std::string(commands.status().message())}});
  }
  std::erase_if(finished_, [&](const std::pair<const RelayedServer*, bool>& one) {
    if (one.first == &server) {
      End(server, one.second);
    }
    return one.first == &server;
  });
}

}  // namespace ballast::gateway
