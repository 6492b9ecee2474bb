// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <memory>

#include "absl/functional/any_invocable.h"
#include "common/env/executor.h"
#include "protos/chunkserver_control_service.pb.h"
#include "services/chunkserver/control/chunk_copier.h"
#include "services/chunkserver/control/post_blocking.h"
#include "services/chunkserver/control/post_gate.h"
#include "services/chunkserver/control/traffic_control.h"
#include "services/chunkserver/core/command_queue.h"
#include "services/chunkserver/store/chunk_store.h"
#include "services/chunkserver/store/server_identity.h"

namespace ballast::chunkserver {

// Carries out the masters' commands: makes their fence pairs durable first, then lets the store
// act, on the disk pool, a few at a time, or the copier, which has its own number.
//
// Guarantees: as CommandQueue; in addition every command that was taken in has one result, unless
// the process ends first. A disk that cannot store fences carries out nothing. Copies keep within
// the limits of `traffic` (null: none). Concurrency: lives on one executor: called there,
// `on_result` runs there. Lifetime: `store`, `identity`, `copier` and `traffic` outlive the tasks
// it posted; `gate` leads to its executor and is closed before it is destroyed.
class CommandRunner {
 public:
  static constexpr size_t kCommandsMax = 4096;
  static constexpr size_t kRunningMax = 2;  // besides copies

  using OnResult = absl::AnyInvocable<void(const QueuedCommand& command, v1::CommandResult result)>;

  CommandRunner(ChunkStore& store, ServerIdentity& identity, FenceTable fences,
                std::shared_ptr<PostGate> gate, PostBlocking post_blocking, ChunkCopier& copier,
                TrafficControl* traffic, OnResult on_result);

  // Takes commands in that came on stream `source`. Results come later or at once.
  void Take(uint64_t source, const google::protobuf::RepeatedPtrField<v1::Command>& commands);

 private:
  void Advance();
  void OnFencesStored(uint64_t version, const absl::Status& status);
  void Run(QueuedCommand queued);
  void RunCopy(QueuedCommand queued);
  void OnDone(const QueuedCommand& queued, const absl::Status& status, uint64_t bytes);
  static absl::Status Execute(ChunkStore& store, const v1::Command& command);

  ChunkStore& store_;
  ServerIdentity& identity_;
  const std::shared_ptr<PostGate> gate_;
  const PostBlocking post_blocking_;
  ChunkCopier& copier_;
  TrafficControl* const traffic_;
  OnResult on_result_;
  CommandQueue queue_;
  bool storing_fences_ = false;
};

}  // namespace ballast::chunkserver
