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

absl::Status FakeMaster::Run(const std::string& method, const std::string& address,
                             google::protobuf::Message* response, const v1::RequestId* request,
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
