// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

#include "absl/status/statusor.h"
#include "google/protobuf/repeated_ptr_field.h"
#include "protos/master_log.pb.h"
#include "protos/master_service.pb.h"
#include "protos/shardctl_service.pb.h"
#include "services/master/core/object_table.h"
#include "services/master/core/results.h"

// From requests of clients to durable commands. A command holds the request's identity with a
// fingerprint of the operation: the CRC32C of a byte for its kind and of its serialised message,
// less the identity and less what only advises placement (expected length, servers to avoid), so
// that every try of one request has the same fingerprint, whoever leads.
//
// These functions check nothing: whether a request makes sense is judged by the RPC adapter, and
// again when the command is applied.

namespace ballast::master {

// Name and value pairs as the state keeps them: names non-empty and unique, 4 KiB in all; otherwise
// INVALID_ARGUMENT.
absl::StatusOr<MetadataList> CheckedMetadata(
    const google::protobuf::RepeatedPtrField<mlog::Metadata>& metadata);

// What the leader adds to a mutation; part of the command, not of its fingerprint.
struct CommandContext {
  uint64_t wall_unix_ms = 0;
  uint64_t grace_ms = 0;
  uint64_t draft_expiry_ms = 0;
};

mlog::Command ToCommand(ShardId shard, const v1::PutInlineRequest& request,
                        const CommandContext& context);
mlog::Command ToCommand(ShardId shard, const v1::DeleteObjectRequest& request,
                        const CommandContext& context);
// `wanted` and `required` as the leader resolved them.
mlog::Command ToCommand(ShardId shard, const v1::BeginWriteRequest& request, uint32_t wanted,
                        uint32_t required, const CommandContext& context);
mlog::Command ToCommand(ShardId shard, const v1::AllocateChunksRequest& request);
mlog::Command ToCommand(ShardId shard, const v1::SealChunksRequest& request);
mlog::Command ToCommand(ShardId shard, const v1::CommitObjectRequest& request,
                        const CommandContext& context);
mlog::Command ToCommand(ShardId shard, const v1::AbortWriteRequest& request);
mlog::Command ToCommand(ShardId shard, const v1::SetReplicationRequest& request);

// Replicas of a write that begins: as asked for, else the cluster's default.
struct ReplicaCounts {
  uint32_t wanted = 0;
  uint32_t required = 0;  // min(min_replicas, wanted)
};
ReplicaCounts ReplicasOf(const v1::BeginWriteRequest& request, const v1::Settings& settings);

// The command of an operation in a batch, as the unary call would make it. Of a read only the
// shard.
mlog::Command ToCommand(const v1::BatchRequest::Operation& operation, uint32_t shard_count,
                        const v1::Settings& settings, const CommandContext& context);

}  // namespace ballast::master
