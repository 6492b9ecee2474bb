// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "client/master_api.h"

namespace ballast::client {

// A group of masters as the client sees it: objects, drafts, sessions and placement in memory, with
// the real semantics of retries, and faults on demand.
class FakeMaster final : public MasterApi {
 public:
  struct Server {
    std::string id;
    uint32_t index = 0;
  };
  // What happens to one call.
  struct Fault {
    absl::Status status;
    bool execute = false;  // true: the call takes effect and only its answer is lost
  };

  FakeMaster() = default;

  // --- set-up, any time ----------------------------------------------------------------------
  void SetServers(int count);  // "s1", "s2", ...
  void RemoveServer(const std::string& id);
  void SetReplicas(uint32_t wanted, uint32_t required);
  void SetInlineBytes(uint64_t bytes);
  void SetDraftExpiryMs(uint32_t ms);
  void SetLeader(const std::string& address);  // empty: every address answers
  // The next calls of `method` ("CommitObject") meet these, in order.
  void Inject(const std::string& method, const Fault& fault, int times = 1);
  // Runs before every call of `method`, without the lock.
  void OnCall(const std::string& method, std::function<void()> action);
  void ForgetSessions();
  void EndDrafts();
  // Generations of `key` below the current one are no longer readable.
  void EndGrace(const std::string& key);
  // The replicas that GetObject and GetChunks name for every chunk; empty optional: as sealed.
  void HideServer(const std::string& id);  // never named as a replica

  // --- what happened -------------------------------------------------------------------------
  int calls(const std::string& method) const;
  int executions(const std::string& method) const;  // of mutations, retries not counted
  std::optional<v1::GetObjectResponse> Find(const std::string& key) const;
  size_t open_drafts() const;
  std::vector<v1::ReportBadReplicaRequest> reports() const;
  std::vector<v1::AllocateChunksRequest> allocations() const;
  std::vector<v1::RequestId> requests() const;  // of all mutations, in order of arrival
  std::vector<v1::MoveReplicasRequest> moves() const;

#define BALLAST_FAKE_CALL(Method)                                           \
  absl::Status Call(const std::string& address, const CallContext& context, \
                    const v1::Method##Request& request, v1::Method##Response* response) override;
  BALLAST_FAKE_CALL(OpenSessions)
  BALLAST_FAKE_CALL(CloseSessions)
  BALLAST_FAKE_CALL(Batch)
  BALLAST_FAKE_CALL(StatObject)
  BALLAST_FAKE_CALL(GetObject)
  BALLAST_FAKE_CALL(GetChunks)
  BALLAST_FAKE_CALL(ListObjects)
  BALLAST_FAKE_CALL(PutInline)
  BALLAST_FAKE_CALL(DeleteObject)
  BALLAST_FAKE_CALL(BeginWrite)
  BALLAST_FAKE_CALL(AllocateChunks)
  BALLAST_FAKE_CALL(SealChunks)
  BALLAST_FAKE_CALL(CommitObject)
  BALLAST_FAKE_CALL(AbortWrite)
  BALLAST_FAKE_CALL(SetReplication)
  BALLAST_FAKE_CALL(MoveReplicas)
  BALLAST_FAKE_CALL(CheckBalance)
  BALLAST_FAKE_CALL(GetMaintenance)
  BALLAST_FAKE_CALL(PlanRebalance)
  BALLAST_FAKE_CALL(StartRebalance)
  BALLAST_FAKE_CALL(StopRebalance)
  BALLAST_FAKE_CALL(ReleaseLossBreaker)
  BALLAST_FAKE_CALL(Explain)
  BALLAST_FAKE_CALL(Fsck)
  BALLAST_FAKE_CALL(PurgeQuarantined)
  BALLAST_FAKE_CALL(ReportBadReplica)
  BALLAST_FAKE_CALL(ListServers)
  BALLAST_FAKE_CALL(GetGroupStatus)
#undef BALLAST_FAKE_CALL

 private:
  struct Draft {
    std::string key;
    uint32_t wanted = 0;
    std::map<uint64_t, v1::SealedChunk> sealed;  // by position
    std::set<uint64_t> handles;
  };
  using RequestKey = std::pair<uint64_t, uint64_t>;

  // Faults, leadership and (for mutations) exactly-once around `execute`.
  absl::Status Run(const std::string& method, const std::string& address,
                   google::protobuf::Message* response, const v1::RequestId* request,
                   const std::function<absl::Status()>& execute);
  absl::Status Once(const std::string& method, const v1::RequestId& request,
                    google::protobuf::Message* response,
                    const std::function<absl::Status()>& execute)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  absl::StatusOr<std::vector<v1::ChunkPlacement>> Place(
      Draft& draft, uint32_t count, const google::protobuf::RepeatedPtrField<std::string>& avoid)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  absl::Status Check(const std::string& key, const v1::Precondition& precondition)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  uint64_t Store(v1::GetObjectResponse object) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void CopyChunks(const v1::GetObjectResponse& object, uint64_t first, uint32_t count,
                  google::protobuf::RepeatedPtrField<v1::ChunkInfo>* out) const
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  absl::Status PutLocked(const v1::PutInlineRequest& request, v1::PutInlineResponse* response)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  absl::Status DeleteLocked(const v1::DeleteObjectRequest& request,
                            v1::DeleteObjectResponse* response) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  absl::Status BeginLocked(const v1::BeginWriteRequest& request, v1::BeginWriteResponse* response)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  absl::Status SealLocked(const v1::SealChunksRequest& request) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  absl::Status CommitLocked(const v1::CommitObjectRequest& request,
                            v1::CommitObjectResponse* response) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  absl::Status SetReplicationLocked(const v1::SetReplicationRequest& request)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  absl::Status OneOfBatch(const v1::BatchRequest::Operation& operation,
                          v1::BatchResponse::Outcome* outcome) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);

