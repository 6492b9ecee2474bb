// SPDX-License-Identifier: Apache-2.0
#include "services/master/core/commands.h"

#include <algorithm>
#include <string>
#include <vector>

#include "common/base/crc32c.h"
#include "common/routing/shard_router.h"
#include "common/types/error.h"
#include "common/types/limits.h"

namespace ballast::master {
namespace {

// A command with shard and request identity. `operation` is the request without its identity.
mlog::Command Begin(ShardId shard, const v1::RequestId& id, mlog::Command::OpCase kind,
                    const google::protobuf::MessageLite& operation) {
  mlog::Command command;
  command.set_shard(shard.value());
  mlog::Request& request = *command.mutable_request();
  request.set_session_id(id.session_id());
  request.set_sequence(id.sequence());
  request.set_first_incomplete(id.first_incomplete());
  std::string bytes(1, static_cast<char>(kind));
  operation.AppendToString(&bytes);
  request.set_fingerprint(ComputeCrc32c(bytes).value);
  return command;
}

template <typename Request>
Request WithoutIdentity(const Request& request) {
  Request operation = request;
  operation.clear_request();
  return operation;
}

void CopyMetadata(const google::protobuf::RepeatedPtrField<v1::UserMetadata>& from,
                  google::protobuf::RepeatedPtrField<mlog::Metadata>& to) {
  for (const v1::UserMetadata& entry : from) {
    mlog::Metadata& out = *to.Add();
    out.set_name(entry.name());
    out.set_value(entry.value());
  }
}

template <typename Request, typename Op>
void CopyPrecondition(const Request& request, Op& op) {
  if (request.precondition().has_if_generation_match()) {
    op.set_if_generation_match(request.precondition().if_generation_match());
  }
}

}  // namespace

absl::StatusOr<MetadataList> CheckedMetadata(
    const google::protobuf::RepeatedPtrField<mlog::Metadata>& metadata) {
  MetadataList list;
  size_t bytes = 0;
  std::vector<absl::string_view> names;
  for (const mlog::Metadata& entry : metadata) {
    if (entry.name().empty()) return InvalidArgument("metadata: a name is empty");
    bytes += entry.name().size() + entry.value().size();
    if (bytes > kUserMetadataBytesMax) return InvalidArgument("metadata is over 4 KiB");
    names.push_back(entry.name());
    list.emplace_back(entry.name(), entry.value());
  }
  std::sort(names.begin(), names.end());
  if (std::adjacent_find(names.begin(), names.end()) != names.end()) {
    return InvalidArgument("metadata: a name comes twice");
  }
  return list;
}

mlog::Command ToCommand(ShardId shard, const v1::PutInlineRequest& request,
                        const CommandContext& context) {
  mlog::Command command =
      Begin(shard, request.request(), mlog::Command::kPutInline, WithoutIdentity(request));
  mlog::Command::PutInline& op = *command.mutable_put_inline();
  op.set_key(request.key());
  op.set_value(request.value());
  op.set_crc32c(request.crc32c());
  CopyPrecondition(request, op);
  CopyMetadata(request.metadata(), *op.mutable_metadata());
  op.set_modified_unix_ms(context.wall_unix_ms);
  op.set_grace_ms(context.grace_ms);
  return command;
}

mlog::Command ToCommand(ShardId shard, const v1::DeleteObjectRequest& request,
                        const CommandContext& context) {
  mlog::Command command =
      Begin(shard, request.request(), mlog::Command::kDeleteObject, WithoutIdentity(request));
  mlog::Command::Delete& op = *command.mutable_delete_object();
  op.set_key(request.key());
  CopyPrecondition(request, op);
  op.set_grace_ms(context.grace_ms);
  return command;
}

mlog::Command ToCommand(ShardId shard, const v1::BeginWriteRequest& request, uint32_t wanted,
                        uint32_t required, const CommandContext& context) {
  v1::BeginWriteRequest operation = WithoutIdentity(request);
  operation.clear_chunk_bytes();
  operation.clear_avoid_server_ids();
  mlog::Command command = Begin(shard, request.request(), mlog::Command::kBeginWrite, operation);
  mlog::Command::BeginWrite& op = *command.mutable_begin_write();
  op.set_key(request.key());
  op.set_wanted_replicas(wanted);
  op.set_required_replicas(required);
  op.set_chunk_count(request.chunk_count());
  op.set_expiry_ms(context.draft_expiry_ms);
  return command;
}

mlog::Command ToCommand(ShardId shard, const v1::AllocateChunksRequest& request) {
  v1::AllocateChunksRequest operation = WithoutIdentity(request);
  operation.clear_chunk_bytes();
  operation.clear_avoid_server_ids();
  mlog::Command command =
      Begin(shard, request.request(), mlog::Command::kAllocateChunks, operation);
  command.mutable_allocate_chunks()->set_draft_id(request.draft_id());
  command.mutable_allocate_chunks()->set_chunk_count(request.chunk_count());
  return command;
}

mlog::Command ToCommand(ShardId shard, const v1::SealChunksRequest& request) {
  mlog::Command command =
      Begin(shard, request.request(), mlog::Command::kSealChunks, WithoutIdentity(request));
  mlog::Command::SealChunks& op = *command.mutable_seal_chunks();
  op.set_draft_id(request.draft_id());
  for (const v1::SealedChunk& chunk : request.chunks()) {
    mlog::SealedChunk& out = *op.add_chunks();
    out.set_handle(chunk.handle());
    out.set_position(chunk.position());
    out.set_length_bytes(chunk.length_bytes());
    out.set_crc32c(chunk.crc32c());
    *out.mutable_server_indexes() = chunk.server_indexes();
  }
  return command;
}

mlog::Command ToCommand(ShardId shard, const v1::CommitObjectRequest& request,
                        const CommandContext& context) {
  mlog::Command command =
      Begin(shard, request.request(), mlog::Command::kCommit, WithoutIdentity(request));
  mlog::Command::Commit& op = *command.mutable_commit();
  op.set_key(request.key());
  op.set_draft_id(request.draft_id());
  op.set_size_bytes(request.size_bytes());
  op.set_crc32c(request.crc32c());
  op.set_chunk_count(request.chunk_count());
  CopyPrecondition(request, op);
  CopyMetadata(request.metadata(), *op.mutable_metadata());
  op.set_modified_unix_ms(context.wall_unix_ms);
  op.set_grace_ms(context.grace_ms);
  return command;
}

mlog::Command ToCommand(ShardId shard, const v1::AbortWriteRequest& request) {
  mlog::Command command =
      Begin(shard, request.request(), mlog::Command::kAbortWrite, WithoutIdentity(request));
  command.mutable_abort_write()->set_draft_id(request.draft_id());
  return command;
}

mlog::Command ToCommand(ShardId shard, const v1::SetReplicationRequest& request) {
  mlog::Command command =
      Begin(shard, request.request(), mlog::Command::kSetReplication, WithoutIdentity(request));
  command.mutable_set_replication()->set_key(request.key());
  command.mutable_set_replication()->set_wanted_replicas(request.wanted_replicas());
  return command;
}

ReplicaCounts ReplicasOf(const v1::BeginWriteRequest& request, const v1::Settings& settings) {
  const uint32_t wanted =
      request.wanted_replicas() == 0 ? settings.default_replicas() : request.wanted_replicas();
  return {wanted, std::min(settings.min_replicas(), wanted)};
}

mlog::Command ToCommand(const v1::BatchRequest::Operation& operation, uint32_t shard_count,
                        const v1::Settings& settings, const CommandContext& context) {
  const auto of_key = [&](const auto& request) { return ShardOfKey(request.key(), shard_count); };
  using Operation = v1::BatchRequest::Operation;
  switch (operation.op_case()) {
    case Operation::kPutInline:
      return ToCommand(of_key(operation.put_inline()), operation.put_inline(), context);
    case Operation::kDeleteObject:
      return ToCommand(of_key(operation.delete_object()), operation.delete_object(), context);
    case Operation::kBeginWrite: {
      const v1::BeginWriteRequest& begin = operation.begin_write();
      const ReplicaCounts replicas = ReplicasOf(begin, settings);
      return ToCommand(of_key(begin), begin, replicas.wanted, replicas.required, context);
    }
    case Operation::kSealChunks:
      return ToCommand(ChunkHandle(operation.seal_chunks().draft_id()).shard(),
                       operation.seal_chunks());
    case Operation::kCommitObject:
      return ToCommand(of_key(operation.commit_object()), operation.commit_object(), context);
    case Operation::kSetReplication:
      return ToCommand(of_key(operation.set_replication()), operation.set_replication());
    case Operation::kGetObject:
    case Operation::OP_NOT_SET:
      break;
  }
  mlog::Command read;
  read.set_shard(of_key(operation.get_object()).value());
  return read;
}

}  // namespace ballast::master
