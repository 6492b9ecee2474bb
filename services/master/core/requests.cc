// SPDX-License-Identifier: Apache-2.0
#include "services/master/core/requests.h"

#include <set>
#include <string>

#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "common/base/crc32c.h"
#include "common/base/status_macros.h"
#include "common/routing/shard_router.h"
#include "common/types/error.h"
#include "common/types/key.h"
#include "common/types/limits.h"

namespace ballast::master {
namespace {

constexpr size_t kAvoidServersMax = 1024;
constexpr size_t kServerIdBytesMax = 64;

absl::Status CheckIdentity(const v1::RequestId& id, ShardId shard) {
  if (id.session_id() == 0) return InvalidArgument("request.session_id is missing");
  if (id.sequence() == 0) return InvalidArgument("request.sequence is missing");
  if (id.first_incomplete() > id.sequence()) {
    return InvalidArgument("request.first_incomplete is above request.sequence");
  }
  if (ShardOfId(id.session_id()) != shard) {
    return InvalidArgument("request.session_id is a session of another shard");
  }
  return absl::OkStatus();
}

absl::Status CheckMetadata(const google::protobuf::RepeatedPtrField<v1::UserMetadata>& metadata) {
  size_t bytes = 0;
  std::set<absl::string_view> names;
  for (const v1::UserMetadata& entry : metadata) {
    bytes += entry.name().size() + entry.value().size();
    if (bytes > kUserMetadataBytesMax) return InvalidArgument("metadata is over 4 KiB");
    if (entry.name().empty()) return InvalidArgument("metadata: a name is empty");
    if (!names.insert(entry.name()).second) {
      return InvalidArgument("metadata: a name comes twice");
    }
  }
  return absl::OkStatus();
}

absl::Status CheckPlacement(uint32_t chunk_count, uint32_t chunk_bytes,
                            const google::protobuf::RepeatedPtrField<std::string>& avoid) {
  if (chunk_count > kAllocateChunksMax) return InvalidArgument("chunk_count is over 256");
  if (chunk_bytes > kChunkBytesMax) return InvalidArgument("chunk_bytes is over 64 MiB");
  if (chunk_count > 0 && chunk_bytes == 0) return InvalidArgument("chunk_bytes is missing");
  if (static_cast<size_t>(avoid.size()) > kAvoidServersMax) {
    return InvalidArgument("avoid_server_ids names too many servers");
  }
  for (const std::string& id : avoid) {
    if (id.size() > kServerIdBytesMax) return InvalidArgument("avoid_server_ids: not a server id");
  }
  return absl::OkStatus();
}

absl::Status CheckDraft(uint64_t draft_id) {
  return draft_id == 0 ? InvalidArgument("draft_id is missing") : absl::OkStatus();
}

absl::Status CheckOperation(const v1::BatchRequest::Operation& one, uint32_t shard_count,
                            const v1::Settings& settings) {
  using Operation = v1::BatchRequest::Operation;
  switch (one.op_case()) {
    case Operation::kPutInline:
      return Check(one.put_inline(), shard_count, settings);
    case Operation::kDeleteObject:
      return Check(one.delete_object(), shard_count);
    case Operation::kGetObject:
      return Check(one.get_object());
    case Operation::kBeginWrite:
      return Check(one.begin_write(), shard_count);
    case Operation::kSealChunks:
      return Check(one.seal_chunks());
    case Operation::kCommitObject:
      return Check(one.commit_object(), shard_count);
    case Operation::kSetReplication:
      return Check(one.set_replication(), shard_count);
    case Operation::OP_NOT_SET:
      break;
  }
  return InvalidArgument("no operation");
}

// Of one placement in an answer: a handle with its frame, and one server of its chain.
constexpr size_t kHandleBytesMax = 16;
constexpr size_t kLocationBytesMax = 352;

struct BegunChunks {
  size_t all = 0;
  size_t placed = 0;
};
BegunChunks CountBegun(const v1::BatchRequest& request) {
  BegunChunks chunks;
  for (const v1::BatchRequest::Operation& one : request.operations()) {
    if (!one.has_begin_write()) continue;
    chunks.all += one.begin_write().chunk_count();
    chunks.placed += one.begin_write().no_placement() ? 0 : one.begin_write().chunk_count();
  }
  return chunks;
}

}  // namespace

v1::Settings DefaultSettings() {
  v1::Settings settings;
  settings.set_default_replicas(kReplicasDefault);
  settings.set_min_replicas(kMinReplicasDefault);
  settings.set_inline_bytes(kInlineBytesDefault);
  settings.set_heartbeat_interval_ms(5000);
  settings.set_draft_expiry_ms(3'600'000);
  settings.set_grace_ms(600'000);
  settings.set_session_idle_ms(3'600'000);
  settings.set_repair_server_mbps(kRepairServerMbpsDefault);
  settings.set_rebalance_server_mbps(kRebalanceServerMbpsDefault);
  settings.set_rebalance_auto(1);
  settings.set_scrub_days(kScrubDaysDefault);
  return settings;
}

absl::Status Check(const v1::OpenSessionsRequest& request, uint32_t shard_count) {
  if (request.shards().empty() || static_cast<size_t>(request.shards_size()) > kOpenSessionsMax) {
    return InvalidArgument("shards: 1 to 1024 are needed");
  }
  std::set<uint32_t> seen;
  for (uint32_t shard : request.shards()) {
    if (shard >= shard_count) {
      return InvalidArgument(absl::StrCat("shards: there is no shard ", shard));
    }
    if (!seen.insert(shard).second) return InvalidArgument("shards: one comes twice");
  }
  return absl::OkStatus();
}

absl::Status Check(const v1::CloseSessionsRequest& request) {
  return static_cast<size_t>(request.session_ids_size()) > kOpenSessionsMax
             ? InvalidArgument("session_ids: more than 1024")
             : absl::OkStatus();
}

absl::Status Check(const v1::BatchRequest& request, uint32_t shard_count,
                   const v1::Settings& settings) {
  if (request.operations().empty() ||
      static_cast<size_t>(request.operations_size()) > kBatchOperationsMax) {
    return InvalidArgument("operations: 1 to 1024 are needed");
  }
  if (request.ByteSizeLong() > kLogEntryBytesMax)
    return InvalidArgument("operations are over 1 MiB");
  for (int i = 0; i < request.operations_size(); ++i) {
    const v1::BatchRequest::Operation& one = request.operations(i);
    if (absl::Status status = CheckOperation(one, shard_count, settings); !status.ok()) {
      return InvalidArgument(absl::StrCat("operations[", i, "]: ", status.message()));
    }
  }
  const BegunChunks begun = CountBegun(request);
  if (begun.all > kBatchHandlesMax || begun.placed > kBatchPlacementsMax) {
    return InvalidArgument(absl::StrCat("operations: begin_write may ask for ", kBatchHandlesMax,
                                        " chunks in all, ", kBatchPlacementsMax,
                                        " of them with placement"));
  }
  return absl::OkStatus();
}

size_t BegunBytesMax(const v1::BatchRequest& request) {
  const BegunChunks begun = CountBegun(request);
  return begun.all * kHandleBytesMax + begun.placed * kReplicasMax * kLocationBytesMax;
}

absl::Status Check(const v1::StatObjectRequest& request) { return ValidateKey(request.key()); }

absl::Status Check(const v1::GetObjectRequest& request) { return ValidateKey(request.key()); }

absl::Status Check(const v1::GetChunksRequest& request) {
  RETURN_IF_ERROR(ValidateKey(request.key()));
  if (request.generation() == 0) return InvalidArgument("generation is missing");
  if (request.count() == 0 || request.count() > kChunkPageMax) {
    return InvalidArgument("count is not 1..1024");
  }
  return absl::OkStatus();
}

absl::Status Check(const v1::ListObjectsRequest& request) {
  RETURN_IF_ERROR(ValidatePrefix(request.prefix()));
  if (request.start_after().size() > kKeyBytesMax) {
    return InvalidArgument("start_after is over 1024 bytes");
  }
  if (request.limit() > kListPageMax) return InvalidArgument("limit is over 1000");
  return absl::OkStatus();
}

absl::Status Check(const v1::PutInlineRequest& request, uint32_t shard_count,
                   const v1::Settings& settings) {
  RETURN_IF_ERROR(ValidateKey(request.key()));
  RETURN_IF_ERROR(CheckIdentity(request.request(), ShardOfKey(request.key(), shard_count)));
  RETURN_IF_ERROR(CheckMetadata(request.metadata()));
  if (request.value().size() > settings.inline_bytes()) {
    return InvalidArgument(absl::StrCat("value is over ", settings.inline_bytes(),
                                        " bytes (setting inline_bytes): write it as chunks"));
  }
  if (ComputeCrc32c(request.value()).value != request.crc32c()) {
    return InvalidArgument("crc32c does not fit the value");
  }
  return absl::OkStatus();
}

absl::Status Check(const v1::DeleteObjectRequest& request, uint32_t shard_count) {
  RETURN_IF_ERROR(ValidateKey(request.key()));
  return CheckIdentity(request.request(), ShardOfKey(request.key(), shard_count));
}

absl::Status Check(const v1::BeginWriteRequest& request, uint32_t shard_count) {
  RETURN_IF_ERROR(ValidateKey(request.key()));
  RETURN_IF_ERROR(CheckIdentity(request.request(), ShardOfKey(request.key(), shard_count)));
  if (request.wanted_replicas() > kReplicasMax) return InvalidArgument("wanted_replicas is over 5");
  const uint32_t placed = request.no_placement() ? 0 : request.chunk_count();
  if (request.chunk_count() > kAllocateChunksMax) return InvalidArgument("chunk_count is over 256");
  return CheckPlacement(placed, request.chunk_bytes(), request.avoid_server_ids());
}

absl::Status Check(const v1::AllocateChunksRequest& request) {
  RETURN_IF_ERROR(CheckDraft(request.draft_id()));
  RETURN_IF_ERROR(CheckIdentity(request.request(), ShardOfId(request.draft_id())));
  return CheckPlacement(request.chunk_count(), request.chunk_bytes(), request.avoid_server_ids());
}

absl::Status Check(const v1::SealChunksRequest& request) {
  RETURN_IF_ERROR(CheckDraft(request.draft_id()));
  RETURN_IF_ERROR(CheckIdentity(request.request(), ShardOfId(request.draft_id())));
  if (request.chunks().empty() || static_cast<size_t>(request.chunks_size()) > kSealChunksMax) {
    return InvalidArgument("chunks: 1 to 256 are needed");
  }
  for (const v1::SealedChunk& chunk : request.chunks()) {
    if (static_cast<size_t>(chunk.server_indexes_size()) > kReplicasMax) {
      return InvalidArgument("chunks.server_indexes must be up to 5 different servers");
    }
  }
  return absl::OkStatus();
}

absl::Status Check(const v1::CommitObjectRequest& request, uint32_t shard_count) {
  RETURN_IF_ERROR(ValidateKey(request.key()));
  RETURN_IF_ERROR(CheckDraft(request.draft_id()));
  const ShardId shard = ShardOfKey(request.key(), shard_count);
  if (ShardOfId(request.draft_id()) != shard) return InvalidArgument("draft_id is not of this key");
  RETURN_IF_ERROR(CheckIdentity(request.request(), shard));
  return CheckMetadata(request.metadata());
}

absl::Status Check(const v1::AbortWriteRequest& request) {
  RETURN_IF_ERROR(CheckDraft(request.draft_id()));
  return CheckIdentity(request.request(), ShardOfId(request.draft_id()));
}

absl::Status Check(const v1::SetReplicationRequest& request, uint32_t shard_count) {
  RETURN_IF_ERROR(ValidateKey(request.key()));
  RETURN_IF_ERROR(CheckIdentity(request.request(), ShardOfKey(request.key(), shard_count)));
  if (request.wanted_replicas() == 0 || request.wanted_replicas() > kReplicasMax) {
    return InvalidArgument("wanted_replicas is not 1..5");
  }
  return absl::OkStatus();
}

void FillInfo(const ObjectRecord& object, v1::ObjectInfo& info) {
  info.set_key(std::string(object.key()));
  info.set_generation(object.generation().value());
  info.set_size_bytes(object.size_bytes());
  info.set_crc32c(object.crc32c().value);
  info.set_wanted_replicas(object.wanted_replicas());
  info.set_chunk_count(static_cast<uint32_t>(object.chunk_count()));
  info.set_is_inline(object.is_inline());
  info.set_modified_unix_ms(object.modified_unix_ms());
  for (auto& [name, value] : object.metadata()) {
    v1::UserMetadata& entry = *info.add_metadata();
    entry.set_name(name);
    entry.set_value(value);
  }
}

void FillInfo(const MasterMachine::ChunkView& chunk, v1::ChunkInfo& info) {
  info.set_handle(chunk.handle.value());
  info.set_position(chunk.position);
  info.set_length_bytes(chunk.record->length_bytes());
  info.set_crc32c(chunk.record->crc32c().value);
  info.set_offset_bytes(chunk.offset_bytes);
}

}  // namespace ballast::master
