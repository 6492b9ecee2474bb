// SPDX-License-Identifier: Apache-2.0
#include "tests/unit/client/fake_master.h"

#include <algorithm>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "client/request_identity.h"
#include "common/base/crc32c.h"
#include "common/types/error.h"

namespace ballast::client {

// --- FakeMaster: set-up and observation ------------------------------------------------------

void FakeMaster::SetServers(int count) {
  absl::MutexLock lock(&mu_);
  servers_.clear();
  for (int i = 1; i <= count; ++i) {
    servers_.push_back({absl::StrCat("s", i), static_cast<uint32_t>(i)});
  }
}

void FakeMaster::RemoveServer(const std::string& id) {
  absl::MutexLock lock(&mu_);
  servers_.erase(
      std::remove_if(servers_.begin(), servers_.end(), [&](const Server& s) { return s.id == id; }),
      servers_.end());
}

void FakeMaster::SetReplicas(uint32_t wanted, uint32_t required) {
  absl::MutexLock lock(&mu_);
  wanted_ = wanted;
  required_ = required;
}

void FakeMaster::SetInlineBytes(uint64_t bytes) {
  absl::MutexLock lock(&mu_);
  inline_bytes_ = bytes;
}

void FakeMaster::SetDraftExpiryMs(uint32_t ms) {
  absl::MutexLock lock(&mu_);
  expiry_ms_ = ms;
}

void FakeMaster::SetLeader(const std::string& address) {
  absl::MutexLock lock(&mu_);
  leader_ = address;
}

void FakeMaster::Inject(const std::string& method, const Fault& fault, int times) {
  absl::MutexLock lock(&mu_);
  for (int i = 0; i < times; ++i) {
    faults_[method].push_back(fault);
  }
}

void FakeMaster::OnCall(const std::string& method, std::function<void()> action) {
  absl::MutexLock lock(&mu_);
  actions_[method] = std::move(action);
}

void FakeMaster::ForgetSessions() {
  absl::MutexLock lock(&mu_);
  sessions_.clear();
}

void FakeMaster::EndDrafts() {
  absl::MutexLock lock(&mu_);
  drafts_.clear();
}

void FakeMaster::EndGrace(const std::string& key) {
  absl::MutexLock lock(&mu_);
  for (auto it = grace_.begin(); it != grace_.end();) {
    it = it->first.first == key ? grace_.erase(it) : std::next(it);
  }
}

void FakeMaster::HideServer(const std::string& id) {
  absl::MutexLock lock(&mu_);
  hidden_.insert(id);
}

int FakeMaster::calls(const std::string& method) const {
  absl::MutexLock lock(&mu_);
  const auto it = calls_.find(method);
  return it != calls_.end() ? it->second : 0;
}

int FakeMaster::executions(const std::string& method) const {
  absl::MutexLock lock(&mu_);
  const auto it = executions_.find(method);
  return it != executions_.end() ? it->second : 0;
}

std::optional<v1::GetObjectResponse> FakeMaster::Find(const std::string& key) const {
  absl::MutexLock lock(&mu_);
  const auto it = objects_.find(key);
  if (it == objects_.end()) {
    return std::nullopt;
  }
  return it->second;
}

size_t FakeMaster::open_drafts() const {
  absl::MutexLock lock(&mu_);
  return drafts_.size();
}

std::vector<v1::ReportBadReplicaRequest> FakeMaster::reports() const {
  absl::MutexLock lock(&mu_);
  return reports_;
}

std::vector<v1::AllocateChunksRequest> FakeMaster::allocations() const {
  absl::MutexLock lock(&mu_);
  return allocations_;
}

std::vector<v1::RequestId> FakeMaster::requests() const {
  absl::MutexLock lock(&mu_);
  return requests_;
}

// --- FakeMaster: the frame of every call -----------------------------------------------------

template <typename Response>
absl::Status FakeMaster::Run(const std::string& method, const std::string& address,
                             Response* response, const v1::RequestId* request,
                             const std::function<absl::Status()>& execute) {
  std::function<void()> action;
  {
    absl::MutexLock lock(&mu_);
    ++calls_[method];
    if (const auto it = actions_.find(method); it != actions_.end()) {
      action = it->second;
    }
  }
  if (action) {
    action();
  }
  absl::MutexLock lock(&mu_);
  if (!leader_.empty() && address != leader_) {
    return NotLeaderError(leader_);
  }
  std::deque<Fault>& faults = faults_[method];
  std::optional<Fault> fault;
  if (!faults.empty()) {
    fault = faults.front();
    faults.pop_front();
  }
  if (fault.has_value() && !fault->execute) {
    return fault->status;
  }
  const absl::Status status =
      request == nullptr ? execute() : Once(method, *request, response, execute);
  return fault.has_value() ? fault->status : status;
}

absl::Status FakeMaster::Once(const std::string& method, const v1::RequestId& request,
                              google::protobuf::Message* response,
                              const std::function<absl::Status()>& execute) {
  requests_.push_back(request);
  if (!sessions_.contains(request.session_id())) {
    return MakeError(v1::REASON_SESSION_EXPIRED, "no such session");
  }
  const RequestKey key(request.session_id(), request.sequence());
  if (const auto it = replies_.find(key); it != replies_.end()) {
    response->ParseFromString(it->second.second);
    return it->second.first;
  }
  ++executions_[method];
  const absl::Status status = execute();
  replies_[key] = {status, status.ok() ? response->SerializeAsString() : std::string()};
  return status;
}

absl::Status FakeMaster::Check(const std::string& key, const v1::Precondition& precondition) {
  if (!precondition.has_if_generation_match()) {
    return absl::OkStatus();
  }
  const auto it = objects_.find(key);
  const uint64_t generation = it == objects_.end() ? 0 : it->second.object().generation();
  return generation == precondition.if_generation_match()
             ? absl::OkStatus()
             : MakeError(v1::REASON_GENERATION_MISMATCH, absl::StrCat("generation ", generation));
}

uint64_t FakeMaster::Store(v1::GetObjectResponse object) {
  object.mutable_object()->set_generation(next_generation_++);
  const std::string key = object.object().key();
  if (const auto it = objects_.find(key); it != objects_.end()) {
    grace_[{key, it->second.object().generation()}] = it->second;
  }
  const uint64_t generation = object.object().generation();
  objects_[key] = std::move(object);
  return generation;
}

// --- sessions and reads ----------------------------------------------------------------------

absl::Status FakeMaster::Call(const std::string& address, const CallContext&,
                              const v1::OpenSessionsRequest& request,
                              v1::OpenSessionsResponse* response) {
  return Run("OpenSessions", address, response, nullptr, [&] {
    mu_.AssertHeld();
    for (const uint32_t shard : request.shards()) {
      const uint64_t id = (uint64_t{shard} << ChunkHandle::kSequenceBits) | next_id_++;
      sessions_.insert(id);
      response->add_session_ids(id);
    }
    return absl::OkStatus();
  });
}

absl::Status FakeMaster::Call(const std::string& address, const CallContext&,
                              const v1::CloseSessionsRequest& request,
                              v1::CloseSessionsResponse* response) {
  return Run("CloseSessions", address, response, nullptr, [&] {
    mu_.AssertHeld();
    for (const uint64_t id : request.session_ids()) {
      sessions_.erase(id);
    }
    return absl::OkStatus();
  });
}

absl::Status FakeMaster::Call(const std::string& address, const CallContext&,
                              const v1::StatObjectRequest& request,
                              v1::StatObjectResponse* response) {
  return Run("StatObject", address, response, nullptr, [&] {
    mu_.AssertHeld();
    const auto it = objects_.find(request.key());
    if (it == objects_.end()) {
      return MakeError(v1::REASON_OBJECT_NOT_FOUND, request.key());
    }
    *response->mutable_object() = it->second.object();
    return absl::OkStatus();
  });
}

void FakeMaster::CopyChunks(const v1::GetObjectResponse& object, uint64_t first, uint32_t count,
                            google::protobuf::RepeatedPtrField<v1::ChunkInfo>* out) const {
  for (uint64_t i = first; i < first + count && i < static_cast<uint64_t>(object.chunks_size());
       ++i) {
    v1::ChunkInfo chunk = object.chunks(static_cast<int>(i));
    v1::ChunkInfo* const copy = out->Add();
    *copy = chunk;
    copy->clear_replicas();
    for (const v1::ReplicaLocation& replica : chunk.replicas()) {
      if (!hidden_.contains(replica.server_id())) {
        *copy->add_replicas() = replica;
      }
    }
  }
}

absl::Status FakeMaster::Call(const std::string& address, const CallContext&,
                              const v1::GetObjectRequest& request,
                              v1::GetObjectResponse* response) {
  return Run("GetObject", address, response, nullptr, [&] {
    mu_.AssertHeld();
    const auto it = objects_.find(request.key());
    if (it == objects_.end()) {
      return MakeError(v1::REASON_OBJECT_NOT_FOUND, request.key());
    }
    *response = it->second;
    response->clear_chunks();
    CopyChunks(it->second, 0, 4,
               response->mutable_chunks());  // small pages, so that there are many
    return absl::OkStatus();
  });
}

absl::Status FakeMaster::Call(const std::string& address, const CallContext&,
                              const v1::GetChunksRequest& request,
                              v1::GetChunksResponse* response) {
  return Run("GetChunks", address, response, nullptr, [&] {
    mu_.AssertHeld();
    const auto it = objects_.find(request.key());
    const v1::GetObjectResponse* object = nullptr;
    if (it != objects_.end() && it->second.object().generation() == request.generation()) {
      object = &it->second;
    } else if (const auto old = grace_.find({request.key(), request.generation()});
               old != grace_.end()) {
      object = &old->second;
    } else if (it == objects_.end()) {
      return MakeError(v1::REASON_OBJECT_NOT_FOUND, request.key());
    } else {
      return MakeError(v1::REASON_GENERATION_GONE, request.key());
    }
    CopyChunks(*object, request.first_position(), std::min(request.count(), 4u),
               response->mutable_chunks());
    return absl::OkStatus();
  });
}

absl::Status FakeMaster::Call(const std::string& address, const CallContext&,
                              const v1::ListObjectsRequest& request,
                              v1::ListObjectsResponse* response) {
  return Run("ListObjects", address, response, nullptr, [&] {
    mu_.AssertHeld();
    for (auto it = objects_.upper_bound(request.start_after()); it != objects_.end(); ++it) {
      if (!absl::StartsWith(it->first, request.prefix())) {
        continue;
      }
      if (response->objects_size() == static_cast<int>(request.limit())) {
        response->set_more(true);
        break;
      }
      *response->add_objects() = it->second.object();
    }
    return absl::OkStatus();
  });
}

// --- mutations -------------------------------------------------------------------------------

absl::Status FakeMaster::PutLocked(const v1::PutInlineRequest& request,
                                   v1::PutInlineResponse* response) {
  if (request.value().size() > inline_bytes_) {
    return InvalidArgument("value over the inline limit");
  }
  if (absl::Status status = Check(request.key(), request.precondition()); !status.ok()) {
    return status;
  }
  v1::GetObjectResponse object;
  object.mutable_object()->set_key(request.key());
  object.mutable_object()->set_size_bytes(request.value().size());
  object.mutable_object()->set_crc32c(ComputeCrc32c(request.value()).value);
  object.mutable_object()->set_is_inline(true);
  *object.mutable_object()->mutable_metadata() = request.metadata();
  object.set_inline_data(request.value());
  response->set_generation(Store(std::move(object)));
  return absl::OkStatus();
}

absl::Status FakeMaster::DeleteLocked(const v1::DeleteObjectRequest& request,
                                      v1::DeleteObjectResponse* response) {
  const auto it = objects_.find(request.key());
  if (it == objects_.end()) {
    return MakeError(v1::REASON_OBJECT_NOT_FOUND, request.key());
  }
  if (absl::Status status = Check(request.key(), request.precondition()); !status.ok()) {
    return status;
  }
  response->set_generation(it->second.object().generation());
  grace_[{request.key(), response->generation()}] = it->second;
  objects_.erase(it);
  return absl::OkStatus();
}

absl::Status FakeMaster::Call(const std::string& address, const CallContext&,
                              const v1::PutInlineRequest& request,
                              v1::PutInlineResponse* response) {
  return Run("PutInline", address, response, &request.request(), [&] {
    mu_.AssertHeld();
    return PutLocked(request, response);
  });
}

absl::Status FakeMaster::Call(const std::string& address, const CallContext&,
                              const v1::DeleteObjectRequest& request,
                              v1::DeleteObjectResponse* response) {
  return Run("DeleteObject", address, response, &request.request(), [&] {
    mu_.AssertHeld();
    return DeleteLocked(request, response);
  });
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
      } else if (operation.has_put_inline()) {
        status =
            Once("PutInline", operation.put_inline().request(), outcome->mutable_put_inline(), [&] {
              mu_.AssertHeld();
              return PutLocked(operation.put_inline(), outcome->mutable_put_inline());
            });
      } else if (operation.has_delete_object()) {
        status =
            Once("DeleteObject", operation.delete_object().request(),
                 outcome->mutable_delete_object(), [&] {
                   mu_.AssertHeld();
                   return DeleteLocked(operation.delete_object(), outcome->mutable_delete_object());
                 });
      } else if (const auto it = objects_.find(operation.get_object().key());
                 it != objects_.end()) {
        *outcome->mutable_get_object() = it->second;
      } else {
        status = MakeError(v1::REASON_OBJECT_NOT_FOUND, operation.get_object().key());
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

absl::Status FakeMaster::Call(const std::string& address, const CallContext&,
                              const v1::BeginWriteRequest& request,
                              v1::BeginWriteResponse* response) {
  return Run("BeginWrite", address, response, &request.request(), [&]() -> absl::Status {
    mu_.AssertHeld();
    Draft draft;
    draft.key = request.key();
    draft.wanted = request.wanted_replicas() == 0 ? wanted_ : request.wanted_replicas();
    auto placed = Place(draft, request.chunk_count(), request.avoid_server_ids());
    if (!placed.ok()) {
      return placed.status();
    }
    response->mutable_chunks()->Assign(placed->begin(), placed->end());
    const ShardId shard = ShardOf(SessionId(request.request().session_id()));
    response->set_draft_id(ChunkHandle(shard, next_id_++).value());
    response->set_required_replicas(std::min(required_, draft.wanted));
    response->set_wanted_replicas(draft.wanted);
    response->set_expiry_ms(expiry_ms_);
    drafts_[response->draft_id()] = std::move(draft);
    return absl::OkStatus();
  });
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

absl::Status FakeMaster::Call(const std::string& address, const CallContext&,
                              const v1::SealChunksRequest& request,
                              v1::SealChunksResponse* response) {
  return Run("SealChunks", address, response, &request.request(), [&] {
    mu_.AssertHeld();
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
  });
}

absl::Status FakeMaster::Call(const std::string& address, const CallContext&,
                              const v1::CommitObjectRequest& request,
                              v1::CommitObjectResponse* response) {
  return Run("CommitObject", address, response, &request.request(), [&] {
    mu_.AssertHeld();
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
  });
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

absl::Status FakeMaster::Call(const std::string& address, const CallContext&,
                              const v1::ReportBadReplicaRequest& request,
                              v1::ReportBadReplicaResponse* response) {
  return Run("ReportBadReplica", address, response, nullptr, [&] {
    mu_.AssertHeld();
    reports_.push_back(request);
    return absl::OkStatus();
  });
}

absl::Status FakeMaster::Call(const std::string& address, const CallContext&,
                              const v1::ListServersRequest&, v1::ListServersResponse* response) {
  return Run("ListServers", address, response, nullptr, [] { return absl::OkStatus(); });
}

absl::Status FakeMaster::Call(const std::string& address, const CallContext&,
                              const v1::GetGroupStatusRequest&,
                              v1::GetGroupStatusResponse* response) {
  return Run("GetGroupStatus", address, response, nullptr, [] { return absl::OkStatus(); });
}

}  // namespace ballast::client
