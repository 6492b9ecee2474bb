// SPDX-License-Identifier: Apache-2.0
#include <algorithm>

#include "absl/strings/str_cat.h"
#include "client/request_identity.h"
#include "common/base/crc32c.h"
#include "common/types/error.h"
#include "tests/unit/client/fake_master.h"

// Large writes, batches and moves of the fake master.

namespace ballast::client {

absl::StatusOr<std::vector<v1::ChunkPlacement>> FakeMaster::Place(
    Draft& draft, uint32_t count, const google::protobuf::RepeatedPtrField<std::string>& avoid) {
  std::vector<Server> chosen;
  std::vector<Server> avoided;
  for (const Server& server : servers_) {
    const bool avoid_it = std::find(avoid.begin(), avoid.end(), server.id) != avoid.end();
    (avoid_it ? avoided : chosen).push_back(server);
  }
  // Avoided ones only where there are not enough others.
  for (const Server& server : avoided) {
    if (chosen.size() < draft.wanted) {
      chosen.push_back(server);
    }
  }
  if (chosen.size() < std::min(required_, draft.wanted)) {
    return MakeError(v1::REASON_TOO_FEW_SERVERS,
                     absl::StrCat(chosen.size(), " servers, ", required_, " needed"));
  }
  chosen.resize(std::min<size_t>(chosen.size(), draft.wanted));
  std::vector<v1::ChunkPlacement> placements;
  for (uint32_t i = 0; i < count; ++i) {
    v1::ChunkPlacement placement;
    placement.set_handle(next_id_++);
    draft.handles.insert(placement.handle());
    for (const Server& server : chosen) {
      v1::ReplicaLocation* const location = placement.add_servers();
      location->set_server_id(server.id);
      location->set_server_index(server.index);
      location->set_address(absl::StrCat(server.id, ":1"));
    }
    placements.push_back(std::move(placement));
  }
  return placements;
}

absl::Status FakeMaster::BeginLocked(const v1::BeginWriteRequest& request,
                                     v1::BeginWriteResponse* response) {
  Draft draft;
  draft.key = request.key();
  draft.wanted = request.wanted_replicas() == 0 ? wanted_ : request.wanted_replicas();
  auto placed = Place(draft, request.chunk_count(), request.avoid_server_ids());
  if (!placed.ok()) {
    return placed.status();
  }
  response->mutable_chunks()->Assign(placed->begin(), placed->end());
  if (request.no_placement()) {
    for (v1::ChunkPlacement& chunk : *response->mutable_chunks()) {
      chunk.clear_servers();
    }
  }
  const ShardId shard = ShardOf(SessionId(request.request().session_id()));
  response->set_draft_id(ChunkHandle(shard, next_id_++).value());
  response->set_required_replicas(std::min(required_, draft.wanted));
  response->set_wanted_replicas(draft.wanted);
  response->set_expiry_ms(expiry_ms_);
  drafts_[response->draft_id()] = std::move(draft);
  return absl::OkStatus();
}

absl::Status FakeMaster::Call(const std::string& address, const CallContext&,
                              const v1::AllocateChunksRequest& request,
                              v1::AllocateChunksResponse* response) {
  return Run("AllocateChunks", address, response, &request.request(), [&]() -> absl::Status {
    mu_.AssertHeld();
    allocations_.push_back(request);
    const auto it = drafts_.find(request.draft_id());
    if (it == drafts_.end()) {
      return MakeError(v1::REASON_DRAFT_ENDED, "no such draft");
    }
    auto placed = Place(it->second, request.chunk_count(), request.avoid_server_ids());
    if (!placed.ok()) {
      return placed.status();
    }
    response->mutable_chunks()->Assign(placed->begin(), placed->end());
    return absl::OkStatus();
  });
}

absl::Status FakeMaster::SealLocked(const v1::SealChunksRequest& request) {
  const auto it = drafts_.find(request.draft_id());
  if (it == drafts_.end()) {
    return MakeError(v1::REASON_DRAFT_ENDED, "no such draft");
  }
  for (const v1::SealedChunk& chunk : request.chunks()) {
    if (!it->second.handles.contains(chunk.handle()) || chunk.length_bytes() == 0 ||
        chunk.server_indexes_size() < static_cast<int>(std::min(required_, it->second.wanted))) {
      return InvalidArgument("bad sealed chunk");
    }
    it->second.sealed[chunk.position()] = chunk;
  }
  return absl::OkStatus();
}

absl::Status FakeMaster::CommitLocked(const v1::CommitObjectRequest& request,
                                      v1::CommitObjectResponse* response) {
  const auto it = drafts_.find(request.draft_id());
  if (it == drafts_.end()) {
    return MakeError(v1::REASON_DRAFT_ENDED, "no such draft");
  }
  if (absl::Status status = Check(request.key(), request.precondition()); !status.ok()) {
    drafts_.erase(it);
    return status;
  }
  v1::GetObjectResponse object;
  uint64_t offset = 0;
  Crc32c crc;
  for (const auto& [position, sealed] : it->second.sealed) {
    v1::ChunkInfo* const chunk = object.add_chunks();
    if (position != static_cast<uint64_t>(object.chunks_size() - 1)) {
      return InvalidArgument("gap in the positions");
    }
    chunk->set_handle(sealed.handle());
    chunk->set_position(position);
    chunk->set_length_bytes(sealed.length_bytes());
    chunk->set_crc32c(sealed.crc32c());
    chunk->set_offset_bytes(offset);
    for (const uint32_t index : sealed.server_indexes()) {
      v1::ReplicaLocation* const replica = chunk->add_replicas();
      replica->set_server_index(index);
      replica->set_server_id(absl::StrCat("s", index));
      replica->set_address(absl::StrCat("s", index, ":1"));
    }
    offset += sealed.length_bytes();
    crc = ConcatCrc32c(crc, Crc32c{sealed.crc32c()}, sealed.length_bytes());
  }
  if (offset != request.size_bytes() || crc.value != request.crc32c() ||
      request.chunk_count() != static_cast<uint64_t>(object.chunks_size())) {
    return InvalidArgument("size, count or checksum do not add up");
  }
  v1::ObjectInfo& info = *object.mutable_object();
  info.set_key(request.key());
  info.set_size_bytes(offset);
  info.set_crc32c(crc.value);
  info.set_chunk_count(static_cast<uint32_t>(object.chunks_size()));
  info.set_wanted_replicas(it->second.wanted);
  *info.mutable_metadata() = request.metadata();
  drafts_.erase(it);
  response->set_generation(Store(std::move(object)));
  return absl::OkStatus();
}

absl::Status FakeMaster::Call(const std::string& address, const CallContext&,
                              const v1::AbortWriteRequest& request,
                              v1::AbortWriteResponse* response) {
  return Run("AbortWrite", address, response, &request.request(), [&] {
    mu_.AssertHeld();
    drafts_.erase(request.draft_id());
    return absl::OkStatus();
  });
}

absl::Status FakeMaster::SetReplicationLocked(const v1::SetReplicationRequest& request) {
  const auto it = objects_.find(request.key());
  if (it == objects_.end()) {
    return MakeError(v1::REASON_OBJECT_NOT_FOUND, request.key());
  }
  if (it->second.object().is_inline()) {
    return MakeError(v1::REASON_OBJECT_INLINE, request.key());
  }
  it->second.mutable_object()->set_wanted_replicas(request.wanted_replicas());
  return absl::OkStatus();
}

absl::Status FakeMaster::Call(const std::string& address, const CallContext&,
                              const v1::BeginWriteRequest& request,
                              v1::BeginWriteResponse* response) {
  return Run("BeginWrite", address, response, &request.request(), [&] {
    mu_.AssertHeld();
    return BeginLocked(request, response);
  });
}

absl::Status FakeMaster::Call(const std::string& address, const CallContext&,
                              const v1::SealChunksRequest& request,
                              v1::SealChunksResponse* response) {
  return Run("SealChunks", address, response, &request.request(), [&] {
    mu_.AssertHeld();
    return SealLocked(request);
  });
}

absl::Status FakeMaster::Call(const std::string& address, const CallContext&,
                              const v1::CommitObjectRequest& request,
                              v1::CommitObjectResponse* response) {
  return Run("CommitObject", address, response, &request.request(), [&] {
    mu_.AssertHeld();
    return CommitLocked(request, response);
  });
}

absl::Status FakeMaster::Call(const std::string& address, const CallContext&,
                              const v1::SetReplicationRequest& request,
                              v1::SetReplicationResponse* response) {
  return Run("SetReplication", address, response, &request.request(), [&] {
    mu_.AssertHeld();
    return SetReplicationLocked(request);
  });
}

absl::Status FakeMaster::OneOfBatch(const v1::BatchRequest::Operation& operation,
                                    v1::BatchResponse::Outcome* outcome) {
  using Operation = v1::BatchRequest::Operation;
  switch (operation.op_case()) {
    case Operation::kPutInline:
      return Once("PutInline", operation.put_inline().request(), outcome->mutable_put_inline(),
                  [&] {
                    mu_.AssertHeld();
                    return PutLocked(operation.put_inline(), outcome->mutable_put_inline());
                  });
    case Operation::kDeleteObject:
      return Once("DeleteObject", operation.delete_object().request(),
                  outcome->mutable_delete_object(), [&] {
                    mu_.AssertHeld();
                    return DeleteLocked(operation.delete_object(),
                                        outcome->mutable_delete_object());
                  });
    case Operation::kBeginWrite:
      return Once("BeginWrite", operation.begin_write().request(), outcome->mutable_begin_write(),
                  [&] {
                    mu_.AssertHeld();
                    return BeginLocked(operation.begin_write(), outcome->mutable_begin_write());
                  });
    case Operation::kSealChunks:
      return Once("SealChunks", operation.seal_chunks().request(), outcome->mutable_seal_chunks(),
                  [&] {
                    mu_.AssertHeld();
                    return SealLocked(operation.seal_chunks());
                  });
    case Operation::kCommitObject:
      return Once("CommitObject", operation.commit_object().request(),
                  outcome->mutable_commit_object(), [&] {
                    mu_.AssertHeld();
                    return CommitLocked(operation.commit_object(),
                                        outcome->mutable_commit_object());
                  });
    case Operation::kSetReplication:
      return Once("SetReplication", operation.set_replication().request(),
                  outcome->mutable_set_replication(), [&] {
                    mu_.AssertHeld();
                    return SetReplicationLocked(operation.set_replication());
                  });
    case Operation::kGetObject:
    case Operation::OP_NOT_SET:
      break;
  }
  const auto it = objects_.find(operation.get_object().key());
  if (it == objects_.end()) {
    return MakeError(v1::REASON_OBJECT_NOT_FOUND, operation.get_object().key());
  }
  *outcome->mutable_get_object() = it->second;
  return absl::OkStatus();
}

absl::Status FakeMaster::Call(const std::string& address, const CallContext&,
                              const v1::BatchRequest& request, v1::BatchResponse* response) {
  return Run("Batch", address, response, nullptr, [&] {
    mu_.AssertHeld();
    for (const auto& operation : request.operations()) {
      auto* const outcome = response->add_outcomes();
      absl::Status status;
      // One fault of the pseudo-method "BatchOperation" hits one operation.
      std::deque<Fault>& faults = faults_["BatchOperation"];
      if (!faults.empty() && !faults.front().execute) {
        status = faults.front().status;
        faults.pop_front();
      } else {
        status = OneOfBatch(operation, outcome);
      }
      if (!status.ok()) {
        outcome->clear_reply();
        outcome->set_code(static_cast<uint32_t>(status.code()));
        *outcome->mutable_error() = DetailOf(status).value_or(v1::ErrorDetail());
        outcome->set_text(std::string(status.message()));
      }
    }
    return absl::OkStatus();
  });
}

// Every move of an odd handle is made; the others' chunks are not known.
absl::Status FakeMaster::Call(const std::string& address, const CallContext&,
                              const v1::MoveReplicasRequest& request,
                              v1::MoveReplicasResponse* response) {
  return Run("MoveReplicas", address, response, nullptr, [&] {
    mu_.AssertHeld();
    moves_.push_back(request);
    for (const auto& move : request.moves()) {
      auto* const outcome = response->add_outcomes();
      if (move.handle() % 2 == 1) {
        outcome->set_bytes_copied(move.handle());
        continue;
      }
      const absl::Status status = MakeError(v1::REASON_CHUNK_NOT_FOUND, "even");
      outcome->set_code(static_cast<uint32_t>(status.code()));
      *outcome->mutable_error() = *DetailOf(status);
      outcome->set_text("even");
    }
    return absl::OkStatus();
  });
}

absl::Status FakeMaster::Call(const std::string& address, const CallContext&,
                              const v1::CheckBalanceRequest&, v1::CheckBalanceResponse* response) {
  return Run("CheckBalance", address, response, nullptr, [&] {
    response->set_average_utilization_pct(50);
    return absl::OkStatus();
  });
}

// Calls that answer nothing here.
#define BALLAST_EMPTY_CALL(Method)                                                            \
  absl::Status FakeMaster::Call(const std::string& address, const CallContext&,               \
                                const v1::Method##Request&, v1::Method##Response* response) { \
    return Run(#Method, address, response, nullptr, [] { return absl::OkStatus(); });         \
  }
BALLAST_EMPTY_CALL(GetMaintenance)
BALLAST_EMPTY_CALL(PlanRebalance)
BALLAST_EMPTY_CALL(StartRebalance)
BALLAST_EMPTY_CALL(StopRebalance)
BALLAST_EMPTY_CALL(ReleaseLossBreaker)
BALLAST_EMPTY_CALL(Explain)
BALLAST_EMPTY_CALL(Fsck)
BALLAST_EMPTY_CALL(PurgeQuarantined)
#undef BALLAST_EMPTY_CALL

std::vector<v1::MoveReplicasRequest> FakeMaster::moves() const {
  absl::MutexLock lock(&mu_);
  return moves_;
}

}  // namespace ballast::client