  mutable absl::Mutex mu_;
  std::string leader_ ABSL_GUARDED_BY(mu_);
  std::vector<Server> servers_ ABSL_GUARDED_BY(mu_);
  std::set<std::string> hidden_ ABSL_GUARDED_BY(mu_);
  uint32_t wanted_ ABSL_GUARDED_BY(mu_) = 3;
  uint32_t required_ ABSL_GUARDED_BY(mu_) = 2;
  uint64_t inline_bytes_ ABSL_GUARDED_BY(mu_) = 4096;
  uint32_t expiry_ms_ ABSL_GUARDED_BY(mu_) = 3600000;
  uint64_t next_id_ ABSL_GUARDED_BY(mu_) = 1;
  uint64_t next_generation_ ABSL_GUARDED_BY(mu_) = 1;
  std::set<uint64_t> sessions_ ABSL_GUARDED_BY(mu_);
  std::map<RequestKey, std::pair<absl::Status, std::string>> replies_ ABSL_GUARDED_BY(mu_);
  std::map<uint64_t, Draft> drafts_ ABSL_GUARDED_BY(mu_);
  std::map<std::string, v1::GetObjectResponse> objects_ ABSL_GUARDED_BY(mu_);
  // Replaced generations whose chunks are still readable.
  std::map<std::pair<std::string, uint64_t>, v1::GetObjectResponse> grace_ ABSL_GUARDED_BY(mu_);
  std::map<std::string, std::deque<Fault>> faults_ ABSL_GUARDED_BY(mu_);
  std::map<std::string, std::function<void()>> actions_ ABSL_GUARDED_BY(mu_);
  std::map<std::string, int> calls_ ABSL_GUARDED_BY(mu_);
  std::map<std::string, int> executions_ ABSL_GUARDED_BY(mu_);
  std::vector<v1::ReportBadReplicaRequest> reports_ ABSL_GUARDED_BY(mu_);
  std::vector<v1::AllocateChunksRequest> allocations_ ABSL_GUARDED_BY(mu_);
  std::vector<v1::RequestId> requests_ ABSL_GUARDED_BY(mu_);
  std::vector<v1::MoveReplicasRequest> moves_ ABSL_GUARDED_BY(mu_);
};

}  // namespace ballast::client
