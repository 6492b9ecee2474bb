// SPDX-License-Identifier: Apache-2.0
#include <vector>

#include "common/base/status_macros.h"
#include "services/master/control/write_replies.h"
#include "services/master/core/requests.h"
#include "services/master/master_service_calls.h"

// Mutations: small values, deletion, and the steps of a large write.

namespace ballast::master {
grpc::ServerUnaryReactor* MasterService::PutInline(Context* context,
                                                   const v1::PutInlineRequest* request,
                                                   v1::PutInlineResponse* response) {
  return Mutate(
      context, Check(*request, machine_.shard_count(), settings()),
      [&] { return ToCommand(machine_.ShardOf(request->key()), *request, ContextNow()); },
      [response](const mlog::Result& result) {
        response->set_generation(result.generation());
        return absl::OkStatus();
      });
}

grpc::ServerUnaryReactor* MasterService::DeleteObject(Context* context,
                                                      const v1::DeleteObjectRequest* request,
                                                      v1::DeleteObjectResponse* response) {
  return Mutate(
      context, Check(*request, machine_.shard_count()),
      [&] { return ToCommand(machine_.ShardOf(request->key()), *request, ContextNow()); },
      [response](const mlog::Result& result) {
        response->set_generation(result.generation());
        return absl::OkStatus();
      });
}

grpc::ServerUnaryReactor* MasterService::BeginWrite(Context* context,
                                                    const v1::BeginWriteRequest* request,
                                                    v1::BeginWriteResponse* response) {
  const absl::Status checked = Check(*request, machine_.shard_count());
  mlog::Command command;
  if (checked.ok()) {
    const ReplicaCounts replicas = ReplicasOf(*request, settings());
    command = ToCommand(machine_.ShardOf(request->key()), *request, replicas.wanted,
                        replicas.required, ContextNow());
  }
  return AsLeader(
      context, checked,
      [this, request, response, command = std::move(command)](UnaryAnswer answer) mutable {
        const ShardId shard(command.shard());
        if (const auto serving = machine_.Serving(shard); !serving.ok()) {
          answer.Finish(serving.status());
          return;
        }
        // Servers first: a write that cannot succeed now leaves no draft behind.
        auto placements = PlaceFirstChunks(view_, *request, command.begin_write());
        if (!placements.ok()) {
          answer.Finish(placements.status());
          return;
        }
        const auto expiry_ms = static_cast<uint32_t>(command.begin_write().expiry_ms());
        Propose(std::move(command), std::move(answer),
                [response, shard, expiry_ms,
                 placements = *std::move(placements)](const mlog::Result& result) mutable {
                  FillBegun(shard, result, expiry_ms, std::move(placements), *response);
                  return absl::OkStatus();
                });
      });
}

grpc::ServerUnaryReactor* MasterService::AllocateChunks(Context* context,
                                                        const v1::AllocateChunksRequest* request,
                                                        v1::AllocateChunksResponse* response) {
  const ShardId shard = ShardOfId(request->draft_id());
  // The draft's replica counts come with the result, so servers are chosen after it. If there are
  // none, the handles stay unused; a retry gets the same ones and another choice.
  return Mutate(
      context, Check(*request), [&] { return ToCommand(shard, *request); },
      [this, request, response, shard](const mlog::Result& result) -> absl::Status {
        if (result.allocated().count() == 0) return absl::OkStatus();
        ASSIGN_OR_RETURN(auto placements,
                         view_.PlaceChunks(ToPlacement(*request, result.wanted_replicas(),
                                                       result.required_replicas())));
        AddPlacements(shard, result.allocated(), std::move(placements), *response);
        return absl::OkStatus();
      });
}

grpc::ServerUnaryReactor* MasterService::SealChunks(Context* context,
                                                    const v1::SealChunksRequest* request,
                                                    v1::SealChunksResponse*) {
  return Mutate(
      context, Check(*request), [&] { return ToCommand(ShardOfId(request->draft_id()), *request); },
      [](const mlog::Result&) { return absl::OkStatus(); });
}

grpc::ServerUnaryReactor* MasterService::CommitObject(Context* context,
                                                      const v1::CommitObjectRequest* request,
                                                      v1::CommitObjectResponse* response) {
  return Mutate(
      context, Check(*request, machine_.shard_count()),
      [&] { return ToCommand(machine_.ShardOf(request->key()), *request, ContextNow()); },
      [response](const mlog::Result& result) {
        response->set_generation(result.generation());
        return absl::OkStatus();
      });
}

grpc::ServerUnaryReactor* MasterService::AbortWrite(Context* context,
                                                    const v1::AbortWriteRequest* request,
                                                    v1::AbortWriteResponse*) {
  return Mutate(
      context, Check(*request), [&] { return ToCommand(ShardOfId(request->draft_id()), *request); },
      [](const mlog::Result&) { return absl::OkStatus(); });
}

grpc::ServerUnaryReactor* MasterService::SetReplication(Context* context,
                                                        const v1::SetReplicationRequest* request,
                                                        v1::SetReplicationResponse*) {
  return Mutate(
      context, Check(*request, machine_.shard_count()),
      [&] { return ToCommand(machine_.ShardOf(request->key()), *request); },
      [](const mlog::Result&) { return absl::OkStatus(); });
}

}  // namespace ballast::master
