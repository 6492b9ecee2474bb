// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

#include "absl/status/status.h"
#include "common/types/ids.h"
#include "protos/master_service.pb.h"
#include "protos/shardctl_service.pb.h"
#include "services/master/core/master_machine.h"

// The form of clients' requests and of what they are told: judged and made without any state but
// the cluster's settings. What is refused here never reaches the log.

namespace ballast::master {

// The cluster's settings until shardctl has told them.
v1::Settings DefaultSettings();

// OK, or INVALID_ARGUMENT naming the field. `shard_count` is the cluster's.
absl::Status Check(const v1::OpenSessionsRequest& request, uint32_t shard_count);
absl::Status Check(const v1::CloseSessionsRequest& request);
absl::Status Check(const v1::BatchRequest& request, uint32_t shard_count,
                   const v1::Settings& settings);
absl::Status Check(const v1::StatObjectRequest& request);
absl::Status Check(const v1::GetObjectRequest& request);
absl::Status Check(const v1::GetChunksRequest& request);
absl::Status Check(const v1::ListObjectsRequest& request);
absl::Status Check(const v1::PutInlineRequest& request, uint32_t shard_count,
                   const v1::Settings& settings);
absl::Status Check(const v1::DeleteObjectRequest& request, uint32_t shard_count);
absl::Status Check(const v1::BeginWriteRequest& request, uint32_t shard_count);
absl::Status Check(const v1::AllocateChunksRequest& request);
absl::Status Check(const v1::SealChunksRequest& request);
absl::Status Check(const v1::CommitObjectRequest& request, uint32_t shard_count);
absl::Status Check(const v1::AbortWriteRequest& request);
absl::Status Check(const v1::SetReplicationRequest& request, uint32_t shard_count);

// Bytes that the answers to all begin_write of a checked batch may have.
size_t BegunBytesMax(const v1::BatchRequest& request);

// The shard that a draft or session id names.
inline ShardId ShardOfId(uint64_t id) { return ChunkHandle(id).shard(); }

void FillInfo(const ObjectRecord& object, v1::ObjectInfo& info);
// Without replicas.
void FillInfo(const MasterMachine::ChunkView& chunk, v1::ChunkInfo& info);

}  // namespace ballast::master
